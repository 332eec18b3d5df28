"""Error functions and gamma functions, element by element; any shape, float32 or float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


@through_float32
def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return _each(_erf, x)


@through_float32
def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x), exact where that is small."""
    return _each(_erfc, x)


@through_float32
def erfinv(x: np.ndarray) -> np.ndarray:
    """The inverse of the error function: infinite at -1 and 1, not a number beyond."""
    return _each(_erfinv, x)


@through_float32
def lgamma(x: np.ndarray) -> np.ndarray:
    """The logarithm of |gamma(x)|."""
    return _each(_lgamma, x)


@through_float32
def digamma(x: np.ndarray) -> np.ndarray:
    """The derivative of `lgamma`."""
    return _each(_digamma, x)


@through_float32
def polygamma(x: np.ndarray, n: int) -> np.ndarray:
    """The derivative of order n >= 1 of `digamma`."""
    y = np.empty(x.shape, x.dtype)
    _polygamma(np.ascontiguousarray(x).reshape(-1), n, y.reshape(-1))
    return y


@through_float32
def zeta(x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hurwitz's zeta function: the sum of (k + q) ** -x for k = 0, 1, ...; one shape."""
    y = np.empty(x.shape, x.dtype)
    _zetas(np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(q).reshape(-1), y.reshape(-1))
    return y


@through_float32
def erfcx(x: np.ndarray) -> np.ndarray:
    """exp(x ** 2) * erfc(x)."""
    return _each(_erfcx, x)


@through_float32
def log_ndtr(x: np.ndarray) -> np.ndarray:
    """The logarithm of the standard normal distribution function."""
    return _each(_log_ndtr, x)


@through_float32
def ndtri(x: np.ndarray) -> np.ndarray:
    """The inverse of the standard normal distribution function: infinite at 0 and 1, not a number beyond."""
    return _each(_ndtri, x)


@through_float32
def bessel_i(x: np.ndarray, order: int, scaled: bool) -> np.ndarray:
    """The modified Bessel function of the first kind, of order 0 or 1; scaled: times exp(-|x|)."""
    y = np.empty(x.shape, x.dtype)
    _bessel_i(np.ascontiguousarray(x).reshape(-1), order, scaled, y.reshape(-1))
    return y


def _each(loop: Any, x: np.ndarray) -> np.ndarray:
    y = np.empty(x.shape, x.dtype)
    loop(np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y


@compiled
def _erf(x, y):
    for i in range(x.size):
        y[i] = math.erf(x[i])


@compiled
def _erfc(x, y):
    for i in range(x.size):
        y[i] = math.erfc(x[i])


@compiled
def _lgamma(x, y):
    for i in range(x.size):
        if x[i] == math.floor(x[i]) and x[i] <= 0:
            y[i] = np.inf
        else:
            y[i] = math.lgamma(x[i])


@compiled
def _erfinv(x, y):
    """Rational functions (as in MATLAB's erfinv of old), then two steps of Newton's method."""
    for i in range(x.size):
        value = float(x[i])
        size = abs(value)
        if not size < 1:
            y[i] = value * np.inf if size == 1 else np.nan
            continue
        if size <= 0.7:
            z = value * value
            top = ((-0.140543331 * z + 0.914624893) * z - 1.645349621) * z + 0.886226899
            bottom = (((0.012229801 * z - 0.329097515) * z + 1.442710462) * z - 2.118377725) * z + 1.0
            guess = value * top / bottom
        else:
            z = math.sqrt(-math.log((1.0 - size) / 2.0))
            top = ((1.641345311 * z + 3.429567803) * z - 1.624906493) * z - 1.970840454
            bottom = (1.637067800 * z + 3.543889200) * z + 1.0
            guess = math.copysign(top, value) / bottom
        for _ in range(2):
            guess -= (math.erf(guess) - value) / (2.0 / math.sqrt(math.pi) * math.exp(-guess * guess))
        y[i] = guess


@compiled
def _digamma(x, y):
    """Reflection for negative numbers, recurrence up to 10, then the asymptotic series (Cephes)."""
    for i in range(x.size):
        value = np.float64(x[i])
        result = 0.0
        if value == 0:
            y[i] = math.copysign(np.inf, -value)
            continue
        if value < 0:
            if value == math.floor(value):
                y[i] = np.nan
                continue
            result = -math.pi / math.tan(math.pi * (value - math.trunc(value)))
            value = 1.0 - value
        while value < 10:
            result -= 1.0 / value
            value += 1.0
        z = 1.0 / (value * value)
        series = 8.33333333333333333333e-2
        for coefficient in (
            -2.10927960927960927961e-2,
            7.57575757575757575758e-3,
            -4.16666666666666666667e-3,
            3.96825396825396825397e-3,
            -8.33333333333333333333e-3,
            8.33333333333333333333e-2,
        ):
            series = series * z + coefficient
        y[i] = math.log(value) - 0.5 / value - z * series + result


_DENOMINATORS = np.array(
    [
        12.0,
        -720.0,
        30240.0,
        -1209600.0,
        47900160.0,
        -1.8924375803183791606e9,
        7.47242496e10,
        -2.950130727918164224e12,
        1.1646782814350067249e14,
        -4.5979787224074726105e15,
        1.8152105401943546773e17,
        -7.1661652561756670113e18,
    ]
)
"""(2k)! / B(2k) of the Euler-Maclaurin sum."""


@compiled
def _zeta(x, q):
    """The sum by Euler and Maclaurin (Cephes)."""
    if x == 1:
        return np.inf
    if x < 1:
        return np.nan
    if q <= 0:
        if q == math.floor(q):
            return np.inf
        if x != math.floor(x):
            return np.nan
    total, a, b, i = q**-x, q, 0.0, 0
    while i < 9 or a <= 9:
        i += 1
        a += 1.0
        b = a**-x
        total += b
        if abs(b) < 1e-17 * abs(total):
            return total
    w = a
    total += b * w / (x - 1.0) - 0.5 * b
    a = 1.0
    k = 0.0
    for denominator in _DENOMINATORS:
        a *= x + k
        b /= w
        term = a * b / denominator
        total += term
        if abs(term) < 1e-17 * abs(total):
            return total
        k += 1.0
        a *= x + k
        b /= w
        k += 1.0
    return total


@compiled
def _zetas(x, q, y):
    for i in range(x.size):
        y[i] = _zeta(np.float64(x[i]), np.float64(q[i]))


@compiled
def _polygamma(x, n, y):
    factor = (1.0 if n % 2 else -1.0) * math.gamma(n + 1.0)
    for i in range(x.size):
        y[i] = factor * _zeta(n + 1.0, np.float64(x[i]))


@compiled
def _erfcx_of(x):
    """The product below 10; above, the asymptotic series."""
    if x < 10:
        return math.exp(x * x) * math.erfc(x) if x > -26.7 else np.inf
    total, term = 1.0, 1.0
    for k in range(12):
        term *= -(2 * k + 1) / (2 * x * x)
        total += term
    return total / (x * math.sqrt(math.pi))


@compiled
def _log_ndtr_of(x):
    half = x * math.sqrt(0.5)
    return math.log(_erfcx_of(-half) / 2) - half * half if x < -1 else math.log1p(-math.erfc(half) / 2)


@compiled
def _erfcx(x, y):
    for i in range(x.size):
        y[i] = _erfcx_of(np.float64(x[i]))


@compiled
def _log_ndtr(x, y):
    for i in range(x.size):
        y[i] = _log_ndtr_of(np.float64(x[i]))


@compiled
def _ndtri(x, y):
    """Newton's method on the logarithm of the distribution function, which is concave, for the smaller tail."""
    for i in range(x.size):
        p = np.float64(x[i])
        if not 0 < p < 1:
            y[i] = -np.inf if p == 0 else np.inf if p == 1 else np.nan
            continue
        tail = min(p, 1 - p)
        wanted = math.log(tail)
        guess = -math.sqrt(-2 * wanted)
        for _ in range(50):
            slope = math.sqrt(2 / math.pi) / _erfcx_of(-guess * math.sqrt(0.5))
            step = (wanted - _log_ndtr_of(guess)) / slope
            guess += step
            if abs(step) < 1e-15 * (1 + abs(guess)):
                break
        y[i] = guess if p <= 0.5 else -guess


@compiled
def _bessel_i(x, order, scaled, y):
    """The power series up to 30, which has no cancellation; above, the asymptotic series."""
    for i in range(x.size):
        value = abs(np.float64(x[i]))
        total, term = 1.0, 1.0
        if value <= 30:
            if order == 1:
                total = term = value / 2
            k = 1.0
            while term > 1e-17 * total:
                term *= value * value / 4 / (k * (k + order))
                total += term
                k += 1.0
            if scaled:
                total *= math.exp(-value)
        else:
            for k in range(1, 30):
                term *= -(4.0 * order - (2 * k - 1) ** 2) / (8 * value * k)
                total += term
            total /= math.sqrt(2 * math.pi * value)
            if not scaled:
                total *= math.exp(value)
        y[i] = -total if order == 1 and x[i] < 0 else total
