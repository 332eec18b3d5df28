"""Steps of optimizers: one parameter, in place, in one pass over memory.

The arrays that change must be C-contiguous (ValueError); the gradient is made so.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from ddpnet.kernels import adam
from ddpnet.kernels.cuda.source import launch
from ddpnet.kernels.precision import in_place_through_float32

Array = Any


def _pointer(array: Array | None) -> Any:
    """The array, or a null pointer."""
    return np.uintp(0) if array is None else array


@in_place_through_float32
def sgd_step(
    p: Array,
    g: Array,
    buf: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> None:
    """SGD; `buf` (None without momentum) takes the gradient undampened at the first step."""
    if first and buf is not None:
        buf[...] = 0  # whatever it holds: 0 times a NaN is NaN
    g = cupy.ascontiguousarray(g)
    keep, take = (0.0, 1.0) if first else (float(momentum), float(1 - dampening))
    factors = float(lr), float(momentum), keep, take, float(weight_decay), int(nesterov), -1.0 if maximize else 1.0
    launch("optimizers", "sgd", p.dtype, p.size, p, g, _pointer(buf), p.size, *factors)


def sgd_steps(
    ps: list[Array],
    gs: list[Array],
    bufs: list[Array] | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """`sgd_step`, not the first one, of several parameters."""
    for place, p in enumerate(ps):
        buf = None if bufs is None else bufs[place]
        sgd_step(p, gs[place], buf, lr, momentum, dampening, weight_decay, nesterov, maximize, False)


@in_place_through_float32
def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    vmax: Array | None,
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
    factors = adam.factors(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step)
    g = cupy.ascontiguousarray(g)
    launch("optimizers", "adam", p.dtype, p.size, p, g, m, v, _pointer(vmax), p.size, *map(float, factors))


@in_place_through_float32
def rmsprop_step(
    p: Array,
    g: Array,
    v: Array,
    buf: Array | None,
    avg: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
) -> None:
    """RMSprop; `buf` (None without momentum), `avg` (None unless centred)."""
    factors = (lr, alpha, 1 - alpha, eps, weight_decay, momentum, -1.0 if maximize else 1.0)
    arrays = p, cupy.ascontiguousarray(g), v, _pointer(buf), _pointer(avg)
    launch("optimizers", "rmsprop", p.dtype, p.size, *arrays, p.size, *map(float, factors))
