"""Order along a dimension: sort, topk, medians, quantiles, the most frequent."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category
from ddpnet.kernels import kernels_for
from ddpnet.ops.dims import one_axis
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.positions import ChosenAlong, PlacesAlong
from ddpnet.ops.reduction import wide
from ddpnet.ops.return_types import named
from ddpnet.tensor import Tensor, method

__all__ = [
    "argsort",
    "kthvalue",
    "median",
    "mode",
    "msort",
    "nanmedian",
    "sort",
    "topk",
]


def order(x: Array, dim: int, descending: bool = False) -> Array:
    """The stable order of the elements along a dimension; nan counts as the largest."""
    xp = array_module(x)
    if not descending:
        return x.argsort(axis=dim, kind="stable")
    return x.shape[dim] - 1 - xp.flip(xp.flip(x, dim).argsort(axis=dim, kind="stable"), dim)


class Sort(PlacesAlong):
    def choose(self, x, dim, descending):
        return order(x, dim, descending)


class Topk(PlacesAlong):
    dense = True

    def choose(self, x, dim, k, largest, sorted):
        xp = array_module(x)
        count = x.shape[dim]
        if 64 * k > count and k > 17:
            return order(x, dim, largest)[(slice(None),) * dim + (slice(0, k),)]
        if 64 * k > count:
            rows = xp.moveaxis(x, dim, -1)
            places = kernels_for(x).top_places(rows.reshape((math.prod(rows.shape[:-1]), count)), k, largest)
            return xp.moveaxis(places.reshape((*rows.shape[:-1], k)), -1, dim)
        if k == 1 and not (x.dtype.kind == "f" and not largest):
            return xp.expand_dims(x.argmax(dim) if largest else x.argmin(dim), dim)
        if k == 0:
            return xp.zeros([0 if axis == dim else extent for axis, extent in enumerate(x.shape)], int)
        ends = slice(count - k, None) if largest else slice(0, k)
        some = xp.argpartition(x, count - k if largest else k - 1, axis=dim)[(slice(None),) * dim + (ends,)]
        return xp.take_along_axis(some, order(xp.take_along_axis(x, some, dim), dim, largest), dim)


class Kthvalue(ChosenAlong):
    def forward(self, x, dim, keepdim, k=1):
        self.k = k
        return super().forward(x, dim, keepdim)

    def choose(self, x, dim):
        rows = array_module(x).moveaxis(x, dim, -1)
        flat = rows.reshape((math.prod(rows.shape[:-1]), x.shape[dim]))
        return kernels_for(x).kth_places(flat, self.k - 1).reshape(rows.shape[:-1])


class Median(ChosenAlong):
    """The lower of two in the middle; the first nan where there is one."""

    def choose(self, x, dim):
        places = order(x, dim)
        middle = places.take((x.shape[dim] - 1) // 2, dim)
        if category(x.dtype) < 2:
            return middle
        absent = x != x
        return array_module(x).where(absent.any(axis=dim), absent.argmax(axis=dim), middle)


class Nanmedian(ChosenAlong):
    """The lower of two in the middle of those that are numbers."""

    def choose(self, x, dim):
        xp = array_module(x)
        middle = xp.maximum((x == x).sum(axis=dim, keepdims=True) - 1, 0) // 2
        return xp.take_along_axis(order(x, dim), middle, dim).squeeze(dim)


class Mode(ChosenAlong):
    """The most frequent element, the smallest of equally frequent ones, at its last place."""

    def choose(self, x, dim):
        xp = array_module(x)
        last = xp.moveaxis(x, dim, -1)
        places = order(last, last.ndim - 1)
        ordered = xp.take_along_axis(last, places, -1)
        index = xp.arange(last.shape[-1])
        starts = xp.concatenate([xp.ones((*last.shape[:-1], 1), bool), ordered[..., 1:] != ordered[..., :-1]], -1)
        length = index - np.maximum.accumulate(xp.where(starts, index, 0), -1)  # of the run so far, at its last element
        return xp.take_along_axis(places, xp.expand_dims(length.argmax(-1), -1), -1).squeeze(-1)


@named("sort")
class Sorted(NamedTuple):
    """What `sort` gives."""

    values: Tensor
    indices: Tensor


@named("topk")
class Top(NamedTuple):
    """What `topk` gives."""

    values: Tensor
    indices: Tensor


@named("kthvalue")
class Kth(NamedTuple):
    """What `kthvalue` gives."""

    values: Tensor
    indices: Tensor


@named("median")
class Middle(NamedTuple):
    """What `median` gives along a dimension."""

    values: Tensor
    indices: Tensor


@named("nanmedian")
class MiddleNumber(NamedTuple):
    """What `nanmedian` gives along a dimension."""

    values: Tensor
    indices: Tensor


@named("mode")
class MostFrequent(NamedTuple):
    """What `mode` gives."""

    values: Tensor
    indices: Tensor


@with_out
@method
@numpy_names
def sort(input: Tensor, dim: Any = -1, descending: bool = False, *, stable: bool | None = False) -> Sorted:
    """(values, indices) in order along a dimension, equal ones in their old order; nan counts as the largest."""
    return Sorted(*Sort.apply(input, dim=one_axis(dim, input.ndim), descending=bool(descending)))


@method
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The indices of `sort`."""
    x = wide(input.array)
    axis = one_axis(dim, input.ndim)
    return Tensor(order(x.reshape(-1) if x.ndim == 0 else x, axis, descending).reshape(x.shape))


@with_out
@method
def msort(input: Tensor) -> Tensor:
    """The values in order along the first dimension."""
    return sort(input, 0).values


@with_out
@method
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Top:
    """(values, indices) of the `k` largest or smallest elements along a dimension, in order; nan is the largest."""
    axis = one_axis(dim, input.ndim)
    k = int(k)
    if not 0 <= k <= (input.array.shape[axis] if input.ndim else 1):
        raise RuntimeError("selected index k out of range")
    if input.array.dtype == np.bool_:
        raise NotImplementedError("\"topk_cpu\" not implemented for 'Bool'")
    return Top(*Topk.apply(input, dim=axis, k=k, largest=largest, sorted=sorted))


def _filled(input: Tensor, dim: int, name: str) -> int:
    """`dim` counted from 0; IndexError where it has no elements."""
    axis = one_axis(dim, input.ndim)
    if input.ndim and input.array.shape[axis] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
    return axis


@with_out
@method
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Kth:
    """(value, index) of the `k`-th smallest element along a dimension, counted from 1."""
    axis = _filled(input, dim, "kthvalue")
    if not 1 <= k <= (input.array.shape[axis] if input.ndim else 1):
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(axis))
    _no_bool(input, "kthvalue_cpu")
    return Kth(*Kthvalue.apply(input, dim=axis, keepdim=keepdim, k=k))


def _no_bool(input: Tensor, name: str) -> None:
    if input.array.dtype == np.bool_:
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


class _MedianOfAll(Op):
    """Equal elements share the gradient."""

    number: Any

    def forward(self, x, skip):
        high = wide(x).reshape(-1)
        if skip:
            high = high[high == high]
        if high.size == 0 or (high != high).any():
            y = x.dtype.type(np.nan)
        else:
            y = array_module(x).partition(high, (high.size - 1) // 2)[(high.size - 1) // 2].astype(x.dtype)
        y = array_module(x).asarray(y)
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        hit = (x == y) | ((x != x) & (y != y))
        return array_module(g).where(hit, g / hit.sum(dtype=x.dtype), 0)


def _median(operation: Any, kind: Any, input: Tensor, dim: int | None, keepdim: bool, name: str) -> Any:
    _no_bool(input, f"{name}_cpu")
    if dim is not None:
        return kind(*operation.apply(input, dim=_filled(input, dim, name), keepdim=keepdim))
    if input.array.size == 0 and category(input.array.dtype) < 2:
        return Tensor(array_module(input.array).asarray(np.iinfo(input.array.dtype).min, input.array.dtype))
    return _MedianOfAll.apply(input, skip=name == "nanmedian")


@with_out
@method
@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower of two in the middle; with `dim` (values, indices) along it. nan where there is one."""
    return _median(Median, Middle, input, dim, keepdim, "median")


@with_out
@method
@numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are numbers; with `dim` (values, indices) along it."""
    return _median(Nanmedian, MiddleNumber, input, dim, keepdim, "nanmedian")


@with_out
@method
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> MostFrequent:
    """(values, indices) of the most frequent element along a dimension, the smallest of several."""
    return MostFrequent(*Mode.apply(input, dim=_filled(input, dim, "mode"), keepdim=keepdim))
