"""Layer and root-mean-square normalisation over the rows of x (rows, n)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32

_reduction: Any = register_jitable(fastmath={"contract", "nsz", "reassoc"})
"""For sums in the order of vector code, one for a machine: 1024 rows of 128 take 67 us, 107 in eight sums."""

BLOCK = 16
"""Rows whose parts of the gradients of weight and bias are added before they are to float64."""


@through_float32
def row_norm_forward(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float, centered: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, rstd): (x - mean) * rstd * weight + bias; without `centered` the mean counts as 0."""
    rows, n = x.shape
    y, mean, rstd = np.empty((rows, n), x.dtype), np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    _forward(np.ascontiguousarray(x), *_affine(weight, bias, n, x.dtype), eps, centered, y, mean, rstd)
    return y, mean, rstd


def _affine(weight: np.ndarray | None, bias: np.ndarray | None, n: int, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    w = np.ones(n, dtype) if weight is None else np.ascontiguousarray(weight, dtype)
    b = np.zeros(n, dtype) if bias is None else np.ascontiguousarray(bias, dtype)
    return w, b


@_reduction
def _total(x):
    total = x.dtype.type(0)
    for k in range(x.size):
        total += x[k]
    return total


@_reduction
def _squares(x, middle):
    """The sum of the squares of the deviations from `middle`."""
    total = x.dtype.type(0)
    for k in range(x.size):
        deviation = x[k] - middle
        total += deviation * deviation
    return total


@compiled
def _forward(x, weight, bias, eps, centered, y, mean, rstd):
    n = x.shape[1]
    one = x.dtype.type(1)
    for r in range(x.shape[0]):
        source, target = x[r], y[r]
        middle = _total(source) / x.dtype.type(n) if centered else one * 0
        scale = one / np.sqrt(x.dtype.type(_squares(source, middle) / x.dtype.type(n) + eps))
        for k in range(n):
            target[k] = (source[k] - middle) * scale * weight[k] + bias[k]
        mean[r], rstd[r] = middle, scale


@through_float32
def row_norm_backward(
    g: np.ndarray, x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, weight: np.ndarray | None, centered: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of x, weight and bias; those of weight and bias are added up in float64."""
    n = x.shape[1]
    dx, dw, db = np.empty(x.shape, x.dtype), np.zeros(n), np.zeros(n)
    w, part = _affine(weight, None, n, x.dtype)[0], np.zeros((2, n), x.dtype)
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    _backward(g, x, mean.astype(x.dtype, copy=False), rstd.astype(x.dtype, copy=False), w, centered, dx, dw, db, part)
    return dx, dw.astype(x.dtype), db.astype(x.dtype)


@_reduction
def _products(g, x, weight, middle, scale):
    """The sums of g * weight, and of that times the standardised x."""
    offset = slope = x.dtype.type(0)
    for k in range(x.size):
        d = g[k] * weight[k]
        offset += d
        slope += d * ((x[k] - middle) * scale)
    return offset, slope


@compiled
def _backward(g, x, mean, rstd, weight, centered, dx, dw, db, part):
    """`part` (2, n), zeros, takes the sums of BLOCK rows in the dtype of x."""
    rows, n = x.shape
    count = x.dtype.type(n)
    dw_part, db_part = part[0], part[1]
    for r in range(rows):
        gradient, source, target = g[r], x[r], dx[r]
        middle, scale = mean[r], rstd[r]
        offset, slope = _products(gradient, source, weight, middle, scale)
        offset = offset / count if centered else count * 0
        slope /= count
        for k in range(n):
            standard = (source[k] - middle) * scale
            dw_part[k] += gradient[k] * standard
            db_part[k] += gradient[k]
            target[k] = scale * (gradient[k] * weight[k] - offset - standard * slope)
        if r % BLOCK == BLOCK - 1 or r == rows - 1:
            for k in range(n):
                dw[k] += dw_part[k]
                db[k] += db_part[k]
            part[:] = 0
