"""Convolution of each channel by itself: row by row, since its matrices would be too thin for BLAS.

64 channels of 32x32, 16 images, 3x3: 4.4 ms back instead of 14.8 with matrix products; forward 2.1 ms with both.
"""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.workspace import workspace
from ddpnet.kernels.geometry import Pair, convolved_extent


def depthwise_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, padding: Pair, dilation: Pair
) -> np.ndarray:
    """x (N, C, H, W), w (M * C, 1, KH, KW), b (M * C,) or None to y (N, M * C, OH, OW)."""
    size = [convolved_extent(*along) for along in zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)]
    y = np.empty((len(x), len(w), *size), x.dtype)
    bias = np.zeros(len(w), x.dtype) if b is None else b
    _convolve(_padded(x, padding), np.ascontiguousarray(w)[:, 0], bias, y, *stride, *dilation)
    return y


def depthwise_backward(
    g: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    needs: tuple[bool, bool, bool],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The gradients of x, w and b from that of y; None for what is not needed."""
    g, dx, dw = np.ascontiguousarray(g), None, None
    if needs[0]:
        (top, left), (height, width) = padding, x.shape[2:]
        spread = np.zeros((*x.shape[:2], height + 2 * top, width + 2 * left), x.dtype)
        _spread(g, np.ascontiguousarray(w)[:, 0], spread, *stride, *dilation)
        dx = spread[:, :, top : top + height, left : left + width]
    if needs[1]:
        dw = np.empty((len(w), *w.shape[2:]), w.dtype)
        _correlate(_padded(x, padding), g, dw, *stride, *dilation)
        dw = dw[:, None]
    return dx, dw, g.sum(axis=(0, 2, 3)) if needs[2] else None


def _padded(x: np.ndarray, padding: Pair) -> np.ndarray:
    (top, left), (height, width) = padding, x.shape[2:]
    if padding == (0, 0):
        return np.ascontiguousarray(x)
    padded = workspace.take("padded", (*x.shape[:2], height + 2 * top, width + 2 * left), x.dtype)
    padded[...] = 0
    padded[:, :, top : top + height, left : left + width] = x
    return padded


@compiled
def _convolve(x, w, bias, y, sh, sw, dh, dw):
    times = w.shape[0] // x.shape[1]
    for n in range(y.shape[0]):
        for o in range(y.shape[1]):
            for row in range(y.shape[2]):
                out = y[n, o, row]
                b = bias[o]
                for k in range(out.size):
                    out[k] = b
                for i in range(w.shape[1]):
                    line = x[n, o // times, row * sh + i * dh]
                    for j in range(w.shape[2]):
                        weight = w[o, i, j]
                        if sw == 1:
                            part = line[j * dw : j * dw + out.size]
                            for k in range(out.size):
                                out[k] += weight * part[k]
                        else:
                            for k in range(out.size):
                                out[k] += weight * line[k * sw + j * dw]


@compiled
def _spread(g, w, x, sh, sw, dh, dw):
    times = w.shape[0] // x.shape[1]
    for n in range(g.shape[0]):
        for o in range(g.shape[1]):
            for row in range(g.shape[2]):
                source = g[n, o, row]
                for i in range(w.shape[1]):
                    line = x[n, o // times, row * sh + i * dh]
                    for j in range(w.shape[2]):
                        weight = w[o, i, j]
                        if sw == 1:
                            part = line[j * dw : j * dw + source.size]
                            for k in range(source.size):
                                part[k] += weight * source[k]
                        else:
                            for k in range(source.size):
                                line[k * sw + j * dw] += weight * source[k]


@compiled
def _correlate(x, g, dweights, sh, sw, dh, dw):
    times = dweights.shape[0] // x.shape[1]
    kh, kw, width = dweights.shape[1], dweights.shape[2], g.shape[3]
    sums = np.empty((kh, kw, width), g.dtype)  # a sum for each column, so that a row of them is one vector
    for o in range(g.shape[1]):
        sums[...] = 0
        for n in range(g.shape[0]):
            for row in range(g.shape[2]):
                source = g[n, o, row]
                for i in range(kh):
                    line = x[n, o // times, row * sh + i * dh]
                    for j in range(kw):
                        total = sums[i, j]
                        if sw == 1:
                            part = line[j * dw : j * dw + width]
                            for k in range(width):
                                total[k] += part[k] * source[k]
                        else:
                            for k in range(width):
                                total[k] += line[k * sw + j * dw] * source[k]
        for i in range(kh):
            for j in range(kw):
                dweights[o, i, j] = sums[i, j].sum()
