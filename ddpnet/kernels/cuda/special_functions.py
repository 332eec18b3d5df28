"""Error functions and gamma functions, element by element; any shape, float32 or float64."""

from __future__ import annotations

from typing import Any

from cupyx.scipy import special

from ddpnet.kernels.precision import through_float32

Array = Any


@through_float32
def erf(x: Array) -> Array:
    """The error function."""
    return special.erf(x)


@through_float32
def erfc(x: Array) -> Array:
    """1 - erf(x), exact where that is small."""
    return special.erfc(x)


@through_float32
def erfinv(x: Array) -> Array:
    """The inverse of the error function: infinite at -1 and 1, not a number beyond."""
    return special.erfinv(x)


@through_float32
def lgamma(x: Array) -> Array:
    """The logarithm of |gamma(x)|."""
    return special.gammaln(x)


@through_float32
def digamma(x: Array) -> Array:
    """The derivative of `lgamma`."""
    return special.digamma(x).astype(x.dtype)


@through_float32
def polygamma(x: Array, n: int) -> Array:
    """The derivative of order n >= 1 of `digamma`."""
    return special.polygamma(n, x).astype(x.dtype)


@through_float32
def zeta(x: Array, q: Array) -> Array:
    """Hurwitz's zeta function: the sum of (k + q) ** -x for k = 0, 1, ...; one shape."""
    return special.zeta(x, q).astype(x.dtype)


@through_float32
def erfcx(x: Array) -> Array:
    """exp(x ** 2) * erfc(x)."""
    return special.erfcx(x)


@through_float32
def log_ndtr(x: Array) -> Array:
    """The logarithm of the standard normal distribution function."""
    return special.log_ndtr(x).astype(x.dtype)


@through_float32
def ndtri(x: Array) -> Array:
    """The inverse of the standard normal distribution function: infinite at 0 and 1, not a number beyond."""
    return special.ndtri(x).astype(x.dtype)


@through_float32
def bessel_i(x: Array, order: int, scaled: bool) -> Array:
    """The modified Bessel function of the first kind, of order 0 or 1; scaled: times exp(-|x|)."""
    name = f"i{order}e" if scaled else f"i{order}"
    return getattr(special, name)(x).astype(x.dtype)
