"""Convolution whose output channels are a multiple of LANES: they are the lanes of the vectors.

So no plane is too small to fill vectors, and nothing is copied but outputs or their gradients, which are transposed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.unfolding import pad
from ddpnet.kernels.cpu.vectors import INDICES, LANES, Memory, add_outer, add_to, first_lanes, operation, store, zeros
from ddpnet.kernels.cpu.workspace import workspace
from ddpnet.kernels.geometry import Pair


def fills_lanes(w: np.ndarray) -> bool:
    """Whether this is faster than with pixels as lanes: LeNet's second layer 106 instead of 80 GFLOP/s.

    Fewer products than these for an output are not worth the transposition; and a kernel of one column, or one so wide
    that there are no registers for it, leaves too little to do at a time.
    """
    o, c, kh, kw = w.shape
    return o % LANES == 0 and c * kh * kw >= 48 and 2 <= kw <= 7


def channels_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, padding: Pair) -> np.ndarray:
    """x (N, C, H, W), w (O, C, KH, KW), b (O,) or None to y (N, O, OH, OW), with stride 1; all float32."""
    x = _padded(x, padding)
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    oh, ow = h - kh + 1, width - kw + 1
    weights = np.ascontiguousarray(w.reshape(o // LANES, LANES, c, kh, kw).transpose(0, 2, 3, 4, 1))
    bias = np.zeros(o, x.dtype) if b is None else np.ascontiguousarray(b, x.dtype)
    y = np.empty((n, o, oh, ow), x.dtype)
    plane = workspace.take("plane", ((oh * ow + LANES) * LANES,), x.dtype)
    arrays = x.reshape(-1), weights.reshape(-1), bias, np.ones(1, x.dtype), y.reshape(-1), plane
    _forward(_tile_pixels(ow))(*arrays, n, c, h, width, o, oh, ow, kh, kw)
    return y


def channels_weight_gradient(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, padding: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """From the gradient g (N, O, OH, OW) to those of w and of a bias."""
    x = _padded(x, padding)
    (n, c, h, width), (o, _, kh, kw), (oh, ow) = x.shape, w.shape, g.shape[2:]
    dw, db = np.zeros((o // LANES, c, kh, kw, LANES), x.dtype), np.zeros(o, x.dtype)
    plane = workspace.take("plane", ((oh * ow + LANES) * LANES,), x.dtype)
    arrays = np.ascontiguousarray(g).reshape(-1), x.reshape(-1), dw.reshape(-1), db, np.ones(1, x.dtype), plane
    _weight_gradient(kw)(*arrays, n, c, h, width, o, oh, ow, kh)
    return dw.transpose(0, 4, 1, 2, 3).reshape(w.shape), db


def _padded(x: np.ndarray, padding: Pair) -> np.ndarray:
    """Contiguous, with zeros around each plane."""
    if padding == (0, 0):
        return np.ascontiguousarray(x)
    n, c, h, width = x.shape
    padded = workspace.take("padded", (n, c, h + 2 * padding[0], width + 2 * padding[1]), x.dtype)
    pad(x, padded, *padding)
    return padded


@functools.lru_cache(maxsize=256)
def _tile_pixels(width: int) -> int:
    """Pixels of a row at a time: all, or that number from 8 to 14 that computes the fewest twice."""
    return min(range(14, 7, -1), key=lambda pixels: -width % pixels) if width >= 14 else width


@functools.cache
def _forward(tile: int) -> Any:
    """The kernel for `tile` pixels at a time."""

    @compiled
    def forward(x, weights, bias, one, y, plane, images, channels, height, width, outputs, oh, ow, kh, kw):
        pixels, across = oh * ow, channels * kh * kw * LANES
        for n in range(images):
            for o in range(0, outputs, LANES):
                for row in range(oh):
                    for begin in range(0, ow, tile):
                        col = min(begin, ow - tile)
                        sums = zeros(tile, 1)
                        sums = add_outer(sums, one, 0, 0, bias, o)
                        k = o // LANES * across
                        for c in range(channels):
                            for i in range(kh):
                                at = ((n * channels + c) * height + row + i) * width + col
                                for j in range(kw):
                                    sums = add_outer(sums, x, at + j, 1, weights, k)
                                    k += LANES
                        store(sums, plane, (row * ow + col) * LANES, LANES, tile, LANES)
                for p in range(0, pixels, LANES):
                    to = (n * outputs + o) * pixels + p
                    transpose(plane, p * LANES, LANES, LANES, LANES, y, to, pixels, pixels - p, outputs - o)

    return forward


@functools.cache
def _weight_gradient(kw: int) -> Any:
    """The kernel for kernels of `kw` columns."""

    @compiled
    def weight_gradient(g, x, dw, db, one, plane, images, channels, height, width, outputs, oh, ow, kh):
        pixels, taps = oh * ow, kh * kw * LANES
        for n in range(images):
            for o in range(0, outputs, LANES):
                for p in range(0, pixels, LANES):
                    at = (n * outputs + o) * pixels + p
                    transpose(g, at, pixels, outputs - o, pixels - p, plane, p * LANES, LANES, LANES, LANES)
                total = zeros(1, 1)
                for p in range(pixels):
                    total = add_outer(total, one, 0, 0, plane, p * LANES)
                add_to(total, db, o, 0, LANES)
                for c in range(channels):
                    to, start = (o // LANES * channels + c) * taps, (n * channels + c) * height * width
                    for i in range(0, kh - 1, 2):
                        first, second = zeros(kw, 1), zeros(kw, 1)
                        p = 0
                        for row in range(i, i + oh):
                            at = start + row * width
                            for col in range(at, at + ow):
                                first = add_outer(first, x, col, 1, plane, p)
                                second = add_outer(second, x, col + width, 1, plane, p)
                                p += LANES
                        add_to(first, dw, to + i * kw * LANES, LANES, LANES)
                        add_to(second, dw, to + (i + 1) * kw * LANES, LANES, LANES)
                    if kh % 2:
                        last = zeros(kw, 1)
                        p = 0
                        for row in range(kh - 1, kh - 1 + oh):
                            at = start + row * width
                            for col in range(at, at + ow):
                                last = add_outer(last, x, col, 1, plane, p)
                                p += LANES
                        add_to(last, dw, to + (kh - 1) * kw * LANES, LANES, LANES)

    return weight_gradient


@operation
def transpose(
    typing_context: Any,
    x: Any,
    at: Any,
    step: Any,
    rows: Any,
    count: Any,
    y: Any,
    to: Any,
    each: Any,
    wide: Any,
    high: Any,
) -> Any:
    """A block of LANES rows x[at + r * step] becomes columns of y[to + c * each].

    Of x only the first `rows` rows and their first `count` numbers are read, of y only the first `high` rows and their
    first `wide` numbers are written.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, x_start, x_step, last, numbers, y_array, y_start, y_step, across, down = arguments
        mask = first_lanes(builder, numbers)
        vectors = []
        for row in range(LANES):
            number = ir.Constant(ir.IntType(64), row)
            begin = builder.add(x_start, builder.mul(x_step, number))
            inside = builder.icmp_signed("<", number, last)
            vectors.append(Memory(context, builder, x, x_array, builder.select(inside, begin, x_start)).vector(0, mask))
        block = 1
        while block < LANES:
            for row in range(LANES):
                if not row & block:
                    pair = vectors[row], vectors[row + block]
                    lower = [lane + (LANES - block if lane & block else 0) for lane in range(LANES)]
                    upper = [lane + (LANES if lane & block else block) for lane in range(LANES)]
                    vectors[row] = builder.shuffle_vector(*pair, ir.Constant(INDICES, lower))
                    vectors[row + block] = builder.shuffle_vector(*pair, ir.Constant(INDICES, upper))
            block *= 2
        memory = Memory(context, builder, y, y_array, y_start, y_step)
        mask = first_lanes(builder, across)
        for row in range(LANES):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(ir.IntType(64), row), down), likely=True):
                memory.store(vectors[row], row, mask)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, index, index, y, index, index, index, index), emit
