"""Batch normalisation over x (N, C, ...), per channel."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


def _planes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))


@through_float32
def batch_norm_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the biased variance of each channel, (C,) of x's dtype, added up in float64."""
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    _statistics(_planes(x), mean, var)
    return mean, var


@compiled
def _statistics(x, mean, var):
    count = x.shape[0] * x.shape[2]
    for c in range(x.shape[1]):
        total = 0.0
        for n in range(x.shape[0]):
            for k in range(x.shape[2]):
                total += x[n, c, k]
        middle = total / count
        squares = 0.0
        for n in range(x.shape[0]):
            for k in range(x.shape[2]):
                deviation = x[n, c, k] - middle
                squares += deviation * deviation
        mean[c], var[c] = middle, squares / count


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
    for c in range(x.shape[1]):
        total, product = 0.0, 0.0
        for n in range(x.shape[0]):
            for k in range(x.shape[2]):
                total += g[n, c, k]
                product += g[n, c, k] * ((x[n, c, k] - mean[c]) * invstd[c])
        db[c], dw[c] = total, product
        scale = weight[c] * invstd[c]
        offset, slope = one * 0, one * 0
        if training:
            offset, slope = one * (total / count), one * (product / count)
        for n in range(x.shape[0]):
            for k in range(x.shape[2]):
                standard = (x[n, c, k] - mean[c]) * invstd[c]
                dx[n, c, k] = scale * (g[n, c, k] - offset - standard * slope)
