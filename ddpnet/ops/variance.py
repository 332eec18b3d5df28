"""Variances and standard deviations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.ops.dims import Dims
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import kept, mean, reduced, wide
from ddpnet.tensor import Tensor, method

__all__ = [
    "std",
    "std_mean",
    "var",
    "var_mean",
]


class Var(Op):
    """The variance with divisor n - correction."""

    dense = True

    def forward(self, x, dims, keepdim, correction):
        self.dims, self.keepdim = dims, keepdim
        self.count = int(np.prod([x.shape[axis] for axis in dims], dtype=np.int64))
        self.divisor = max(self.count - correction, 0)
        self.save(x)
        return _variance(x, dims, keepdim, self.count, self.divisor)

    def backward(self, g):
        (x,) = self.saved
        deviation = x - x.mean(axis=self.dims, keepdims=True)
        scale = 2 / self.divisor if self.divisor else float("nan")
        return kept(g, x.shape, self.dims, self.keepdim) * deviation * x.dtype.type(scale)


class Std(Var):
    """The square root of the variance."""

    def forward(self, x, dims, keepdim, correction):
        y = np.sqrt(super().forward(wide(x), dims, keepdim, correction)).astype(x.dtype, copy=False)
        y = array_module(x).asarray(y)
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        half = array_module(g).where(y == 0, y * 0, g / (y * 2))  # PyTorch's 0 where the root has no slope
        self.saved = (x,)
        try:
            return super().backward(half)
        finally:
            self.saved = (x, y)


def _variance(x: Any, dims: tuple[int, ...], keepdim: bool, count: int, divisor: float) -> Any:
    high = wide(x)
    deviation = high - high.sum(axis=dims, keepdims=True) / (count or 1)
    total = (deviation * deviation).sum(axis=dims, keepdims=keepdim)
    return (total / total.dtype.type(divisor)).astype(x.dtype, copy=False)


def _spread(
    operation: type[Var], input: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any, name: str
) -> Tensor:
    """PyTorch's three overloads: (unbiased), (dim, unbiased, keepdim) and (dim, *, correction, keepdim)."""
    if category(input.array.dtype) < 2:
        raise RuntimeError(f"{name}: expected input to be floating point, but got {input.dtype.scalar_name}")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is not None and unbiased is not None:
        raise TypeError(f"{name}() received both unbiased and correction")
    divisor = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    result: Tensor = operation.apply(input, dims=reduced(dim, input.ndim), keepdim=keepdim, correction=divisor)
    return result


@with_out
@method
@numpy_names
def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance, with divisor n - 1 unless `unbiased` is False or `correction` says otherwise."""
    return _spread(Var, input, dim, unbiased, keepdim, correction, "var")


@with_out
@method
@numpy_names
def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The square root of the variance; its gradient is 0 where all elements are equal."""
    return _spread(Std, input, dim, unbiased, keepdim, correction, "std")


@numpy_names
def var_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(the variance, the mean)."""
    result = var(input, dim, unbiased, keepdim, correction=correction)
    return result, mean(input, None if isinstance(dim, bool) else dim, keepdim)


@numpy_names
def std_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(the standard deviation, the mean)."""
    result = std(input, dim, unbiased, keepdim, correction=correction)
    return result, mean(input, None if isinstance(dim, bool) else dim, keepdim)
