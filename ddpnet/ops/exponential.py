"""Exponentials and logarithms."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import Operand, beside, floating, promoted, refuse, tensors
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor, method

__all__ = [
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logit",
    "xlogy",
]


class Exp(Op):
    def forward(self, x):
        y = np.exp(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * y


class Exp2(Op):
    def forward(self, x):
        y = np.exp2(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * y * math.log(2)


class Expm1(Op):
    def forward(self, x):
        y = np.expm1(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (y + 1)


class Log(Op):
    def forward(self, x):
        self.save(x)
        return np.log(x)

    def backward(self, g):
        (x,) = self.saved
        return g / x


class Log2(Op):
    def forward(self, x):
        self.save(x)
        return np.log2(x)

    def backward(self, g):
        (x,) = self.saved
        return g / (x * math.log(2))


class Log10(Op):
    def forward(self, x):
        self.save(x)
        return np.log10(x)

    def backward(self, g):
        (x,) = self.saved
        return g / (x * math.log(10))


class Log1p(Op):
    def forward(self, x):
        self.save(x)
        return np.log1p(x)

    def backward(self, g):
        (x,) = self.saved
        return g / (x + 1)


@in_float32
class LogAddExp(Op):
    graph_name = "LogaddexpBackward0"

    def forward(self, a, b):
        self.save(a, b)
        y = np.maximum(a, b) + np.log1p(np.exp(-np.abs(a - b)))  # in several passes, as NumPy's logaddexp is slow
        return array_module(y).where(a == b, a + y.dtype.type(math.log(2)), y)

    def backward(self, g):
        a, b = self.saved
        exp = array_module(g).exp
        return g / (exp(b - a) + 1), g / (exp(a - b) + 1)


class LogAddExp2(Op):
    graph_name = "Logaddexp2Backward0"

    def forward(self, a, b):
        self.save(a, b)
        return np.logaddexp2(a, b)

    def backward(self, g):
        a, b = self.saved
        exp2 = array_module(g).exp2
        return g / (exp2(b - a) + 1), g / (exp2(a - b) + 1)


class Xlogy(Op):
    def forward(self, x, y):
        self.save(x if self.needs[1] else None, y, (x == 0) & (y <= 0) if self.needs[0] else None)
        xp = array_module(y)
        return xp.where((x == 0) & (y == y), 0, x * xp.log(y))

    def backward(self, g):
        x, y, edge = self.saved
        xp = array_module(g)
        dx = xp.where(edge, 0, xp.where(g == 0, 0, g * xp.log(y))) if self.needs[0] else None
        return dx, g * x / y if self.needs[1] else None


class Logit(Op):
    """Where `eps` clamps the input there is no gradient; without it, none is defined outside of [0, 1]."""

    @staticmethod
    def _bounds(eps):
        return (0.0, 1.0, math.nan) if eps is None else (eps, 1.0 - eps, 0.0)

    def forward(self, x, eps):
        self.low, self.high, self.outside = self._bounds(eps)
        self.save(x)
        z = x if eps is None else np.minimum(np.maximum(x, x.dtype.type(eps)), x.dtype.type(1 - eps))
        return np.log(z / (1 - z))

    def backward(self, g):
        (x,) = self.saved
        return array_module(g).where((x < self.low) | (x > self.high), self.outside, g / (x * (1 - x)))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def exp(input: Tensor) -> Tensor:
    """e to the power of each element."""
    return Exp.apply(floating(input))


@with_out
@inplace
@method
def exp2(input: Tensor) -> Tensor:
    """2 to the power of each element."""
    return Exp2.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def expm1(input: Tensor) -> Tensor:
    """exp(input) - 1, exact near 0."""
    return Expm1.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return Log.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return Log2.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return Log10.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def log1p(input: Tensor) -> Tensor:
    """log(1 + input), exact near 0."""
    return Log1p.apply(floating(input))


@with_out
@method
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)) without overflow; for floating point."""
    return LogAddExp.apply(*_two_floating("logaddexp", input, other))


@with_out
@method
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other) without overflow; for floating point."""
    return LogAddExp2.apply(*_two_floating("logaddexp2", input, other))


def _two_floating(name: str, input: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    tensors(name, input, other)
    a, b = promoted(input, other)
    refuse(0, name, a)
    refuse(1, name, a)
    return a, b


@with_out
@inplace
@method
def xlogy(input: Operand, other: Operand) -> Tensor:
    """input * log(other), and 0 where input is 0 (unless other is not a number)."""
    if not isinstance(input, Tensor):
        tensors("xlogy", other)
    a, b = (floating(x) if isinstance(x, Tensor) else x for x in promoted(input, other))
    if not isinstance(a, Tensor):
        a = beside(a, b.array.dtype, b)
    if not isinstance(b, Tensor):
        b = beside(b, a.array.dtype, a)
    return Xlogy.apply(a, b)


@with_out
@inplace
@method
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); with `eps`, of the input clamped to [eps, 1 - eps]."""
    return Logit.apply(floating(input), eps=eps)
