"""Element by element."""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


def relu_forward(x: np.ndarray) -> np.ndarray:
    """max(x, 0), which keeps NaN; any shape and dtype."""
    if not x.flags.c_contiguous or x.dtype.char not in "fd":
        return np.asarray(np.maximum(x, x.dtype.type(0)))
    y = np.empty(x.shape, x.dtype)  # 1.2 MB take 32 µs, 117 with NumPy, whose loop for a number is not vectorized
    _positive_part(x.ravel(), y.ravel())
    return y


@through_float32
def relu_backward(g: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0 where y <= 0, else g, as where y is not a number; any shape."""
    dx = np.empty(g.shape, g.dtype)
    _unless_negative(g.ravel(), y.ravel(), dx.ravel())
    return dx


def select(mask: np.ndarray, a: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """a where the mask holds, else b (None: 0); one dtype. Large arrays of one shape go without NumPy's branches."""
    if a.size < 2048 or mask.shape != a.shape or not (b is None or b.shape in (a.shape, ())):
        return np.where(mask, a, a.dtype.type(0) if b is None else b)
    bits = f"u{a.itemsize}"
    y = np.empty(a.shape, a.dtype)
    first, chosen = np.ascontiguousarray(a).view(bits).reshape(-1), np.ascontiguousarray(mask).reshape(-1)
    if b is None or b.ndim == 0:
        other = (np.zeros((), a.dtype) if b is None else b).view(bits)[()]
        _select_number(chosen, first, other, y.view(bits).reshape(-1))
    else:
        _select(chosen, first, np.ascontiguousarray(b).view(bits).reshape(-1), y.view(bits).reshape(-1))
    return y


@compiled
def _select_number(mask, a, b, y):
    for i in range(a.size):
        y[i] = a[i] if mask[i] else b


@compiled
def _select(mask, a, b, y):
    for i in range(a.size):
        y[i] = a[i] if mask[i] else b[i]


@compiled
def _positive_part(x, y):
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] <= 0 else x[i]


@compiled
def _unless_negative(g, y, dx):
    zero = g.dtype.type(0)
    for i in range(g.size):
        dx[i] = zero if y[i] <= 0 else g[i]
