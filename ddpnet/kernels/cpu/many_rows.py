"""Products of a linear layer for a batch of many rows, where BLAS passes over the result three times: it sets it to
0, adds to it, and NumPy adds the bias.

The right factor is laid out in panels of RUN columns which stay in the cache of the second level, and a few rows of the
left one at a time in that of the first; each tile of sums is written once for each part of what is summed over. Hot, a
Zen 4 whose registers alone allow 118 GFLOP/s has 112 for 1024 x 128 x 512 with its bias, and 95 with BLAS.
"""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.vector_moves import prefetch, store_sum, turn
from ddpnet.kernels.cpu.vectors import LANES, WIDE, add_outer, copy, settings, zeros
from ddpnet.kernels.cpu.workspace import workspace

_RUN = 2 * LANES
"""Columns of a tile."""
_ROWS = 12 if WIDE else 6
"""Of a tile."""
_ROW, _LINE = 512 + LANES, 16 if WIDE else 8
"""How far apart the rows of the left factor are laid, or its columns if those are dense."""
_DEPTH, _LINES, _PANELS = 512, 192, 2**17
"""The most rows of panels, if the left factor has dense rows or columns; and numbers in panels, 512 KiB."""
_WIDTH = 1024
_ALL_PANELS, _BLOCK = 2**20, 384
"""Numbers in the panels that are all laid out at once if there are several parts: then a block of rows of the result
stays in the cache from part to part."""
_FEWEST, _FEWEST_FOR_WEIGHTS = 64, 512
"""Rows; in products with the weights, whose panels cost more than they save for fewer."""
_WORTH = 2**24
"""Products of numbers: for fewer BLAS is as fast or faster, as for the 256 x 400 x 120 of LeNet."""

_NO_ROW = np.empty(0, np.float32)


def many_rows_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray | None:
    """x @ w.T + b for x (..., I), w (O, I), b (O,) or None; None where it is left to BLAS.

    A row of the result has the same bits whatever the others are, and however many.
    """
    if x.ndim < 2 or not (_is_dense(x) and _is_dense(w)):
        return None
    rows = x.size // max(x.shape[-1], 1)
    if rows < _FEWEST_FOR_WEIGHTS or not _is_worth(rows, *w.shape):
        return None
    if b is None:
        b = np.zeros(len(w), np.float32)
    elif b.shape != w.shape[:1] or b.dtype != np.float32:
        return None
    y = np.empty((*x.shape[:-1], len(w)), np.float32)
    _multiply(_rows(x), w.T, np.ascontiguousarray(b), _NO_ROW, _rows(y))
    return y


def many_rows_backward(
    g: np.ndarray, x: np.ndarray | None, w: np.ndarray | None, needs: tuple[bool, bool, bool]
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None] | None:
    """The gradients of b, x and w, each if `needs` says so, from that of y, g (..., O); None where it is left to BLAS.

    The gradient of x does not need x, nor that of w w: they may be None.
    """
    used = [factor for factor, need in ((w, needs[1]), (x, needs[2])) if need]
    if g.ndim < 2 or not used or not all(factor is not None and _is_dense(factor) for factor in (g, *used)):
        return None
    rows, inputs = _rows(g), used[0].shape[-1]  # type: ignore[union-attr]
    if not _is_worth(len(rows), inputs, rows.shape[1]):
        return None
    db, dx, dw, zero = None, None, None, np.zeros(inputs, np.float32)
    if needs[1] and w is not None:
        dx = np.empty((*g.shape[:-1], inputs), np.float32)
        if len(rows) >= _FEWEST_FOR_WEIGHTS:
            _multiply(rows, w, zero, _NO_ROW, _rows(dx))
        else:
            np.matmul(rows, w, out=_rows(dx))
    if needs[2] and x is not None:
        dw = np.empty((rows.shape[1], inputs), np.float32)
        db = np.zeros(len(dw), np.float32) if needs[0] else None
        _multiply(rows.T, _rows(x), zero, _NO_ROW if db is None else db, dw)
    if needs[0] and db is None:
        db = np.ones(len(rows), np.float32) @ rows  # by BLAS: of (700, 10000) in 0.8 ms instead of 1.6
    return db, dx, dw


def _is_dense(x: np.ndarray) -> bool:
    return x.dtype == np.float32 and x.flags.c_contiguous and not settings.DISABLE_JIT


def _is_worth(rows: int, width: int, depth: int) -> bool:
    """Whether a product (rows, width), sums over `depth`, is made here: what is computed behind its width is little."""
    much = rows >= _FEWEST and min(width, depth) >= _RUN and rows * width * depth >= _WORTH
    return much and 8 * (-(-width // _RUN) * _RUN) <= 9 * width


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.size // max(x.shape[-1], 1), x.shape[-1])


def _multiply(a: np.ndarray, b: np.ndarray, start: np.ndarray, sums: np.ndarray, c: np.ndarray) -> None:
    """c = start + a @ b for contiguous arrays a and b or transposed ones; the sums of the columns of a.T, if wanted."""
    (rows, depth), width = a.shape, b.shape[1]
    (a_row, a_step), (b_step, b_column) = (tuple(step // 4 for step in x.strides) for x in (a, b))
    across = min(-(-width // _RUN) * _RUN, _WIDTH)
    most = max(256, min(_DEPTH, _PANELS // across)) if a_step == 1 else _LINES
    parts = -(-depth // most)
    whole = parts > 1 and across * depth <= _ALL_PANELS
    size = across * (depth if whole else -(-depth // parts))
    memory = workspace.take("many rows", (size + max(_ROWS * _ROW, _LINES * _LINE) + LANES,), start.dtype)
    skip = -memory.__array_interface__["data"][0] % 64 // 4
    panels, tile = memory[skip : skip + size], memory[skip + size :]
    flat = (x.reshape(-1) if x.flags.c_contiguous else x.T.reshape(-1) for x in (a, b))
    steps = a_row, a_step, b_step, b_column
    blocks = (_BLOCK, across, parts, across) if whole else (rows, across, parts, 0)
    _all(*flat, start, sums, c.reshape(-1), panels, tile, steps, (rows, width, depth), blocks)


@compiled
def _all(a, b, start, sums, c, panels, tile, steps, sizes, blocks):
    a_row, a_step, b_step, b_column = steps
    rows, width, depth = sizes
    block, across, parts, apart = blocks
    for col in range(0, width, across):
        for row in range(0, rows, block):
            high, wide = min(block, rows - row), min(across, width - col)
            for part in range(parts):
                k = depth * part // parts
                here, laid = depth * (part + 1) // parts - k, panels[k * apart :]
                if row == 0 and b_column == 1:
                    _lay_rows(b, k * b_step + col, b_step, here, wide, laid)
                elif row == 0:
                    _lay_columns(b, k + col * b_column, b_column, here, wide, laid)
                if col == 0 and sums.size:  # in the order of memory, which brings these rows to the cache
                    _add_lines(a, k * a_step + row, a_step, here, sums[row : row + high])
                at, to = row * a_row + k * a_step, row * width + col
                source, s_at, s_row = (start, col, 0) if k == 0 else (c, to, width)  # one call, compiled once
                _block(a, at, a_row, a_step, laid, here, source, s_at, s_row, c, to, width, high, wide, tile)


@compiled
def _add_lines(a, at, step, lines, sums):
    """Add lines, `step` apart, to `sums`."""
    for _ in range(lines):
        line = a[at : at + sums.size]
        for j in range(sums.size):
            sums[j] += line[j]
        at += step


@compiled
def _lay_rows(b, at, step, depth, width, panels):
    """Panels (depth, _RUN) of a matrix whose rows are dense."""
    for k in range(depth):
        to = k * _RUN
        for col in range(0, width, _RUN):
            for half in range(0, _RUN, LANES):
                copy(b, at + col + half, panels, to + half, 0, width - col - half)
            to += depth * _RUN
        at += step


@compiled
def _lay_columns(b, at, step, depth, width, panels):
    """As `_lay_rows` for one whose columns are dense and `step` apart; its depth is at least LANES."""
    for col in range(0, width, _RUN):
        for half in range(col, col + _RUN, LANES):
            for k in range(0, depth, LANES):
                row = min(k, depth - LANES)  # the last one overlaps the one before
                first = min(half, width - 1)
                to = col * depth + row * _RUN + half - col
                turn(b, at + first * step + row, step, width - first, panels, to, _RUN)


@compiled
def _lay_tile(a, at, a_row, a_step, depth, tile):
    """_ROWS rows of the left factor: as rows, or as columns if those are dense."""
    lines, step, pitch, length = (_ROWS, a_row, _ROW, depth) if a_step == 1 else (depth, a_step, _LINE, _ROWS)
    for i in range(lines):
        for k in range(0, length, LANES):
            copy(a, at + i * step + k, tile, i * pitch + k, 0, length - k)


@compiled
def _block(a, at, a_row, a_step, panels, depth, start, s_at, s_row, c, c_at, c_row, rows, width, tile):
    """c = start + a @ the panels, of which `width` columns count; rows of `start` are `s_row` apart, 0 for one row."""
    down, along = (_ROW, 1) if a_step == 1 else (1, _LINE)
    for done in range(0, rows, _ROWS):
        row = min(done, rows - _ROWS)  # the last tile overlaps the one before
        _lay_tile(a, at + row * a_row, a_row, a_step, depth, tile)
        s, y, following = s_at + row * s_row, c_at + row * c_row, min(row + _ROWS, rows - _ROWS)
        for col in range(0, width, _RUN):
            for r in range(min(_ROWS, rows)):  # a number that the compiler does not know: it would unroll the loop
                prefetch(c, y + col + r * c_row, True)
                prefetch(c, y + col + r * c_row + LANES, True)
            if a_step == 1:  # a part of the rows that come next
                for r in range(col // _RUN, _ROWS, (width + _RUN - 1) // _RUN):
                    for k in range(0, depth, LANES):
                        prefetch(a, at + (following + r) * a_row + k, False)
            t, p, sums = 0, col * depth, zeros(_ROWS, 2)
            for _ in range(depth):
                sums = add_outer(sums, tile, t, down, panels, p)
                t += along
                p += _RUN
            store_sum(sums, start, s + col, s_row, c, y + col, c_row, done - row, width - col)
