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


def cross_entropy_forward(x: Array, classes: Array) -> tuple[Array, Array]:
    """(-log(p[n, classes[n]]) (N,), p = softmax(x) (N, C)) for x (N, C) and integers classes (N,)."""
    y = x - x.max(axis=1, keepdims=True)
    p = cupy.exp(y)
    total = p.sum(axis=1)
    p /= total[:, None]
    return cupy.log(total) - y[cupy.arange(len(x)), classes], p


def cross_entropy_backward(p: Array, classes: Array, shares: Array) -> Array:
    """(N, C): p minus 1 at the class, times shares[n]."""
    dx = p * shares[:, None]
    dx[cupy.arange(len(p)), classes] -= shares
    return dx
