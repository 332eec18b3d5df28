"""The regularized incomplete gamma functions; arrays of one shape, float32 or float64."""

from __future__ import annotations

from typing import Any

from cupyx.scipy import special

from ddpnet.kernels.precision import through_float32

Array = Any


@through_float32
def incomplete_gamma(a: Array, x: Array, upper: bool) -> Array:
    """The integral of t ** (a - 1) * exp(-t) from 0 to x (upper: from x on) over gamma(a); a, x >= 0."""
    return (special.gammaincc if upper else special.gammainc)(a, x).astype(a.dtype)
