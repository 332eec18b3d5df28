"""Convolution with 3x3 weights as products of transformed tiles: with fewer multiplications than a direct sum has.

An output of m x m pixels takes (m + 2)**2 multiplications a pair of channels instead of 9 m**2: a quarter for m = 4
(Winograd, 1980; Lavin and Gray, 2016). A transformed operand is ((m + 2)**2, rows, channels): for each place of a tile
a matrix, and BLAS multiplies these. All transformations go through an image with its channels last, a vector of them
at a time. The gradients are the transposed maps of the forward's, so that the transformed gradient serves both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba.core import config

from ddpnet.kernels.cpu.channel_vectors import move, turn
from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.tile_maps import map_tile, map_to_weights, map_weights
from ddpnet.kernels.cpu.vectors import LANES
from ddpnet.kernels.cpu.workspace import workspace
from ddpnet.kernels.geometry import Pair

BLOCK_BYTES = 2 * 2**20
"""Of the transformed tiles of a block of images."""

FEWEST_TILES = 128
"""In a block, if there are as many: a matrix product of fewer rows is slower."""

WEIGHT_BYTES = 2 * 2**20
"""Of the transformed weights that are multiplied at once."""

FEWEST_CHANNELS = 32
"""In and out: with fewer the maps take longer than the products."""


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
    """Whether a convolution is one for these products: float32, 3x3, and tiles enough to be worth mapping the weights.

    At 512 channels a map of the weights takes as long as the products of 8 to 16 tiles save.
    """
    disabled = config.DISABLE_JIT  # type: ignore[attr-defined]  # read from the environment
    if disabled or x.dtype != np.float32 or w.dtype != np.float32 or not x.size:
        return False
    if w.shape[2:] != (3, 3) or (*stride, *dilation, groups) != (1, 1, 1, 1, 1):
        return False
    if min(w.shape[:2]) < FEWEST_CHANNELS or w.shape[0] % LANES or w.shape[1] % LANES:
        return False
    tiles = _tiles(x.shape, padding)
    return x.shape[0] * tiles.down * tiles.across * 2 >= tiles.places


def _blocks(images: int, channels: int, tiles: _Tiles) -> list[slice]:
    """Ranges of images."""
    each = tiles.down * tiles.across
    at_once = max(BLOCK_BYTES // (tiles.places * each * channels * 4), FEWEST_TILES // each, 1)
    return [slice(start, min(start + at_once, images)) for start in range(0, images, at_once)]


def _parts(channels: int, others: int, tiles: _Tiles, blocks: int) -> list[slice]:
    """Ranges of the weights' channels, with all of the others; all at once where several blocks of images need them."""
    at_once = channels if blocks > 1 else max(1, WEIGHT_BYTES // (tiles.places * others * 4 * LANES)) * LANES
    return [slice(start, min(start + at_once, channels)) for start in range(0, channels, at_once)]


def winograd_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, padding: Pair) -> np.ndarray | None:
    """x (N, C, H, W), w (O, C, 3, 3), b (O,) or None to y (N, O, OH, OW); None if not all of it is finite."""
    tiles, (n, c, h, width), o = _tiles(x.shape, padding), x.shape, len(w)
    y = np.empty((n, o, h + 2 * padding[0] - 2, width + 2 * padding[1] - 2), x.dtype)
    w = np.ascontiguousarray(w)
    bias = np.zeros(o, x.dtype) if b is None else np.ascontiguousarray(b)
    blocks = _blocks(n, max(c, o), tiles)
    parts = _parts(o, c, tiles, len(blocks))
    finite = True
    for block in blocks:
        spread = _spread(x[block], tiles, padding, gradient=False)
        products = workspace.take("spread y", (tiles.places, spread.shape[1], o), x.dtype)
        for part in parts:
            if len(parts) > 1 or block.start == 0:
                weights = _weights(w, part, slice(0, c), tiles)
            np.matmul(spread, weights.transpose(0, 2, 1), out=products[:, :, part])
        finite &= _gather(products, y[block], bias, tiles, (0, 0), gradient=False)
    return y if finite else None


def winograd_backward(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, padding: Pair, needs: tuple[bool, bool]
) -> tuple[np.ndarray | None, np.ndarray | None] | None:
    """From the gradient g (N, O, OH, OW) to those of x and w, if needed; None if not all of them is finite."""
    tiles = _tiles(x.shape, padding)
    dx, dw = (np.empty(of.shape, of.dtype) if needed else None for of, needed in zip((x, w), needs, strict=True))
    w = np.ascontiguousarray(w) if needs[0] else w
    blocks = _blocks(len(x), max(w.shape[:2]), tiles)
    finite = True
    for block in blocks:
        dy = _spread(g[block], tiles, (0, 0), gradient=True)
        if dw is not None:
            spread = _spread(x[block], tiles, padding, gradient=False)
            finite &= _add_to_weights(dy, spread, dw, tiles, block is blocks[0], block is blocks[-1], len(blocks))
        if dx is not None:
            finite &= _input_gradient(dy, w, dx[block], tiles, padding, block is blocks[0], len(blocks))
    return (dx, dw) if finite else None


def _add_to_weights(
    dy: np.ndarray, spread: np.ndarray, dw: np.ndarray, tiles: _Tiles, first: bool, last: bool, blocks: int
) -> bool:
    """Add a block's products to their sums, which the last of the blocks writes to dw; whether that is finite."""
    finite = True
    for part in _parts(dw.shape[0], dw.shape[1], tiles, blocks):
        shape = tiles.places, part.stop - part.start, dw.shape[1]
        sums = workspace.take("spread dw", shape, dw.dtype)
        if first:
            np.matmul(dy[:, :, part].transpose(0, 2, 1), spread, out=sums)
        else:
            more = workspace.take("more of spread dw", shape, dw.dtype)
            sums += np.matmul(dy[:, :, part].transpose(0, 2, 1), spread, out=more)
        if last:
            finite &= not math.isnan(_gather_weights(tiles.size, sums.reshape(-1), dw[part].reshape(-1)))
    return finite


def _input_gradient(
    dy: np.ndarray, w: np.ndarray, dx: np.ndarray, tiles: _Tiles, padding: Pair, first: bool, blocks: int
) -> bool:
    """Write the gradient of a block of images to dx; whether it is finite."""
    c = w.shape[1]
    products = workspace.take("spread x", (tiles.places, dy.shape[1], c), dx.dtype)
    parts = _parts(c, len(w), tiles, blocks)
    for part in parts:
        shape = tiles.places, len(w), part.stop - part.start
        if len(parts) > 1 or first:
            weights = _weights(w, slice(0, len(w)), part, tiles)
        else:
            weights = workspace.take("spread w", shape, w.dtype)
        np.matmul(dy, weights, out=products[:, :, part])
    return _gather(products, dx, np.zeros(c, dx.dtype), tiles, padding, gradient=True)


def _spread(x: np.ndarray, tiles: _Tiles, padding: Pair, gradient: bool) -> np.ndarray:
    """Samples or a gradient x (N, C, H, W) as transformed tiles (places, N * tiles, C)."""
    n, c, h, w = x.shape
    side = tiles.size if gradient else tiles.size + 2
    rows, wide = ((many - 1) * tiles.size + side for many in (tiles.down, tiles.across))
    shape = tiles.places, n * tiles.down * tiles.across, c
    spread = workspace.take("spread y" if gradient else "spread x", shape, np.float32)
    image = workspace.take("image", ((rows * wide + LANES) * LANES,), np.float32)
    sizes = n, c, h, w, *padding, rows, wide, tiles.down, tiles.across
    _spread_tiles(gradient, tiles.size, np.ascontiguousarray(x).reshape(-1), spread.reshape(-1), image, *sizes)
    return spread


def _weights(w: np.ndarray, outputs: slice, inputs: slice, tiles: _Tiles) -> np.ndarray:
    """Of contiguous w (O, C, 3, 3) the weights between some channels, transformed to (places, outputs, inputs)."""
    shape = tiles.places, outputs.stop - outputs.start, inputs.stop - inputs.start
    spread = workspace.take("spread w", shape, w.dtype)
    start, step = (outputs.start * w.shape[1] + inputs.start) * 9, w.shape[1] * 9
    _spread_weights(tiles.size, w.reshape(-1), start, step, spread.reshape(-1), *shape[1:])
    return spread


def _gather(spread: np.ndarray, y: np.ndarray, b: np.ndarray, tiles: _Tiles, padding: Pair, gradient: bool) -> bool:
    """From transformed tiles (places, N * tiles, C) to y (N, C, H, W), plus b (C,); whether all is finite."""
    n, c, h, w = y.shape
    side = tiles.size + 2 if gradient else tiles.size
    rows, wide = ((many - 1) * tiles.size + side for many in (tiles.down, tiles.across))
    image = workspace.take("image", ((rows * wide + LANES) * LANES,), np.float32)
    sizes = n, c, h, w, *padding, rows, wide, tiles.down, tiles.across
    return not math.isnan(_gather_tiles(gradient, tiles.size, spread.reshape(-1), y.reshape(-1), b, image, *sizes))


@compiled
def _spread_tiles(
    gradient, size, x, spread, image, images, channels, height, width, top, left, rows, wide, down, across
):
    """The maps of x's tiles, or of its gradient's, from an image with LANES channels last."""
    pixels, place = height * width, images * down * across * channels
    turned, line = rows * wide * LANES, (size + 2) * place  # there are LANES pixels before they go to their places
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
                    if size == 4 and gradient:
                        map_tile("dy4", image, at, wide * LANES, LANES, spread, to, line, place, 0)
                    elif size == 4:
                        map_tile("x4", image, at, wide * LANES, LANES, spread, to, line, place, 0)
                    elif gradient:
                        map_tile("dy2", image, at, wide * LANES, LANES, spread, to, line, place, 0)
                    else:
                        map_tile("x2", image, at, wide * LANES, LANES, spread, to, line, place, 0)
        tile += down * across


@compiled
def _gather_tiles(
    gradient, size, spread, y, bias, image, images, channels, height, width, top, left, rows, wide, down, across
):
    """The maps to y's tiles, or to those of the gradient of x; NaN if a result is infinite or NaN, else 0."""
    pixels, place = height * width, images * down * across * channels
    turned, line = rows * wide * LANES, (size + 2) * place
    total = np.float32(0)
    tile = 0
    for n in range(images):
        for c in range(0, channels, LANES):
            for at in range(0, turned, LANES):
                move(bias, c, image, at)
            for i in range(down):
                for j in range(across):
                    at, to = (tile + i * across + j) * channels + c, (i * wide + j) * size * LANES
                    if size == 4 and gradient:
                        map_tile("dx4", spread, at, line, place, image, to, wide * LANES, LANES, 1)
                    elif size == 4:
                        map_tile("y4", spread, at, line, place, image, to, wide * LANES, LANES, 1)
                    elif gradient:
                        map_tile("dx2", spread, at, line, place, image, to, wide * LANES, LANES, 1)
                    else:
                        map_tile("y2", spread, at, line, place, image, to, wide * LANES, LANES, 1)
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


@compiled
def _spread_weights(size, w, start, step, spread, outputs, channels):
    place, to = outputs * channels, 0
    for _ in range(outputs):
        for c in range(0, channels, LANES):
            if size == 4:
                map_weights("w4", w, start + c * 9, spread, to + c, 6 * place, place)
            else:
                map_weights("w2", w, start + c * 9, spread, to + c, 4 * place, place)
        start += step
        to += channels


@compiled
def _gather_weights(size, spread, w):
    """From the sums for weights' gradients to these; NaN if one is infinite or NaN, else 0."""
    place = w.size // 9
    total = np.float32(0)
    for at in range(0, place, LANES):
        if size == 4:
            total += np.float32(0) * map_to_weights("dw4", spread, at, 6 * place, place, w, at * 9)
        else:
            total += np.float32(0) * map_to_weights("dw2", spread, at, 4 * place, place, w, at * 9)
    return total
