"""The attention of queries to keys, over whole stacks at once."""

from __future__ import annotations

from typing import Any

import cupy

from ddpnet.kernels.precision import through_float32

Array = Any


@through_float32
def attention_forward(
    q: Array,
    k: Array,
    v: Array,
    allowed: Array | None,
    bias: Array | None,
    keep: Array | None,
    scale: float,
    keep_scale: float,
    causal: bool,
) -> tuple[Array, Array]:
    """(p @ v, p) with p = softmax(q @ k.T * scale + bias), for stacks (..., L, E), (..., S, E) and (..., S, V).

    There is no attention where `allowed` (bool, of p's shape) is false and, with `causal`, to later columns; a row that
    may see nothing gives 0. `keep` (bool, of p's shape) is dropout's: what is kept is multiplied by `keep_scale`.
    """
    p = cupy.matmul(q, k.swapaxes(-1, -2))
    p *= q.dtype.type(scale)
    if bias is not None:
        p += bias
    if causal:
        p = cupy.where(cupy.tri(*p.shape[-2:], dtype=cupy.bool_), p, p.dtype.type(-cupy.inf))
    if allowed is not None:
        p = cupy.where(allowed, p, p.dtype.type(-cupy.inf))
    softmax_rows(p)
    return cupy.matmul(_dropped(p, keep, keep_scale), v), p


def _dropped(x: Array, keep: Array | None, keep_scale: float) -> Array:
    return x if keep is None else x * keep * x.dtype.type(keep_scale)


def softmax_rows(scores: Array) -> None:
    """In place over the last dimension; a row of -inf becomes 0."""
    if not scores.size:
        return
    top = scores.max(axis=-1, keepdims=True)
    top[top == -cupy.inf] = 0
    scores -= top
    cupy.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    scores /= total


@through_float32
def attention_backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    p: Array,
    keep: Array | None,
    scale: float,
    keep_scale: float,
    causal: bool,
) -> tuple[Array, Array, Array, Array]:
    """The gradients of q, k, v, and of the scores before the softmax."""
    dv = cupy.matmul(_dropped(p, keep, keep_scale).swapaxes(-1, -2), g)
    ds = _dropped(cupy.matmul(g, v.swapaxes(-1, -2)), keep, keep_scale)
    ds -= (ds * p).sum(axis=-1, keepdims=True)
    ds *= p
    factor = q.dtype.type(scale)
    return cupy.matmul(ds, k) * factor, cupy.matmul(ds.swapaxes(-1, -2), q) * factor, dv, ds
