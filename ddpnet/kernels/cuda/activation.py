"""Activation functions, as expressions that CuPy compiles into one kernel each."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any

_SIGMOID = "T s = T(1) / (T(1) + exp(-x));"
_TANH = "T v = x * x; T s = T(1) / (T(1) + exp(T(-1.5957691216057308) * (x + T(0.044715) * v * x)));"

_sigmoid = cupy.ElementwiseKernel("T x", "T y", f"{_SIGMOID} y = s", "ddpnet_sigmoid")
_silu = cupy.ElementwiseKernel("T x", "T y", f"{_SIGMOID} y = x * s", "ddpnet_silu")
_silu_backward = cupy.ElementwiseKernel(
    "T g, T x", "T y", f"{_SIGMOID} y = g * (s * (T(1) + x * (T(1) - s)))", "ddpnet_silu_backward"
)
_normal_cdf = cupy.ElementwiseKernel("T x", "T y", "y = normcdf(x)", "ddpnet_normal_cdf")
_gelu = cupy.ElementwiseKernel("T x", "T y", "y = x * normcdf(x)", "ddpnet_gelu")
_gelu_backward = cupy.ElementwiseKernel(
    "T g, T x",
    "T y",
    "y = g * (normcdf(x) + x * (T(0.3989422804014327) * exp(T(-0.5) * x * x)))",
    "ddpnet_gelu_backward",
)
_gelu_tanh = cupy.ElementwiseKernel("T x", "T y", f"{_TANH} y = x * s", "ddpnet_gelu_tanh")
_gelu_tanh_backward = cupy.ElementwiseKernel(
    "T g, T x",
    "T y",
    f"{_TANH} y = g * (s + x * (s * (T(1) - s)) * (T(1.5957691216057308) * (T(1) + T(0.134145) * v)))",
    "ddpnet_gelu_tanh_backward",
)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); any shape."""
    return _sigmoid(x)


def silu_forward(x: Array) -> Array:
    """x * sigmoid(x); any shape."""
    return _silu(x)


def silu_backward(g: Array, x: Array) -> Array:
    """The gradient of x."""
    return _silu_backward(g, x)


def gelu_forward(x: Array, approximate: bool) -> Array:
    """x * P(normal < x), or its approximation by a tanh; any shape."""
    return _gelu_tanh(x) if approximate else _gelu(x)


def gelu_backward(g: Array, x: Array, approximate: bool) -> Array:
    """The gradient of x."""
    return _gelu_tanh_backward(g, x) if approximate else _gelu_backward(g, x)


def normal_cdf(x: Array) -> Array:
    """P(normal < x); any shape."""
    return _normal_cdf(x)
