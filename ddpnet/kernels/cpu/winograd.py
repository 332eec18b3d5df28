"""Convolution with 3x3 weights as products of transformed tiles: with fewer multiplications than a direct sum has.

An output of m x m pixels takes (m + 2)**2 multiplications a pair of channels instead of 9 m**2: a quarter for m = 4
(Winograd, 1980; Lavin and Gray, 2016). A transformed operand is ((m + 2)**2, rows, channels): for each place of a tile
a matrix, and BLAS multiplies these. All transformations go through an image with its channels last, a vector of them
at a time. The gradients are the transposed maps of the forward's, so that the transformed gradient serves both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba.core import config

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.tile_maps import MAPS, map_tile, move, turn
from ddpnet.kernels.cpu.vectors import LANES
from ddpnet.kernels.cpu.workspace import workspace
from ddpnet.kernels.geometry import Pair

BLOCK_BYTES = 4 * 2**20
"""Of a block's transformed tiles."""

FEWEST_CHANNELS = 32


class _Tiles(NamedTuple):
    """How a plane is cut into tiles of `size` outputs a side."""

    size: int
    down: int
    across: int

    @property
    def places(self) -> int:
        """Numbers in a transformed tile."""
        return (self.size + 2) ** 2


def _tiles(x: tuple[int, ...], padding: Pair) -> _Tiles:
    """Of the size that takes fewer multiplications, for a convolution of (N, C, H, W)."""
    plane = x[2] + 2 * padding[0] - 2, x[3] + 2 * padding[1] - 2
    small, large = (_Tiles(size, *(-(-extent // size) for extent in plane)) for size in (2, 4))
    if max(plane) <= 4 or small.places * small.down * small.across <= large.places * large.down * large.across:
        return small
    return large


def has_many_tiles(x: np.ndarray, w: np.ndarray, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Whether the weights are worth to be transformed. Vectors are of float32."""
    if config.DISABLE_JIT or x.dtype != np.float32 or w.dtype != np.float32 or not x.size:
        return False
    if w.shape[2:] != (3, 3) or (*stride, *dilation, groups) != (1, 1, 1, 1, 1):
        return False
    if min(w.shape[:2]) < FEWEST_CHANNELS or w.shape[0] % LANES or w.shape[1] % LANES:
        return False
    tiles = _tiles(x.shape, padding)
    return x.shape[0] * tiles.down * tiles.across * 2 >= tiles.places


def _blocks(images: int, channels: int, tiles: _Tiles) -> Iterator[slice]:
    at_once = max(1, BLOCK_BYTES // (tiles.places * tiles.down * tiles.across * channels * 4))
    for start in range(0, images, at_once):
        yield slice(start, min(start + at_once, images))


def winograd_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, padding: Pair) -> np.ndarray | None:
    """x (N, C, H, W), w (O, C, 3, 3), b (O,) or None to y (N, O, OH, OW); None if not all of it is finite."""
    tiles, (n, c, h, width), o = _tiles(x.shape, padding), x.shape, len(w)
    y = np.empty((n, o, h + 2 * padding[0] - 2, width + 2 * padding[1] - 2), x.dtype)
    bias = np.zeros(o, x.dtype) if b is None else b
    weights = _spread("w", w, _Tiles(tiles.size, 1, 1), (0, 0), "spread weights")
    finite = True
    for block in _blocks(n, max(c, o), tiles):
        spread = _spread("x", x[block], tiles, padding, "spread x")
        shape = tiles.places, spread.shape[1], o
        products = np.matmul(spread, weights.transpose(0, 2, 1), out=workspace.take("spread y", shape, x.dtype))
        finite &= _gather("y", products, y[block], bias, tiles, (0, 0))
    return y if finite else None


def winograd_backward(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, padding: Pair, needs: tuple[bool, bool]
) -> tuple[np.ndarray | None, np.ndarray | None] | None:
    """From the gradient g (N, O, OH, OW) to those of x and w; None if not all of them is finite."""
    tiles, (n, c, _, _), o = _tiles(x.shape, padding), x.shape, len(w)
    zeros = np.zeros(c, x.dtype)
    whole = _Tiles(tiles.size, 1, 1)
    dx = np.empty(x.shape, x.dtype) if needs[0] else None
    sums = workspace.take("spread dw", (tiles.places, o, c), x.dtype) if needs[1] else None
    weights = _spread("w", w, whole, (0, 0), "spread weights") if needs[0] else None
    finite = True
    for block in _blocks(n, max(c, o), tiles):
        dy = _spread("dy", g[block], tiles, (0, 0), "spread y")
        if sums is not None:
            spread = _spread("x", x[block], tiles, padding, "spread x")
            if block.start == 0:
                np.matmul(dy.transpose(0, 2, 1), spread, out=sums)
            else:
                sums += np.matmul(dy.transpose(0, 2, 1), spread)
        if dx is not None and weights is not None:
            shape = tiles.places, dy.shape[1], c
            products = np.matmul(dy, weights, out=workspace.take("spread x", shape, x.dtype))
            finite &= _gather("dx", products, dx[block], zeros, tiles, padding)
    dw = None
    if sums is not None:
        dw = np.empty(w.shape, x.dtype)
        finite &= _gather("dw", sums, dw, zeros, whole, (0, 0))
    return (dx, dw) if finite else None


def _spread(name: str, x: np.ndarray, tiles: _Tiles, padding: Pair, buffer: str) -> np.ndarray:
    """x (N, C, H, W) as transformed tiles (places, N * tiles, C)."""
    n, c, h, w = x.shape
    side = MAPS[f"{name}{tiles.size}"].inputs
    rows, wide = ((many - 1) * tiles.size + side for many in (tiles.down, tiles.across))
    spread = workspace.take(buffer, (tiles.places, n * tiles.down * tiles.across, c), np.float32)
    image = workspace.take("image", ((rows * wide + LANES) * LANES,), np.float32)
    sizes = n, c, h, w, *padding, rows, wide, tiles.down, tiles.across
    _spreading(f"{name}{tiles.size}", tiles.size)(
        np.ascontiguousarray(x).reshape(-1), spread.reshape(-1), image, *sizes
    )
    return spread


def _gather(name: str, spread: np.ndarray, y: np.ndarray, b: np.ndarray, tiles: _Tiles, padding: Pair) -> bool:
    """From transformed tiles (places, N * tiles, C) to y (N, C, H, W), plus b (C,); whether all is finite."""
    n, c, h, w = y.shape
    side = MAPS[f"{name}{tiles.size}"].outputs
    rows, wide = ((many - 1) * tiles.size + side for many in (tiles.down, tiles.across))
    image = workspace.take("image", ((rows * wide + LANES) * LANES,), np.float32)
    sizes = n, c, h, w, *padding, rows, wide, tiles.down, tiles.across
    kernel = _gathering(f"{name}{tiles.size}", tiles.size)
    return not math.isnan(kernel(spread.reshape(-1), y.reshape(-1), b, image, *sizes))


@functools.cache
def _spreading(name: str, size: int) -> Any:
    """The kernel with the map of that name."""
    extent = size + 2

    @compiled
    def spread_tiles(x, spread, image, images, channels, height, width, top, left, rows, wide, down, across):
        pixels, place = height * width, images * down * across * channels
        turned = rows * wide * LANES  # LANES pixels of x with their channels last
        image[:turned] = np.float32(0)
        tile = 0
        for n in range(images):
            for c in range(0, channels, LANES):
                start, at, column = (n * channels + c) * pixels, (top * wide + left) * LANES, 0
                for p in range(0, pixels, LANES):
                    count = min(LANES, pixels - p)
                    turn(x, start + p, pixels, count, image, turned, LANES, LANES)
                    for k in range(count):
                        move(image, turned + k * LANES, image, at)
                        column += 1
                        at += LANES
                        if column == width:
                            column = 0
                            at += (wide - width) * LANES
                for i in range(down):
                    for j in range(across):
                        at, to = (i * wide + j) * size * LANES, (tile + i * across + j) * channels + c
                        map_tile(name, image, at, wide * LANES, LANES, spread, to, extent * place, place, 0)
            tile += down * across

    return spread_tiles


@functools.cache
def _gathering(name: str, size: int) -> Any:
    """The kernel with the map of that name, which returns NaN if a result is infinite or NaN, else 0."""
    extent = size + 2

    @compiled
    def gather_tiles(spread, y, bias, image, images, channels, height, width, top, left, rows, wide, down, across):
        pixels, place = height * width, images * down * across * channels
        turned = rows * wide * LANES
        total = np.float32(0)
        tile = 0
        for n in range(images):
            for c in range(0, channels, LANES):
                for at in range(0, turned, LANES):
                    move(bias, c, image, at)
                for i in range(down):
                    for j in range(across):
                        at, to = (tile + i * across + j) * channels + c, (i * wide + j) * size * LANES
                        map_tile(name, spread, at, extent * place, place, image, to, wide * LANES, LANES, 1)
                start, at, column = (n * channels + c) * pixels, (top * wide + left) * LANES, 0
                for p in range(0, pixels, LANES):
                    count = min(LANES, pixels - p)
                    if count < LANES:
                        image[turned : turned + LANES * LANES] = np.float32(0)
                    for k in range(count):
                        move(image, at, image, turned + k * LANES)
                        column += 1
                        at += LANES
                        if column == width:
                            column = 0
                            at += (wide - width) * LANES
                    total += np.float32(0) * turn(image, turned, LANES, LANES, y, start + p, pixels, count)
            tile += down * across
        return total

    return gather_tiles
