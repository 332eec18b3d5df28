"""Element by element."""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


@through_float32
def relu_backward(g: np.ndarray, y: np.ndarray) -> np.ndarray:
    """g where y > 0, else 0; any shape."""
    dx = np.empty(g.shape, g.dtype)
    _where_positive(np.ascontiguousarray(g).reshape(-1), np.ascontiguousarray(y).reshape(-1), dx.reshape(-1))
    return dx


@compiled
def _where_positive(g, y, dx):
    zero = g.dtype.type(0)
    for i in range(g.size):
        dx[i] = g[i] if y[i] > 0 else zero
