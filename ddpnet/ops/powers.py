"""Powers and roots."""

from __future__ import annotations

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import Operand, beside, cast, floating, promoted, refuse, tensors
from ddpnet.ops.inplace import assign, check_writable, inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import operator
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "float_power",
    "hypot",
    "pow",
    "rsqrt",
    "sqrt",
    "square",
]


class Pow(Op):
    """A number as the exponent."""

    def forward(self, x, exponent):
        self.save(x)
        self.exponent = exponent
        return _power(x, exponent)

    def backward(self, g):
        (x,) = self.saved
        p = self.exponent
        if p == 0:
            return array_module(g).zeros_like(g)
        return g * (x * 2 if p == 2 else (x ** (p - 1) if isinstance(x, Tensor) else _power(x, p - 1)) * p)


def _power(x, p):
    """x ** p for a number p; NumPy's powers of negative numbers are a hundred times slower than those of others."""
    if p == -0.5:
        return 1 / np.sqrt(x)  # as PyTorch's: the root of -0 is -0
    if x.dtype.kind != "f" or p in (-1, 0, 0.5, 1, 2) or p != p // 1:
        return x**p
    if p == 3:
        return x * x * x
    y = np.abs(x) ** p
    return np.copysign(y, x) if p % 2 else y


class TensorPow(Op):
    graph_name = "PowBackward1"

    def forward(self, x, p):
        y = _integer_power(x, p) if p.dtype.kind in "iu" else x**p
        self.save(x, p, y if self.needs[1] else None)
        return y

    def backward(self, g):
        x, p, y = self.saved
        where = array_module(g).where
        dx = where(p == 0, 0, g * (p * x ** (p - 1))) if self.needs[0] else None
        dp = g * where((x == 0) & (p >= 0), 0, y * array_module(g).log(x)) if self.needs[1] else None
        return dx, dp


def _integer_power(x, p):
    """x ** p for integers, where NumPy refuses negative exponents: the power is 0 then, except of 1 and -1."""
    if not (p < 0).any():
        return x**p
    y = x ** np.abs(p)
    return array_module(p).where((p < 0) & (np.abs(x) != 1), 0, y).astype(p.dtype)


class Sqrt(Op):
    def forward(self, x):
        y = np.sqrt(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g / (2 * y)


class Rsqrt(Op):
    def forward(self, x):
        y = 1 / np.sqrt(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (y * y * y) * -0.5


class Hypot(Op):
    def forward(self, a, b):
        y = np.hypot(a, b)
        self.save(a, b, y)
        return y

    def backward(self, g):
        a, b, y = self.saved
        return g * (a / y), g * (b / y)


@with_out
@inplace
@operator("__pow__", "__rpow__")
@method
@autocasts("float32", "cuda")
def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent; RuntimeError for integers to the power of a negative number."""
    if not isinstance(input, Tensor):
        tensors("pow", exponent)
    a, b = promoted(input, exponent)
    if not isinstance(b, Tensor):
        if a.array.dtype.kind in "biu":
            refuse(0, "pow", a)
            if b < 0 or (isinstance(exponent, int) and exponent < 0):
                raise RuntimeError("Integers to negative integer powers are not allowed.")
        return Pow.apply(a, exponent=b)
    refuse(0, "pow", b)
    return TensorPow.apply(a if isinstance(a, Tensor) else beside(a, b.array.dtype, b), b)


@with_out
@method
def float_power(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent, computed in float64."""
    if not isinstance(input, Tensor):
        tensors("float_power", exponent)
    double = dtypes.float64.numpy
    a, b = (cast(x, double) if isinstance(x, Tensor) else float(x) for x in (input, exponent))
    return pow(a, b)


@method
def float_power_(input: Tensor, exponent: Operand) -> Tensor:
    """In-place `float_power`; RuntimeError unless the tensor is float64."""
    if input.dtype is not dtypes.float64:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {input.dtype.scalar_name} but the operation's result requires "
            "dtype Double"
        )
    check_writable(input)
    return assign(input, float_power(input, exponent))


@with_out
@inplace
@method
def square(input: Tensor) -> Tensor:
    """input * input."""
    return pow(input, 2)


@with_out
@inplace
@method
def sqrt(input: Tensor) -> Tensor:
    """The square root, in floating point."""
    return Sqrt.apply(floating(input))


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input), in floating point."""
    return Rsqrt.apply(floating(input))


@with_out
@inplace
@method
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input ** 2 + other ** 2) without overflow; for floating point."""
    tensors("hypot", input, other)
    a, b = promoted(input, other)
    refuse(0, "hypot", a)
    refuse(1, "hypot", a)
    return Hypot.apply(a, b)
