"""Batch normalisation over x (N, C, ...), per channel."""

from __future__ import annotations

from typing import Any

import cupy

from ddpnet.kernels.cuda.source import launch
from ddpnet.kernels.precision import through_float32

Array = Any

PARTS = 256
"""As in normalization.cu."""


def _inner(x: Array) -> int:
    """Elements of one sample's channel."""
    return int(x.size // max(x.shape[0] * x.shape[1], 1))


def _moment(x: Array, shift: Array, squares: bool) -> Array:
    """For each channel the mean of x - shift, or of its square."""
    n, channels, inner = x.shape[0], x.shape[1], _inner(x)
    parts = cupy.empty((channels, PARTS), cupy.float64)
    launch("normalization", "partial_sums", x.dtype, parts.size, x, shift, parts, int(squares), n, channels, inner)
    return _finished(parts, x, float(max(n * inner, 1)))


def _finished(parts: Array, x: Array, divisor: float) -> Array:
    sums = cupy.empty(len(parts), x.dtype)
    launch("normalization", "finish_sums", x.dtype, len(parts), parts, sums, divisor, len(parts))
    return sums


@through_float32
def batch_norm_statistics(x: Array) -> tuple[Array, Array]:
    """The mean and the biased variance of each channel, (C,) of x's dtype, added up in float64."""
    x = cupy.ascontiguousarray(x)
    mean = _moment(x, cupy.zeros(x.shape[1], x.dtype), squares=False)
    return mean, _moment(x, mean, squares=True)


@through_float32
def batch_norm_apply(x: Array, mean: Array, invstd: Array, weight: Array | None, bias: Array | None) -> Array:
    """(x - mean) * invstd * weight + bias; weight and bias may be None."""
    x = cupy.ascontiguousarray(x)
    scale = (invstd if weight is None else invstd * weight).astype(x.dtype)
    shift = (-mean * scale if bias is None else bias - mean * scale).astype(x.dtype)
    y = cupy.empty_like(x)
    launch("normalization", "scale_and_shift", x.dtype, x.size, x, scale, shift, y, x.size, x.shape[1], _inner(x))
    return y


@through_float32
def batch_norm_backward(
    g: Array, x: Array, mean: Array, invstd: Array, weight: Array | None, training: bool
) -> tuple[Array, Array, Array]:
    """The gradients of x, weight and bias; with `training` the statistics depend on x."""
    g, x = cupy.ascontiguousarray(g), cupy.ascontiguousarray(x)
    n, channels, inner = x.shape[0], x.shape[1], _inner(x)
    mean, invstd = mean.astype(x.dtype), invstd.astype(x.dtype)
    parts = cupy.empty((2, channels, PARTS), cupy.float64)
    launch("normalization", "partial_gradients", x.dtype, parts[0].size, g, x, mean, invstd, parts, n, channels, inner)
    db, dw = _finished(parts[0], x, 1.0), _finished(parts[1], x, 1.0)
    share = int(training) / max(n * inner, 1)
    scale = invstd if weight is None else invstd * weight
    factors = scale, db * x.dtype.type(share), dw * x.dtype.type(share)
    dx = cupy.empty_like(x)
    launch(
        "normalization",
        "batch_norm_backward",
        x.dtype,
        x.size,
        g,
        x,
        mean,
        invstd,
        *factors,
        dx,
        x.size,
        channels,
        inner,
    )
    return dx, dw, db
