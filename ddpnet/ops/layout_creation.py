"""New tensors with a given order in memory, and new ones of the dtype and device of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet.dtypes import DType
from ddpnet.layouts import Layout
from ddpnet.ops.creation import DeviceLike, checked_shape, empty, full, ones, tensor, zeros
from ddpnet.tensor import Tensor, method

__all__ = [
    "empty_permuted",
    "empty_strided",
]


def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Any values with a shape and strides (in elements)."""
    shape, steps = checked_shape((size,)), tuple(int(step) for step in stride)
    if len(shape) != len(steps):
        raise RuntimeError(
            f"dimensionality of sizes ({len(shape)}) must match dimensionality of strides ({len(steps)})"
        )
    count = 0 if 0 in shape else 1 + sum((extent - 1) * step for extent, step in zip(shape, steps, strict=True))
    line = empty(count, dtype=dtype, layout=layout, device=device)
    return line.as_strided(shape, steps).detach().requires_grad_(requires_grad)


def empty_permuted(
    size: Any,
    physical_layout: Any,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Any values whose dimensions lie in memory in a given order."""
    shape, order = checked_shape((size,)), tuple(physical_layout)
    if len(shape) != len(order):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(shape)} is not equal to len(physical_layout) = {len(order)}"
        )
    if sorted(order) != list(range(len(order))):
        raise RuntimeError("empty_permuted: physical_layout must name each dimension once")
    dense = empty([shape[axis] for axis in order], dtype=dtype, layout=layout, device=device)
    return Tensor(dense.array.transpose(np.argsort(order))).requires_grad_(requires_grad)


def _new(create: Callable[..., Tensor]) -> None:
    def new(self: Tensor, *size: Any, dtype: DType | None = None, device: DeviceLike = None, **options: Any) -> Tensor:
        return create(*size, dtype=dtype or self.dtype, device=device or self.device, **options)

    new.__name__ = f"new_{create.__name__}"
    new.__doc__ = f"`{create.__name__}` with the dtype and device of this tensor."
    method(new)


for _create in (zeros, ones, empty, full, tensor, empty_strided):
    _new(_create)
