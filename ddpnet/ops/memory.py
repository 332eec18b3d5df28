"""How the elements of a tensor lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.layouts import MemoryFormat, memory_order, strided
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method

__all__: list[str] = []


class Ordered(Op):
    """A copy whose dimensions lie in memory in a given order."""

    graph_name = "CloneBackward0"

    def forward(self, x, order):
        return x.transpose(order).copy().transpose(np.argsort(order).tolist())

    def backward(self, g):
        return g


@method
def contiguous(input: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
    """The tensor with its elements in the order of their indices (or the channels last): itself if it has them so."""
    if is_contiguous(input, memory_format):
        return input
    order = memory_order(memory_format, input.ndim)
    return Ordered.apply(input, order=tuple(range(input.ndim)) if order is None else order)


@method
def is_contiguous(input: Tensor, memory_format: MemoryFormat | None = None) -> bool:
    """Whether the elements lie in memory in the order of their indices, or with the channels last."""
    if memory_format is None:
        return bool(input.array.flags.c_contiguous)
    if memory_format.name.startswith("channels_last") and input.ndim != (5 if memory_format.name.endswith("3d") else 4):
        return False
    order = memory_order(memory_format, input.ndim)
    return bool((input.array if order is None else input.array.transpose(order)).flags.c_contiguous)


def stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements from one index to the next, for each dimension or for one."""
    array = self.array
    if array.size == 0 and array.flags.c_contiguous:
        steps = [1]
        for extent in reversed(array.shape[1:]):
            steps.insert(0, steps[0] * max(extent, 1))
        strides = tuple(steps[: array.ndim])
    else:
        strides = tuple(step // array.itemsize for step in array.strides)
    return strides if dim is None else strides[dim]


Tensor.stride = stride  # type: ignore[attr-defined]
Tensor.layout = property(lambda self: strided)  # type: ignore[attr-defined]
