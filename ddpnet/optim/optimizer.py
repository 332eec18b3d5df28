"""Optimizer: parameter groups, state and the loop over parameters; subclasses write the update."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ddpnet import dtypes
from ddpnet.autograd.grad_mode import enable_grad, no_grad
from ddpnet.ops.creation import tensor
from ddpnet.optim.hooks import (
    Hooked,
    hooked,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from ddpnet.optim.options import LATER_OPTIONS, refuse, required
from ddpnet.optim.state import check_groups, loaded_value
from ddpnet.tensor import Tensor

__all__ = ["Optimizer", "ParamsT", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook", "required"]

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
ParamsT = Parameters
"""PyTorch's name."""


class Optimizer(Hooked):
    """Changes parameters by their gradients (`torch.optim.Optimizer`).

    A subclass hands its options to `__init__` and writes `update`, which changes one parameter in place and keeps what
    it has to remember as tensors in `state`; or it writes `step` itself.
    """

    _opt_called: bool | None = None
    """Whether `step` was called since a scheduler first asked for it."""

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        super().__init__()
        refuse(defaults)
        self._take_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _take_hooks(self) -> None:
        """Let hooks run around `step`, in classes of users too."""
        kind = type(self)
        if not getattr(kind.step, "hooked", False):
            kind.step = hooked(kind.step)  # type: ignore[method-assign]

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change parameter `p` in place by its gradient `g`; `state` is empty at the first update."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; those left out are the optimizer's.

        ValueError for parameters that another group has, that are no leaves, or of which only some have names.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params, names = _listed(param_group["params"])
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not (p.is_leaf or getattr(p, "retains_grad", False)):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        refuse(param_group)
        if len({id(p) for p in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                kind = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    f"all optimizer param groups should be with/without names. cannot add param group {kind} to the "
                    "optimizer"
                )
        known = {id(p) for p in self._all()}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; a `closure` is called first, and its loss returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.update_group(group)
        return loss

    def update_group(self, group: dict[str, Any]) -> None:
        """Update every parameter of a group that has a gradient, one after the other."""
        for p in group["params"]:
            if p.grad is not None:
                self.update_one(p, p.grad, group)

    def update_one(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        """`update` with what is kept of a parameter, and as the contiguous memory that kernels go through."""
        whole = p if p.array.flags.c_contiguous else p.data.contiguous()
        state = self.state[p]
        self.update(whole, g, state, group)
        if not state:
            del self.state[p]
        if whole is not p:
            p.array[...] = whole.array
        p.changed()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients: to None, or to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    if p.grad.grad_fn is not None:
                        p.grad = p.grad.detach()
                    p.grad.requires_grad_(False).zero_()

    def state_dict(self) -> dict[str, Any]:
        """State and options, with parameters by their number."""
        for before in self._state_dict_pre_hooks.values():
            before(self)
        numbers: dict[int, int] = {}
        for i, p in enumerate(self._all()):
            numbers.setdefault(id(p), i)
        result: dict[str, Any] = {
            "state": {numbers[id(p)] if isinstance(p, Tensor) else p: state for p, state in self.state.items()},
            "param_groups": [
                {
                    **{key: value for key, value in group.items() if key != "params"},
                    "params": [numbers[id(p)] for p in group["params"]],
                }
                for group in self.param_groups
            ],
        }
        for after in self._state_dict_post_hooks.values():
            result = after(self, result) or result
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take state and options of an optimizer over as many parameters; ValueError if the numbers differ."""
        state_dict = state_dict.copy()
        for before in self._load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        groups = state_dict["param_groups"]
        check_groups(groups, self.param_groups)
        for group in groups:
            refuse(group)
        owners = {number: group for group in groups for number in group["params"]}
        parameters = dict(zip(chain(*(group["params"] for group in groups)), self._all(), strict=True))
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            number = int(key) if isinstance(key, str) and key.isdigit() else key
            if number in parameters:
                p = parameters[number]
                state[p] = {name: loaded_value(value, p, name, owners[number]) for name, value in values.items()}
            else:
                state[number] = values
        loaded = []
        for group, saved in zip(self.param_groups, groups, strict=True):
            names = {"param_names": group["param_names"]} if "param_names" in group else {}
            loaded.append({**names, **_copied(saved), "params": group["params"]})
        self.__setstate__({"state": state, "param_groups": loaded})
        for after in self._load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_step_pre_hooks" not in self.__dict__:
            super().__init__()
        self.__dict__.update(state)
        self._take_hooks()
        for group in self.param_groups:
            for key, value in LATER_OPTIONS.items():
                if key in self.defaults:
                    group.setdefault(key, value)
        for values in self.state.values():
            if isinstance(values, dict) and isinstance(values.get("step"), int | float):
                values["step"] = counter(float(values["step"]))

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for number, group in enumerate(self.param_groups):
            text += f"\nParameter Group {number}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"


def _listed(params: Any) -> tuple[list[Any], list[str]]:
    """The parameters of a group, and their names if they came as (name, parameter)."""
    if isinstance(params, Tensor):
        return [params], []
    if isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )
    given = list(params)
    names = [p[0] for p in given if isinstance(p, tuple)]
    if names and len(names) != len(given):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    return [p[1] if isinstance(p, tuple) else p for p in given], names


def _copied(group: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.clone() if isinstance(value, Tensor) else list(value) if isinstance(value, list) else value
        for key, value in group.items()
    }


def counter(value: float = 0.0) -> Tensor:
    """A tensor that counts steps, as PyTorch keeps it."""
    exact = dtypes.get_default_dtype() is dtypes.float64
    return tensor(value, dtype=dtypes.float64 if exact else dtypes.float32)
