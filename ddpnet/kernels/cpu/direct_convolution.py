"""Convolution without an unfolded matrix, for few channels: sums stay in registers while their operands pass by.

Products and the gradient of the weights go over the pixels of an output plane, LANES at a time. For each column of the
kernel the image is copied once with rows as long as the output's, so that the pixels which a weight meets follow each
other: KW copies instead of the KH * KW of an unfolded matrix, and no columns between the rows. Weights are numbers.

In the gradient of the input each output pixel adds to a run of samples: KW pixels with all their channels, in a row
that has its channels last. The runs are the vectors here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ddpnet.kernels.cpu.channel_convolution import channels_forward, channels_weight_gradient, fills_lanes
from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.vectors import LANES, WIDE, add_inner, add_outer, add_sums, copy, filled, settings, store, zeros
from ddpnet.kernels.cpu.workspace import workspace
from ddpnet.kernels.geometry import Pair

Shape = tuple[int, ...]

RUN = 2 * LANES
"""Lanes for a run of samples."""

WIDEST_TILE = 12 if WIDE else 6
"""Pixels with a run each for which there are registers."""

BLOCK_NUMBERS = 2**16
"""Of the copied images whose weights' gradients are summed before a sum over the lanes: 256 KiB."""


FEW_WEIGHTS = 2**15
"""Up to which everything fits the caches: from 32 channels by 3x3 to 64 this is faster than products by BLAS, two times
and more where one of both numbers is below 16; from 64 to 64 it depends on the size of the images."""


def has_few_weights(x: np.ndarray, w: np.ndarray, stride: Pair, dilation: Pair, groups: int) -> bool:
    """Whether a convolution is one of those that are computed here."""
    ordinary = groups == 1 and stride == (1, 1) and dilation == (1, 1) and x.dtype == w.dtype == np.float32
    return ordinary and 0 < w.size <= FEW_WEIGHTS and x.size > 0 and not settings.DISABLE_JIT


@functools.lru_cache(maxsize=256)
def fills_vectors(g: Shape, x: Shape, w: Shape) -> bool:
    """Whether the gradient of x is faster here than by an unfolded matrix: by how many products are for nothing."""
    c, kw = w[1], w[3]
    rows = _tile_rows(c)
    runs = kw * c / (-(-kw * c // RUN) * RUN)
    pixels = g[2] * g[3] * c / (x[2] * x[3] * -(-c // rows) * rows)
    return max(runs, pixels) > 0.35 and kw <= WIDEST_TILE


def direct_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, padding: Pair) -> np.ndarray:
    """x (N, C, H, W), w (O, C, KH, KW), b (O,) or None to y (N, O, OH, OW), with stride 1; all float32."""
    if fills_lanes(w):
        return channels_forward(x, w, b, padding)
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    padded, oh, ow = _sizes(x, w, padding)
    rows = _tile_rows(o)
    tiles = -(-o // rows)
    weights = np.zeros((tiles * rows, c, kw, kh), x.dtype)
    weights[:o] = w.transpose(0, 1, 3, 2)
    weights = np.ascontiguousarray(weights.reshape(tiles, rows, -1).transpose(0, 2, 1))
    bias = np.zeros(tiles * rows, x.dtype)
    if b is not None:
        bias[:o] = b
    y = np.empty((n, o, oh, ow), x.dtype)
    shifted = workspace.take("shifted", (c * kw * padded * ow + RUN,), x.dtype)
    sizes = n, c, h, width, *padding, o, oh, ow, kh, kw
    _forward(rows)(_flat(x), _flat(weights), bias, _flat(y), shifted, *sizes)
    return y


def direct_weight_gradient(g: np.ndarray, x: np.ndarray, w: np.ndarray, padding: Pair) -> tuple[np.ndarray, np.ndarray]:
    """From the gradient g (N, O, OH, OW) to those of w and of a bias."""
    if fills_lanes(w):
        return channels_weight_gradient(g, x, w, padding)
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    padded, oh, ow = _sizes(x, w, padding)
    plane = padded * ow
    # Weights at a distance of `step` in the copied images have their gradients computed together.
    inner, step = (kh, ow) if kh > 1 else (kw, plane) if kw > 1 else (c, plane)
    rows, columns = _gradient_tile(o, inner)
    dw, db = np.zeros((o, c, kw, kh), x.dtype), np.zeros(o, x.dtype)
    ones = np.ones(LANES, x.dtype)
    block = max(1, BLOCK_NUMBERS // (c * kw * plane))
    shifted = workspace.take("shifted", (block * c * kw * plane + columns * step + RUN,), x.dtype)
    sizes = block, inner, step, n, c, h, width, *padding, o, oh, ow, kh, kw
    _weight_gradient(rows, columns)(_flat(g), _flat(x), _flat(dw), db, ones, shifted, *sizes)
    return dw.transpose(0, 1, 3, 2), db


def direct_input_gradient(g: np.ndarray, x: np.ndarray, w: np.ndarray, padding: Pair) -> np.ndarray:
    """From the gradient g (N, O, OH, OW) to that of x, of which only the shape is looked at."""
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    _, oh, ow = _sizes(x, w, padding)
    around = kh - 1 - padding[0], kw - 1 - padding[1]
    tiles = -(-kw * c // RUN)
    cheaper = h * width * kw * _tile_rows(c) * -(-c // _tile_rows(c)) < oh * ow * tiles * RUN
    if min(around) >= 0 and cheaper and np.isfinite(w).all():  # else zeros around g times an infinity are NaN
        return direct_forward(g, w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], None, around)
    weights = np.zeros((kh, o, tiles * RUN), g.dtype)
    weights[:, :, : kw * c] = w.transpose(2, 0, 3, 1).reshape(kh, o, kw * c)
    dx = np.empty(x.shape, g.dtype)
    tile = _tile_pixels(ow, kw)
    lines = workspace.take("lines", (tile, (width + 2 * padding[1]) * c + tiles * RUN), g.dtype)
    total, one = workspace.take("total", (h * width * c,), g.dtype), np.ones(1, g.dtype)
    sizes = n, c, h, width, *padding, o, oh, ow, kh, kw
    _input_gradient(tile)(_flat(g), _flat(weights), _flat(dx), _flat(lines), total, one, *sizes)
    return dx


def _sizes(x: np.ndarray, w: np.ndarray, padding: Pair) -> tuple[int, int, int]:
    """The height of the padded image, and the output's height and width."""
    padded = x.shape[2] + 2 * padding[0]
    return padded, padded - w.shape[2] + 1, x.shape[3] + 2 * padding[1] - w.shape[3] + 1


@functools.lru_cache(maxsize=256)
def _tile_rows(outputs: int) -> int:
    """Output channels at a time: 8 where there are the registers and fewer rows are computed for nothing, else 6."""
    return 8 if WIDE and -outputs % 8 <= -outputs % 6 else 6


@functools.lru_cache(maxsize=256)
def _gradient_tile(outputs: int, inner: int) -> tuple[int, int]:
    """Output channels and weights whose gradients are computed together: as many sums as there are registers for."""
    columns = 3 if -inner % 3 < -inner % 5 else 5
    if not WIDE:
        return (3, 3) if columns == 3 else (2, 5)
    few, many = (6, 8) if columns == 3 else (3, 4)
    return few if -outputs % few < -outputs % many else many, columns


@functools.lru_cache(maxsize=256)
def _tile_pixels(width: int, kw: int) -> int:
    """Output pixels at a time in a gradient of the input, not fewer than a run has: the number that leaves the fewest
    over."""
    return min(range(WIDEST_TILE, max(5, kw) - 1, -1), key=lambda pixels: width % pixels)


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1)


@compiled
def _shift(x, start, shifted, to, channels, height, width, top, left, kh, kw, oh, ow):
    """An image as (channels, kw, padded height, ow): what each column of the kernel meets."""
    for c in range(channels):
        for j in range(kw):
            low, high = max(0, left - j), min(ow, width + left - j)
            for row in range(-top, oh + kh - 1 - top):
                at = start + (c * height + row) * width + j - left
                inside = 0 <= row < height
                for col in range(0, ow, LANES):
                    copy(x, at + col, shifted, to + col, low - col, high - col if inside else 0)
                to += ow


@compiled
def _add_products(sums, weights, k, rows, shifted, at, planes, plane, kh, ow):
    """The sums of a tile with the products of `planes` columns of the kernel added."""
    for _ in range(planes):
        for i in range(kh):
            sums = add_outer(sums, weights, k, 1, shifted, at + i * ow)
            k += rows
        at += plane
    return sums


@functools.cache
def _forward(rows: int) -> Any:
    """The kernel for tiles of `rows` output channels."""

    @compiled
    def forward(x, weights, bias, y, shifted, images, channels, height, width, top, left, outputs, oh, ow, kh, kw):
        pixels, plane, planes = oh * ow, (oh + kh - 1) * ow, channels * kw
        for n in range(images):
            start = n * channels * height * width
            _shift(x, start, shifted, 0, channels, height, width, top, left, kh, kw, oh, ow)
            for o in range(0, outputs, rows):
                to, k = (n * outputs + o) * pixels, o * planes * kh
                for p in range(0, pixels, 2 * LANES):
                    if pixels - p > LANES:
                        two = filled(rows, 2, bias, o)
                        two = _add_products(two, weights, k, rows, shifted, p, planes, plane, kh, ow)
                        store(two, y, to + p, pixels, outputs - o, pixels - p)
                    else:
                        one = filled(rows, 1, bias, o)
                        one = _add_products(one, weights, k, rows, shifted, p, planes, plane, kh, ow)
                        store(one, y, to + p, pixels, outputs - o, pixels - p)

    return forward


@functools.cache
def _weight_gradient(rows: int, columns: int) -> Any:
    """The kernel for tiles of `rows` output channels and `columns` weights."""

    @compiled
    def weight_gradient(
        g,
        x,
        dw,
        db,
        ones,
        shifted,
        block,
        inner,
        step,
        images,
        channels,
        height,
        width,
        top,
        left,
        outputs,
        oh,
        ow,
        kh,
        kw,
    ):
        pixels, plane, planes = oh * ow, (oh + kh - 1) * ow, channels * kw
        weights, whole = planes * kh, pixels - pixels % LANES
        for first in range(0, images, block):
            count = min(block, images - first)
            for n in range(count):
                start = (first + n) * channels * height * width
                _shift(x, start, shifted, n * planes * plane, channels, height, width, top, left, kh, kw, oh, ow)
            for o in range(0, outputs, rows):
                a, one = (first * outputs + o) * pixels, zeros(rows, 1)
                for _ in range(count):
                    for p in range(0, pixels, LANES):
                        one = add_inner(one, g, a + p, pixels, ones, 0, 0, outputs - o, pixels - p)
                    a += outputs * pixels
                add_sums(one, db, o, 1, outputs - o, 1)
                for k in range(0, weights, inner):
                    for i in range(0, inner, columns):
                        a, b = (first * outputs + o) * pixels, k // kh * plane + i * step
                        sums = zeros(rows, columns)
                        for _ in range(count):
                            for p in range(0, whole, LANES):
                                sums = add_inner(sums, g, a + p, pixels, shifted, b + p, step, outputs - o, LANES)
                            if whole < pixels:
                                rest = pixels - whole
                                sums = add_inner(
                                    sums, g, a + whole, pixels, shifted, b + whole, step, outputs - o, rest
                                )
                            a += outputs * pixels
                            b += planes * plane
                        add_sums(sums, dw, o * weights + k + i, weights, outputs - o, inner - i)

    return weight_gradient


@functools.cache
def _input_gradient(tile: int) -> Any:
    """The kernel for `tile` pixels of the output at a time.

    Runs of neighbours overlap: each pixel of a tile has a line of its own, where nothing is read that was just written,
    and the sum of the lines is a row of `total` (height, width, channels).
    """

    @compiled
    def input_gradient(
        g, weights, dx, lines, total, one, images, channels, height, width, top, left, outputs, oh, ow, kh, kw
    ):
        run, plane, whole = kw * channels, oh * ow, ow - ow % tile
        across, line, used = weights.size // (kh * outputs), lines.size // tile, width * channels
        lines[:] = np.float32(0)
        for n in range(images):
            for row in range(height):
                start = n * outputs * plane + (row + top) * ow
                low, high = max(0, row + top - oh + 1), min(kh, row + top + 1)
                for t in range(0, across, RUN):
                    for col in range(0, whole, tile):
                        sums = zeros(tile, 2)
                        for i in range(low, high):
                            k, pixel = i * outputs * across + t, start + col - i * ow
                            for _ in range(outputs):
                                sums = add_outer(sums, g, pixel, 1, weights, k)
                                pixel += plane
                                k += across
                        store(sums, lines, col * channels + t, line + channels, tile, run - t)
                    for col in range(whole, ow):
                        last = zeros(1, 2)
                        last = _add_runs(last, weights, t, across, g, start + col, low, high, outputs, plane, ow)
                        store(last, lines, (col - whole) * line + col * channels + t, 0, 1, run - t)
                for k in range(0, used, RUN):
                    both = zeros(1, 2)
                    for r in range(tile):
                        both = add_outer(both, one, 0, 0, lines, r * line + left * channels + k)
                    store(both, total, row * used + k, 0, 1, used - k)
            for c in range(channels):
                to = (n * channels + c) * height * width
                for p in range(height * width):
                    dx[to + p] = total[p * channels + c]

    return input_gradient


@compiled
def _add_runs(sums, weights, t, across, g, at, low, high, outputs, plane, ow):
    """The sums of a tile of pixels and runs with the products of kernel rows `low` to `high` added."""
    for i in range(low, high):
        k, pixel = i * outputs * across + t, at - i * ow
        for _ in range(outputs):
            sums = add_outer(sums, g, pixel, 1, weights, k)
            pixel += plane
            k += across
    return sums
