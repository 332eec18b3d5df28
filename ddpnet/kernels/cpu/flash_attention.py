"""Attention without the matrix of its weights: blocks of rows of one head, which fit the cache (Dao et al., 2022).

A block is kept transposed, (columns, RUN rows): the lanes of vectors are rows, so that a maximum or sum over columns
needs none over lanes. Backward computes the weights again, from the logarithm of each row's sum of exponentials. Of
what a causal mask hides nothing is computed but for the rest of a tile.
"""

from __future__ import annotations

import numpy as np
from numba.core import config

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.score_blocks import CHUNK, RUN, hide, slopes, weigh
from ddpnet.kernels.cpu.vector_moves import turn
from ddpnet.kernels.cpu.vectors import LANES, WIDE, add_outer, add_to, store, zeros
from ddpnet.kernels.cpu.workspace import workspace

ROWS = 8 if WIDE else 4
"""Rows of a tile of sums; they divide RUN."""

_HIGHEST, _ZERO, _ONE = np.float32(np.inf), np.float32(0), np.float32(1)

_Places = tuple[int, int, int]
"""How far apart samples, heads and rows lie, in numbers."""


def is_plain(*arrays: np.ndarray) -> bool:
    """Whether stacks (..., L, E) are those that are computed here: of float32, at most four-dimensional, not empty."""
    compiles = not config.DISABLE_JIT  # type: ignore[attr-defined]  # read from the environment
    return compiles and all(x.dtype == np.float32 and x.ndim <= 4 and x.size for x in arrays)


def flash_forward(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, causal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(y (..., L, V), logarithms (..., L)) of q (..., L, E), k (..., S, E) and v (..., S, V).

    y is laid out as q, as in PyTorch: heads that were split by a view are joined without a copy.
    """
    y = _ordered(q, (*q.shape[:-1], v.shape[-1]))
    logarithms = np.empty(q.shape[:-1], q.dtype)
    sizes = _sizes(q, k, v)
    _, _, rows, columns, width, out = sizes
    arrays, places = zip(*map(_laid, (q, k, v, y)), strict=True)
    wide = _up(out)
    scratch = _scratch(width * _up(rows), _up(columns) * width, _up(columns) * wide, _up(columns) * RUN, CHUNK, CHUNK)
    _forward(*arrays, logarithms.reshape(-1), *scratch, *places, sizes, np.float32(scale), causal)
    return y, logarithms


def flash_backward(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, logarithms: np.ndarray, scale: float, causal: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of q, k and v from that of y; they are parts of one array if q, k and v are."""
    dq, dk, dv = _like(q, k, v)
    sizes = _sizes(q, k, v)
    _, _, rows, columns, width, out = sizes
    arrays, places = zip(*map(_laid, (g, q, k, v, dq, dk, dv)), strict=True)
    rows, columns, wide, outwide = (_up(n) for n in (rows, columns, width, out))
    packed = width * rows, out * rows, rows * wide, rows * outwide, columns * wide, columns * out
    scratch = _scratch(*packed, columns * wide, columns * outwide, columns * RUN, columns * RUN, CHUNK, CHUNK)
    _backward(*arrays, logarithms.reshape(-1), *scratch, *places, sizes, np.float32(scale), causal)
    return dq, dk, dv


def _up(extent: int) -> int:
    """The next multiple of RUN."""
    return -(-extent // RUN) * RUN


def _sizes(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[int, int, int, int, int, int]:
    """(samples, heads, rows, columns, width of q and k, width of v)."""
    samples, heads = (1, 1, *q.shape[:-2])[-2:]
    return samples, heads, q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1]


def _scratch(*sizes: int) -> list[np.ndarray]:
    """Arrays to work in; each begins at a multiple of RUN numbers."""
    total = sum(map(_up, sizes))
    memory = workspace.take("attention", (total,), np.dtype(np.float32))
    ends = np.cumsum([_up(size) for size in sizes]).tolist()
    return [memory[end - _up(size) : end] for end, size in zip(ends, sizes, strict=True)]


def _laid(x: np.ndarray) -> tuple[np.ndarray, _Places]:
    """The memory of x as one row of numbers from its first one on, and where its parts lie; a copy where need be."""
    size = x.itemsize
    if x.strides[-1] != size or min(x.strides) < 0 or any(step % size for step in x.strides):
        x = np.ascontiguousarray(x)
    last = sum((n - 1) * (step // size) for n, step in zip(x.shape, x.strides, strict=True))
    flat = np.lib.stride_tricks.as_strided(x, (last + 1,), (size,))
    samples, heads, rows = (0, 0, *[step // size for step in x.strides[:-1]])[-3:]
    return flat, (samples, heads, rows)


def _like(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """New arrays laid out as these; slices of one array where these are, as of a projection to all three."""
    places = [x.__array_interface__["data"][0] for x in (q, k, v)]
    step = places[1] - places[0]
    alike = q.shape == k.shape == v.shape and q.strides == k.strides == v.strides
    if alike and step > 0 and step == places[2] - places[1]:
        whole = _ordered(np.lib.stride_tricks.as_strided(q, (3, *q.shape), (step, *q.strides)))
        return whole[0], whole[1], whole[2]
    return _ordered(q), _ordered(k), _ordered(v)


def _ordered(x: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A new array with its dimensions in the order of those of x, but with the numbers of a row side by side."""
    y = np.empty_like(x, shape=shape, subok=False)
    return y if y.strides[-1] == y.itemsize else np.empty(y.shape, y.dtype)


@compiled
def _rows(x, at, step, rows, width, factor, packed, pitch):
    """Copy rows times a factor, each `pitch` numbers from the one before; 0 behind them, to a multiple of RUN rows."""
    for r in range(rows):
        source, target = x[at : at + width], packed[r * pitch : r * pitch + pitch]
        for e in range(width):
            target[e] = source[e] * factor
        target[width:] = 0
        at += step
    packed[rows * pitch : (rows + RUN - 1) // RUN * RUN * pitch] = 0


@compiled
def _unpack(packed, pitch, x, at, step, rows, width):
    """Rows of `width` numbers to x, `step` apart there."""
    for r in range(rows):
        source, target = packed[r * pitch : r * pitch + width], x[at : at + width]
        for e in range(width):
            target[e] = source[e]
        at += step


@compiled
def _columns(x, at, step, rows, width, packed, pitch):
    """Copy the transposed matrix (width, rows), its rows `pitch` numbers apart, with the last column behind."""
    if width < LANES:
        for r in range(pitch):
            for e in range(width):
                packed[np.uint64(e * pitch + r)] = x[np.uint64(at + min(r, rows - 1) * step + e)]
        return
    for r in range(0, pitch, LANES):
        for e in range(0, width, LANES):
            first = min(e, width - LANES)  # the last one overlaps the one before
            turn(x, at + r * step + first, step, rows - r, packed, first * pitch + r, pitch)


@compiled
def _write(a, a_at, a_row, a_step, b, b_at, b_step, count, y, at, step, rows, width):
    """A tile of y: the sums over `count` of a number for each row, a[a_at + row * a_row], times RUN from b[b_at]."""
    sums = zeros(ROWS, 2)
    for _ in range(count):
        sums = add_outer(sums, a, a_at, a_row, b, b_at)
        a_at += a_step
        b_at += b_step
    store(sums, y, at, step, rows, width)


@compiled
def _add(a, a_at, a_row, b, b_at, b_step, count, y, at, step):
    """As `_write`, added to a whole tile of y; a has the numbers of a row side by side."""
    sums = zeros(ROWS, 2)
    for _ in range(count):
        sums = add_outer(sums, a, a_at, a_row, b, b_at)
        a_at += 1
        b_at += b_step
    add_to(sums, y, at, step, RUN)


@compiled
def _block(a, width, pitch, b, b_at, b_step, columns, block):
    """block (columns, RUN) = the rows of a, `pitch` apart, by the columns of b (width, ...)."""
    for s in range(0, columns, ROWS):
        _write(a, s * pitch, pitch, 1, b, b_at, b_step, width, block, s * RUN, RUN, ROWS, RUN)


@compiled
def _combine(block, first, here, seen, causal, b, pitch, y, at, step, width):
    """`here` rows of y, `step` apart, = the transposed block (seen, RUN) @ b (seen, pitch), of which `width` count."""
    for r in range(0, here, ROWS):
        count = min(seen, first + r + ROWS) if causal else seen
        for c in range(0, width, RUN):
            _write(block, r, 1, RUN, b, c, pitch, count, y, at + r * step + c, step, here - r, width - c)


@compiled
def _add_combined(block, first, here, seen, causal, b, pitch, y):
    """y (seen, pitch) += block (seen, RUN) @ rows of b (..., pitch) from `first` on."""
    for s in range(0, seen, ROWS):
        start = max(0, s - first) if causal else 0
        for c in range(0, pitch, RUN):
            b_at = (first + start) * pitch + c
            _add(block, s * RUN + start, RUN, b, b_at, pitch, here - start, y, s * pitch + c, pitch)


@compiled
def _forward(q, k, v, y, logarithms, qt, kp, vp, p, top, total, qs, ks, vs, ys, sizes, scale, causal):
    samples, heads, rows, columns, width, out = sizes
    pitch, wide = (rows + RUN - 1) // RUN * RUN, (out + RUN - 1) // RUN * RUN
    for i in range(samples * heads):
        n, h = i // heads, i % heads
        _columns(q, n * qs[0] + h * qs[1], qs[2], rows, width, qt, pitch)
        _rows(k, n * ks[0] + h * ks[1], ks[2], columns, width, scale, kp, width)
        _rows(v, n * vs[0] + h * vs[1], vs[2], columns, out, _ONE, vp, wide)
        for first in range(0, rows, RUN):
            seen = min(columns, first + RUN) if causal else columns
            _block(kp, width, width, qt, first, pitch, seen, p)
            if causal:
                hide(p, first, seen)
            weigh(p, seen, top, total)
            here = min(RUN, rows - first)
            for r in range(here):
                logarithms[i * rows + first + r] = top[r]
            at = n * ys[0] + h * ys[1] + first * ys[2]
            _combine(p, first, here, seen, causal, vp, wide, y, at, ys[2], out)


@compiled
def _backward(
    g, q, k, v, dq, dk, dv, logarithms, qt, gt, qp, gp, kp, vp, dkp, dvp, p, d, logs, delta,
    gs, qs, ks, vs, dqs, dks, dvs, sizes, scale, causal,
):  # fmt: skip
    samples, heads, rows, columns, width, out = sizes
    pitch, wide, outwide = (rows + RUN - 1) // RUN * RUN, (width + RUN - 1) // RUN * RUN, (out + RUN - 1) // RUN * RUN
    for i in range(samples * heads):
        n, h = i // heads, i % heads
        _columns(q, n * qs[0] + h * qs[1], qs[2], rows, width, qt, pitch)
        _columns(g, n * gs[0] + h * gs[1], gs[2], rows, out, gt, pitch)
        _rows(q, n * qs[0] + h * qs[1], qs[2], rows, width, scale, qp, wide)
        _rows(g, n * gs[0] + h * gs[1], gs[2], rows, out, _ONE, gp, outwide)
        _rows(k, n * ks[0] + h * ks[1], ks[2], columns, width, scale, kp, wide)
        _rows(v, n * vs[0] + h * vs[1], vs[2], columns, out, _ONE, vp, out)
        dkp[:] = _ZERO
        dvp[:] = _ZERO
        for first in range(0, rows, RUN):
            seen, here = min(columns, first + RUN) if causal else columns, min(RUN, rows - first)
            _block(kp, width, wide, qt, first, pitch, seen, p)
            _block(vp, out, out, gt, first, pitch, seen, d)
            if causal:
                hide(p, first, seen)
            logs[:] = _HIGHEST
            for r in range(here):
                logs[r] = logarithms[i * rows + first + r]
            slopes(p, d, seen, logs, delta)
            at = n * dqs[0] + h * dqs[1] + first * dqs[2]
            _combine(d, first, here, seen, causal, kp, wide, dq, at, dqs[2], width)
            _add_combined(d, first, here, seen, causal, qp, wide, dkp)
            _add_combined(p, first, here, seen, causal, gp, outwide, dvp)
        _unpack(dkp, wide, dk, n * dks[0] + h * dks[1], dks[2], columns, width)
        _unpack(dvp, outwide, dv, n * dvs[0] + h * dvs[1], dvs[2], columns, out)
