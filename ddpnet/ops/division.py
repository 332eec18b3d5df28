"""Quotients and remainders."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.conversion import Operand, floating, promoted, refuse, tensors
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import alias, operator
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "div",
    "divide",
    "floor_divide",
    "fmod",
    "gcd",
    "lcm",
    "remainder",
    "true_divide",
]


class Div(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b)
        return a / b

    def backward(self, g):
        a, b = self.saved
        dx = g / b
        return dx if self.needs[0] else None, -dx * (a / b) if self.needs[1] else None


class FloorDiv(Op):
    """The quotient rounded towards minus infinity: a step function."""

    graph_name = "DivBackward2"

    def forward(self, a, b):
        return a // b

    def backward(self, g):
        zero = array_module(g).zeros_like(g)
        return zero, zero


class FloorDivide(Op):
    """As `FloorDiv`; PyTorch has no derivative of this one."""

    graph_name = "NotImplemented"

    def forward(self, a, b):
        return a // b

    def backward(self, g):
        raise RuntimeError("derivative for aten::floor_divide is not implemented")


class TruncDiv(FloorDiv):
    """The quotient rounded towards zero."""

    graph_name = "DivBackward2"

    def forward(self, a, b):
        if (getattr(a, "dtype", None) or b.dtype).kind not in "iu":
            return np.trunc(a / b)
        quotient = a // b
        return quotient + ((quotient < 0) & (quotient * b != a))


class Remainder(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[1] else None)
        y = a % b
        return y if y.dtype.kind not in "fV" else array_module(y).where(y == 0, np.copysign(y, a), y)

    def backward(self, g):
        a, b = self.saved
        return g, -g * (a // b) if self.needs[1] else None

    def differentiable_backward(self, g):
        a, b = self.saved
        return g, -g * div(a, b, rounding_mode="floor") if self.needs[1] else None


class Fmod(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[1] else None)
        return np.fmod(a, b)

    def backward(self, g):
        a, b = self.saved
        return g, -g * np.trunc(a / b) if self.needs[1] else None

    def differentiable_backward(self, g):
        a, b = self.saved
        return g, -g * div(a, b, rounding_mode="trunc") if self.needs[1] else None


@with_out
@inplace
@operator("__truediv__", "__rtruediv__", "__div__", "__rdiv__")
@method
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """input / other in floating point; with rounding_mode "floor" or "trunc" rounded, and integers stay integers."""
    a, b = promoted(input, other)
    if rounding_mode is None:
        return Div.apply(*[floating(x) if isinstance(x, Tensor) else x for x in (a, b)])
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}"
        )
    return _quotient(FloorDiv if rounding_mode == "floor" else TruncDiv, f"div_{rounding_mode}", a, b)


@with_out
@inplace
@method
def true_divide(input: Operand, other: Operand) -> Tensor:
    """input / other, in floating point."""
    return div(input, other)


@with_out
@inplace
@operator("__floordiv__", "__rfloordiv__")
@method
def floor_divide(input: Operand, other: Operand) -> Tensor:
    """input / other rounded towards minus infinity; RuntimeError for integers over zero; no gradient."""
    return _quotient(FloorDivide, "floor_divide", input, other)


@with_out
@inplace
@operator("__mod__", "__rmod__")
@method
def remainder(input: Operand, other: Operand) -> Tensor:
    """The remainder of `floor_divide`: it has the sign of `other`."""
    if not isinstance(input, Tensor):
        tensors("remainder", other)
    return _quotient(Remainder, "remainder", input, other)


@with_out
@inplace
@method
def fmod(input: Tensor, other: Operand) -> Tensor:
    """The remainder of the division rounded towards zero: it has the sign of `input`."""
    tensors("fmod", input)
    return _quotient(Fmod, "fmod", input, other)


def _quotient(operation: type[Op], name: str, input: Operand, other: Operand) -> Any:
    a, b = promoted(input, other)
    refuse(0, name, a, b)
    _check_divisor(a, b)
    return operation.apply(a, b)


def _check_divisor(a: Any, b: Any) -> None:
    """RuntimeError for a quotient by an integer zero."""
    if isinstance(a, Tensor) and not a.array.size:
        return
    if isinstance(b, Tensor):
        if b.array.dtype.kind in "iu" and not b.array.all():
            raise RuntimeError("ZeroDivisionError")
    elif type(b) is int and b == 0:
        raise RuntimeError("ZeroDivisionError")


@with_out
@inplace
@method
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of integers."""
    return _of_integers(np.gcd, "gcd", input, other)


@with_out
@inplace
@method
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers."""
    return _of_integers(np.lcm, "lcm", input, other)


def _of_integers(compute: Any, name: str, input: Tensor, other: Tensor) -> Tensor:
    tensors(name, input, other)
    a, b = promoted(input, other)
    refuse(0, name, a)
    refuse(2, name, a)
    return Tensor(compute(a.array, b.array))


divide = alias(div, "divide")
