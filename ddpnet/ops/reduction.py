"""From many elements to few: sums, means, extremes, variances."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import DType, category
from ddpnet.ops.conversion import cast
from ddpnet.ops.dims import Dims, axes, one_axis
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method


def spread(g: Any, shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> Any:
    """A reduction's gradient as a read-only view of the shape that was reduced."""
    if not keepdim:
        g = g.reshape(tuple(1 if axis in dims else extent for axis, extent in enumerate(shape)))
    return array_module(g).broadcast_to(g, shape)


class Sum(Op):
    def forward(self, x, dims, keepdim):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        return x.sum(axis=dims, keepdims=keepdim, dtype=np.int64 if category(x.dtype) < 2 else None)

    def backward(self, g):
        return spread(g, self.shape, self.dims, self.keepdim)


class Mean(Op):
    def forward(self, x, dims, keepdim):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        y = x.mean(axis=dims, keepdims=keepdim)
        self.count = x.size // (y.size or 1)
        return y

    def backward(self, g):
        return spread(g / (self.count or 1), self.shape, self.dims, self.keepdim)


class Var(Op):
    """The variance with divisor n - correction."""

    def forward(self, x, dims, keepdim, correction):
        deviation = x - x.mean(axis=dims, keepdims=True)
        total = (deviation * deviation).sum(axis=dims, keepdims=keepdim)
        self.dims, self.keepdim = dims, keepdim
        self.divisor = np.prod([x.shape[axis] for axis in dims], dtype=np.int64).item() - correction
        self.save(deviation)
        return total / self.divisor if self.divisor > 0 else total * np.nan

    def backward(self, g):
        (deviation,) = self.saved
        return spread(g, deviation.shape, self.dims, self.keepdim) * deviation * (2 / self.divisor)


class _Extreme(Op):
    """The gradient is shared by all elements that are extreme."""

    def backward(self, g):
        x, y = self.saved
        hit = x == y
        return (g / hit.sum(dtype=x.dtype)) * hit


class Max(_Extreme):
    graph_name = "MaxBackward1"

    def forward(self, x):
        y = x.max()
        self.save(x, y)
        return y


class Min(_Extreme):
    graph_name = "MinBackward1"

    def forward(self, x):
        y = x.min()
        self.save(x, y)
        return y


class _ExtremeAlong(Op):
    """Values and indices along one dimension; the gradient goes to the element of the index."""

    differentiable = (True, False)
    position: Any
    """Where the extreme element is along a dimension; subclasses write it."""

    def forward(self, x, dim, keepdim):
        xp = array_module(x)
        self.shape, self.dim, self.keepdim = x.shape, dim, keepdim
        index = xp.expand_dims(self.position(x, dim), dim)
        values = xp.take_along_axis(x, index, dim)
        self.save(index)
        return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))

    def backward(self, g, _):
        (index,) = self.saved
        xp = array_module(g)
        dx = xp.zeros(self.shape, g.dtype)
        xp.put_along_axis(dx, index, g if self.keepdim else xp.expand_dims(g, self.dim), self.dim)
        return dx


class MaxAlong(_ExtremeAlong):
    graph_name = "MaxBackward0"

    def position(self, x, dim):
        return x.argmax(dim)


class MinAlong(_ExtremeAlong):
    graph_name = "MinBackward0"

    def position(self, x, dim):
        return x.argmin(dim)


class Extremes(NamedTuple):
    """What `max` and `min` give along a dimension."""

    values: Tensor
    indices: Tensor


@method
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum over all dimensions or those given; integers are added as int64."""
    input = input if dtype is None else cast(input, dtype.numpy)
    return Sum.apply(input, dims=axes(dim, input.ndim), keepdim=keepdim)


@method
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean over all dimensions or those given, of floating-point elements."""
    input = input if dtype is None else cast(input, dtype.numpy)
    if category(input.array.dtype) < 2:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {input.dtype.name}"
        )
    return Mean.apply(input, dims=axes(dim, input.ndim), keepdim=keepdim)


@method
def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """The variance, with divisor n - 1 unless `unbiased` is False or `correction` says otherwise."""
    correction = int(unbiased) if correction is None else correction
    return Var.apply(input, dims=axes(dim, input.ndim), keepdim=keepdim, correction=correction)


@method
def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """The square root of the variance."""
    return var(input, dim, unbiased, keepdim, correction=correction).sqrt()


def _with_elements(input: Tensor, dim: int | None, name: str) -> Any:
    """`dim` counted from 0; IndexError if it is not there, or where there is no element to choose."""
    if dim is None:
        if input.array.size == 0:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        return None
    axis = one_axis(dim, input.ndim)
    if input.ndim and input.array.shape[axis] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
    return axis


@method
def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The largest element; with `dim` the (values, indices) along it; with a tensor `maximum` of the two."""
    if isinstance(dim, Tensor):
        return input.maximum(dim)
    if dim is None:
        if input.array.size == 0:
            raise RuntimeError("max(): Expected reduction dim to be specified for input.numel() == 0.")
        return Max.apply(input)
    return Extremes(*MaxAlong.apply(input, dim=_with_elements(input, dim, "max"), keepdim=keepdim))


@method
def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The smallest element; with `dim` the (values, indices) along it; with a tensor `minimum` of the two."""
    if isinstance(dim, Tensor):
        return input.minimum(dim)
    if dim is None:
        if input.array.size == 0:
            raise RuntimeError("min(): Expected reduction dim to be specified for input.numel() == 0.")
        return Min.apply(input)
    return Extremes(*MinAlong.apply(input, dim=_with_elements(input, dim, "min"), keepdim=keepdim))


@method
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """int64: where the largest element is, in the flattened tensor or along `dim`."""
    return Tensor(input.array.argmax(axis=_with_elements(input, dim, "argmax"), keepdims=keepdim))


@method
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """int64: where the smallest element is, in the flattened tensor or along `dim`."""
    return Tensor(input.array.argmin(axis=_with_elements(input, dim, "argmin"), keepdims=keepdim))


@method
def all(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """bool: whether no element is zero."""
    return Tensor(input.array.all(axis=dim, keepdims=keepdim))


@method
def any(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """bool: whether an element is not zero."""
    return Tensor(input.array.any(axis=dim, keepdims=keepdim))


@method
def norm(input: Tensor, p: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm over all dimensions or those given."""
    if p == 2:
        return (input * input).sum(dim, keepdim).sqrt()
    return (input.abs() ** p).sum(dim, keepdim) ** (1 / p)
