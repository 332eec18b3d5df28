"""The recursions of connectionist temporal classification (Graves et al., 2006, section 4.1), all samples at once."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any


def ctc_forward(x: Array, path: Array, ends: Array, lengths: Array) -> tuple[Array, Array]:
    """(losses (N,), alpha (T, N, L)) for log-probabilities x (T, N, C).

    `path` (N, L) holds the labels with blanks between and around them, in ends[n] elements; lengths[n] are the time
    steps. alpha is the logarithm of the probability of all ways to be at a place of the path at a time.
    """
    samples = cupy.arange(len(path))
    outside, skip = _places(path, ends)
    alpha = cupy.full((len(x), *path.shape), -cupy.inf, x.dtype)
    for t in range(len(x)):
        score = cupy.take_along_axis(x[t], path, 1)
        if t == 0:
            alpha[0, :, :2] = cupy.where(outside[:, :2], -cupy.inf, score[:, :2])
            continue
        before = alpha[t - 1]
        ways = cupy.logaddexp(cupy.logaddexp(before, _moved(before, 1)), _moved(before, 2) + skip)
        alpha[t] = cupy.where(outside, -cupy.inf, ways + score)
    empty = cupy.where(ends == 1, 0, cupy.inf).astype(x.dtype)
    if not len(x):
        return empty, alpha
    last = alpha[cupy.maximum(lengths, 1) - 1, samples]
    at_label = cupy.where(ends > 1, last[samples, cupy.maximum(ends - 2, 0)], -cupy.inf)
    losses = -cupy.logaddexp(last[samples, ends - 1], at_label)
    return cupy.where(lengths == 0, empty, losses).astype(x.dtype), alpha


def ctc_backward(g: Array, x: Array, losses: Array, alpha: Array, path: Array, ends: Array, lengths: Array) -> Array:
    """The gradient of what x is the log-softmax of, (T, N, C)."""
    samples, places = cupy.arange(len(path)), cupy.arange(path.shape[1])
    outside, skip = _places(path, ends)
    start = cupy.where((places >= ends[:, None] - 2) & ~outside, 0, -cupy.inf).astype(x.dtype)
    ahead = _moved(skip, -2)
    beta = cupy.full(path.shape, -cupy.inf, x.dtype)
    dx = cupy.exp(x)
    for t in reversed(range(len(x))):
        ways = cupy.logaddexp(cupy.logaddexp(beta, _moved(beta, -1)), _moved(beta, -2) + ahead)
        ways = cupy.where((t == lengths - 1)[:, None], start, ways)
        share = cupy.exp(alpha[t] + ways + losses[:, None])
        for place in range(path.shape[1]):  # one after the other, as a label may come twice
            dx[t, samples, path[:, place]] -= share[:, place]
        beta = ways + cupy.take_along_axis(x[t], path, 1)
    dx *= g[:, None]
    beyond = cupy.arange(len(x))[:, None] >= lengths
    return cupy.where(beyond[:, :, None], 0, dx).astype(x.dtype)


def _places(path: Array, ends: Array) -> tuple[Array, Array]:
    """(N, L): which places are beyond the path's end; 0 where the one before may be skipped, else -inf."""
    repeated = cupy.ones(path.shape, bool)
    repeated[:, 2:] = path[:, 2:] == path[:, :-2]
    return cupy.arange(path.shape[1]) >= ends[:, None], cupy.where(repeated, -cupy.inf, 0)


def _moved(x: Array, by: int) -> Array:
    """x (N, L) with its elements `by` places later, or earlier, and -inf where none came."""
    y = cupy.full(x.shape, -cupy.inf, x.dtype)
    if by > 0:
        y[:, by:] = x[:, :-by]
    else:
        y[:, :by] = x[:, -by:]
    return y
