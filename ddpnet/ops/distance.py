"""Distances and similarities of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category, promote
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast, promoted
from ddpnet.ops.linalg import product
from ddpnet.ops.norms import LinalgVectorNorm, vector_norm
from ddpnet.ops.op import Op
from ddpnet.ops.reduction import sum
from ddpnet.tensor import Tensor

__all__ = [
    "cdist",
    "cosine_similarity",
    "pairwise_distance",
    "pdist",
]

_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


class Cdist(Op):
    """Euclidean distances of all pairs of rows: (..., p, m) and (..., r, m) give (..., p, r)."""

    def forward(self, a, b, by_product):
        if by_product:
            squares = (a * a).sum(axis=-1)[..., None] + (b * b).sum(axis=-1)[..., None, :]
            y = np.sqrt(np.maximum(squares - 2 * product(a, b.swapaxes(-1, -2)), 0))
        else:
            step = a[..., :, None, :] - b[..., None, :, :]
            y = np.sqrt((step * step).sum(axis=-1))
        self.save(a, b, y)
        return y

    def backward(self, g):
        a, b, y = self.saved
        xp = array_module(g)
        none = y == 0
        weight = xp.where(none, y * 0, g / xp.where(none, y * 0 + 1, y))
        back = weight.swapaxes(-1, -2)
        return (
            a * weight.sum(axis=-1, keepdims=True) - product(weight, b) if self.needs[0] else None,
            b * back.sum(axis=-1, keepdims=True) - product(back, a) if self.needs[1] else None,
        )


class DistanceNorm(LinalgVectorNorm):
    """The norm of differences: for p = 0 the gradient is zeros, and for p = inf all of the largest get it in full."""

    def backward(self, g):
        if self.p not in (0, math.inf):
            return super().backward(g)
        x, y = self.saved
        if self.p == 0:
            return x * 0
        xp = array_module(g)
        sign = x.sign() if isinstance(x, Tensor) else xp.sign(x)
        return sign * (abs(x) == xp.expand_dims(y, -1)) * xp.expand_dims(g, -1)


@autocasts("float32")
def _lengths(steps: Tensor, p: float) -> Tensor:
    """The p-norms along the last dimension."""
    result: Tensor = DistanceNorm.apply(steps, dims=(steps.ndim - 1,), keepdim=False, p=float(p))
    return result


@autocasts("float32")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = _MODES[0]) -> Tensor:
    """The p-norms of the differences of all pairs of rows: (..., p, m) and (..., r, m) give (..., p, r)."""
    for x, name in ((x1, "X1"), (x2, "X2")):
        if x.array.dtype not in (np.float32, np.float64):
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype.scalar_name}")
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    x1, x2 = promoted(x1, x2)
    result: Tensor
    if p == 2 and 0 not in x1.shape + x2.shape:
        large = max(x1.shape[-2], x2.shape[-2]) > 25 and compute_mode != _MODES[2]
        lead = np.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
        a, b = x1.expand(*lead, *x1.shape[-2:]), x2.expand(*lead, *x2.shape[-2:])
        result = Cdist.apply(a, b, by_product=large or compute_mode == _MODES[1])
        return result
    steps = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return _lengths(steps, p)


@autocasts("float32", "cuda")
def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The p-norms of the differences of all pairs of rows of a matrix: (n, m) gives (n * (n - 1) / 2,)."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if input.array.dtype not in (np.float32, np.float64):
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    rows, columns = array_module(input.array).triu_indices(input.shape[0], 1)
    steps = input[Tensor(rows)] - input[Tensor(columns)]
    return _lengths(steps, p)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return vector_norm(x1 - x2 + eps, p, max(x1.ndim, x2.ndim) - 1, keepdim)


@autocasts("float32", "cuda")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along a dimension; lengths below `eps` count as `eps`."""
    common = promote(x1.array.dtype, x2.array.dtype)
    if category(common) < 2:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {cast(x1, common).dtype.scalar_name}"
        )
    x1, x2 = cast(x1, common), cast(x2, common)
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    x1, x2 = x1.expand(*shape) if x1.shape != shape else x1, x2.expand(*shape) if x2.shape != shape else x2
    first, second = (x / _length(x, dim, eps) for x in (x1, x2))
    return sum(first * second, dim)


def _length(x: Tensor, dim: int, eps: float) -> Tensor:
    """The lengths along a dimension, at least `eps`; they pass on a gradient even there, as PyTorch's do."""
    length: Any = vector_norm(x, 2, dim, True)
    small = length.array < eps
    return length + Tensor(array_module(small).where(small, eps - length.array, 0).astype(length.array.dtype))
