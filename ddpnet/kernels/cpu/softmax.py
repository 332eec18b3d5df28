"""Softmax, its logarithm, and that of one class, row by row: what a row needs stays in the cache."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.exponential import exp


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


def cross_entropy_forward(x: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(-log(p[n, classes[n]]) (N,), p = softmax(x) (N, C)) for x (N, C) and integers classes (N,)."""
    losses, p = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    _cross_entropy_forward(np.ascontiguousarray(x), np.ascontiguousarray(classes), losses, p)
    return losses, p


def cross_entropy_backward(p: np.ndarray, classes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(N, C): p minus 1 at the class, times shares[n]."""
    dx = np.empty(p.shape, p.dtype)
    _cross_entropy_backward(p, np.ascontiguousarray(classes), np.ascontiguousarray(shares), dx)
    return dx


@compiled
def _largest(x, n):
    """Eight partial results become vector code, which a single one would not."""
    width = x.shape[1]
    even = width - width % 8
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = x[n, 0]
    for j in range(0, even, 8):
        a0 = max(a0, x[n, j])
        a1 = max(a1, x[n, j + 1])
        a2 = max(a2, x[n, j + 2])
        a3 = max(a3, x[n, j + 3])
        a4 = max(a4, x[n, j + 4])
        a5 = max(a5, x[n, j + 5])
        a6 = max(a6, x[n, j + 6])
        a7 = max(a7, x[n, j + 7])
    top = max(max(max(a0, a1), max(a2, a3)), max(max(a4, a5), max(a6, a7)))
    for j in range(even, width):
        top = max(top, x[n, j])
    return top


@compiled
def _total(x, n):
    width = x.shape[1]
    even = width - width % 8
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = x.dtype.type(0)
    for j in range(0, even, 8):
        a0 += x[n, j]
        a1 += x[n, j + 1]
        a2 += x[n, j + 2]
        a3 += x[n, j + 3]
        a4 += x[n, j + 4]
        a5 += x[n, j + 5]
        a6 += x[n, j + 6]
        a7 += x[n, j + 7]
    total = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
    for j in range(even, width):
        total += x[n, j]
    return total


@compiled
def _softmax_forward(x, y):
    for n in range(x.shape[0]):
        _softmax_row(x, y, n)


@compiled
def _softmax_row(x, y, n):
    """Write the softmax of a row; its largest element, and the sum of the exponentials."""
    top = _largest(x, n)
    for j in range(x.shape[1]):
        y[n, j] = exp(x[n, j] - top)
    total = _total(y, n)
    scale = x.dtype.type(1) / total
    for j in range(x.shape[1]):
        y[n, j] *= scale
    return top, total


@compiled
def _softmax_backward(g, y, dx):
    for n in range(g.shape[0]):
        for j in range(g.shape[1]):
            dx[n, j] = g[n, j] * y[n, j]
        total = _total(dx, n)
        for j in range(g.shape[1]):
            dx[n, j] -= y[n, j] * total


@compiled
def _log_softmax_forward(x, y):
    for n in range(x.shape[0]):
        top = _largest(x, n)
        for j in range(x.shape[1]):
            y[n, j] = exp(x[n, j] - top)
        shift = x.dtype.type(math.log(_total(y, n)))
        for j in range(x.shape[1]):
            y[n, j] = (x[n, j] - top) - shift


@compiled
def _log_softmax_backward(g, y, dx):
    for n in range(g.shape[0]):
        total = _total(g, n)
        for j in range(g.shape[1]):
            dx[n, j] = g[n, j] - exp(y[n, j]) * total


@compiled
def _cross_entropy_forward(x, classes, losses, p):
    for n in range(x.shape[0]):
        top, total = _softmax_row(x, p, n)
        losses[n] = x.dtype.type(math.log(total)) - (x[n, classes[n]] - top)


@compiled
def _cross_entropy_backward(p, classes, shares, dx):
    for n in range(p.shape[0]):
        share = shares[n]
        for j in range(p.shape[1]):
            dx[n, j] = p[n, j] * share
        dx[n, classes[n]] -= share
