"""The largest and the smallest elements, and where they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.dims import Dims, one_axis
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.positions import ChosenAlong
from ddpnet.ops.reduction import kept, reduced, wide
from ddpnet.ops.return_types import named
from ddpnet.tensor import Tensor, method

__all__ = [
    "amax",
    "amin",
    "aminmax",
    "argmax",
    "argmin",
    "max",
    "min",
]


class _Extreme(Op):
    """The gradient is shared by all elements that are extreme."""

    dense = True

    share_of_nan = False

    def forward(self, x, dims, keepdim):
        self.dims, self.keepdim = dims, keepdim
        y = x if x.dtype.kind == "V" and not dims else self.extreme(wide(x), dims, keepdim).astype(x.dtype, copy=False)
        y = y.copy() if y is x else array_module(x).asarray(y)
        self.save(x, y)
        return y

    extreme: Any

    def backward(self, g):
        x, y = self.saved
        y, g = kept(y, x.shape, self.dims, self.keepdim), kept(g, x.shape, self.dims, self.keepdim)
        hit = x == y
        if self.share_of_nan:
            hit = hit | ((x != x) & (y != y))
        part = g / hit.sum(axis=self.dims, keepdims=True, dtype=x.dtype)
        return array_module(g).where(hit, part, 0) if self.share_of_nan else part * hit


class Amax(_Extreme):
    def extreme(self, x, dims, keepdim):
        return x.max(axis=dims, keepdims=keepdim)


class Amin(_Extreme):
    def extreme(self, x, dims, keepdim):
        return x.min(axis=dims, keepdims=keepdim)


class Max(Amax):
    graph_name = "MaxBackward1"
    share_of_nan = True


class Min(Amin):
    graph_name = "MinBackward1"
    share_of_nan = True


class MaxAlong(ChosenAlong):
    graph_name = "MaxBackward0"

    def choose(self, x, dim):
        return x.argmax(dim)


class MinAlong(ChosenAlong):
    graph_name = "MinBackward0"

    def choose(self, x, dim):
        return x.argmin(dim)


@named("max")
class Largest(NamedTuple):
    """What `max` gives along a dimension."""

    values: Tensor
    indices: Tensor


@named("min")
class Smallest(NamedTuple):
    """What `min` gives along a dimension."""

    values: Tensor
    indices: Tensor


@named("aminmax")
class Range(NamedTuple):
    """What `aminmax` gives."""

    min: Tensor
    max: Tensor


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


def _whole(operation: type[Op], input: Tensor, name: str) -> Tensor:
    if input.array.size == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )
    result: Tensor = operation.apply(input, dims=tuple(range(input.ndim)), keepdim=False)
    return result


@with_out
@method
@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The largest element; with `dim` the (values, indices) along it; with a tensor `maximum` of the two."""
    if other is not None or isinstance(dim, Tensor):
        return input.maximum(dim if other is None else other)
    if dim is None:
        return _whole(Max, input, "max")
    return Largest(*MaxAlong.apply(input, dim=_with_elements(input, dim, "max"), keepdim=keepdim))


@with_out
@method
@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The smallest element; with `dim` the (values, indices) along it; with a tensor `minimum` of the two."""
    if other is not None or isinstance(dim, Tensor):
        return input.minimum(dim if other is None else other)
    if dim is None:
        return _whole(Min, input, "min")
    return Smallest(*MinAlong.apply(input, dim=_with_elements(input, dim, "min"), keepdim=keepdim))


def _along(operation: type[Op], input: Tensor, dim: Dims, keepdim: bool, name: str) -> Tensor:
    dims = reduced(dim, input.ndim)
    for axis in dims:
        if input.array.shape[axis] == 0:
            if dim is None or dim == () or dim == []:
                raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
            _with_elements(input, axis, name)
    result: Tensor = operation.apply(input, dims=dims, keepdim=keepdim)
    return result


@with_out
@method
@numpy_names
def amax(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The largest element over all dimensions or those given; equal ones share the gradient."""
    return _along(Amax, input, dim, keepdim, "amax")


@with_out
@method
@numpy_names
def amin(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The smallest element over all dimensions or those given; equal ones share the gradient."""
    return _along(Amin, input, dim, keepdim, "amin")


@with_out
@method
@numpy_names
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Range:
    """The smallest and the largest element, of the whole tensor or along a dimension."""
    if dim is None and input.array.size == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    return Range(amin(input, () if dim is None else dim, keepdim), amax(input, () if dim is None else dim, keepdim))


def _position(input: Tensor, dim: int | None, keepdim: bool, name: str) -> Tensor:
    x = wide(input.array)
    if x.dtype == np.bool_:
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")
    axis = _with_elements(input, dim, name)
    if input.ndim == 0:
        return Tensor(array_module(x).zeros((), np.int64))
    result = getattr(x, name)(axis=axis)
    if keepdim:
        result = result.reshape([1] * x.ndim) if axis is None else array_module(x).expand_dims(result, axis)
    return Tensor(result)


@with_out
@method
@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """int64: where the largest element is, in the flattened tensor or along `dim`."""
    return _position(input, dim, keepdim, "argmax")


@with_out
@method
@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """int64: where the smallest element is, in the flattened tensor or along `dim`."""
    return _position(input, dim, keepdim, "argmin")
