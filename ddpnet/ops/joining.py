"""Tensors joined to one: along a dimension that they have, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module
from ddpnet.ops.conversion import cast
from ddpnet.ops.dims import one_axis
from ddpnet.ops.expansion import atleast_1d, atleast_2d, atleast_3d
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor

__all__ = [
    "cat",
    "column_stack",
    "concat",
    "concatenate",
    "dstack",
    "hstack",
    "row_stack",
    "stack",
    "vstack",
]


class Cat(Op):
    dense = True

    def forward(self, *arrays, dim, skipped=()):
        self.dim, self.skipped = dim, skipped
        if skipped:
            arrays = tuple([x for place, x in enumerate(arrays) if place not in skipped])
        self.ends = np.cumsum([x.shape[dim] for x in arrays])[:-1].tolist()
        return array_module(arrays[0]).concatenate(arrays, axis=dim)

    def backward(self, g):
        parts = list(array_module(g).split(g, self.ends, axis=self.dim))
        for place in self.skipped:
            parts.insert(place, g.reshape(-1)[:0])
        return tuple(parts)


class Stack(Op):
    dense = True

    def forward(self, *arrays, dim):
        self.dim = dim
        return array_module(arrays[0]).stack(arrays, axis=dim)

    def backward(self, g):
        return tuple(array_module(g).moveaxis(g, self.dim, 0))

    def differentiable_backward(self, g):
        return g.unbind(self.dim)


@with_out
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors joined along an existing dimension, in their common dtype."""
    dim = dim if axis is None else axis
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    if not len(tensors):
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    alike = _alike(tensors, "cat")
    parts = [part for part in alike if part.array.shape != (0,)] or alike  # PyTorch lets these pass beside any shape
    for position, part in enumerate(parts):
        if part.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {position}) cannot be concatenated")
    dim = one_axis(dim, parts[0].ndim)
    first = parts[0].array.shape
    for position, part in enumerate(parts):
        shape = part.array.shape
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        if shape != first and any(a != b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != dim):
            at = next(i for i, (a, b) in enumerate(zip(shape, first, strict=True)) if a != b and i != dim)
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected size {first[at]} but got size "
                f"{shape[at]} for tensor number {position} in the list."
            )
    if len(parts) == len(alike):
        return Cat.apply(*parts, dim=dim)
    return Cat.apply(*alike, dim=dim, skipped=tuple(i for i, part in enumerate(alike) if part.array.shape == (0,)))


@with_out
def concat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """`cat` by another name."""
    return cat(tensors, dim, axis=axis)


@with_out
def concatenate(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """`cat` by NumPy's name."""
    return cat(tensors, dim, axis=axis)


@with_out
def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    dim = dim if axis is None else axis
    if isinstance(tensors, Tensor):
        tensors = tensors.unbind(0)
    if not len(tensors):
        raise RuntimeError("stack expects a non-empty TensorList")
    parts = _alike(tensors, "stack")
    for position, part in enumerate(parts):
        if part.array.shape != parts[0].array.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at entry 0 and "
                f"{list(part.shape)} at entry {position}"
            )
    return Stack.apply(*parts, dim=one_axis(dim, parts[0].ndim + 1))


def _alike(tensors: Sequence[Any], name: str) -> list[Tensor]:
    """The tensors in their common dtype."""
    for position, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"expected Tensor as element {position} in argument 0, but got {type(tensor).__name__}")
    common = tensors[0].array.dtype
    if all(tensor.array.dtype == common for tensor in tensors):
        return list(tensors)
    for tensor in tensors:
        common = dtypes.promote(common, tensor.array.dtype)
    return [cast(tensor, common) for tensor in tensors]


def _some(tensors: Any, name: str) -> Any:
    """The tensors of a stacking function; a tensor counts as its slices."""
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return tensors.unbind(0) if isinstance(tensors, Tensor) else tuple(tensors)


@with_out
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side: joined along dimension 1, vectors along dimension 0."""
    parts = atleast_1d(_some(tensors, "hstack"))
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


@with_out
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors above each other; vectors are rows."""
    return cat(atleast_2d(_some(tensors, "vstack")), 0)


@with_out
def row_stack(tensors: Sequence[Tensor]) -> Tensor:
    """`vstack` by another name."""
    return vstack(tensors)


@with_out
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along dimension 2."""
    return cat(atleast_3d(_some(tensors, "dstack")), 2)


@with_out
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side; vectors and numbers are columns."""
    parts = _some(tensors, "column_stack")
    return cat([part.reshape(part.array.size, 1) if part.ndim < 2 else part for part in parts], 1)
