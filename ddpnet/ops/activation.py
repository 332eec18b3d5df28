"""Activation functions, softmax and dropout."""

from __future__ import annotations

import numpy as np

from ddpnet import random
from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.conversion import floating, refuse
from ddpnet.ops.dims import one_axis
from ddpnet.ops.inplace import assign, check_writable, inplace
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method


class Relu(Op):
    def forward(self, x):
        y = np.maximum(x, 0)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return kernels_for(g).relu_backward(g, y)


class LeakyRelu(Op):
    def forward(self, x, slope):
        self.slope = x.dtype.type(slope)
        self.save(x)
        return array_module(x).where(x > 0, x, x * self.slope)

    def backward(self, g):
        (x,) = self.saved
        return array_module(g).where(x > 0, g, g * self.slope)


class Tanh(Op):
    def forward(self, x):
        y = np.tanh(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (1 - y * y)


class Sigmoid(Op):
    """1 / (1 + exp(-x)), written with tanh, which does not overflow."""

    def forward(self, x):
        half = x.dtype.type(0.5)
        y = np.tanh(x * half) * half + half
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (1 - y) * y


class Softmax(Op):
    def forward(self, x, dim):
        self.dim = dim
        y = np.exp(x - x.max(axis=dim, keepdims=True))
        y /= y.sum(axis=dim, keepdims=True)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return y * (g - (g * y).sum(axis=self.dim, keepdims=True))


class LogSoftmax(Op):
    def forward(self, x, dim):
        self.dim = dim
        y = x - x.max(axis=dim, keepdims=True)
        y -= np.log(np.exp(y).sum(axis=dim, keepdims=True))
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g - np.exp(y) * g.sum(axis=self.dim, keepdims=True)


class Dropout(Op):
    """The mask is drawn on the host from the keyed stream: the same on any device."""

    graph_name = "NativeDropoutBackward0"

    def forward(self, x, p, rng):
        keep = host_mask(rng, x.shape, p)
        scale = 1 / (1 - p) if p < 1 else 0.0
        mask = array_module(x).asarray(keep * np.asarray(scale, np.float32)).astype(x.dtype)
        self.save(mask)
        return x * mask

    def backward(self, g):
        (mask,) = self.saved
        return g * mask


def host_mask(rng: np.random.Generator, shape: tuple[int, ...], p: float) -> np.ndarray:
    """bool of `shape`: false with probability `p`."""
    return rng.random(shape, dtype=np.float32) >= np.float32(p)


@inplace
@method
def relu(input: Tensor) -> Tensor:
    """max(x, 0)."""
    refuse(0, "relu", input)
    return Relu.apply(input)


@inplace
@method
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh.apply(floating(input))


@inplace
@method
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return Sigmoid.apply(floating(input))


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    return _maybe_in_place(input, LeakyRelu.apply(input, slope=negative_slope), inplace)


@method
def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) divided by its sum along `dim`."""
    refuse(0, "softmax", input)
    refuse(1, "softmax", input)
    return Softmax.apply(input, dim=one_axis(dim, input.ndim))


@method
def log_softmax(input: Tensor, dim: int) -> Tensor:
    """The logarithm of the softmax along `dim`."""
    refuse(0, "log_softmax", input)
    refuse(1, "log_softmax", input)
    return LogSoftmax.apply(input, dim=one_axis(dim, input.ndim))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training: zero with probability `p`, else x / (1 - p), drawn from the default generator."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    return _maybe_in_place(input, Dropout.apply(input, p=p, rng=random.default_generator().draw()), inplace)


def _maybe_in_place(input: Tensor, result: Tensor, in_place: bool) -> Tensor:
    if not in_place:
        return result
    check_writable(input)
    return assign(input, result)
