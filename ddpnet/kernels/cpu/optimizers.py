"""Steps of optimizers: one parameter, in place, in one pass over memory.

The arrays that change must be C-contiguous (ValueError); the gradient is made so.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ddpnet.kernels import adam
from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import in_place_through_float32


def _flat(array: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """One dimension over the same memory, never a copy; an empty array for what is not used."""
    if array is None:
        return np.empty(0, like.dtype)
    return array.ravel() if array.flags.c_contiguous else array.reshape(-1, copy=False)  # half the time of reshape


@functools.lru_cache(maxsize=64)
def _cast(dtype: np.dtype[Any], *values: float) -> tuple[np.floating[Any], ...]:
    """Numbers in the dtype of a kernel, which all parameters of a group share: 0.3 us instead of 0.15 for each one."""
    return tuple(map(dtype.type, values))


@functools.lru_cache(maxsize=64)
def _adam_factors(dtype: np.dtype[Any], *options: Any) -> np.ndarray:
    """As `_sgd_numbers`, for a step of Adam."""
    return np.array(adam.factors(*options), dtype)


@in_place_through_float32
def sgd_step(
    p: np.ndarray,
    g: np.ndarray,
    buf: np.ndarray | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> None:
    """SGD; `buf` (None without momentum) takes the gradient undampened at the first step."""
    keep, take = (0.0, 1.0) if first else (momentum, 1 - dampening)
    if first and buf is not None:
        buf[...] = 0  # whatever it holds: 0 times a NaN is NaN
    numbers = _sgd_numbers(p.dtype, lr, weight_decay, maximize, momentum, keep, take)
    if buf is None:
        _sgd_plain(_flat(p, p), g.ravel(), numbers)
    else:
        _sgd_momentum(_flat(p, p), g.ravel(), _flat(buf, p), numbers, nesterov)


def sgd_steps(
    ps: list[np.ndarray],
    gs: list[np.ndarray],
    bufs: list[np.ndarray] | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """`sgd_step`, not the first one, of several parameters, whose p may lie in any order."""
    dtype, numbers = None, None
    moving: list[Any] = [None] * len(ps) if bufs is None else bufs
    for p, g, buf in zip(ps, gs, moving, strict=True):
        if p.itemsize == 2 or not p.flags.c_contiguous:
            flat = np.ascontiguousarray(p)
            sgd_step(flat, g, buf, lr, momentum, dampening, weight_decay, nesterov, maximize, False)
            if flat is not p:
                p[...] = flat
            continue
        if p.dtype is not dtype:
            dtype = p.dtype
            numbers = _sgd_numbers(dtype, lr, weight_decay, maximize, momentum, momentum, 1 - dampening)
        if buf is None:
            _sgd_plain(p.ravel(), g.ravel(), numbers)
        else:
            _sgd_momentum(p.ravel(), g.ravel(), _flat(buf, p), numbers, nesterov)


@functools.lru_cache(maxsize=64)
def _sgd_numbers(
    dtype: np.dtype[Any], lr: float, weight_decay: float, maximize: bool, momentum: float, keep: float, take: float
) -> np.ndarray:
    """What a kernel has to know, as one array: a call takes 0.3 us, that with six numbers 0.6."""
    return np.array([lr, weight_decay, -1.0 if maximize else 1.0, momentum, keep, take], dtype)


@compiled
def _sgd_plain(p, g, numbers):
    lr, weight_decay, sign = numbers[0], numbers[1], numbers[2]
    for i in range(p.size):
        p[i] -= lr * (sign * g[i] + weight_decay * p[i] if weight_decay != 0 else sign * g[i])  # 0 times inf is NaN


@compiled
def _sgd_momentum(p, g, buf, numbers, nesterov):
    lr, weight_decay, sign = numbers[0], numbers[1], numbers[2]
    momentum, keep, take = numbers[3], numbers[4], numbers[5]
    for i in range(p.size):
        d = sign * g[i] + weight_decay * p[i] if weight_decay != 0 else sign * g[i]
        buf[i] = keep * buf[i] + take * d
        p[i] -= lr * (d + momentum * buf[i] if nesterov else buf[i])


@in_place_through_float32
def adam_step(
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    vmax: np.ndarray | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    step: int,
) -> None:
    """Adam, or AdamW with `decoupled` weight decay; `vmax` (amsgrad) or None; `step` counts from 1."""
    options = lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step
    factors = _adam_factors(p.dtype, *options)
    flat = _flat(p, p), g.ravel(), _flat(m, p), _flat(v, p)
    if vmax is None:
        _adam(*flat, factors)
    else:
        _amsgrad(*flat, _flat(vmax, p), factors)


@compiled
def _adam(p, g, m, v, factors):
    rate, root, b1, a1, b2 = factors[0], factors[1], factors[2], factors[3], factors[4]
    a2, eps, shrink, join, sign = factors[5], factors[6], factors[7], factors[8], factors[9]
    for i in range(p.size):
        value = p[i] * shrink
        d = sign * g[i] + join * value
        m[i] = b1 * m[i] + a1 * d
        v[i] = b2 * v[i] + a2 * d * d
        p[i] = value - rate * m[i] / (np.sqrt(v[i]) * root + eps)


@compiled
def _amsgrad(p, g, m, v, vmax, factors):
    rate, root, b1, a1, b2 = factors[0], factors[1], factors[2], factors[3], factors[4]
    a2, eps, shrink, join, sign = factors[5], factors[6], factors[7], factors[8], factors[9]
    for i in range(p.size):
        value = p[i] * shrink
        d = sign * g[i] + join * value
        m[i] = b1 * m[i] + a1 * d
        v[i] = b2 * v[i] + a2 * d * d
        vmax[i] = np.maximum(vmax[i], v[i])  # which keeps a NaN
        p[i] = value - rate * m[i] / (np.sqrt(vmax[i]) * root + eps)


@in_place_through_float32
def rmsprop_step(
    p: np.ndarray,
    g: np.ndarray,
    v: np.ndarray,
    buf: np.ndarray | None,
    avg: np.ndarray | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
) -> None:
    """RMSprop; `buf` (None without momentum), `avg` (None unless centred)."""
    factors = _cast(p.dtype, lr, alpha, 1 - alpha, eps, weight_decay, momentum, -1.0 if maximize else 1.0)
    flat = _flat(p, p), g.reshape(-1), _flat(v, p), _flat(buf, p), _flat(avg, p)
    _rmsprop(*flat, *factors, buf is not None, centered)


@compiled
def _rmsprop(p, g, v, buf, avg, lr, keep, take, eps, decay, momentum, sign, has_buf, centered):
    for i in range(p.size):
        d = sign * g[i] + decay * p[i]
        v[i] = keep * v[i] + take * d * d
        spread = v[i]
        if centered:
            avg[i] = keep * avg[i] + take * d
            spread -= avg[i] * avg[i]
        change = d / (np.sqrt(spread) + eps)
        if has_buf:
            buf[i] = momentum * buf[i] + change
            change = buf[i]
        p[i] -= lr * change
