"""The attention of queries to keys, one matrix of a stack at a time: what a step needs stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddpnet.kernels.cpu.flash_attention import flash_backward, flash_forward, is_plain
from ddpnet.kernels.precision import through_float32

BLOCK = 128
"""Rows of a causal matrix that are computed together, with the columns up to their end only."""


def _blocks(rows: int, columns: int, causal: bool) -> Iterator[tuple[slice, slice]]:
    if not causal:
        yield slice(0, rows), slice(0, columns)
        return
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        yield slice(first, last), slice(0, min(last, columns))


def attention_forward(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    allowed: np.ndarray | None,
    bias: np.ndarray | None,
    keep: np.ndarray | None,
    scale: float,
    keep_scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """(p @ v, p) with p = softmax(q @ k.T * scale + bias), for stacks (..., L, E), (..., S, E) and (..., S, V).

    There is no attention where `allowed` (bool, of p's shape) is false and, with `causal`, to later columns; a row that
    may see nothing gives 0. `keep` (bool, of p's shape) is dropout's: what is kept is multiplied by `keep_scale`. In
    place of p there may be what `attention_backward` makes it of: the logarithms (..., L) of the sums.
    """
    if allowed is None and bias is None and keep is None and is_plain(q, k, v):
        return flash_forward(q, k, v, scale, causal)
    return _whole_forward(q, k, v, allowed, bias, keep, scale, keep_scale, causal)


@through_float32
def _whole_forward(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    allowed: np.ndarray | None,
    bias: np.ndarray | None,
    keep: np.ndarray | None,
    scale: float,
    keep_scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    stack, (rows, columns) = q.shape[:-2], (q.shape[-2], k.shape[-2])
    p = np.empty((*stack, rows, columns), q.dtype)
    y = np.empty((*stack, rows, v.shape[-1]), q.dtype)
    future = ~np.tri(rows, columns, dtype=np.bool_) if causal else None
    for i in np.ndindex(*stack):
        for r, c in _blocks(rows, columns, causal):
            scores = (q[i][r] * q.dtype.type(scale)) @ k[i][c].T
            if bias is not None:
                scores += bias[i][r, c]
            if future is not None:
                scores[future[r, c]] = -np.inf
            if allowed is not None:
                np.copyto(scores, -np.inf, where=~allowed[i][r, c])
            softmax_rows(scores)
            p[i][r, c] = scores
            p[i][r, c.stop :] = 0
            if keep is not None:
                scores *= keep[i][r, c]
                scores *= q.dtype.type(keep_scale)
            np.matmul(scores, v[i][c], out=y[i][r])
    return y, p


def softmax_rows(scores: np.ndarray) -> None:
    """In place over the last dimension; a row of -inf becomes 0."""
    if not scores.size:
        return
    top = scores.max(axis=-1, keepdims=True)
    top[top == -np.inf] = 0
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    scores *= 1 / total


def attention_backward(
    g: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    p: np.ndarray,
    keep: np.ndarray | None,
    scale: float,
    keep_scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The gradients of q, k, v, and of the scores before the softmax, or None where nothing was added to them."""
    if p.ndim < q.ndim:
        return *flash_backward(g, q, k, v, p, scale, causal), None
    return _whole_backward(g, q, k, v, p, keep, scale, keep_scale, causal)


@through_float32
def _whole_backward(
    g: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    p: np.ndarray,
    keep: np.ndarray | None,
    scale: float,
    keep_scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    dq, dk, dv = np.empty(q.shape, q.dtype), np.zeros(k.shape, q.dtype), np.zeros(v.shape, q.dtype)
    ds = np.zeros(p.shape, q.dtype)
    factor = q.dtype.type(scale)
    for i in np.ndindex(*q.shape[:-2]):
        for r, c in _blocks(p.shape[-2], p.shape[-1], causal):
            part = p[i][r, c]
            dropped = part if keep is None else part * keep[i][r, c] * q.dtype.type(keep_scale)
            dv[i][c] += dropped.T @ g[i][r]
            gradient = g[i][r] @ v[i][c].T
            if keep is not None:
                gradient *= keep[i][r, c]
                gradient *= q.dtype.type(keep_scale)
            gradient -= np.einsum("ls,ls->l", gradient, part)[:, None]
            gradient *= part
            ds[i][r, c] = gradient
            dq[i][r] = gradient @ k[i][c]
            dk[i][c] += gradient.T @ q[i][r]
    dq *= factor
    dk *= factor
    return dq, dk, dv, ds
