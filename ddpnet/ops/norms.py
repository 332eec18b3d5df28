"""Norms of vectors and matrices, and what is made from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import DType, category
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast, floating
from ddpnet.ops.dims import Dims, one_axis
from ddpnet.ops.factorization import singular_values
from ddpnet.ops.inplace import inplace
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import kept, reduced, wide
from ddpnet.tensor import Tensor, method

__all__ = [
    "dist",
    "logsumexp",
    "norm",
    "renorm",
]


class LinalgVectorNorm(Op):
    """The p-norm over dimensions, for any p."""

    dense = True

    def forward(self, x, dims, keepdim, p):
        self.dims, self.keepdim, self.p = dims, keepdim, p
        high = wide(x)
        if p == 2:
            y = np.sqrt((high * high).sum(axis=dims, keepdims=keepdim))
        else:
            size = np.abs(high)
            if p == 0:
                y = (high != 0).sum(axis=dims, keepdims=keepdim)
            elif p == 1:
                y = size.sum(axis=dims, keepdims=keepdim)
            elif math.isinf(p):
                y = (
                    (size.max if p > 0 else size.min)(
                        axis=dims, keepdims=keepdim, initial=0 if p > 0 and not size.size else None
                    )
                    if dims or size.ndim
                    else size
                )
            else:
                y = (size**p).sum(axis=dims, keepdims=keepdim) ** (1 / p)
        y = array_module(x).asarray(y).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        p = self.p
        xp = array_module(g)
        g, y = kept(g, x.shape, self.dims, self.keepdim), kept(y, x.shape, self.dims, self.keepdim)
        if p == 0:
            return None
        if p == 1:
            return g * _sign(x)
        nowhere = y == 0  # where the norm has no slope the gradient is 0, as PyTorch's
        if p == 2:
            return g * xp.where(nowhere, y * 0, x / y)
        if math.isinf(p):
            hit = (abs(x) == y) | ((x != x) & (y != y))
            return _sign(x) * hit * (g / hit.sum(axis=self.dims, keepdims=True, dtype=x.dtype))
        size = abs(x)
        if p < 1:
            return _sign(x) * xp.where(x == 0, size * 0, size ** (p - 1)) * g * y ** (1 - p)
        power = _sign(x) * size ** (p - 1) if p < 2 else x * size ** (p - 2)
        return power * xp.where(nowhere, y * 0, g / y ** (p - 1))


def _sign(x: Any) -> Any:
    return x.sign() if isinstance(x, Tensor) else np.sign(x)


def kept_or_not(y: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    """A result with its reduced dimensions, or without them."""
    return y if keepdim else y.squeeze(dims)


class Logsumexp(Op):
    dense = True

    def forward(self, x, dims, keepdim):
        self.dims, self.keepdim = dims, keepdim
        high = wide(x)
        if high.size:
            top = high.max(axis=dims, keepdims=True)
            top = array_module(x).where(np.isinf(top), top.dtype.type(0), top)
        else:
            top = high.sum(axis=dims, keepdims=True)
        y = np.log(np.exp(high - top).sum(axis=dims, keepdims=keepdim)) + kept_or_not(top, dims, keepdim)
        y = array_module(x).asarray(y).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        g, y = kept(g, x.shape, self.dims, self.keepdim), kept(y, x.shape, self.dims, self.keepdim)
        return g * array_module(g).exp(x - y)


@with_out
@method
@numpy_names
@autocasts("float32", "cuda")
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """The logarithm of the sum of exponentials over dimensions, without overflow."""
    x = floating(input)
    result: Tensor = Logsumexp.apply(x, dims=reduced(dim, x.ndim), keepdim=keepdim)
    return result


def _floating_only(x: Tensor, dtype: DType | None, name: str) -> Tensor:
    if dtype is not None:
        if not dtype.is_floating_point:
            raise RuntimeError(f"{name}: dtype should be floating point or complex. Got {dtype.scalar_name}")
        if category(x.array.dtype) == 2 and dtype.itemsize < x.itemsize:
            raise RuntimeError(
                f"{name}: the dtype of the input ({x.dtype.scalar_name}) should be convertible without narrowing to "
                f"the specified dtype ({dtype.scalar_name})"
            )
        x = cast(x, dtype.numpy)
    if category(x.array.dtype) < 2:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.scalar_name}")
    return x


@with_out
@numpy_names
@autocasts("float32", "cuda")
def vector_norm(
    input: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The `ord`-norm of the elements, over all dimensions or those given."""
    x = _floating_only(input, dtype, "linalg.vector_norm")
    dims = reduced(dim, x.ndim)
    ord = float(ord)
    if (ord < 0 or math.isinf(ord)) and 0 in [x.array.shape[axis] for axis in dims]:
        if ord < 0 or dim is None or (len(dims) == x.ndim and False):
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the operation does not "
                "have an identity"
            )
        raise RuntimeError("linalg.vector_norm cannot compute the inf norm on an empty dimension")
    result: Tensor = LinalgVectorNorm.apply(x, dims=dims, keepdim=keepdim, p=ord)
    return result


def _pair(dim: Any, ndim: int, name: str) -> tuple[int, int]:
    dims = (-2, -1) if dim is None else tuple(dim)
    if len(dims) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {list(dims)}")
    if ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    first, second = (one_axis(d, ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dims[0]}, {dims[1]})")
    return first, second


@with_out
@numpy_names
@autocasts("float32", "cuda")
def matrix_norm(
    input: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The norm of matrices in two dimensions: 'fro', 'nuc', 1, -1, 2, -2, inf or -inf."""
    name = "linalg.matrix_norm"
    if (isinstance(ord, str) and ord not in ("fro", "nuc")) or (
        not isinstance(ord, str) and abs(ord) not in (1, 2, math.inf)
    ):
        raise RuntimeError(f"{name}: Order {ord} not supported.")
    x = _floating_only(input, dtype, name)
    first, second = _pair(dim, x.ndim, name)
    if ord == "fro":
        return vector_norm(x, 2, (first, second), keepdim)
    if ord == "nuc" or abs(ord) == 2:
        last = x.permute([d for d in range(x.ndim) if d not in (first, second)] + [first, second])
        values = singular_values(last)
        result = values.sum(-1) if ord == "nuc" else (values.amax if ord > 0 else values.amin)(-1)
        if keepdim:
            for axis in sorted((first, second)):
                result = result.unsqueeze(axis)
        return result
    rows, columns = (first, second) if abs(ord) == 1 else (second, first)
    sums = vector_norm(x, 1, rows, True)
    extreme = sums.amax if ord > 0 else sums.amin
    result = extreme(columns, keepdim=True)
    return result if keepdim else result.squeeze((first, second))


@with_out
@numpy_names
@autocasts("float32", "cuda")
def linalg_norm(
    input: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """`torch.linalg.norm`: of vectors or matrices, by the number of dimensions given."""
    if dim is not None and not isinstance(dim, int) and len(dim) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    if ord is None:
        return vector_norm(input, 2, dim, keepdim, dtype=dtype)
    if dim is None and input.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {input.ndim}D."
        )
    whole = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if len(whole) == 2:
        return matrix_norm(input, ord, whole, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord} is only supported for matrices")
    return vector_norm(input, ord, whole, keepdim, dtype=dtype)


@with_out
@method
@numpy_names
@autocasts("float32", "cuda")
def norm(
    input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The p-norm over all dimensions or those given: a number, 'fro' or 'nuc'."""
    if isinstance(p, str):
        if p == "nuc":
            return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
        if p != "fro":
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    return vector_norm(input, 2.0 if p is None or p == "fro" else float(p), dim, keepdim, dtype=dtype)


@method
@autocasts("float32", "cuda")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return vector_norm(input - other, p)


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim`, scaled down to a p-norm of `maxnorm` where theirs is larger."""
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    axis = one_axis(dim, input.ndim)
    size = vector_norm(input, p, [d for d in range(input.ndim) if d != axis], True)
    large = Tensor(size.array > maxnorm)
    return input * ((size + 1e-7).reciprocal() * maxnorm).masked_fill(~large, 1)


@with_out
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """input / max(its p-norm along `dim`, eps)."""
    return input / vector_norm(input, p, dim, True).clamp(min=eps).expand_as(input)
