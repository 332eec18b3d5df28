"""The regularized incomplete gamma functions; arrays of one shape, float32 or float64."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


@through_float32
def incomplete_gamma(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    """The integral of t ** (a - 1) * exp(-t) from 0 to x (upper: from x on) over gamma(a); a, x >= 0."""
    y = np.empty(a.shape, a.dtype)
    _each(np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(x).reshape(-1), upper, y.reshape(-1))
    return y


@compiled
def _each(a, x, upper, y):
    for i in range(a.size):
        y[i] = _one(np.float64(a[i]), np.float64(x[i]), upper)


@compiled
def _one(a, x, upper):
    if not (a >= 0 and x >= 0) or (a == 0 and x == 0) or (a == np.inf and x == np.inf):
        return np.nan
    if a == 0 or x == np.inf:
        return 0.0 if upper else 1.0
    if x == 0 or a == np.inf:
        return 1.0 if upper else 0.0
    factor = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        below = factor * _series(a, x)
        return 1 - below if upper else below
    above = factor * _fraction(a, x)
    return above if upper else 1 - above


@compiled
def _series(a, x):
    """1/a + x/(a(a+1)) + ..."""
    term = total = 1 / a
    while term > 1e-17 * total:
        a += 1
        term *= x / a
        total += term
    return total


@compiled
def _fraction(a, x):
    """The continued fraction, by Lentz's method."""
    b = x + 1 - a
    c = 1e300
    d = 1 / b
    result = d
    for n in range(1, 10000):
        step = n * (a - n)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        result *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return result
