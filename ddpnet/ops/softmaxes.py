"""Softmax and what is made of it: exponentials that add up to 1."""

from __future__ import annotations

import warnings

import numpy as np

from ddpnet import random
from ddpnet.backend import array_module
from ddpnet.dtypes import DType
from ddpnet.kernels import kernels_for
from ddpnet.ops.activation import refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast
from ddpnet.ops.dims import one_axis
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor, method

__all__ = [
    "log_softmax",
    "softmax",
]


class _AlongRows(Op):
    """A kernel for the rows of a matrix, applied along any dimension."""

    dim: int

    def rows(self, x):
        """x as a matrix whose rows lie along the dimension."""
        if self.dim != x.ndim - 1 and x.ndim:
            x = array_module(x).moveaxis(x, self.dim, -1)
        return x.reshape(-1, x.shape[-1] if x.ndim else 1) if x.size else x.reshape(0, 1)

    def shaped(self, y, like):
        """The matrix in the shape of `like`."""
        if self.dim == like.ndim - 1 or not like.ndim or not like.size:
            return y.reshape(like.shape)
        shape = (*like.shape[: self.dim], *like.shape[self.dim + 1 :], like.shape[self.dim])
        xp = array_module(y)
        return xp.ascontiguousarray(xp.moveaxis(y.reshape(shape), -1, self.dim))


@in_float32
class Softmax(_AlongRows):
    def forward(self, x, dim):
        self.dim = dim
        y = self.shaped(kernels_for(x).softmax_forward(self.rows(x)), x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return self.shaped(kernels_for(g).softmax_backward(self.rows(g), self.rows(y)), g)

    def differentiable_backward(self, g):
        (y,) = self.saved
        return y * (g - (g * y).sum(axis=self.dim, keepdims=True))


@in_float32
class LogSoftmax(_AlongRows):
    def forward(self, x, dim):
        self.dim = dim
        y = self.shaped(kernels_for(x).log_softmax_forward(self.rows(x)), x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return self.shaped(kernels_for(g).log_softmax_backward(self.rows(g), self.rows(y)), g)

    def differentiable_backward(self, g):
        (y,) = self.saved
        return g - y.exp() * g.sum(axis=self.dim, keepdims=True)


def _prepared(name: str, input: Tensor, dtype: DType | None) -> Tensor:
    input = input if dtype is None else cast(input, dtype.numpy)
    refuse_integers(name, input)
    return input


@method
@autocasts("float32", "cuda")
def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """exp(x) divided by its sum along `dim`; `dtype` is what the input is converted to first."""
    return Softmax.apply(_prepared("softmax", input, dtype), dim=one_axis(dim, input.ndim))


@method
@autocasts("float32", "cuda")
def log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """The logarithm of the softmax along `dim`; `dtype` is what the input is converted to first."""
    return LogSoftmax.apply(_prepared("log_softmax", input, dtype), dim=one_axis(dim, input.ndim))


@autocasts("float32", "cuda")
def softmin(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """The softmax of -x."""
    return softmax(-input, dim, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A random choice that gradients flow through (Jang et al., 2017): the softmax of (logits + Gumbel noise) / tau.

    With `hard` the values are one-hot and the gradients those of the soft choice.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    refuse_integers("gumbel_softmax", logits)
    x = logits.array
    xp = array_module(x)
    drawn = -np.log(random.default_generator().draw().standard_exponential(x.shape))
    soft = softmax((logits + Tensor(xp.asarray(drawn).astype(x.dtype))) / tau, dim)
    if not hard:
        return soft
    chosen = xp.zeros_like(x)
    values = soft.array
    if values.size:
        dim = one_axis(dim, logits.ndim)
        places = xp.arange(values.shape[dim] if values.ndim else 1).reshape((-1,) + (1,) * (values.ndim - 1 - dim))
        chosen = (places == xp.expand_dims(values.argmax(dim), dim)).astype(x.dtype).reshape(x.shape)
    return Tensor(chosen) - soft.detach() + soft
