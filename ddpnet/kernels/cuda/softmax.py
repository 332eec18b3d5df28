"""Softmax, its logarithm, and that of one class, row by row."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any


def softmax_forward(x: Array) -> Array:
    """The softmax of each row of x (N, C)."""
    y = cupy.exp(x - x.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)
    return y


def softmax_backward(g: Array, y: Array) -> Array:
    """The gradient of x (N, C)."""
    return y * (g - (g * y).sum(axis=1, keepdims=True))


def log_softmax_forward(x: Array) -> Array:
    """The logarithm of the softmax of each row of x (N, C)."""
    y = x - x.max(axis=1, keepdims=True)
    y -= cupy.log(cupy.exp(y).sum(axis=1, keepdims=True))
    return y


def log_softmax_backward(g: Array, y: Array) -> Array:
    """The gradient of x (N, C)."""
    return g - cupy.exp(y) * g.sum(axis=1, keepdims=True)


def cross_entropy(x: Array, classes: Array) -> Array:
    """-log(softmax(x)[n, classes[n]]) (N,) for x (N, C) and integers classes (N,)."""
    y = log_softmax_forward(x)
    return -y[cupy.arange(len(x)), classes]


def cross_entropy_with_slopes(x: Array, classes: Array, shares: Array) -> tuple[Array, Array]:
    """`cross_entropy`, and the gradient of its sum weighed by shares (N,): (N, C)."""
    slopes = log_softmax_forward(x)
    rows = cupy.arange(len(x))
    losses = -slopes[rows, classes]
    cupy.exp(slopes, out=slopes)
    slopes *= shares[:, None]
    slopes[rows, classes] -= shares
    return losses, slopes


def mean_cross_entropy(x: Array, classes: Array, ignored: int, slopes: bool) -> None:
    """None: it is left to `cross_entropy`."""


def scale_rows(x: Array, factor: Array) -> Array:
    """x (N, C), multiplied in place by a number, or by one for each row (N,)."""
    x *= factor[:, None] if factor.ndim else factor
    return x
