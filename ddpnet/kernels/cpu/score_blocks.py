"""Softmax over the columns of a block (columns, RUN) of scores in attention, and its gradient."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.exponential import exp
from ddpnet.kernels.cpu.vectors import LANES

RUN = 2 * LANES
"""Rows of the matrix of scores in a block, side by side in its columns."""
CHUNK = 4 * RUN
"""Numbers in a loop: with RUN, the start of each loop would take as long as its work."""

_LOWEST, _HIGHEST, _ZERO, _ONE = np.float32(-np.inf), np.float32(np.inf), np.float32(0), np.float32(1)


@compiled
def hide(block, first, columns):
    """-inf for what lies in the future of the rows from `first` on."""
    for s in range(first, columns):
        block[s * RUN : s * RUN + min(s - first, RUN)] = _LOWEST


@compiled
def _fill(block, seen):
    """-inf for the columns behind `seen`, up to the end of a chunk, where the result lies."""
    end = (seen * RUN + CHUNK - 1) // CHUNK * CHUNK
    for r in range(seen * RUN, end):
        block[r] = _LOWEST
    return end


@compiled
def _repeat(x):
    """The first RUN numbers, four times."""
    for r in range(RUN, CHUNK):
        x[r] = x[r - RUN]


@compiled
def weigh(block, columns, top, total):
    """The softmax over the columns in place; `top` becomes the logarithm of each row's sum of exponentials."""
    end = _fill(block, columns)
    top[:] = _LOWEST
    total[:] = _ZERO
    for at in range(0, end, CHUNK):
        part = block[at : at + CHUNK]
        for r in range(CHUNK):
            top[r] = max(top[r], part[r])
    for r in range(RUN):
        largest = max(max(top[r], top[RUN + r]), max(top[2 * RUN + r], top[3 * RUN + r]))
        top[r] = _ZERO if largest == _LOWEST else largest
    _repeat(top)
    for at in range(0, end, CHUNK):
        part = block[at : at + CHUNK]
        for r in range(CHUNK):
            part[r] = exp(part[r] - top[r])
            total[r] += part[r]
    for r in range(RUN):  # a row that sees nothing gives 0, and a logarithm that does so again
        sum_ = (total[r] + total[RUN + r]) + (total[2 * RUN + r] + total[3 * RUN + r])
        top[r] = _HIGHEST if sum_ == _ZERO else top[r] + np.float32(math.log(sum_))
        total[r] = _ONE if sum_ == _ZERO else _ONE / sum_
    _repeat(total)
    for at in range(0, end, CHUNK):
        part = block[at : at + CHUNK]
        for r in range(CHUNK):
            part[r] *= total[r]


@compiled
def slopes(p, d, seen, logarithms, delta):
    """Scores p (seen, RUN) become weights, and the gradients d of the weights those of the scores."""
    end = _fill(p, seen)
    _repeat(logarithms)
    delta[:] = _ZERO
    for at in range(0, end, CHUNK):
        part, slope = p[at : at + CHUNK], d[at : at + CHUNK]
        for r in range(CHUNK):
            part[r] = exp(part[r] - logarithms[r])
            delta[r] += part[r] * slope[r]
    for r in range(RUN):
        delta[r] = (delta[r] + delta[RUN + r]) + (delta[2 * RUN + r] + delta[3 * RUN + r])
    _repeat(delta)
    for at in range(0, end, CHUNK):
        part, slope = p[at : at + CHUNK], d[at : at + CHUNK]
        for r in range(CHUNK):
            slope[r] = part[r] * (slope[r] - delta[r])
