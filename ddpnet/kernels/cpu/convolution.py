"""Two-dimensional convolution as matrix products over blocks of images that fit the cache.

With stride 1, the samples that a weight meets lie in the flattened image at one fixed distance from the outputs. So a
row of the unfolded matrix is one contiguous copy of the (padded) image, and a column that falls between two image rows
is computed for nothing and never read: a copy of long runs is five times faster than one of short rows.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.geometry import Pair, convolved_extent
from ddpnet.kernels.precision import through_float32

BLOCK_BYTES = 512 * 1024
"""Of the unfolded matrix: half of a 1 MiB L2 cache; 256 KiB and 1 MiB are 5 to 10 % slower on LeNet."""


class _Workspace(threading.local):
    """Buffers that are used again in each call; each thread has its own, because threads may be ranks."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, Any], np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array with any content, valid until the name is taken again."""
        size = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name, dtype] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)


_workspace = _Workspace()


class _Window(NamedTuple):
    """How the kernel goes over an image."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair
    padded: Pair

    @property
    def run(self) -> int:
        """Columns of the unfolded matrix for an image: at stride 1 with those between the rows."""
        if self.stride != (1, 1):
            return self.size[0] * self.size[1]
        return (self.size[0] - 1) * self.padded[1] + self.size[1]


def _window(x: Any, w: Any, stride: Pair, padding: Pair, dilation: Pair) -> _Window:
    padded = x[2] + 2 * padding[0], x[3] + 2 * padding[1]
    height, width = (convolved_extent(*along) for along in zip(x[2:], w[2:], stride, padding, dilation, strict=True))
    return _Window((w[2], w[3]), stride, padding, dilation, (height, width), padded)


def _blocks(images: int, rows: int, window: _Window, itemsize: int) -> Iterator[slice]:
    """Ranges of images whose unfolded matrix is of BLOCK_BYTES at most, or of one image."""
    at_once = max(1, BLOCK_BYTES // max(1, rows * window.run * itemsize))
    for start in range(0, images, at_once):
        yield slice(start, min(start + at_once, images))


@through_float32
def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    """x (N, C, H, W), w (O, C / groups, KH, KW), b (O,) or None to y (N, O, OH, OW)."""
    window = _window(x.shape, w.shape, stride, padding, dilation)
    y = np.empty((len(x), len(w), *window.size), x.dtype)
    bias = np.zeros(len(w), x.dtype) if b is None else b
    for inputs, outputs in _groups(x.shape[1], len(w), groups):
        weights = np.ascontiguousarray(w[outputs]).reshape(outputs.stop - outputs.start, -1)
        for block in _blocks(len(x), weights.shape[1], window, x.itemsize):
            unfolded = _unfold(x[block, inputs], window)
            wide = _workspace.take("wide", (len(unfolded), len(weights), window.run), x.dtype)
            np.matmul(weights, unfolded, out=wide)
            _narrow_with_bias(wide, bias[outputs], y[block, outputs], _row_length(window))
    return y


@through_float32
def conv2d_backward(
    g: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    needs: tuple[bool, bool, bool],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """From the gradient g (N, O, OH, OW) to those of x, w and b; None for what is not needed."""
    window = _window(x.shape, w.shape, stride, padding, dilation)
    dx = np.empty(x.shape, x.dtype) if needs[0] else None
    dw = np.zeros(w.shape, w.dtype) if needs[1] else None
    for inputs, outputs in _groups(x.shape[1], len(w), groups):
        weights = np.ascontiguousarray(w[outputs]).reshape(outputs.stop - outputs.start, -1)
        for block in _blocks(len(x), weights.shape[1], window, x.itemsize):
            count = block.stop - block.start
            wide = _workspace.take("wide", (count, window.run, len(weights)), x.dtype)
            _widen(g[block, outputs], wide, _row_length(window))
            if dw is not None:
                products = _unfold(x[block, inputs], window) @ wide
                dw[outputs] += products.sum(axis=0).T.reshape(dw[outputs].shape)
            if dx is not None:
                unfolded = _workspace.take("unfolded", (count, weights.shape[1], window.run), x.dtype)
                np.matmul(weights.T, wide.transpose(0, 2, 1), out=unfolded)
                _fold(unfolded, dx[block, inputs], window)
    return dx, dw, g.sum(axis=(0, 2, 3)) if needs[2] else None


def _groups(channels: int, outputs: int, groups: int) -> Iterator[tuple[slice, slice]]:
    """The input and the output channels of each group."""
    c, o = channels // groups, outputs // groups
    for group in range(groups):
        yield slice(group * c, group * c + c), slice(group * o, group * o + o)


def _row_length(window: _Window) -> int:
    """Distance in the unfolded matrix from an output to the one below it."""
    return window.padded[1] if window.stride == (1, 1) else window.size[1]


def _unfold(x: np.ndarray, window: _Window) -> np.ndarray:
    """(N, C * KH * KW, run): for each image and weight, the samples that the weight meets."""
    count, channels = x.shape[:2]
    if window.padding == (0, 0) and x.flags.c_contiguous:
        padded = x
    else:
        padded = _workspace.take("padded", (count, channels, *window.padded), x.dtype)
        _pad(x, padded, *window.padding)
    rows = channels * window.kernel[0] * window.kernel[1]
    unfolded = _workspace.take("unfolded", (count, rows, window.run), x.dtype)
    if window.stride == (1, 1):
        _copy_runs(padded.reshape(count, channels, -1), unfolded, *window.kernel, *window.dilation, window.padded[1])
    else:
        _gather(padded, unfolded, *window.kernel, *window.stride, *window.dilation, *window.size)
    return unfolded


def _fold(unfolded: np.ndarray, dx: np.ndarray, window: _Window) -> None:
    """Add every column of the unfolded gradient to where its sample came from."""
    padded = _workspace.take("padded", (*dx.shape[:2], *window.padded), dx.dtype)
    padded[...] = 0
    if window.stride == (1, 1):
        flat = padded.reshape(*dx.shape[:2], -1)
        _add_runs(unfolded, flat, *window.kernel, *window.dilation, window.padded[1])
    else:
        _scatter(unfolded, padded, *window.kernel, *window.stride, *window.dilation, *window.size)
    (top, left), (height, width) = window.padding, dx.shape[2:]
    dx[...] = padded[:, :, top : top + height, left : left + width]


@compiled
def _pad(x, padded, top, left):
    padded[...] = 0
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for row in range(x.shape[2]):
                source, target = x[n, c, row], padded[n, c, row + top, left : left + x.shape[3]]
                for k in range(source.size):
                    target[k] = source[k]


@compiled
def _copy_runs(x, unfolded, kh, kw, dh, dw, width):
    run = unfolded.shape[2]
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    start = i * dh * width + j * dw
                    source = x[n, c, start : start + run]
                    target = unfolded[n, (c * kh + i) * kw + j]
                    for k in range(run):
                        target[k] = source[k]


@compiled
def _add_runs(unfolded, x, kh, kw, dh, dw, width):
    run = unfolded.shape[2]
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    start = i * dh * width + j * dw
                    source = unfolded[n, (c * kh + i) * kw + j]
                    target = x[n, c, start : start + run]
                    for k in range(run):
                        target[k] += source[k]


@compiled
def _gather(x, unfolded, kh, kw, sh, sw, dh, dw, oh, ow):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    out = unfolded[n, (c * kh + i) * kw + j]
                    for row in range(oh):
                        line = x[n, c, row * sh + i * dh]
                        for col in range(ow):
                            out[row * ow + col] = line[col * sw + j * dw]


@compiled
def _scatter(unfolded, x, kh, kw, sh, sw, dh, dw, oh, ow):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    source = unfolded[n, (c * kh + i) * kw + j]
                    for row in range(oh):
                        line = x[n, c, row * sh + i * dh]
                        for col in range(ow):
                            line[col * sw + j * dw] += source[row * ow + col]


@compiled
def _narrow_with_bias(wide, bias, y, row_length):
    """The wanted columns of (N, O, run) as (N, O, OH, OW), with the bias added."""
    width = y.shape[3]
    for n in range(y.shape[0]):
        for o in range(y.shape[1]):
            b = bias[o]
            for row in range(y.shape[2]):
                source = wide[n, o, row * row_length : row * row_length + width]
                target = y[n, o, row]
                for k in range(width):
                    target[k] = source[k] + b


@compiled
def _widen(g, wide, row_length):
    """(N, O, OH, OW) as (N, run, O), the order that both products read fastest, with zeros between the rows."""
    outputs, rows, width = g.shape[1:]
    zero = g.dtype.type(0)
    for n in range(g.shape[0]):
        for row in range(rows):
            target = wide[n, row * row_length : (row + 1) * row_length]
            for k in range(width):
                for o in range(outputs):
                    target[k, o] = g[n, o, row, k]
            for k in range(width, len(target)):
                for o in range(outputs):
                    target[k, o] = zero
