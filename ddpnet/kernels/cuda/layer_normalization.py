"""Layer and root-mean-square normalisation over the rows of x (rows, n)."""

from __future__ import annotations

from typing import Any

import cupy

from ddpnet.kernels.precision import through_float32

Array = Any


@through_float32
def row_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float, centered: bool
) -> tuple[Array, Array, Array]:
    """(y, mean, rstd): (x - mean) * rstd * weight + bias; without `centered` the mean counts as 0."""
    mean = x.mean(axis=1) if centered else cupy.zeros(len(x), x.dtype)
    deviation = x - mean[:, None]
    rstd = cupy.reciprocal(cupy.sqrt((deviation * deviation).mean(axis=1) + x.dtype.type(eps)))
    y = deviation
    y *= rstd[:, None]
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y, mean, rstd


@through_float32
def row_norm_backward(
    g: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, centered: bool
) -> tuple[Array, Array, Array]:
    """The gradients of x, weight and bias; those of weight and bias are added up in float64."""
    standard = (x - mean[:, None]) * rstd[:, None]
    scaled = g if weight is None else g * weight
    slope = (scaled * standard).mean(axis=1, keepdims=True)
    offset = scaled.mean(axis=1, keepdims=True) if centered else 0
    dw = (g * standard).sum(axis=0, dtype=cupy.float64).astype(x.dtype)
    db = g.sum(axis=0, dtype=cupy.float64).astype(x.dtype)
    return rstd[:, None] * (scaled - offset - standard * slope), dw, db
