"""Options of optimizers: what is checked where they enter."""

from __future__ import annotations

from typing import Any

from ddpnet.tensor import Tensor

LATER_OPTIONS = {
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "amsgrad": False,
    "nesterov": False,
    "decoupled_weight_decay": False,
    "momentum": 0,
    "centered": False,
}
"""Options that optimizers got over the years, with the values that stand for what they did before."""


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()
"""A default that says: every group has to give this option."""


def refuse(options: dict[str, Any]) -> None:
    """NotImplementedError for what steps here do not do."""
    for name in ("capturable", "differentiable"):
        if options.get(name):
            raise NotImplementedError(f"{name}=True is not supported: steps are neither captured nor recorded")


def check(name: str, value: Any, low: float = 0.0, high: float = float("inf")) -> None:
    """ValueError unless low <= value < high; not-a-number fails, too."""
    if not low <= value < high:
        raise ValueError(f"Invalid {name}: {value}")


def check_rate(lr: float | Tensor) -> None:
    """ValueError unless it is a number from 0, or a tensor of one."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check("learning rate", lr)


def check_betas(betas: tuple[Any, Any]) -> None:
    """ValueError unless both are from 0 to below 1."""
    for index, beta in enumerate(betas[:2]):
        check(f"beta parameter at index {index}", beta, high=1.0)


def check_fused(fused: bool | None, foreach: bool | None) -> None:
    """RuntimeError where two implementations are asked for."""
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def number(value: float | Tensor) -> float:
    """An option that may be a tensor or array of one element, as a Python number."""
    if isinstance(value, Tensor):
        value = value.item()
    return value if isinstance(value, int | float) else float(value)
