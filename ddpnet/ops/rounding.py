"""Rounding, and the parts of numbers: signs, fractions, mantissas and exponents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.arithmetic import mul
from ddpnet.ops.conversion import Operand, floating, promoted, refuse, tensors
from ddpnet.ops.creation import ones_like, zeros_like
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import alias
from ddpnet.ops.out import with_out
from ddpnet.ops.powers import pow
from ddpnet.tensor import Tensor, method

__all__ = [
    "abs",
    "absolute",
    "ceil",
    "copysign",
    "fix",
    "floor",
    "frac",
    "frexp",
    "heaviside",
    "ldexp",
    "nextafter",
    "round",
    "sgn",
    "sign",
    "signbit",
    "trunc",
]


class _Step(Op):
    """A function of steps: its gradient is zero."""

    def backward(self, g):
        return array_module(g).zeros_like(g)


class Ceil(_Step):
    def forward(self, x):
        return np.ceil(x)


class Floor(_Step):
    def forward(self, x):
        return np.floor(x)


class Trunc(_Step):
    def forward(self, x):
        return np.trunc(x)


class Round(_Step):
    """To the nearest number with so many decimals; halves to even."""

    def forward(self, x, decimals=0):
        if decimals == 0:
            return np.rint(x)
        power = x.dtype.type(10.0 ** np.abs(decimals))
        return np.rint(x * power) / power if decimals > 0 else np.rint(x / power) * power


class Sign(_Step):
    def forward(self, x):
        return x.copy() if x.dtype.kind == "b" else array_module(x).where(x != x, x.dtype.type(0), np.sign(x))


class Sgn(Sign):
    pass


class Frac(Op):
    def forward(self, x):
        return x - np.trunc(x)

    def backward(self, g):
        return g


class Abs(Op):
    def forward(self, x):
        self.save(x)
        return np.abs(x)

    def backward(self, g):
        (x,) = self.saved
        return g * array_module(g).where(x != x, x.dtype.type(0), np.sign(x))

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g * sgn(x)


class Copysign(Op):
    def forward(self, x, sign):
        self.save(x, sign)
        return np.copysign(x, sign)

    def backward(self, g):
        x, sign = self.saved
        return g * (np.sign(x) * np.copysign(1, sign)), array_module(g).zeros_like(g)

    def differentiable_backward(self, g):
        x, sign = self.saved
        return g * sgn(x) * copysign(ones_like(x), sign), zeros_like(g)


class Frexp(Op):
    differentiable = (True, False)

    def forward(self, x):
        mantissa, exponent = np.frexp(x)
        self.save(exponent)
        return mantissa, exponent.astype(np.int32)

    def backward(self, g, _):
        (exponent,) = self.saved
        return g / 2.0**exponent


class Nextafter(Op):
    def forward(self, a, b):
        return np.nextafter(a, b)

    def backward(self, g):
        raise NotImplementedError("derivative for aten::nextafter is not implemented")


@with_out
@inplace
@method
def ceil(input: Tensor) -> Tensor:
    """The smallest integer that is not smaller."""
    return _rounded(Ceil, "ceil", input)


@with_out
@inplace
@method
def floor(input: Tensor) -> Tensor:
    """The largest integer that is not larger."""
    return _rounded(Floor, "floor", input)


@with_out
@inplace
@method
def trunc(input: Tensor) -> Tensor:
    """The integer towards zero."""
    return _rounded(Trunc, "trunc", input)


@with_out
@inplace
@method
def round(input: Tensor, *, decimals: int | None = None) -> Tensor:
    """The nearest number with so many decimals (0), halves to even; integers only without `decimals`."""
    if decimals is not None:
        tensors("round", input)
        refuse(0, "round", input)
        refuse(1, "round", input)
    return _rounded(Round, "round", input, decimals=decimals or 0)


def _rounded(operation: type[Op], name: str, input: Tensor, **options: Any) -> Tensor:
    """The operation on floating point; integers are what they are."""
    tensors(name, input)
    refuse(0, name, input)
    return Tensor(input.array.copy()) if input.array.dtype.kind in "iu" else operation.apply(input, **options)


@with_out
@inplace
@method
def frac(input: Tensor) -> Tensor:
    """What is left of `trunc`; for floating point."""
    tensors("frac", input)
    refuse(0, "frac", input)
    refuse(1, "frac", input)
    return Frac.apply(input)


@with_out
@inplace
@method
def abs(input: Tensor) -> Tensor:
    """The absolute value."""
    tensors("abs", input)
    refuse(0, "abs", input)
    return Abs.apply(input)


@with_out
@inplace
@method
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1."""
    tensors("sign", input)
    return Sign.apply(input)


@with_out
@inplace
@method
def sgn(input: Tensor) -> Tensor:
    """-1, 0 or 1."""
    tensors("sgn", input)
    return Sgn.apply(input)


@with_out
@method
def signbit(input: Tensor) -> Tensor:
    """bool: whether the sign is negative, also of -0.0."""
    tensors("signbit", input)
    return Tensor(np.signbit(input.array) if input.array.dtype.kind in "fV" else input.array < 0)


@with_out
@inplace
@method
def copysign(input: Tensor, other: Operand) -> Tensor:
    """The absolute value of input with the sign of other, in floating point."""
    tensors("copysign", input)
    a, b = promoted(input, other)
    return Copysign.apply(floating(a), floating(b) if isinstance(b, Tensor) else b)


@with_out
@inplace
@method
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative numbers, `values` at 0, 1 for positive numbers; no gradient."""
    return _same_dtype(_heaviside, "heaviside", input, values)


def _heaviside(x: Any, values: Any) -> Any:
    return array_module(x).where(x == 0, values, (x > 0).astype(x.dtype))


@with_out
@inplace
@method
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next floating-point number towards `other`; NotImplementedError for its gradient."""
    tensors("nextafter", input, other)
    refuse(0, "nextafter", input, other)
    refuse(1, "nextafter", input, other)
    return Nextafter.apply(*promoted(input, other))


def _same_dtype(compute: Callable[[Any, Any], Any], name: str, input: Tensor, other: Tensor) -> Tensor:
    tensors(name, input, other)
    if input.array.dtype != other.array.dtype:
        raise RuntimeError(f"{name} is not yet implemented for tensors with different dtypes.")
    return Tensor(compute(input.array, other.array))


@with_out
@inplace
@method
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other, in floating point."""
    tensors("ldexp", input, other)
    return mul(input, pow(2.0, other))


class Parts(NamedTuple):
    mantissa: Tensor
    exponent: Tensor

    def __repr__(self) -> str:
        return f"torch.return_types.frexp(\nmantissa={self.mantissa!r},\nexponent={self.exponent!r})"


@with_out
@method
def frexp(input: Tensor) -> Parts:
    """(mantissa, exponent): input = mantissa * 2 ** exponent, with |mantissa| in [0.5, 1) and int32 exponents."""
    tensors("frexp", input)
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return Parts(*Frexp.apply(input))


absolute, fix = alias(abs, "absolute"), alias(trunc, "fix")
Tensor.__abs__ = abs  # type: ignore[method-assign]
