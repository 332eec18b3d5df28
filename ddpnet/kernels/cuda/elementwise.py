"""Element by element."""

from __future__ import annotations

from typing import Any

import cupy

from ddpnet.kernels.cuda.source import launch
from ddpnet.kernels.precision import through_float32

Array = Any


def relu_forward(x: Array) -> Array:
    """max(x, 0), which keeps NaN; any shape and dtype."""
    return cupy.maximum(x, x.dtype.type(0))


@through_float32
def relu_backward(g: Array, y: Array) -> Array:
    """g where y > 0, else 0; any shape."""
    g, y = cupy.ascontiguousarray(g), cupy.ascontiguousarray(y)
    dx = cupy.empty_like(g)
    launch("elementwise", "relu_backward", g.dtype, g.size, g, y, dx, g.size)
    return dx


def select(mask: Array, a: Array, b: Array | None) -> Array:
    """a where the mask holds, else b (None: 0); one dtype."""
    return cupy.where(mask, a, a.dtype.type(0) if b is None else b)
