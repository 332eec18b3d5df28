"""Softmax, its logarithm, and that of one class, row by row: what a row needs stays in the cache."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.exponential import exp

_LANES = 32
"""Partial sums of a long row: two vectors of AVX-512, four of AVX2."""
_LONG = 1024


def softmax_forward(x: np.ndarray) -> np.ndarray:
    """The softmax of each row of x (N, C)."""
    y = np.empty(x.shape, x.dtype)
    _softmax_forward(np.ascontiguousarray(x), y)
    return y


def softmax_backward(g: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of x (N, C)."""
    dx = np.empty(y.shape, y.dtype)
    _softmax_backward(np.ascontiguousarray(g), np.ascontiguousarray(y), dx)
    return dx


def log_softmax_forward(x: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax of each row of x (N, C)."""
    y = np.empty(x.shape, x.dtype)
    _log_softmax_forward(np.ascontiguousarray(x), y)
    return y


def log_softmax_backward(g: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of x (N, C)."""
    dx = np.empty(y.shape, y.dtype)
    _log_softmax_backward(np.ascontiguousarray(g), np.ascontiguousarray(y), dx)
    return dx


def cross_entropy(x: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """-log(softmax(x)[n, classes[n]]) (N,) for x (N, C) and integers classes (N,)."""
    losses, row = np.empty(len(x), x.dtype), np.empty((1, x.shape[1]), x.dtype)
    _cross_entropy(np.ascontiguousarray(x), np.ascontiguousarray(classes), losses, losses, row)
    return losses


def cross_entropy_with_slopes(x: np.ndarray, classes: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`cross_entropy`, and the gradient of its sum weighed by shares (N,): (N, C)."""
    losses, slopes = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    arrays = (np.ascontiguousarray(a) for a in (x, classes, shares))
    _cross_entropy(*arrays, losses, slopes)
    return losses, slopes


def mean_cross_entropy(
    x: np.ndarray, classes: np.ndarray, ignored: int, slopes: bool
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The mean of `cross_entropy` () over the rows whose class is not `ignored`, and with `slopes` its gradient (N, C).

    The sum is made in float64. None where it is left to `cross_entropy`: without numbers, or with a class that is not
    there.
    """
    if not x.size:
        return None
    found = np.empty(x.shape if slopes else (1, x.shape[1]), x.dtype)
    mean, valid = _mean_cross_entropy(np.ascontiguousarray(x), np.ascontiguousarray(classes), ignored, found)
    return (np.array(mean, x.dtype), found if slopes else None) if valid else None


def scale_rows(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """x (N, C), multiplied in place by a number, or by one for each row (N,)."""
    if factor.ndim:
        x *= factor[:, None]
    elif factor.item() != 1:  # 1 is what most gradients of a loss are
        x *= factor
    return x


@compiled
def _largest(x):
    """Eight partial results become vector code, which a single one would not."""
    width = x.size
    even = width - width % 8
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = x[0]
    for j in range(0, even, 8):
        a0 = max(a0, x[j])
        a1 = max(a1, x[j + 1])
        a2 = max(a2, x[j + 2])
        a3 = max(a3, x[j + 3])
        a4 = max(a4, x[j + 4])
        a5 = max(a5, x[j + 5])
        a6 = max(a6, x[j + 6])
        a7 = max(a7, x[j + 7])
    top = max(max(max(a0, a1), max(a2, a3)), max(max(a4, a5), max(a6, a7)))
    for j in range(even, width):
        top = max(top, x[j])
    return top


@compiled
def _total(x):
    width = x.size
    even = width - width % 8
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = x.dtype.type(0)
    for j in range(0, even, 8):
        a0 += x[j]
        a1 += x[j + 1]
        a2 += x[j + 2]
        a3 += x[j + 3]
        a4 += x[j + 4]
        a5 += x[j + 5]
        a6 += x[j + 6]
        a7 += x[j + 7]
    total = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
    for j in range(even, width):
        total += x[j]
    return total


@compiled
def _exponentials(x, y, lanes):
    """y = exp(x - max(x)); max(x), and the sum of y, which a long row gets on the way: 5.5 us for 10,000, not 6.5."""
    top = _largest(x)
    even = x.size - x.size % _LANES if x.size >= _LONG else 0
    for j in range(_LANES):
        lanes[j] = 0
    for start in range(0, even, _LANES):
        part, out = x[start : start + _LANES], y[start : start + _LANES]
        for j in range(_LANES):
            out[j] = exp(part[j] - top)
            lanes[j] += out[j]
    part, out = x[even:], y[even:]
    for j in range(part.size):
        out[j] = exp(part[j] - top)
    return top, (_total(lanes) if even else x.dtype.type(0)) + _total(out)


@compiled
def _softmax_forward(x, y):
    lanes = np.empty(_LANES, x.dtype)
    for n in range(x.shape[0]):
        out = y[n]
        total = _exponentials(x[n], out, lanes)[1]
        scale = x.dtype.type(1) / total
        for j in range(out.size):
            out[j] *= scale


@compiled
def _softmax_backward(g, y, dx):
    for n in range(g.shape[0]):
        slope, out, d = g[n], y[n], dx[n]
        for j in range(d.size):
            d[j] = slope[j] * out[j]
        total = _total(d)
        for j in range(d.size):
            d[j] -= out[j] * total


@compiled
def _log_softmax_forward(x, y):
    lanes = np.empty(_LANES, x.dtype)
    for n in range(x.shape[0]):
        row, out = x[n], y[n]
        top, total = _exponentials(row, out, lanes)
        shift = x.dtype.type(math.log(total))
        for j in range(out.size):
            out[j] = (row[j] - top) - shift


@compiled
def _log_softmax_backward(g, y, dx):
    for n in range(g.shape[0]):
        slope, out, d = g[n], y[n], dx[n]
        total = _total(slope)
        for j in range(d.size):
            d[j] = slope[j] - exp(out[j]) * total


@compiled
def _cross_entropy(x, classes, shares, losses, slopes):
    """`slopes` of one row alone is memory to work in."""
    lanes = np.empty(_LANES, x.dtype)
    wanted = slopes.shape[0] == x.shape[0]
    for n in range(x.shape[0]):
        row, out, c = x[n], slopes[n if wanted else 0], classes[n]
        top, total = _exponentials(row, out, lanes)
        losses[n] = x.dtype.type(math.log(total)) - (row[c] - top)
        if wanted:
            scale = shares[n] / total
            for j in range(out.size):
                out[j] *= scale
            out[c] -= shares[n]


@compiled
def _mean_cross_entropy(x, classes, ignored, slopes):
    """The mean, and whether all classes are valid; `slopes` as in `_cross_entropy`."""
    count = 0
    for n in range(classes.size):
        if classes[n] != ignored:
            count += 1
            if not 0 <= classes[n] < x.shape[1]:
                return 0.0, False
    lanes, total = np.empty(_LANES, x.dtype), 0.0
    wanted = slopes.shape[0] == x.shape[0]
    for n in range(x.shape[0]):
        row, out = x[n], slopes[n if wanted else 0]
        top, rest = _exponentials(row, out, lanes)
        share = x.dtype.type(0)
        if classes[n] != ignored:
            total += x.dtype.type(math.log(rest)) - (row[classes[n]] - top)
            share = x.dtype.type(1) / x.dtype.type(count)
        if wanted:
            scale = share / rest
            for j in range(out.size):
                out[j] *= scale
            if classes[n] != ignored:
                out[classes[n]] -= share
    return total / count, True
