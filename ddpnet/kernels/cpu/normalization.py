"""Batch normalisation over x (N, C, ...), per channel."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32

COLUMNS = 64
"""Sums that are added up side by side, so that they are vectors: eight times as fast as one sum."""


def _planes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))


@through_float32
def batch_norm_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the biased variance of each channel, (C,) of x's dtype, added up in float64."""
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _statistics(_planes(x), mean, var)
    return mean, var


@compiled
def _total(sums):
    total = 0.0
    for k in range(sums.size):
        total += sums[k]
    return total


@compiled
def _statistics(x, mean, var):
    count = x.shape[0] * x.shape[2]
    sums = np.empty(COLUMNS)
    for c in range(x.shape[1]):
        sums[:] = 0
        for n in range(x.shape[0]):
            for start in range(0, x.shape[2], COLUMNS):
                part = x[n, c, start : start + COLUMNS]
                for k in range(part.size):
                    sums[k] += part[k]
        middle = _total(sums) / count
        sums[:] = 0
        for n in range(x.shape[0]):
            for start in range(0, x.shape[2], COLUMNS):
                part = x[n, c, start : start + COLUMNS]
                for k in range(part.size):
                    deviation = part[k] - middle
                    sums[k] += deviation * deviation
        mean[c], var[c] = middle, _total(sums) / count


@through_float32
def batch_norm_apply(
    x: np.ndarray, mean: np.ndarray, invstd: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None
) -> np.ndarray:
    """(x - mean) * invstd * weight + bias; weight and bias may be None."""
    scale = invstd if weight is None else invstd * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    y = np.empty(x.shape, x.dtype)
    _scale_and_shift(_planes(x), scale.astype(x.dtype), shift.astype(x.dtype), _planes(y))
    return y


@compiled
def _scale_and_shift(x, scale, shift, y):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            a, b = scale[c], shift[c]
            source, target = x[n, c], y[n, c]
            for k in range(x.shape[2]):
                target[k] = a * source[k] + b


@through_float32
def batch_norm_backward(
    g: np.ndarray, x: np.ndarray, mean: np.ndarray, invstd: np.ndarray, weight: np.ndarray | None, training: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of x, weight and bias; with `training` the statistics depend on x."""
    channels = x.shape[1]
    dx, dw, db = np.empty(x.shape, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    scale = np.ones(channels, x.dtype) if weight is None else weight
    _backward(
        _planes(g), _planes(x), mean.astype(x.dtype), invstd.astype(x.dtype), scale, training, _planes(dx), dw, db
    )
    return dx, dw, db


@compiled
def _backward(g, x, mean, invstd, weight, training, dx, dw, db):
    count = max(x.shape[0] * x.shape[2], 1)
    one = x.dtype.type(1)
    totals, products = np.empty(COLUMNS), np.empty(COLUMNS)
    for c in range(x.shape[1]):
        middle, narrow = mean[c], invstd[c]
        totals[:] = 0
        products[:] = 0
        for n in range(x.shape[0]):
            for start in range(0, x.shape[2], COLUMNS):
                slopes, part = g[n, c, start : start + COLUMNS], x[n, c, start : start + COLUMNS]
                for k in range(part.size):
                    totals[k] += slopes[k]
                    products[k] += slopes[k] * ((part[k] - middle) * narrow)
        total, product = _total(totals), _total(products)
        db[c], dw[c] = total, product
        scale = weight[c] * narrow
        offset, slope = one * 0, one * 0
        if training:
            offset, slope = one * (total / count), one * (product / count)
        for n in range(x.shape[0]):
            slopes, line, target = g[n, c], x[n, c], dx[n, c]
            for k in range(line.size):
                target[k] = scale * (slopes[k] - offset - (line[k] - middle) * narrow * slope)
