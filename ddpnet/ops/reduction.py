"""From many elements to few: sums, means, products, and whether any or all hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import DType, category
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast
from ddpnet.ops.dims import Dims, axes, one_axis
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "all",
    "any",
    "count_nonzero",
    "mean",
    "nanmean",
    "nansum",
    "prod",
    "sum",
]


def wide(x: Array) -> Array:
    """float16 and bfloat16 as float32, in which PyTorch computes them; other arrays as they are."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and category(x.dtype) == 2 else x


def reduced(dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, counted from 0; none of a 0-d tensor. RuntimeError if one comes twice."""
    dims = axes(tuple(dim) if isinstance(dim, list) else dim, ndim)
    if ndim == 0:
        return ()
    if len(dims) > 1 and len(set(dims)) < len(dims):
        again = next(d for d in dims if dims.count(d) > 1)
        raise RuntimeError(f"dim {again} appears multiple times in the list of dims")
    return dims


def spread(g: Any, shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> Any:
    """A reduction's gradient as a read-only view of the shape that was reduced."""
    return array_module(g).broadcast_to(kept(g, shape, dims, keepdim), shape)


def kept(g: Any, shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> Any:
    """A reduction's result or gradient with the reduced dimensions in their places, of extent 1."""
    if keepdim or not dims:
        return g
    return g.reshape(tuple([1 if axis in dims else extent for axis, extent in enumerate(shape)]))


class Sum(Op):
    dense = True

    def forward(self, x, dims, keepdim, dtype=None):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        if category(x.dtype) < 2:
            return x.sum(axis=dims, keepdims=keepdim, dtype=dtype or np.int64)
        if x.dtype.itemsize == 2:
            return wide(x).sum(axis=dims, keepdims=keepdim).astype(x.dtype)
        return x.sum(axis=dims, keepdims=keepdim)

    def backward(self, g):
        return spread(g, self.shape, self.dims, self.keepdim)


class Mean(Op):
    dense = True

    def forward(self, x, dims, keepdim):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        y = wide(x).sum(axis=dims, keepdims=keepdim)
        count = 1
        for axis in dims:
            count *= x.shape[axis]
        self.count = count
        return (y / count if count else y * np.nan).astype(x.dtype, copy=False)

    def backward(self, g):
        return spread(g / (self.count or 1), self.shape, self.dims, self.keepdim)


class Prod(Op):
    """The product along one dimension, or of the `whole` tensor, which then is a vector."""

    dense = True

    def forward(self, x, dim, keepdim, dtype=None, whole=False):
        integers = category(x.dtype) < 2
        y = wide(x).prod(axis=dim, keepdims=keepdim, dtype=dtype or np.int64 if integers else None)
        y = array_module(x).asarray(y if integers else y.astype(x.dtype, copy=False))
        self.dim, self.keepdim, self.whole = dim, keepdim, whole
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        xp = array_module(g)
        if self.whole and (x == 0).sum() > 1:
            return xp.zeros_like(x)  # whatever arrived: nan, too
        if not self.keepdim:
            g, y = xp.expand_dims(g, self.dim), xp.expand_dims(y, self.dim)
        if (x != 0).all():
            return g * y / x
        x = xp.moveaxis(x, self.dim, -1)  # a 0 cannot be divided out: the product before times the product behind
        one = xp.ones((*x.shape[:-1], 1), x.dtype)
        before = xp.concatenate([one, x[..., :-1].cumprod(-1)], -1)
        behind = xp.concatenate([xp.flip(xp.flip(x[..., 1:], -1).cumprod(-1), -1), one], -1)
        return g * xp.moveaxis(before * behind, -1, self.dim)

    def differentiable_backward(self, g):
        x, y = self.saved
        if not self.keepdim:
            g, y = g.unsqueeze(self.dim), y.unsqueeze(self.dim)
        if (x.array != 0).all():
            return g * y / x
        last = x.transpose(self.dim, -1)
        ones = Tensor(array_module(x.array).eye(last.shape[-1], dtype=bool))
        others = prod(last.unsqueeze(-2).masked_fill(ones, 1), -1)
        return g * others.transpose(self.dim, -1)


@with_out
@method
@numpy_names
@autocasts("float32", "cuda")
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum over all dimensions or those given; integers are added as int64."""
    dims = reduced(dim, input.array.ndim)
    if dtype is None:
        return Sum.apply(input, dims=dims, keepdim=keepdim)
    return Sum.apply(cast(input, dtype.numpy), dims=dims, keepdim=keepdim, dtype=dtype.numpy)


@with_out
@method
@numpy_names
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean over all dimensions or those given, of floating-point elements."""
    input = input if dtype is None else cast(input, dtype.numpy)
    if category(input.array.dtype) < 2:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {input.dtype.scalar_name}"
        )
    return Mean.apply(input, dims=reduced(dim, input.array.ndim), keepdim=keepdim)


@with_out
@method
@numpy_names
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum of the elements that are numbers."""
    input = input if dtype is None else cast(input, dtype.numpy)
    absent = input.array != input.array
    return sum(input.masked_fill(Tensor(absent), 0) if absent.any() else input, dim, keepdim)


@with_out
@method
@numpy_names
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean of the elements that are numbers."""
    if category(input.array.dtype) < 2:
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype}")
    present = input.array == input.array
    count = present.sum(axis=reduced(dim, input.array.ndim), keepdims=keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / Tensor(count)


@with_out
@method
@numpy_names
@autocasts("float32")
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The product of all elements, or along a dimension; integers are multiplied as int64."""
    kind = None if dtype is None else dtype.numpy
    input = input if kind is None else cast(input, kind)
    axis = 0 if dim is None else one_axis(dim, input.ndim)
    if dim is None or input.ndim == 0:
        return Prod.apply(input.reshape(-1), dim=0, keepdim=False, dtype=kind, whole=True)
    return Prod.apply(input, dim=axis, keepdim=keepdim, dtype=kind)


def _logical(input: Tensor, name: str, dim: Dims, keepdim: bool) -> Tensor:
    """`all` or `any`: bool, but uint8 of uint8; () and [] name no dimension here."""
    x = input.array
    dims = reduced(dim, x.ndim) if dim is None or isinstance(dim, int) or len(dim) else ()
    truth = getattr(x if x.dtype == np.bool_ else x != 0, name)(axis=dims, keepdims=keepdim)
    return Tensor(truth.astype(np.uint8) if x.dtype == np.uint8 else truth)


@with_out
@method
@numpy_names
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """bool (uint8 of uint8): whether no element is zero."""
    return _logical(input, "all", dim, keepdim)


@with_out
@method
@numpy_names
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """bool (uint8 of uint8): whether an element is not zero."""
    return _logical(input, "any", dim, keepdim)


@method
@numpy_names
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """int64: how many elements are not zero."""
    return Tensor((input.array != 0).sum(axis=reduced(dim, input.ndim), dtype=np.int64))


@method
def sum_to_size(input: Tensor, *size: int | Sequence[int]) -> Tensor:
    """The sum over the dimensions along which a tensor of this size would be broadcast to the shape of the input."""
    extents = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    shape = input.array.shape
    lead = len(shape) - len(extents)
    pairs = zip(extents, shape[max(lead, 0) :], strict=False)
    if lead < 0 or [1 for want, have in pairs if want not in (1, have)]:
        raise RuntimeError(f"size {{{list(extents)}}} is not expandable to size {{{list(shape)}}}.")
    inner = [lead + i for i, want in enumerate(extents) if want == 1 and shape[lead + i] != 1]
    dims = (*range(lead), *inner)
    return sum(input, dims, True).reshape(extents) if dims or not extents else input
