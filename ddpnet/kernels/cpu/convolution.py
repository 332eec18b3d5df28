"""Two-dimensional convolution as matrix products over blocks of images that fit the cache.

With stride 1, the samples that a weight meets lie in the flattened image at one fixed distance from the outputs. So a
row of the unfolded matrix is one contiguous copy of the (padded) image, and a column that falls between two image rows
is computed for nothing and never read: a copy of long runs is five times faster than one of short rows. (Exact columns,
cut row by row first, were tried: 27 % less to multiply for LeNet's second layer, but 4.7 us an image to unfold instead
of 1.7; and at 32x32, where rows then lie 4 KiB apart, the product of 16 channels took 106 us instead of 62.)

The unfolded matrices of a block are (P, C * KH * KW, M, columns): P products, each over the columns of M images. Small
products are made image by image, which OpenBLAS does without packing its operands; large ones over all images of the
block at once, since the columns of one 4x4 image are too few to be worth reading the weights for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ddpnet.kernels.cpu.depthwise import depthwise_backward, depthwise_forward
from ddpnet.kernels.cpu.direct_convolution import (
    direct_forward,
    direct_input_gradient,
    direct_weight_gradient,
    fills_vectors,
    has_few_weights,
)
from ddpnet.kernels.cpu.unfolding import add_runs, copy_runs, gather, narrow_with_bias, pad, scatter, widen
from ddpnet.kernels.cpu.winograd import has_many_tiles, winograd_backward, winograd_forward
from ddpnet.kernels.cpu.workspace import workspace
from ddpnet.kernels.geometry import Pair, convolved_extent
from ddpnet.kernels.precision import through_float32

BLOCK_BYTES = 512 * 1024
"""Of the unfolded matrix: half of a 1 MiB L2 cache; 256 KiB and 1 MiB are 5 to 10 % slower on LeNet."""

SMALL_PRODUCT = 1_000_000
"""Multiplications up to which OpenBLAS's AVX-512 kernels work without packing; more go over several images at once."""

JOINED_COLUMNS = 256
"""Of a joined product at least, where there are enough images; 512 channels of 4x4: 62 GFLOP/s with 22, 93 with 176."""

SMALL_WEIGHTS = 2**17
"""Elements up to which the weights' gradient is faster computed transposed: a quarter less time at 64 channels."""


class _Window(NamedTuple):
    """How the kernel goes over an image, and how the unfolded matrix is laid out."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair
    padded: Pair
    groups: int
    runs: bool
    joined: bool

    @property
    def row_length(self) -> int:
        """Distance in the unfolded matrix from an output to the one below it."""
        return self.padded[1] if self.runs else self.size[1]

    @property
    def columns(self) -> int:
        """Of the unfolded matrix for an image: with runs also those between the rows."""
        return (self.size[0] - 1) * self.row_length + self.size[1]


def _window(x: Any, w: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int, runs: bool = True) -> _Window:
    """From the shapes of x and w; `runs` asks for long runs, which only stride 1 allows."""
    padded = x[2] + 2 * padding[0], x[3] + 2 * padding[1]
    height, width = (convolved_extent(*along) for along in zip(x[2:], w[2:], stride, padding, dilation, strict=True))
    runs = runs and stride == (1, 1)
    window = _Window((w[2], w[3]), stride, padding, dilation, (height, width), padded, groups, runs, joined=False)
    return window._replace(joined=math.prod(w) // groups * window.columns > SMALL_PRODUCT)


def _blocks(x: np.ndarray, window: _Window) -> Iterator[slice]:
    """Ranges of images whose unfolded matrix is of BLOCK_BYTES at most, or whose columns are just enough."""
    rows = x.shape[1] * math.prod(window.kernel)
    at_once = max(1, BLOCK_BYTES // max(1, rows * window.columns * x.itemsize))
    if window.joined:
        at_once = max(at_once, -(-JOINED_COLUMNS // window.columns))
    for start in range(0, len(x), at_once):
        yield slice(start, min(start + at_once, len(x)))


def _columns(name: str, rows: int, count: int, window: _Window, dtype: Any) -> np.ndarray:
    """Workspace for `rows` over the columns of `count` images: (P, rows, M, columns) with P * M = count."""
    products, images = (1, count) if window.joined else (count, 1)
    return workspace.take(name, (products, rows, images, window.columns), dtype)


def _matrices(columns: np.ndarray, window: _Window) -> np.ndarray:
    """(P, rows, M, columns) as P matrices for each group, (P, groups, rows / groups, M * columns)."""
    products, rows, images, width = columns.shape
    return columns.reshape(products, window.groups, rows // window.groups, images * width)


def _weights(w: np.ndarray, groups: int) -> np.ndarray:
    """A matrix for each group: (groups, O / groups, C / groups * KH * KW)."""
    return np.ascontiguousarray(w).reshape(groups, len(w) // groups, math.prod(w.shape[1:]))


def goes_image_by_image(
    x: np.ndarray, w: np.ndarray, stride: Pair, padding: Pair, dilation: Pair, groups: int, gradient: bool
) -> bool:
    """Whether the bits of an image's output, and of its gradient if that counts, are the same with any other images."""
    if not has_few_weights(x, w, stride, dilation, groups):
        return False
    window = _window(x.shape, w.shape, stride, padding, dilation, groups)
    return not gradient or fills_vectors((len(x), len(w), *window.size), x.shape, w.shape)


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
    if groups > 1 and w.shape[1] == 1:
        return depthwise_forward(x, w, b, stride, padding, dilation)
    if has_few_weights(x, w, stride, dilation, groups):
        return direct_forward(x, w, b, padding)
    if has_many_tiles(x, w, stride, padding, dilation, groups):
        y = winograd_forward(x, w, b, padding)
        if y is not None:
            return y
    window = _window(x.shape, w.shape, stride, padding, dilation, groups)
    y = np.empty((len(x), len(w), *window.size), x.dtype)
    bias = np.zeros(len(w), x.dtype) if b is None else b
    weights = _weights(w, groups)
    for block in _blocks(x, window):
        unfolded = _unfold(x[block], window)
        wide = _columns("wide", len(w), len(x[block]), window, x.dtype)
        np.matmul(weights, _matrices(unfolded, window), out=_matrices(wide, window))
        narrow_with_bias(wide, bias, y[block], window.row_length)
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
    if groups > 1 and w.shape[1] == 1:
        return depthwise_backward(g, x, w, stride, padding, dilation, needs)
    if not has_few_weights(x, w, stride, dilation, groups):
        found = None
        if has_many_tiles(x, w, stride, padding, dilation, groups):
            found = winograd_backward(g, x, w, padding, needs[:2])
        dx, dw = found or _unfolded_backward(g, x, w, stride, padding, dilation, groups, needs)
        return dx, dw, g.sum(axis=(0, 2, 3)) if needs[2] else None
    dx, dw, db = None, None, None
    if needs[1]:
        dw, db = direct_weight_gradient(g, x, w, padding)
    elif needs[2]:
        db = g.sum(axis=(0, 2, 3))
    if needs[0] and fills_vectors(g.shape, x.shape, w.shape):
        dx = direct_input_gradient(g, x, w, padding)
    elif needs[0]:
        dx, _ = _unfolded_backward(g, x, w, stride, padding, dilation, groups, (True, False, False))
    return dx, dw, db if needs[2] else None


def _unfolded_backward(
    g: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    needs: tuple[bool, bool, bool],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The gradients of x and w."""
    window = _window(x.shape, w.shape, stride, padding, dilation, groups)
    dx, dw = _products(g, x, w, window, needs)
    if window.runs and not (_finite(dw) and (dx is None or _finite(w))):
        # A zero between the rows times an infinity or a NaN: only exact columns keep it to what it belongs to.
        window = _window(x.shape, w.shape, stride, padding, dilation, groups, runs=False)
        dx, dw = _products(g, x, w, window, needs)
    return dx, dw


def _finite(array: np.ndarray | None) -> bool:
    return array is None or bool(np.isfinite(array).all())


def _products(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, window: _Window, needs: tuple[bool, bool, bool]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The gradients of x and w."""
    weights = _weights(w, window.groups)
    dx = np.empty(x.shape, x.dtype) if needs[0] else None
    dw = np.zeros(weights.shape, w.dtype) if needs[1] else None
    for block in _blocks(x, window) if needs[0] or needs[1] else ():
        wide = _columns("wide", len(w), len(x[block]), window, x.dtype)
        widen(g[block], wide, window.row_length)
        if dw is not None:
            _add_products(_matrices(wide, window), _matrices(_unfold(x[block], window), window), dw)
        if dx is not None:
            rows = x.shape[1] * math.prod(window.kernel)
            unfolded = _columns("unfolded", rows, len(x[block]), window, x.dtype)
            np.matmul(weights.transpose(0, 2, 1), _matrices(wide, window), out=_matrices(unfolded, window))
            _fold(unfolded, dx[block], window)
    return dx, None if dw is None else dw.reshape(w.shape)


def _add_products(wide: np.ndarray, unfolded: np.ndarray, dw: np.ndarray) -> None:
    """Add the products wide @ unfolded.T to dw (groups, O / groups, C / groups * KH * KW)."""
    if dw.size <= SMALL_WEIGHTS:
        dw += np.matmul(unfolded, wide.transpose(0, 1, 3, 2)).sum(axis=0).transpose(0, 2, 1)
    else:
        for product in np.matmul(wide, unfolded.transpose(0, 1, 3, 2)):
            dw += product


def _unfold(x: np.ndarray, window: _Window) -> np.ndarray:
    """(P, C * KH * KW, M, columns): for each weight, the samples that it meets."""
    count, channels = x.shape[:2]
    if window.padding == (0, 0) and x.flags.c_contiguous:
        padded = x
    else:
        padded = workspace.take("padded", (count, channels, *window.padded), x.dtype)
        pad(x, padded, *window.padding)
    unfolded = _columns("unfolded", channels * math.prod(window.kernel), count, window, x.dtype)
    if window.runs:
        copy_runs(padded.reshape(count, channels, -1), unfolded, *window.kernel, *window.dilation, window.padded[1])
    else:
        gather(padded, unfolded, *window.kernel, *window.stride, *window.dilation, *window.size)
    return unfolded


def _fold(unfolded: np.ndarray, dx: np.ndarray, window: _Window) -> None:
    """Add every column of the unfolded gradient to where its sample came from."""
    in_place = window.padding == (0, 0)
    padded = dx if in_place else workspace.take("padded", (*dx.shape[:2], *window.padded), dx.dtype)
    padded[...] = 0
    if window.runs:
        flat = padded.reshape(*dx.shape[:2], -1)
        add_runs(unfolded, flat, *window.kernel, *window.dilation, window.padded[1])
    else:
        scatter(unfolded, padded, *window.kernel, *window.stride, *window.dilation, *window.size)
    if not in_place:
        (top, left), (height, width) = window.padding, dx.shape[2:]
        dx[...] = padded[:, :, top : top + height, left : left + width]
