"""Element by element: arithmetic, powers, exponentials, choices."""

from __future__ import annotations

import operator as python

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.conversion import Number, Operand, floating, promoted, refuse
from ddpnet.ops.creation import full
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import operator, unrecorded
from ddpnet.tensor import Tensor, method


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


class Div(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b)
        return a / b

    def backward(self, g):
        a, b = self.saved
        return g / b if self.needs[0] else None, -g * a / (b * b) if self.needs[1] else None


class Neg(Op):
    def forward(self, x):
        return -x

    def backward(self, g):
        return -g


class Pow(Op):
    def forward(self, x, exponent):
        y = x**exponent
        self.save(x, exponent, y if self.needs[1] else None)
        return y

    def backward(self, g):
        x, p, y = self.saved
        xp = array_module(g)
        dx = g * xp.where(p == 0, 0, p * x ** (p - 1)) if self.needs[0] else None
        dp = g * xp.where((x == 0) & (p >= 0), 0, y * xp.log(x)) if self.needs[1] else None
        return dx, dp


@inplace
@operator("__add__", "__radd__")
@method
def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other."""
    return Add.apply(*promoted(input, other if alpha == 1 else mul(other, alpha)))


@inplace
@operator("__sub__", "__rsub__")
@method
def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other."""
    if any(x.array.dtype == np.bool_ if isinstance(x, Tensor) else isinstance(x, bool) for x in (input, other)):
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported.")
    return Sub.apply(*promoted(input, other if alpha == 1 else mul(other, alpha)))


@inplace
@operator("__mul__", "__rmul__")
@method
def mul(input: Operand, other: Operand) -> Tensor:
    """input * other."""
    return Mul.apply(*promoted(input, other))


@inplace
@operator("__truediv__", "__rtruediv__")
@method
def div(input: Operand, other: Operand) -> Tensor:
    """input / other, in floating point."""
    a, b = promoted(input, other)
    return Div.apply(*(floating(x) if isinstance(x, Tensor) else x for x in (a, b)))


@inplace
@operator("__pow__", "__rpow__")
@method
def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent."""
    a, b = promoted(input, exponent)
    refuse(0, "pow", a, b)
    return Pow.apply(a, b)


@inplace
@method
def neg(input: Tensor) -> Tensor:
    """-input."""
    return Neg.apply(input)


@operator("__floordiv__", "__rfloordiv__")
@method
def floor_divide(input: Operand, other: Operand) -> Tensor:
    """input / other rounded towards minus infinity; no gradient."""
    return unrecorded(python.floordiv, input, other, "floor_divide", refused=0)


@operator("__mod__", "__rmod__")
@method
def remainder(input: Operand, other: Operand) -> Tensor:
    """The remainder of `floor_divide`; no gradient."""
    return unrecorded(python.mod, input, other, "remainder", refused=0)


subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
Tensor.__neg__ = neg  # type: ignore[method-assign]
Tensor.__pos__ = lambda self: self  # type: ignore[method-assign]
Tensor.__abs__ = lambda self: abs(self)  # type: ignore[method-assign]


class Exp(Op):
    def forward(self, x):
        y = np.exp(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * y


class Log(Op):
    def forward(self, x):
        self.save(x)
        return np.log(x)

    def backward(self, g):
        (x,) = self.saved
        return g / x


class Sqrt(Op):
    def forward(self, x):
        y = np.sqrt(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g / (2 * y)


class Abs(Op):
    def forward(self, x):
        self.save(x)
        return np.abs(x)

    def backward(self, g):
        (x,) = self.saved
        return g * np.sign(x)


class Clamp(Op):
    graph_name = "ClampBackward1"

    def forward(self, x, low, high):
        self.save(x, low, high)
        y = x if low is None else np.maximum(x, low)
        return y if high is None else np.minimum(y, high)

    def backward(self, g):
        x, low, high = self.saved
        inside = (low is None or x >= low) & (high is None or x <= high)
        return g * inside


class Where(Op):
    def forward(self, condition, a, b):
        self.save(condition)
        return array_module(condition).where(condition, a, b)

    def backward(self, g):
        (condition,) = self.saved
        return None, g * condition, g * ~condition


class MaskedFill(Where):
    pass


class _Choice(Op):
    """The larger or smaller of two; equal ones share the gradient."""

    def backward(self, g):
        a, b, y = self.saved
        first, second = a == y, b == y
        tie = (first & second) * g.dtype.type(0.5)
        return g * (first - tie), g * (second - tie)


class Maximum(_Choice):
    def forward(self, a, b):
        y = np.maximum(a, b)
        self.save(a, b, y)
        return y


class Minimum(_Choice):
    def forward(self, a, b):
        y = np.minimum(a, b)
        self.save(a, b, y)
        return y


@inplace
@method
def exp(input: Tensor) -> Tensor:
    """e to the power of each element."""
    return Exp.apply(floating(input))


@inplace
@method
def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return Log.apply(floating(input))


@inplace
@method
def sqrt(input: Tensor) -> Tensor:
    """The square root."""
    return Sqrt.apply(floating(input))


@inplace
@method
def abs(input: Tensor) -> Tensor:
    """The absolute value."""
    return Abs.apply(input)


@inplace
@method
def square(input: Tensor) -> Tensor:
    """input * input."""
    return pow(input, 2)


@inplace
@method
def clamp(input: Tensor, min: Number | None = None, max: Number | None = None) -> Tensor:
    """Each element, but at least `min` and at most `max`."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise NotImplementedError("clamp: bounds must be numbers; use maximum and minimum with tensors")
    low, high = min, max
    if min is not None:
        input, low = promoted(input, min)
    if max is not None:
        input, high = promoted(input, max)
    return Clamp.apply(input, low=low, high=high)


@method
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element."""
    return Maximum.apply(*promoted(input, other))


@method
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element."""
    return Minimum.apply(*promoted(input, other))


def where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """`input` where `condition` (bool) holds, else `other`."""
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = full((), input, device=condition.device)
    return Where.apply(condition, *promoted(input, other))


@inplace
@method
def masked_fill(input: Tensor, mask: Tensor, value: Number) -> Tensor:
    """`value` where `mask` holds, else `input`."""
    return MaskedFill.apply(Tensor(~mask.array), *promoted(input, value))
