"""Products of a linear layer for a batch of few rows, for which BLAS spends as long on laying out the weights.

Weights and rows are read where they lie. In the product of the layer, lanes go along what is summed over, and the lanes
of four sums at a time are added up; in those of the gradients they go along a row of weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.vectors import (
    INDEX,
    LANES,
    NUMBER,
    WIDE,
    Memory,
    add_inner,
    add_outer,
    operation,
    settings,
    store,
    zeros,
)

_ROWS = 4 if WIDE else 2
"""Of a tile, which has four columns: its sums, a column and a number fill the registers that there are."""
_FOUR, _TWO = 4 * LANES, 2 * LANES

_MOST_ROWS = 64
"""On a Zen 4, 784 x 1024 weights take 475 us with 32 rows and 950 with 64; by BLAS 620 and 1,050."""
_MOST_ROWS_BACK, _SMALL_WEIGHTS = 32, 2**17
"""More rows only for weights that stay in the cache of the second level: the gradients of 400 x 120 take 120 us with 64
as by BLAS, those of 1024 x 1024 3.1 ms instead of 2.7."""

_FLOAT32 = np.dtype(np.float32)
_NO_ROW, _NO_ROWS = np.empty(0, np.float32), np.empty((0, 0), np.float32)


def few_rows_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray | None:
    """x @ w.T + b for x (N, I), w (O, I), b (O,) or None; None where it is left to BLAS."""
    if x.ndim != 2 or not _ROWS <= len(x) <= _MOST_ROWS or len(w) < 4 or not (_is_float32(x) and _is_dense(w)):
        return None
    if b is None:
        b = np.zeros(len(w), np.float32)
    elif b.shape != w.shape[:1] or not _is_float32(b):
        return None
    y = np.empty((len(x), len(w)), np.float32)
    _forward(np.ascontiguousarray(x), w, np.ascontiguousarray(b), y)
    return y


def few_rows_backward(
    g: np.ndarray, x: np.ndarray | None, w: np.ndarray | None, needs: tuple[bool, bool, bool]
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None] | None:
    """The gradients of b, x and w, each if `needs` says so, from that of y, g (N, O); None where it is left to BLAS.

    The gradient of x does not need x, nor that of w w: they may be None.
    """
    if g.ndim != 2 or not _ROWS <= len(g) <= _MOST_ROWS or g.shape[1] < _ROWS or not _is_float32(g):
        return None
    (rows, outputs), dx, dw = g.shape, _NO_ROWS, _NO_ROWS
    if needs[1]:
        if w is None or not _is_dense(w):
            return None
        dx = np.empty((rows, w.shape[1]), np.float32)
    if needs[2]:
        if x is None or x.ndim != 2 or not _is_float32(x):
            return None
        x, dw = np.ascontiguousarray(x), np.empty((outputs, x.shape[1]), np.float32)
    width = max(dx.shape[1], dw.shape[1])
    if width < _TWO or (rows > _MOST_ROWS_BACK and outputs * width > _SMALL_WEIGHTS):
        return None
    db = np.empty(outputs, np.float32) if needs[0] else _NO_ROW
    _backward(np.ascontiguousarray(g), x if needs[2] else _NO_ROWS, w if needs[1] else _NO_ROWS, dx, dw, db)
    return db if needs[0] else None, dx if needs[1] else None, dw if needs[2] else None


def goes_row_by_row(
    most: int, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, needs: tuple[bool, bool, bool]
) -> bool:
    """Whether both functions take x with all numbers of rows up to `most`: each row then has the bits of its own."""
    dense = x.ndim == 2 and _is_float32(x) and _is_dense(w) and (b is None or _is_float32(b))
    fits = dense and len(x) >= _ROWS and most <= _MOST_ROWS and len(w) >= 4 and w.shape[1] >= _TWO
    return fits and (not any(needs) or most <= _MOST_ROWS_BACK or w.size <= _SMALL_WEIGHTS)


def _is_float32(x: np.ndarray) -> bool:
    return x.dtype == _FLOAT32 and not settings.DISABLE_JIT


def _is_dense(w: np.ndarray) -> bool:
    return w.dtype == _FLOAT32 and w.flags.c_contiguous


@compiled
def _forward(x, w, b, y):
    """y = x @ w.T + b for x (N, I), w (O, I), b (O,), with N and O of a tile at least."""
    (rows, depth), outputs = x.shape, w.shape[0]
    whole = depth - depth % LANES
    for o in range(0, outputs, 4):
        col = min(o, outputs - 4)  # the last block overlaps the one before
        for r in range(0, rows, _ROWS):
            row = min(r, rows - _ROWS)
            a, c = row * depth, col * depth
            sums = zeros(_ROWS, 4)
            for k in range(0, whole, LANES):
                sums = add_inner(sums, x, a + k, depth, w, c + k, depth, _ROWS, LANES)
            if whole < depth:
                sums = add_inner(sums, x, a + whole, depth, w, c + whole, depth, _ROWS, depth - whole)
            _store_sums(sums, y, row * outputs + col, outputs, b, col)


@compiled
def _backward(g, x, w, dx, dw, db):
    """The gradients of x, w and b from that of y, g (N, O); none in an array without elements."""
    rows, outputs = g.shape
    for second in range(2):  # one call, which is compiled once: 0.4 s instead of 1.4
        b, c = (x, dw) if second else (w, dx)
        if c.size:
            down, along = (1, outputs) if second else (outputs, 1)
            _product(g, down, along, b, c)
    if db.size:
        for o in range(outputs):
            total = g[0, o]
            for row in range(1, rows):
                total += g[row, o]
            db[o] = total


@compiled
def _product(a, down, along, b, c):
    """c (rows, width) = a @ b for b (depth, width) and a (rows, depth), whose elements are `down` and `along` apart."""
    (rows, width), depth = c.shape, b.shape[0]
    whole = width - width % _FOUR
    for col in range(0, whole, _FOUR):
        for r in range(0, rows, _ROWS):
            row = min(r, rows - _ROWS)
            at, four = row * down, zeros(_ROWS, 4)
            for k in range(depth):
                four = add_outer(four, a, at + k * along, down, b, k * width + col)
            store(four, c, row * width + col, width, _ROWS, _FOUR)
    for start in range(whole, width, _TWO):
        col = min(start, width - _TWO)
        for r in range(0, rows, _ROWS):
            row = min(r, rows - _ROWS)
            at, two = row * down, zeros(_ROWS, 2)
            for k in range(depth):
                two = add_outer(two, a, at + k * along, down, b, k * width + col)
            store(two, c, row * width + col, width, _ROWS, _TWO)


@operation
def _store_sums(typing_context: Any, tile: Any, y: Any, at: Any, step: Any, b: Any, b_at: Any) -> Any:
    """Write from y[at + r * step] on the sums of the four vectors in row r, plus four numbers from b[b_at] on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, y_array, start, each, b_array, b_start = arguments
        four = ir.VectorType(NUMBER, 4)
        bias = builder.load(Memory(context, builder, b, b_array, b_start).at(0, four), align=4)
        memory = Memory(context, builder, y, y_array, start, each)

        def added(first: Any, second: Any, *halves: list[int]) -> Any:
            """The sum of two selections from two vectors."""
            masks = [ir.Constant(ir.VectorType(INDEX, len(half)), half) for half in halves]
            return builder.fadd(*[builder.shuffle_vector(first, second, mask) for mask in masks])

        places = range(0, LANES, 2)
        evens = [lane for i in places for lane in (i, LANES + i)]
        fours = [lane for i in places[::2] for lane in (i, i + 1, LANES + i, LANES + i + 1)]
        for row in range(tile.rows):
            a, b_, c, d = (builder.extract_value(sums, row * 4 + column) for column in range(4))
            pairs = [added(*two, evens, [lane + 1 for lane in evens]) for two in ((a, b_), (c, d))]
            total, lanes = added(*pairs, fours, [lane + 2 for lane in fours]), LANES
            while lanes > 4:
                lanes //= 2
                total = added(total, total, list(range(lanes)), list(range(lanes, 2 * lanes)))
            builder.store(builder.fadd(total, bias), memory.at(row, four), align=4)
        return context.get_dummy_value()

    return types.void(tile, y, types.intp, types.intp, b, types.intp), emit
