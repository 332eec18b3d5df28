"""The recursions of connectionist temporal classification (Graves et al., 2006, section 4.1), sample by sample."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled


def ctc_forward(
    x: np.ndarray, path: np.ndarray, ends: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(losses (N,), alpha (T, N, L)) for log-probabilities x (T, N, C).

    `path` (N, L) holds the labels with blanks between and around them, in ends[n] elements; lengths[n] are the time
    steps. alpha is the logarithm of the probability of all ways to be at a place of the path at a time.
    """
    losses, alpha = np.empty(len(path), x.dtype), np.full((len(x), *path.shape), -np.inf, x.dtype)
    _forward(x, path, ends, lengths, losses, alpha)
    return losses, alpha


def ctc_backward(
    g: np.ndarray,
    x: np.ndarray,
    losses: np.ndarray,
    alpha: np.ndarray,
    path: np.ndarray,
    ends: np.ndarray,
    lengths: np.ndarray,
) -> np.ndarray:
    """The gradient of what x is the log-softmax of, (T, N, C)."""
    dx = np.zeros(x.shape, x.dtype)
    _backward(np.ascontiguousarray(g), x, losses, alpha, path, ends, lengths, dx)
    return dx


@compiled
def _log_of_sum(a, b, c):
    top = max(a, max(b, c))
    if top == -np.inf:
        return top
    return math.log(math.exp(a - top) + math.exp(b - top) + math.exp(c - top)) + top


@compiled
def _forward(x, path, ends, lengths, losses, alpha):
    for n in range(path.shape[0]):
        end, length = ends[n], lengths[n]
        if length == 0:
            losses[n] = 0 if end == 1 else np.inf
            continue
        for place in range(min(2, end)):
            alpha[0, n, place] = x[0, n, path[n, place]]
        for t in range(1, length):
            for place in range(end):
                stay = alpha[t - 1, n, place]
                step = alpha[t - 1, n, place - 1] if place > 0 else -np.inf
                skips = place > 1 and path[n, place] != path[n, place - 2]
                skip = alpha[t - 1, n, place - 2] if skips else -np.inf
                alpha[t, n, place] = _log_of_sum(stay, step, skip) + x[t, n, path[n, place]]
        at_label = alpha[length - 1, n, end - 2] if end > 1 else -np.inf
        losses[n] = -_log_of_sum(alpha[length - 1, n, end - 1], at_label, -np.inf)


@compiled
def _backward(g, x, losses, alpha, path, ends, lengths, dx):
    beta, later = np.empty(path.shape[1]), np.empty(path.shape[1])
    for n in range(path.shape[0]):
        end, length = ends[n], lengths[n]
        for t in range(length - 1, -1, -1):
            for c in range(x.shape[2]):
                dx[t, n, c] = math.exp(x[t, n, c])
            for place in range(end):
                score = x[t, n, path[n, place]]
                if t == length - 1:
                    total = 0.0 if place >= end - 2 else -np.inf
                else:
                    step = later[place + 1] if place + 1 < end else -np.inf
                    skips = place + 2 < end and path[n, place] != path[n, place + 2]
                    skip = later[place + 2] if skips else -np.inf
                    total = _log_of_sum(later[place], step, skip)
                beta[place] = total + score
                dx[t, n, path[n, place]] -= math.exp(alpha[t, n, place] + total + losses[n])
            for c in range(x.shape[2]):
                dx[t, n, c] *= g[n]
            beta, later = later, beta
