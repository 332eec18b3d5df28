"""Sums, products and their fused forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import (
    Number,
    Operand,
    beside,
    cast,
    common_dtype,
    fitting,
    floating,
    promoted,
    refuse,
    tensors,
)
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import alias, operator
from ddpnet.ops.out import with_out
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor, method

__all__ = [
    "add",
    "addcdiv",
    "addcmul",
    "mul",
    "multiply",
    "neg",
    "negative",
    "positive",
    "reciprocal",
    "rsub",
    "sub",
    "subtract",
]


class Add(Op):
    def forward(self, a, b):
        return a + b

    def backward(self, g):
        return g, g


class Sub(Op):
    def forward(self, a, b):
        return a - b

    def backward(self, g):
        return g, -g if self.needs[1] else None


class Mul(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return a * b

    def backward(self, g):
        a, b = self.saved
        return g * b if self.needs[0] else None, g * a if self.needs[1] else None


@in_float32
class AddScaled(Op):
    """a + alpha * b, rounded once."""

    graph_name = "AddBackward0"

    def forward(self, a, b, alpha):
        self.alpha = alpha
        return a + b * alpha

    def backward(self, g):
        return g, g * self.alpha if self.needs[1] else None


class Neg(Op):
    def forward(self, x):
        return -x

    def backward(self, g):
        return -g


class Reciprocal(Op):
    def forward(self, x):
        y = 1 / x
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -g * (y * y)


@in_float32
class Addcmul(Op):
    def forward(self, x, a, b, value):
        self.value = value
        self.save(a if self.needs[2] else None, b if self.needs[1] else None)
        return x + a * b * value

    def backward(self, g):
        a, b = self.saved
        scaled = g * self.value
        return g, scaled * b if self.needs[1] else None, scaled * a if self.needs[2] else None


@in_float32
class Addcdiv(Op):
    def forward(self, x, a, b, value):
        self.value = value
        self.save(a if self.needs[2] else None, b)
        return x + a / b * value

    def backward(self, g):
        a, b = self.saved
        part = g * self.value / b
        return g, part, -part * (a / b) if self.needs[2] else None


@with_out
@inplace
@operator("__add__", "__radd__")
@method
def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other."""
    a, b = promoted(input, other)
    return Add.apply(a, b) if type(alpha) is int and alpha == 1 else _scaled(a, b, alpha)


@with_out
@inplace
@operator("__sub__", "__rsub__")
@method
def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other."""
    if _is_bool(input) or _is_bool(other):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )
    a, b = promoted(input, other)
    return Sub.apply(a, b) if type(alpha) is int and alpha == 1 else _scaled(a, b, alpha, -1)


def _scaled(a: Any, b: Any, alpha: Any, sign: int = 1) -> Tensor:
    """a + sign * alpha * b, for operands of one dtype; RuntimeError if `alpha` is of another category."""
    alpha = alpha.item() if isinstance(alpha, Tensor | np.generic) else alpha
    dtype = (a if isinstance(a, Tensor) else b).array.dtype
    if isinstance(alpha, bool) and dtype.kind != "b":
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and dtype.kind in "biu":
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if not isinstance(b, Tensor):
        return Add.apply(a, bool(b * alpha) if dtype.kind == "b" else fitting(sign * alpha * b, dtype))
    factor = bool(alpha) if dtype.kind == "b" else fitting(sign * alpha, dtype)
    a = a if isinstance(a, Tensor) else beside(a, dtype, b)
    return AddScaled.apply(a, b, alpha=float(factor) if dtype.kind == "V" else factor)


def _is_bool(x: Any) -> bool:
    return x.array.dtype.kind == "b" if isinstance(x, Tensor) else isinstance(x, bool)


@with_out
@inplace
@operator("__mul__", "__rmul__")
@method
def mul(input: Operand, other: Operand) -> Tensor:
    """input * other."""
    return Mul.apply(*promoted(input, other))


def rsub(input: Tensor, other: Operand, *, alpha: Number = 1) -> Tensor:
    """other - alpha * input."""
    tensors("rsub", input)
    return sub(other, input, alpha=alpha)


@with_out
@inplace
@method
def neg(input: Tensor) -> Tensor:
    """-input; RuntimeError for bool."""
    tensors("neg", input)
    if input.array.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return Neg.apply(input)


@method
def positive(input: Tensor) -> Tensor:
    """The tensor itself; RuntimeError for bool."""
    tensors("positive", input)
    if input.array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@with_out
@inplace
@method
@autocasts("float32", "cuda")
def reciprocal(input: Tensor) -> Tensor:
    """1 / input, in floating point."""
    return Reciprocal.apply(floating(input))


@with_out
@inplace
@method
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    operands, value = _three("addcmul", input, tensor1, tensor2, value)
    return Addcmul.apply(*operands, value=value)


@with_out
@inplace
@method
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 / tensor2; RuntimeError for two tensors of integers."""
    tensors("addcdiv", input, tensor1, tensor2)
    if tensor1.array.dtype.kind in "biu" and tensor2.array.dtype.kind in "biu":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported. Use (input + value * torch.trunc(tensor1 / tensor2))"
            ".to(input.dtype) for integers, or give floating-point tensors."
        )
    operands, value = _three("addcdiv", input, tensor1, tensor2, value)
    return Addcdiv.apply(*operands, value=value)


def _three(name: str, input: Any, tensor1: Any, tensor2: Any, value: Any) -> tuple[list[Tensor], Any]:
    tensors(name, input, tensor1, tensor2)
    dtype = common_dtype(input, tensor1, tensor2)
    if dtype.kind == "b":
        refuse(0, name, input)
    value = value.item() if isinstance(value, Tensor | np.generic) else value
    if dtype.kind in "iu":
        value = fitting(int(value), dtype)
    return [cast(x, dtype) for x in (input, tensor1, tensor2)], value


subtract, multiply, negative = alias(sub, "subtract"), alias(mul, "multiply"), alias(neg, "negative")
Tensor.__neg__ = neg  # type: ignore[method-assign]
Tensor.__pos__ = positive  # type: ignore[method-assign]
