"""Error functions and gamma functions."""

from __future__ import annotations

import math

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import floating, refuse, tensors
from ddpnet.ops.inplace import assign, check_writable, inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "lgamma",
    "mvlgamma",
    "polygamma",
]


class Erf(Op):
    def forward(self, x):
        self.save(x)
        return kernels_for(x).erf(x)

    def backward(self, g):
        (x,) = self.saved
        return g * array_module(g).exp(-x * x) * (2 / math.sqrt(math.pi))


class Erfc(Op):
    def forward(self, x):
        self.save(x)
        return kernels_for(x).erfc(x)

    def backward(self, g):
        (x,) = self.saved
        return g * array_module(g).exp(-x * x) * (-2 / math.sqrt(math.pi))


class Erfinv(Op):
    def forward(self, x):
        y = kernels_for(x).erfinv(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * array_module(g).exp(y * y) * (math.sqrt(math.pi) / 2)


class Lgamma(Op):
    def forward(self, x):
        self.save(x)
        return kernels_for(x).lgamma(x)

    def backward(self, g):
        (x,) = self.saved
        return g * kernels_for(x).digamma(x)

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g * digamma(x)


class Polygamma(Op):
    """The derivative of order `n` of digamma."""

    def forward(self, x, n):
        self.n = n
        self.save(x)
        return kernels_for(x).polygamma(x, n) if n else kernels_for(x).digamma(x)

    def backward(self, g):
        (x,) = self.saved
        return g * kernels_for(x).polygamma(x, self.n + 1)

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g * Polygamma.apply(x, n=self.n + 1)


class Digamma(Polygamma):
    pass


@with_out
@inplace
@method
def erf(input: Tensor) -> Tensor:
    """The error function."""
    return Erf.apply(floating(input))


@with_out
@inplace
@method
def erfc(input: Tensor) -> Tensor:
    """1 - erf(input), exact where that is small."""
    return Erfc.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def erfinv(input: Tensor) -> Tensor:
    """The inverse of the error function: infinite at -1 and 1, not a number beyond."""
    return Erfinv.apply(floating(input))


@with_out
@inplace
@method
def lgamma(input: Tensor) -> Tensor:
    """The logarithm of |gamma(input)|."""
    return Lgamma.apply(floating(input))


@with_out
@inplace
@method
def digamma(input: Tensor) -> Tensor:
    """The derivative of `lgamma`."""
    return Digamma.apply(floating(input), n=0)


@with_out
def polygamma(n: int, input: Tensor) -> Tensor:
    """The derivative of order n >= 0 of `digamma`."""
    tensors("polygamma", input)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return digamma(input) if n == 0 else Polygamma.apply(floating(input), n=n)


@with_out
@inplace
@method
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the gamma function of p dimensions, for numbers greater than (p - 1) / 2."""
    tensors("mvlgamma", input)
    refuse(0, "mvlgamma", input)
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = floating(input)
    steps = array_module(x.array).arange(p).astype(x.array.dtype) * x.array.dtype.type(-0.5)
    constant = p * (p - 1) / 4 * math.log(math.pi)
    terms: Tensor = lgamma(x.unsqueeze(-1) + Tensor(steps)).sum(-1) + constant
    return terms


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The derivative of order n >= 0 of `digamma`."""
    result: Tensor = polygamma(n, self)
    return result


def _polygamma_in_place(self: Tensor, n: int) -> Tensor:
    """In-place `polygamma`."""
    check_writable(self)
    return assign(self, polygamma(n, self))


Tensor.polygamma, Tensor.polygamma_ = _polygamma_method, _polygamma_in_place  # type: ignore[attr-defined]
