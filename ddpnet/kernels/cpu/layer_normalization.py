"""Layer and root-mean-square normalisation over the rows of x (rows, n)."""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


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


@compiled
def _sum(x):
    """Eight sums side by side: one alone would wait for each addition."""
    zero = x.dtype.type(0)
    a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
    whole = x.size // 8 * 8
    for k in range(0, whole, 8):
        a += x[k]
        b += x[k + 1]
        c += x[k + 2]
        d += x[k + 3]
        e += x[k + 4]
        f += x[k + 5]
        g += x[k + 6]
        h += x[k + 7]
    for k in range(whole, x.size):
        a += x[k]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled
def _forward(x, weight, bias, eps, centered, y, mean, rstd):
    n = x.shape[1]
    one = x.dtype.type(1)
    for r in range(x.shape[0]):
        source, target = x[r], y[r]
        middle = _sum(source) / x.dtype.type(n) if centered else one * 0
        for k in range(n):
            deviation = source[k] - middle
            target[k] = deviation * deviation
        scale = one / np.sqrt(x.dtype.type(_sum(target) / x.dtype.type(n) + eps))
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
    w, scratch = _affine(weight, None, n, x.dtype)
    standard = np.empty(n, x.dtype)
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    _backward(g, x, mean.astype(x.dtype), rstd.astype(x.dtype), w, centered, dx, dw, db, standard, scratch)
    return dx, dw.astype(x.dtype), db.astype(x.dtype)


@compiled
def _backward(g, x, mean, rstd, weight, centered, dx, dw, db, standard, scratch):
    n = x.shape[1]
    count = x.dtype.type(n)
    for r in range(x.shape[0]):
        gradient, source, target = g[r], x[r], dx[r]
        middle, scale = mean[r], rstd[r]
        for k in range(n):
            standard[k] = (source[k] - middle) * scale
            target[k] = gradient[k] * weight[k]
            scratch[k] = target[k] * standard[k]
        slope = _sum(scratch) / count
        offset = _sum(target) / count if centered else count * 0
        for k in range(n):
            dw[k] += gradient[k] * standard[k]
            db[k] += gradient[k]
            target[k] = scale * (target[k] - offset - standard[k] * slope)
