"""Activation functions that NumPy would need many passes for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.exponential import exp, normal

_SLOPE = math.sqrt(2 / math.pi)
_CUBE = 0.044715


def _mapped(loop: Any, *arrays: np.ndarray) -> np.ndarray:
    """A loop over the elements of arrays of one shape; the constants it needs come in their dtype."""
    y = np.empty(arrays[0].shape, arrays[0].dtype)
    loop(*[np.ascontiguousarray(x).reshape(-1) for x in arrays], y.reshape(-1))
    return y


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)); any shape."""
    return _mapped(_sigmoid, x)


def silu_forward(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x); any shape."""
    return _mapped(_silu_forward, x)


def silu_backward(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient of x."""
    return _mapped(_silu_backward, g, x)


def gelu_forward(x: np.ndarray, approximate: bool) -> np.ndarray:
    """x * P(normal < x), or its approximation by a tanh; any shape."""
    return _mapped(_gelu_tanh_forward if approximate else _gelu_forward, x)


def gelu_backward(g: np.ndarray, x: np.ndarray, approximate: bool) -> np.ndarray:
    """The gradient of x."""
    return _mapped(_gelu_tanh_backward if approximate else _gelu_backward, g, x)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """P(normal < x); any shape."""
    return _mapped(_normal_cdf, x)


@compiled
def _sigmoid(x, y):
    one = x.dtype.type(1)
    for i in range(x.size):
        y[i] = one / (one + exp(-x[i]))


@compiled
def _silu_forward(x, y):
    one = x.dtype.type(1)
    for i in range(x.size):
        y[i] = x[i] / (one + exp(-x[i]))


@compiled
def _silu_backward(g, x, y):
    one = x.dtype.type(1)
    for i in range(x.size):
        s = one / (one + exp(-x[i]))
        y[i] = g[i] * (s * (one + x[i] * (one - s)))


@compiled
def _normal_cdf(x, y):
    for i in range(x.size):
        y[i] = normal(x[i])[0]


@compiled
def _gelu_forward(x, y):
    for i in range(x.size):
        y[i] = x[i] * normal(x[i])[0]


@compiled
def _gelu_backward(g, x, y):
    density = x.dtype.type(1 / math.sqrt(2 * math.pi))
    for i in range(x.size):
        below, power = normal(x[i])
        y[i] = g[i] * (below + x[i] * (density * power))


@compiled
def _gelu_tanh_forward(x, y):
    # 0.5 * (1 + tanh(u)) is the sigmoid of 2 * u
    one, slope, cube = x.dtype.type(1), x.dtype.type(-2 * _SLOPE), x.dtype.type(_CUBE)
    for i in range(x.size):
        y[i] = x[i] / (one + exp(slope * (x[i] + cube * (x[i] * x[i] * x[i]))))


@compiled
def _gelu_tanh_backward(g, x, y):
    one, slope, cube = x.dtype.type(1), x.dtype.type(-2 * _SLOPE), x.dtype.type(_CUBE)
    steep = x.dtype.type(3 * _CUBE)
    for i in range(x.size):
        square = x[i] * x[i]
        s = one / (one + exp(slope * (x[i] + cube * (square * x[i]))))
        y[i] = g[i] * (s - x[i] * (s * (one - s)) * (slope * (one + steep * square)))
