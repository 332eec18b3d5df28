"""PostLocalSGDOptimizer: steps of one's own, and now and then the mean of all ranks' parameters (Lin et al., 2020)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ddpnet.distributed.algorithms.model_averaging.averagers import ModelAverager
from ddpnet.optim.hooks import Hooked
from ddpnet.optim.optimizer import Optimizer
from ddpnet.tensor import Tensor


class PostLocalSGDOptimizer(Optimizer):
    """Runs `optim`, then lets `averager` average the parameters when it is time to."""

    def __init__(self, optim: Optimizer, averager: ModelAverager) -> None:
        Hooked.__init__(self)
        self._take_hooks()
        self.optim, self.averager = optim, averager
        self.defaults = optim.defaults

    @property
    def state(self) -> Any:  # type: ignore[override]
        """That of `optim`."""
        return self.optim.state

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Those of `optim`."""
        return self.optim.param_groups

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of `optim`, whose result is returned, and one of the averager's count."""
        loss = self.optim.step(closure)
        self.averager.average_parameters(self.param_groups)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients: to None, or to zeros."""
        self.optim.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own to `optim`."""
        self.optim.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """That of `optim`, and the averager's count as "step"."""
        return {**self.optim.state_dict(), "step": self.averager.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of `optim` and the averager's count: 0, with a warning, where there is none."""
        self.optim.load_state_dict(state_dict)
        if "step" not in state_dict:
            warnings.warn(
                "Loaded state dict does not contain a step counter for an averager. Setting step counter to 0.",
                stacklevel=2,
            )
        self.averager.step = state_dict.get("step", 0)

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        return repr(self.optim)
