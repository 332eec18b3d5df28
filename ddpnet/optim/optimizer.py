"""Optimizer: parameter groups, state and the loop over parameters; subclasses write the update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from ddpnet.autograd.grad_mode import enable_grad, no_grad
from ddpnet.tensor import Tensor

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class Optimizer:
    """Changes parameters by their gradients (`torch.optim.Optimizer`).

    A subclass hands its options to `__init__` and writes `update`, which changes one parameter in place and keeps what
    it has to remember as tensors in `state`.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got Tensor"
            )
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": [p[1] if isinstance(p, tuple) else p for p in groups]}]
        for group in groups:
            self.add_param_group(group)

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change parameter `p` in place by its gradient `g`; `state` is empty at the first update."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; those left out are the optimizer's."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; a `closure` is called first, and its loss returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    whole = p if p.is_contiguous() else p.data.contiguous()  # kernels go through flat memory
                    self.update(whole, p.grad, self.state[p], group)
                    if whole is not p:
                        p.array[...] = whole.array
                    p.changed()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients: to None, or to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """State and options, with parameters by their number."""
        numbers = {id(p): i for i, p in enumerate(self._all())}
        return {
            "state": {numbers[id(p)]: dict(state) for p, state in self.state.items() if state},
            "param_groups": [
                {**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take state and options of an optimizer over as many parameters; ValueError if the numbers differ."""
        groups = state_dict["param_groups"]
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in self.param_groups]:
            raise ValueError("loaded state dict has parameter groups of other sizes than the optimizer's")
        saved_numbers = [number for group in groups for number in group["params"]]
        parameters = dict(zip(saved_numbers, self._all(), strict=True))
        self.state.clear()
        for number, state in state_dict["state"].items():
            p = parameters[int(number)]
            self.state[p] = {key: _copied(value, p, key) for key, value in state.items()}
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def _copied(value: Any, p: Tensor, key: str) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.ndim and value.shape != p.shape:
        raise ValueError(f"optimizer state {key!r}: expected shape {list(p.shape)}, got {list(value.shape)}")
    return value.clone() if key == "step" else value.to(p.device).clone()


def check(name: str, value: float, low: float = 0.0, high: float = float("inf")) -> None:
    """ValueError unless low <= value < high; not-a-number fails, too."""
    if not low <= value < high:
        raise ValueError(f"Invalid {name}: {value}")
