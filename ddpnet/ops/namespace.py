"""NumPy's names for functions of Tensors: what `array_module` gives for a Tensor.

A `backward` that is written with operators and these names serves arrays, and Tensors when gradients are derived again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ddpnet import dtypes, ops
from ddpnet.ops.dims import Dims
from ddpnet.tensor import Tensor

_SAME = frozenset(
    "abs arccos arcsin arctan arctan2 cos cosh cumsum exp exp2 expm1 flip log log10 log1p log2 logical_and logical_not "
    "logical_or maximum minimum ones_like roll sin sinh sqrt square stack tan tanh tril triu zeros_like".split()
)
"""Functions that mean the same in NumPy and PyTorch."""


def __getattr__(name: str) -> Any:
    if name in _SAME and hasattr(ops, name):
        return getattr(ops, name)
    raise NotImplementedError(
        f"{name} has no form for Tensors: the gradient of the operation that uses it cannot be derived again "
        "(create_graph=True)"
    )


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """`a` where `condition` holds, else `b`; a condition may be an array or a bool."""
    if isinstance(condition, bool | np.bool_):
        return a if condition else b
    result: Tensor = ops.where(condition if isinstance(condition, Tensor) else Tensor(condition), a, b)
    return result


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; no gradient flows."""
    return Tensor((x.array > 0).astype(x.array.dtype) - (x.array < 0).astype(x.array.dtype))


def zeros(extents: Any, dtype: Any = None) -> Tensor:
    """Zeros of a shape; the dtype may be NumPy's."""
    return ops.creation.zeros(extents, dtype=_ours(dtype))


def ones(extents: Any, dtype: Any = None) -> Tensor:
    """Ones of a shape; the dtype may be NumPy's."""
    return ops.creation.ones(extents, dtype=_ours(dtype))


def _ours(dtype: Any) -> Any:
    return dtype if dtype is None or isinstance(dtype, dtypes.DType) else dtypes.from_numpy(dtype)


def broadcast_to(x: Tensor, extents: Sequence[int]) -> Tensor:
    """A view expanded to a shape."""
    return ops.shape.expand(x, tuple(extents))


def expand_dims(x: Tensor, axis: int) -> Tensor:
    """A view with a dimension of extent 1 at `axis`."""
    return ops.shape.unsqueeze(x, axis)


def squeeze(x: Tensor, axis: Any = None) -> Tensor:
    """A view without dimensions of extent 1."""
    return ops.shape.squeeze(x, axis)


def reshape(x: Tensor, extents: Any) -> Tensor:
    """The elements in another shape."""
    return ops.shape.reshape(x, extents)


def transpose(x: Tensor, order: Sequence[int]) -> Tensor:
    """A view with its dimensions in another order."""
    return ops.shape.permute(x, tuple(int(axis) for axis in order))


def swapaxes(x: Tensor, first: int, second: int) -> Tensor:
    """A view with two dimensions exchanged."""
    return ops.shape.transpose(x, first, second)


def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    """A view with one dimension moved."""
    order = [axis for axis in range(x.ndim) if axis != source % x.ndim]
    order.insert(destination % x.ndim, source % x.ndim)
    return ops.shape.permute(x, tuple(order))


def concatenate(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors joined along a dimension."""
    result: Tensor = ops.cat(parts, axis)
    return result


def split(x: Tensor, ends: Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """The parts between the places where `x` is cut."""
    cuts = [0, *ends, x.array.shape[axis]]
    before = (slice(None),) * (axis % x.ndim)
    return tuple(x[(*before, slice(a, b))] for a, b in pairwise(cuts))


def sum(x: Tensor, axis: Dims = None, keepdims: bool = False) -> Tensor:
    """The sum over dimensions."""
    return ops.reduction.sum(x, axis, keepdims)


Tensor.__array_namespace__ = lambda self, api_version=None: sys.modules[__name__]  # type: ignore[attr-defined]
