"""Values brought to places by index and reduced there: `scatter_reduce`, `index_reduce`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module
from ddpnet.ops.accumulation import collected
from ddpnet.ops.indexing import IndexPut, choose
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.scattering import ScatterAdd, along, as_input, prepared
from ddpnet.ops.selection import places
from ddpnet.ops.shape import expand
from ddpnet.tensor import Tensor, method

__all__ = [
    "index_reduce",
    "scatter_reduce",
]

_KINDS = ("sum", "prod", "mean", "amax", "amin")
_UFUNCS = {"prod": "multiply", "amax": "maximum", "amin": "minimum"}


def _reduced(x: Any, src: Any, key: tuple[Any, ...], kind: str) -> Any:
    """A copy of the array in which what arrives at a place is multiplied, or the extreme is taken."""
    half = x.dtype.itemsize == 2 and dtypes.category(x.dtype) == 2
    y = x.astype(np.float32) if half else x.copy()
    values = src.astype(y.dtype)
    if array_module(x) is np:
        getattr(np, _UFUNCS[kind]).at(y, key, values)
    else:
        _one_by_one(y, key, values, kind)
    return y.astype(x.dtype)


def _one_by_one(y: Any, key: tuple[Any, ...], values: Any, kind: str) -> None:
    """The first arrivals at all places, then the second ones, and so on: CuPy has no such `at`."""
    xp = array_module(y)
    flat = xp.arange(y.size).reshape(y.shape)[key].reshape(-1)
    arriving = xp.broadcast_to(values, xp.broadcast_shapes(*(part.shape for part in key))).reshape(-1)
    order = xp.argsort(flat, kind="stable")
    flat, arriving, line = flat[order], arriving[order], y.reshape(-1)
    while flat.size:
        first = xp.ones(flat.size, bool)
        first[1:] = flat[1:] != flat[:-1]
        at = flat[first]
        line[at] = getattr(xp, _UFUNCS[kind])(line[at], arriving[first])
        flat, arriving = flat[~first], arriving[~first]
    y[...] = line.reshape(y.shape)


class ScatterExtreme(Op):
    """The largest or smallest of what arrives; the gradient is shared by all that equal it."""

    graph_name = "ScatterReduceBackward0"

    def forward(self, x, src, key, kind):
        self.key = key
        y = _reduced(x, src, key, kind)
        self.save(x, src, y)
        return y

    def backward(self, g):
        x, src, y = self.saved
        arrays = [t.array if isinstance(t, Tensor) else t for t in (x, src, y)]
        own, equal = arrays[0] == arrays[2], arrays[1] == arrays[2][self.key]
        count = own.astype(arrays[0].dtype) + collected(equal.astype(arrays[0].dtype), own.shape, self.key)
        if isinstance(g, Tensor):
            own, equal, count = Tensor(own), Tensor(equal), Tensor(count)
        share = g / count
        return own * share, choose(share, self.key) * equal


class ScatterProduct(Op):
    """The product of what arrives."""

    graph_name = "ScatterReduceBackward0"

    def forward(self, x, src, key):
        self.key = key
        y = _reduced(x, src, key, "prod")
        self.save(x, src, y)
        return y

    def backward(self, g):
        with_tensors = self.differentiable_backward
        tensors = [Tensor(array) for array in self.saved]
        self.saved, arrays = tensors, self.saved
        try:
            return tuple(t.array for t in with_tensors(Tensor(g)))
        finally:
            self.saved = arrays

    def differentiable_backward(self, g):
        x, src, y = self.saved
        key = self.key
        xp = array_module(x.array)
        no_zero = x.masked_fill(x == 0, 1)
        dx = g * ScatterProduct.apply(no_zero, src, key=key) / no_zero
        zero = src.array == 0
        zeros = collected(zero.astype(x.array.dtype), x.array.shape, key)
        single = Tensor(zero & (zeros[key] == 1))
        others = ScatterProduct.apply(x, src.masked_fill(single, 1), key=key)
        usual = choose(g * y, key) / src.masked_fill(Tensor(xp.asarray(zero)), 1)
        return dx, choose(g * others, key).where(single, usual)


@with_out
@inplace
@method
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As `scatter_add`, with the "sum", "prod", "mean", "amax" or "amin" of what arrives at an element, and of the
    element itself with `include_self`."""
    if reduce not in _KINDS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    ready = prepared(input, dim, index, src, "scatter_reduce")
    if ready is None:
        return input.clone()
    whole, dim, array, src = ready
    return as_input(_combined(whole, src, places(array, dim), reduce, include_self), input)


def _combined(whole: Tensor, src: Tensor, key: tuple[Any, ...], reduce: str, include_self: bool) -> Tensor:
    if not include_self:
        whole = IndexPut.apply(whole, _neutral(whole, reduce), key=key)
    if reduce in ("amax", "amin"):
        return ScatterExtreme.apply(whole, src, key=key, kind=reduce)
    if reduce == "prod":
        return ScatterProduct.apply(whole, src, key=key)
    total = ScatterAdd.apply(whole, src, key=key)
    if reduce == "sum":
        return total
    xp = array_module(whole.array)
    shape = np.broadcast_shapes(*(part.shape if type(part) is not slice else () for part in key))
    ones = xp.ones(src.array.shape if len(src.array.shape) >= len(shape) else shape, np.int64)
    count = collected(ones, whole.array.shape, key) + int(include_self)
    count[count == 0] = 1
    if not total.is_floating_point():
        return Tensor((total.array // count).astype(total.array.dtype))
    return total / Tensor(count.astype(np.float64).astype(total.array.dtype))


def _neutral(x: Tensor, reduce: str) -> Any:
    """The number that changes nothing."""
    kind = x.array.dtype
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    sign = -1 if reduce == "amax" else 1
    if dtypes.category(kind) == 2:
        return sign * np.inf
    if kind == np.bool_:
        return sign > 0
    return np.iinfo(kind).max if sign > 0 else np.iinfo(kind).min


@with_out
@inplace
@method
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As `index_add`, with the "prod", "mean", "amax" or "amin" of the slices that arrive."""
    if reduce not in _KINDS[1:]:
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    whole, dim, rows, source = along(input, dim, index, source, "index_reduce")
    if rows.size == 0:
        return input.clone()
    lead = (1,) * dim + (-1,) + (1,) * (whole.ndim - dim - 1)
    array = expand(Tensor(rows.reshape(lead)), source.array.shape).array
    return as_input(_combined(whole, source, places(array, dim), reduce, include_self), input)
