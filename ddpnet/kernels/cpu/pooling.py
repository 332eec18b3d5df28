"""Pooling over windows of images (N, C, H, W)."""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu import max_of_four
from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.elementwise import relu_forward
from ddpnet.kernels.cpu.vectors import LANES
from ddpnet.kernels.geometry import Pair, halves, pooled_extent
from ddpnet.kernels.precision import through_float32


@through_float32
def max_pool2d_forward(
    x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The maxima (N, C, OH, OW), and their places in the flattened (H, W) plane as int32: the first of equals, the last
    NaN before all, -1 where a window has nothing but padding."""
    return _max_pool2d(x, -np.inf, kernel, stride, padding, dilation, ceil_mode)


def relu_max_pool2d_forward(
    x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`max_pool2d_forward` of `relu_forward`, in one pass where a pooling of float32 halves the planes."""
    if x.dtype == np.float32 and halves(kernel, stride, padding, dilation, ceil_mode):
        return _max_pool2d(x, 0, kernel, stride, padding, dilation, ceil_mode)
    result: tuple[np.ndarray, np.ndarray] = max_pool2d_forward(
        relu_forward(x), kernel, stride, padding, dilation, ceil_mode
    )
    return result


def _max_pool2d(
    x: np.ndarray, floor: float, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Elements of at most `floor` count as that much, where a pooling of float32 halves the planes."""
    n, c, h, w = x.shape
    if x.dtype.char == "f" and halves(kernel, stride, padding, dilation, ceil_mode):
        y, places = np.empty((n, c, h // 2, w // 2), np.float32), np.empty((n, c, h // 2, w // 2), np.int32)
        max_of_four.maxima(np.ascontiguousarray(x), np.float32(floor), y, places)
        return y, places
    size = [pooled_extent(*along, ceil_mode) for along in zip((h, w), kernel, stride, padding, dilation, strict=True)]
    y = np.empty((n, c, *size), x.dtype)
    places = np.empty(y.shape, np.int32)
    planes, maxima, where = (np.ascontiguousarray(a).reshape(n * c, *a.shape[2:]) for a in (x, y, places))
    if halves(kernel, stride, padding, dilation, ceil_mode):
        _max_of_four(planes, maxima, where)
    else:
        lowest = x.dtype.type(-np.inf) if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        _max_of_windows(planes, maxima, where, lowest, *kernel, *stride, *padding, *dilation)
    return y, places


@compiled
def _max_of_four(x, y, places):
    width = np.int32(x.shape[2])
    for plane in range(x.shape[0]):
        for row in range(y.shape[1]):
            upper, lower = x[plane, 2 * row], x[plane, 2 * row + 1]
            out, where = y[plane, row], places[plane, row]
            first = np.int32(2 * row) * width
            for col in range(y.shape[2]):
                at = first + np.int32(2 * col)
                best, place = upper[2 * col], at
                other = upper[2 * col + 1]
                if other > best or other != other:
                    best, place = other, at + np.int32(1)
                other = lower[2 * col]
                if other > best or other != other:
                    best, place = other, at + width
                other = lower[2 * col + 1]
                if other > best or other != other:
                    best, place = other, at + width + np.int32(1)
                out[col], where[col] = best, place


@compiled
def _max_of_windows(x, y, places, lowest, kh, kw, sh, sw, ph, pw, dh, dw):
    height, width = x.shape[1], x.shape[2]
    for plane in range(x.shape[0]):
        for row in range(y.shape[1]):
            for col in range(y.shape[2]):
                best, place = lowest, -1
                for i in range(kh):
                    r = row * sh - ph + i * dh
                    if r < 0 or r >= height:
                        continue
                    for j in range(kw):
                        c = col * sw - pw + j * dw
                        if c < 0 or c >= width:
                            continue
                        value = x[plane, r, c]
                        if place < 0 or value > best or value != value:
                            best, place = value, r * width + c
                y[plane, row, col], places[plane, row, col] = best, place


@through_float32
def max_pool2d_backward(g: np.ndarray, indices: np.ndarray, shape: tuple[int, ...], halved: bool = False) -> np.ndarray:
    """The gradient (N, C, OH, OW) added at the places of the maxima of an input of `shape`, except at -1.

    `halved` says that the windows were those of `halves`.
    """
    n, c, h, w = shape
    if halved and w > LANES and g.dtype == np.float32:  # 29 instead of 53 us; narrow images: 25 and 19
        dx = np.empty(shape, g.dtype)
        max_of_four.spread(np.ascontiguousarray(g), np.ascontiguousarray(indices), dx)
        return dx
    dx = np.zeros(shape, g.dtype)
    outputs = g.shape[2] * g.shape[3]
    _scatter(np.ascontiguousarray(g).reshape(-1, outputs), indices.reshape(-1, outputs), dx.reshape(n * c, h * w))
    return dx


@compiled
def _scatter(g, places, dx):
    for plane in range(g.shape[0]):
        out = dx[plane]
        for i in range(g.shape[1]):
            if places[plane, i] >= 0:
                out[np.uint32(places[plane, i])] += g[plane, i]


@through_float32
def avg_pool2d_forward(
    x: np.ndarray,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    """The means (N, C, OH, OW) of windows; see `_divisor` for what they are divided by."""
    n, c, h, w = x.shape
    size = [pooled_extent(*along, 1, ceil_mode) for along in zip((h, w), kernel, stride, padding, strict=True)]
    y = np.empty((n, c, *size), x.dtype)
    planes, means = (np.ascontiguousarray(a).reshape(n * c, *a.shape[2:]) for a in (x, y))
    _means(planes, means, *kernel, *stride, *padding, count_include_pad, divisor_override or 0)
    return y


@through_float32
def avg_pool2d_backward(
    g: np.ndarray,
    shape: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray:
    """The gradient (N, C, OH, OW) spread evenly over the windows of an input of `shape`."""
    n, c, h, w = shape
    dx = np.zeros(shape, g.dtype)
    planes = np.ascontiguousarray(g).reshape(n * c, *g.shape[2:])
    _spread(planes, dx.reshape(n * c, h, w), *kernel, *stride, *padding, count_include_pad, divisor_override or 0)
    return dx


@compiled
def _divisor(start, stop, low, high, start2, stop2, low2, high2, whole, override):
    """The elements of a window: with its padding if `whole`, else those inside; or `override` if it is not 0."""
    if override:
        return override
    if whole:
        return (stop - start) * (stop2 - start2)
    return (high - low) * (high2 - low2)


@compiled
def _means(x, y, kh, kw, sh, sw, ph, pw, whole, override):
    height, width = x.shape[1], x.shape[2]
    for plane in range(x.shape[0]):
        for row in range(y.shape[1]):
            top = row * sh - ph
            bottom = min(top + kh, height + ph)
            r0, r1 = max(top, 0), min(bottom, height)
            for col in range(y.shape[2]):
                left = col * sw - pw
                right = min(left + kw, width + pw)
                c0, c1 = max(left, 0), min(right, width)
                total = x.dtype.type(0)
                for r in range(r0, r1):
                    for c in range(c0, c1):
                        total += x[plane, r, c]
                y[plane, row, col] = total / x.dtype.type(
                    _divisor(top, bottom, r0, r1, left, right, c0, c1, whole, override)
                )


@compiled
def _spread(g, dx, kh, kw, sh, sw, ph, pw, whole, override):
    height, width = dx.shape[1], dx.shape[2]
    for plane in range(g.shape[0]):
        for row in range(g.shape[1]):
            top = row * sh - ph
            bottom = min(top + kh, height + ph)
            r0, r1 = max(top, 0), min(bottom, height)
            for col in range(g.shape[2]):
                left = col * sw - pw
                right = min(left + kw, width + pw)
                c0, c1 = max(left, 0), min(right, width)
                part = g[plane, row, col] / g.dtype.type(
                    _divisor(top, bottom, r0, r1, left, right, c0, c1, whole, override)
                )
                for r in range(r0, r1):
                    for c in range(c0, c1):
                        dx[plane, r, c] += part
