"""Circular and hyperbolic functions, and their inverses."""

from __future__ import annotations

import math

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.arithmetic import mul
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import floating, promoted, tensors
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import alias
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "deg2rad",
    "rad2deg",
    "sin",
    "sinc",
    "sinh",
    "tan",
]


class Sin(Op):
    def forward(self, x):
        self.save(x)
        return np.sin(x)

    def backward(self, g):
        (x,) = self.saved
        return g * array_module(g).cos(x)


class Cos(Op):
    def forward(self, x):
        self.save(x)
        return np.cos(x)

    def backward(self, g):
        (x,) = self.saved
        return -g * array_module(g).sin(x)


class Tan(Op):
    def forward(self, x):
        y = np.tan(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (y * y + 1)


class Asin(Op):
    def forward(self, x):
        self.save(x)
        return np.arcsin(x)

    def backward(self, g):
        (x,) = self.saved
        return g / array_module(g).sqrt(1 - x * x)


class Acos(Op):
    def forward(self, x):
        self.save(x)
        return np.arccos(x)

    def backward(self, g):
        (x,) = self.saved
        return -g / array_module(g).sqrt(1 - x * x)


class Atan(Op):
    def forward(self, x):
        self.save(x)
        return np.arctan(x)

    def backward(self, g):
        (x,) = self.saved
        return g / (x * x + 1)


class Atan2(Op):
    def forward(self, y, x):
        self.save(y, x)
        return np.arctan2(y, x)

    def backward(self, g):
        y, x = self.saved
        square = y * y + x * x
        scaled = array_module(g).where(square == 0, 0, g / square)  # no direction, no gradient
        return scaled * x, -scaled * y


class Sinh(Op):
    def forward(self, x):
        self.save(x)
        return np.sinh(x)

    def backward(self, g):
        (x,) = self.saved
        return g * array_module(g).cosh(x)


class Cosh(Op):
    def forward(self, x):
        self.save(x)
        return np.cosh(x)

    def backward(self, g):
        (x,) = self.saved
        return g * array_module(g).sinh(x)


class Asinh(Op):
    def forward(self, x):
        self.save(x)
        return np.arcsinh(x)

    def backward(self, g):
        (x,) = self.saved
        return g / array_module(g).sqrt(x * x + 1)


class Acosh(Op):
    def forward(self, x):
        self.save(x)
        return np.arccosh(x)

    def backward(self, g):
        (x,) = self.saved
        return g / array_module(g).sqrt(x * x - 1)


class Atanh(Op):
    def forward(self, x):
        self.save(x)
        return np.arctanh(x)

    def backward(self, g):
        (x,) = self.saved
        return g / (1 - x * x)


class Sinc(Op):
    """sin(pi x) / (pi x), and 1 at 0."""

    def forward(self, x):
        self.save(x)
        angle = x * x.dtype.type(math.pi)
        return array_module(x).where(angle == 0, x.dtype.type(1), np.sin(angle) / angle)

    def backward(self, g):
        (x,) = self.saved
        xp = array_module(g)
        angle = x * math.pi
        slope = (angle * xp.cos(angle) - xp.sin(angle)) / (angle * angle) * math.pi
        return xp.where(x == 0, 0, g * slope)


@with_out
@inplace
@method
def sin(input: Tensor) -> Tensor:
    """The sine."""
    return Sin.apply(floating(input))


@with_out
@inplace
@method
def cos(input: Tensor) -> Tensor:
    """The cosine."""
    return Cos.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def tan(input: Tensor) -> Tensor:
    """The tangent."""
    return Tan.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def asin(input: Tensor) -> Tensor:
    """The angle in [-pi/2, pi/2] with this sine."""
    return Asin.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def acos(input: Tensor) -> Tensor:
    """The angle in [0, pi] with this cosine."""
    return Acos.apply(floating(input))


@with_out
@inplace
@method
def atan(input: Tensor) -> Tensor:
    """The angle in [-pi/2, pi/2] with this tangent."""
    return Atan.apply(floating(input))


@with_out
@inplace
@method
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle in [-pi, pi] of the points (x, y) = (other, input)."""
    tensors("atan2", input, other)
    a, b = promoted(input, other)
    return Atan2.apply(floating(a), floating(b))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def sinh(input: Tensor) -> Tensor:
    """The hyperbolic sine."""
    return Sinh.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def cosh(input: Tensor) -> Tensor:
    """The hyperbolic cosine."""
    return Cosh.apply(floating(input))


@with_out
@inplace
@method
def asinh(input: Tensor) -> Tensor:
    """The inverse of `sinh`."""
    return Asinh.apply(floating(input))


@with_out
@inplace
@method
def acosh(input: Tensor) -> Tensor:
    """The inverse of `cosh`, for numbers from 1 on."""
    return Acosh.apply(floating(input))


@with_out
@inplace
@method
def atanh(input: Tensor) -> Tensor:
    """The inverse of `tanh`."""
    return Atanh.apply(floating(input))


@with_out
@inplace
@method
def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0."""
    return Sinc.apply(floating(input))


@with_out
@inplace
@method
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return mul(floating(input), math.pi / 180)


@with_out
@inplace
@method
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return mul(floating(input), 180 / math.pi)


arcsin, arccos, arctan = alias(asin, "arcsin"), alias(acos, "arccos"), alias(atan, "arctan")
arcsinh, arccosh, arctanh = alias(asinh, "arcsinh"), alias(acosh, "arccosh"), alias(atanh, "arctanh")
arctan2 = alias(atan2, "arctan2")
