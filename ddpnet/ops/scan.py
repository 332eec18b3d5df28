"""Running sums, products and extremes along a dimension; differences and integrals of neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import DType, category
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast, floating
from ddpnet.ops.dims import one_axis
from ddpnet.ops.inplace import inplace
from ddpnet.ops.joining import cat
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.positions import PlacesAlong
from ddpnet.ops.reduction import wide
from ddpnet.ops.return_types import named
from ddpnet.tensor import Tensor, method

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_trapezoid",
    "diff",
    "logcumsumexp",
    "trapezoid",
    "trapz",
]


def _from_the_end(x: Any, dim: int) -> Any:
    """The sum of each element and all behind it."""
    xp = array_module(x)
    return xp.flip(xp.flip(x, dim).cumsum(dim), dim)


class Cumsum(Op):
    dense = True

    def forward(self, x, dim, dtype=None):
        self.dim = dim
        if category(x.dtype) < 2:
            return x.cumsum(dim, dtype=dtype or np.int64)
        return wide(x).cumsum(dim).astype(x.dtype, copy=False)

    def backward(self, g):
        return _from_the_end(g, self.dim)


class Cumprod(Op):
    dense = True

    def forward(self, x, dim, dtype=None):
        self.dim = dim
        if category(x.dtype) < 2:
            return x.cumprod(dim, dtype=dtype or np.int64)
        y = wide(x).cumprod(dim).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        xp = array_module(x)
        divided = _from_the_end(g * y, self.dim) / x
        zeros = (x == 0).any(axis=self.dim, keepdims=True)  # where they are, they cannot be divided out
        if not zeros.any():
            return divided
        others = xp.where(
            xp.eye(x.shape[self.dim], dtype=bool), x.dtype.type(1), xp.moveaxis(x, self.dim, -1)[..., None, :]
        )
        inner = xp.triu(others.cumprod(-1)) * xp.moveaxis(g, self.dim, -1)[..., None, :]
        return xp.where(zeros, xp.moveaxis(inner.sum(axis=-1), -1, self.dim), divided)

    def differentiable_backward(self, g):
        x, y = self.saved
        if (x.array != 0).all():
            return _from_the_end(g * y, self.dim) / x
        last = x.transpose(self.dim, -1)
        ones = Tensor(array_module(x.array).eye(last.shape[-1], dtype=bool))
        others = cumprod(last.unsqueeze(-2).masked_fill(ones, 1), -1).triu()
        return (others * g.transpose(self.dim, -1).unsqueeze(-2)).sum(-1).transpose(self.dim, -1)


class Logcumsumexp(Op):
    dense = True

    def forward(self, x, dim):
        self.dim = dim
        high = wide(x)
        y = np.logaddexp.accumulate(high, dim).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        xp = array_module(g)
        lowest = float(np.finfo(np.float32).min)
        parts = []
        for sign in (g, -g):  # logarithms of the positive and of the negative gradients: no overflow
            weight = xp.where(sign > 0, xp.log(xp.where(sign > 0, sign, sign * 0 + 1)), sign * 0 + lowest)
            parts.append(xp.exp(_log_from_the_end(weight - y, self.dim) + x))
        return parts[0] - parts[1]


def _log_from_the_end(x: Any, dim: int) -> Any:
    xp = array_module(x)
    back = xp.flip(x, dim)
    back = logcumsumexp(back, dim) if isinstance(x, Tensor) else np.logaddexp.accumulate(back, dim)
    return xp.flip(back, dim)


class _RunningExtreme(PlacesAlong):
    once = False
    extreme: Any

    def choose(self, x, dim):
        xp = array_module(x)
        hit = (x == self.extreme.accumulate(x, dim)) | (x != x)
        places = xp.arange(x.shape[dim]).reshape([-1 if axis == dim else 1 for axis in range(x.ndim)])
        return np.maximum.accumulate(xp.where(hit, places, 0), dim)


class Cummax(_RunningExtreme):
    extreme = np.maximum


class Cummin(_RunningExtreme):
    extreme = np.minimum


@named("cummax")
class RunningMax(NamedTuple):
    """What `cummax` gives."""

    values: Tensor
    indices: Tensor


@named("cummin")
class RunningMin(NamedTuple):
    """What `cummin` gives."""

    values: Tensor
    indices: Tensor


def _scanned(operation: type[Op], input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    axis = one_axis(dim, input.ndim)
    options = {} if dtype is None else {"dtype": dtype.numpy}
    x = input if dtype is None else cast(input, dtype.numpy)
    result: Tensor = operation.apply(x.reshape(1) if x.ndim == 0 else x, dim=axis, **options)
    return result.reshape(()) if x.ndim == 0 else result


@with_out
@inplace
@method
@numpy_names
@autocasts("float32", "cuda")
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """The sum of each element and all before it along a dimension; integers are added as int64."""
    return _scanned(Cumsum, input, dim, dtype)


@with_out
@inplace
@method
@numpy_names
@autocasts("float32", "cuda")
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """The product of each element and all before it along a dimension; integers are multiplied as int64."""
    return _scanned(Cumprod, input, dim, dtype)


@with_out
@method
@numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """The logarithm of the running sum of exponentials."""
    if category(input.array.dtype) < 2:
        raise NotImplementedError(f'"logcumsumexp_out_cpu" not implemented for {input.dtype.scalar_name!r}')
    return _scanned(Logcumsumexp, input, dim)


@with_out
@method
@numpy_names
def cummax(input: Tensor, dim: int) -> RunningMax:
    """(values, indices) of the largest element so far along a dimension, the last of equals; nan is the largest."""
    return RunningMax(*Cummax.apply(input, dim=one_axis(dim, input.ndim)))


@with_out
@method
@numpy_names
def cummin(input: Tensor, dim: int) -> RunningMin:
    """(values, indices) of the smallest element so far along a dimension, the last of equals; nan is the smallest."""
    return RunningMin(*Cummin.apply(input, dim=one_axis(dim, input.ndim)))


@with_out
@method
@numpy_names
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The differences of neighbours along a dimension, `n` times; of bools, whether they differ."""
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = one_axis(dim, input.ndim)
    for part in (prepend, append):
        if part is not None and part.ndim != input.ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    if n == 0:
        return input.clone()
    parts = [part for part in (prepend, input, append) if part is not None]
    x = parts[0] if len(parts) == 1 else cat(parts, axis)
    for _ in range(min(n, x.shape[axis])):
        count = x.shape[axis]
        ahead, behind = x.narrow(axis, 1, count - 1), x.narrow(axis, 0, count - 1)
        x = ahead.logical_xor(behind) if x.array.dtype == np.bool_ else ahead - behind
    return x


def _neighbours(y: Tensor, x: Any, dx: Any, dim: int) -> Tensor:
    """(width * (left + right) / 2) of each pair of neighbours along a dimension."""
    axis = one_axis(dim, y.ndim)
    count = y.shape[axis]
    if isinstance(x, Tensor):
        if x.ndim == 0:
            raise RuntimeError("The provided `x` should not be a zero-dimensional tensor")
        if x.ndim == 1:
            if x.shape[0] != count:
                raise RuntimeError("There must be one `x` value for each sample point")
            width = diff(x).reshape([-1 if d == axis else 1 for d in range(y.ndim)])
        else:
            lead = y.ndim - x.ndim
            x = x.reshape((1,) * max(lead, 0) + tuple(x.shape))
            y = y.reshape((1,) * max(-lead, 0) + tuple(y.shape))
            at = dim if dim < 0 else axis + max(-lead, 0)
            width, axis = diff(x, dim=at), at % y.ndim
    else:
        width = x if x is not None else dx
    ahead, behind = y.narrow(axis, 1, max(count - 1, 0)), y.narrow(axis, 0, max(count - 1, 0))
    return (ahead + behind) * width / 2


def _arguments(x: Any, dx: Any) -> None:
    if x is not None and dx is not None:
        raise TypeError("trapezoid() received both x and dx")


def trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral by the trapezoidal rule along a dimension, for points `x` or for a distance `dx` (1)."""
    _arguments(x, dx)
    if y.ndim == 0:
        raise IndexError("trapezoid: y must have at least one dimension")
    if y.shape[dim] == 0:
        return y.sum(dim) * 0
    back = dim if dim < 0 else dim - y.ndim
    if x is None and (dx is None or not isinstance(dx, Tensor)):
        axis, count = one_axis(dim, y.ndim), y.shape[dim]
        ends = y.narrow(axis, 0, 1) + y.narrow(axis, count - 1, 1)
        return (floating(y.sum(dim)) - floating(ends.squeeze(axis)) / 2) * (1.0 if dx is None else dx)
    return _neighbours(y, x, dx, back).sum(back)


trapz = trapezoid


def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral up to each point by the trapezoidal rule."""
    _arguments(x, dx)
    back = dim if dim < 0 else dim - y.ndim
    return cumsum(_neighbours(y, x, 1 if x is None and dx is None else dx, back), back)
