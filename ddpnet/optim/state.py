"""What a saved state of an optimizer becomes when it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ddpnet import dtypes
from ddpnet.tensor import Tensor

SHAPED = (
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "grad_avg", "momentum_buffer", "acc_delta",
    "sum", "prev", "step_size", "ax",
)  # fmt: skip
"""Entries that have the shape of the parameter."""


def check_groups(saved: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """ValueError unless there are as many saved groups as an optimizer has, of as many parameters each."""
    if len(saved) != len(groups):
        raise ValueError("loaded state dict has a different number of parameter groups")
    if [len(group["params"]) for group in saved] != [len(group["params"]) for group in groups]:
        raise ValueError(
            "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
        )


def loaded_value(value: Any, p: Tensor, key: str | None, group: dict[str, Any]) -> Any:
    """A copy of an entry of the state of parameter `p`: tensors get its device and dtype, but for the counter `step`.

    ValueError for a tensor whose shape is not that of `p`.
    """
    if isinstance(value, Tensor):
        return _loaded_tensor(value, p, key, group)
    if isinstance(value, dict):
        return {name: loaded_value(entry, p, name, group) for name, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return type(value)(loaded_value(entry, p, None, group) for entry in value)  # type: ignore[call-arg]
    return value


def _loaded_tensor(value: Tensor, p: Tensor, key: str | None, group: dict[str, Any]) -> Tensor:
    if key == "step":
        return value.to(p.device, dtypes.float32).clone() if group.get("fused") else value.clone()
    if key in SHAPED and value.shape != p.shape:
        raise ValueError(f"optimizer state {key!r}: expected shape {list(p.shape)}, got {list(value.shape)}")
    copy: Tensor = value.to(p.device, p.dtype) if p.is_floating_point() else value.to(p.device)
    return Tensor(copy.array.copy())  # in the order of the indices, as kernels want it
