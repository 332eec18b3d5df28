"""Activation functions made of straight lines: rectifiers, steps and shrinkages."""

from __future__ import annotations

import numpy as np

from ddpnet import random
from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import Number, refuse
from ddpnet.ops.inplace import assign, check_writable
from ddpnet.ops.inplace import inplace as with_twin
from ddpnet.ops.op import Op
from ddpnet.ops.pending import can_wait, postponed
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor, method

__all__ = [
    "hardshrink",
    "prelu",
    "relu",
    "relu_",
    "rrelu",
    "rrelu_",
    "threshold",
    "threshold_",
]


class Linked(Op):
    """The first of two; the second gets no gradient, but the result requires one where it does."""

    def forward(self, y, x):
        return y.copy()

    def backward(self, g):
        return g, None


class StraightLines(Op):
    """A function whose slope changes in steps: the gradient depends on what is saved first, but with a slope of 0."""

    def differentiable_backward(self, g):
        return Linked.apply(self.backward(g), self.saved[0])


class Relu(Op):
    def is_by_row(self, most, x):
        return x.ndim > 1

    def forward(self, x):
        y = kernels_for(x).relu_forward(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return kernels_for(g).relu_backward(g, y)

    def differentiable_backward(self, g):
        (y,) = self.saved
        return Linked.apply(g * ~(y <= 0), y)


@in_float32
class LeakyRelu(StraightLines):
    def forward(self, x, slope):
        self.slope = slope
        self.save(x)
        return array_module(x).where(x > 0, x, x * slope)

    def backward(self, g):
        (x,) = self.saved
        return array_module(g).where(x > 0, g, g * self.slope)


@in_float32
class PreluKernel(Op):
    """`w` is broadcast."""

    def forward(self, x, w):
        self.save(x, w)
        return array_module(x).where(x > 0, x, x * w)

    def backward(self, g):
        x, w = self.saved
        xp = array_module(g)
        return xp.where(x > 0, g, g * w), g * xp.where(x > 0, xp.zeros_like(x), x)

    def differentiable_backward(self, g):
        dx, dw = self.backward(g)
        return Linked.apply(dx, self.saved[0]), dw


@in_float32
class RreluWithNoise(Op):
    """`slope` is 1 where x is positive."""

    def forward(self, x, slope):
        self.save(slope)
        return x * slope

    def backward(self, g):
        (slope,) = self.saved
        return g * slope, None


class Threshold(StraightLines):
    def forward(self, x, threshold, value):
        self.threshold = threshold
        self.save(x)
        return array_module(x).where(x <= threshold, x.dtype.type(value), x)

    def backward(self, g):
        (x,) = self.saved
        return g * ~(x <= self.threshold)


class Hardtanh(StraightLines):
    def forward(self, x, low, high):
        self.low, self.high = low, high
        self.save(x)
        return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))

    def backward(self, g):
        (x,) = self.saved
        return g * ((x > self.low) & (x < self.high))


@in_float32
class Hardsigmoid(StraightLines):
    """A sixth of (x + 3) between 0 and 6 (Courbariaux et al., 2015; Howard et al., 2019)."""

    def forward(self, x):
        self.save(x)
        return np.minimum(np.maximum(x + 3, 0), 6) / 6

    def backward(self, g):
        (x,) = self.saved
        return g * ((x > -3) & (x < 3)) / 6


@in_float32
class Hardswish(Op):
    def forward(self, x):
        self.save(x)
        return x * np.minimum(np.maximum(x + 3, 0), 6) / 6

    def backward(self, g):
        (x,) = self.saved
        xp = array_module(g)
        return xp.where(x < 3, xp.where(x <= -3, xp.zeros_like(g), g * (x / 3 + 0.5)), g)


class Hardshrink(StraightLines):
    def forward(self, x, lambd):
        self.lambd = lambd
        self.save(x)
        return array_module(x).where((x >= -lambd) & (x <= lambd), x.dtype.type(0), x)

    def backward(self, g):
        (x,) = self.saved
        return g * ~((x >= -self.lambd) & (x <= self.lambd))


@in_float32
class Softshrink(StraightLines):
    def forward(self, x, lambd):
        self.lambd = lambd
        self.save(x)
        return array_module(x).where(x > lambd, x - lambd, array_module(x).where(x < -lambd, x + lambd, x * 0))

    def backward(self, g):
        (x,) = self.saved
        return g * ~((x >= -self.lambd) & (x <= self.lambd))


def placed(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    """`result`, or `input` that has taken it over."""
    if not inplace:
        return result
    check_writable(input)
    return assign(input, result)


def refuse_integers(name: str, *inputs: Tensor) -> None:
    """NotImplementedError for integers and bool."""
    refuse(0, name, *inputs)
    refuse(1, name, *inputs)


@with_twin
@method
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    if input.array.dtype == np.bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    if not inplace and can_wait(input):
        return postponed(Relu, input)
    return placed(input, Relu.apply(input), inplace)


def relu_(input: Tensor) -> Tensor:
    """`relu` in place."""
    return relu(input, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    refuse_integers("leaky_relu", input)
    return placed(input, LeakyRelu.apply(input, slope=negative_slope), inplace)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return leaky_relu(input, negative_slope, inplace=True)


@method
@autocasts("lower")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, else weight * x: one number, or one for each channel (dimension 1)."""
    refuse_integers("prelu", input)
    if input.array.dtype != weight.array.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype.scalar_name} and {weight.dtype.scalar_name}"
        )
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.array.size == 1:
        return PreluKernel.apply(input, weight.reshape(()))
    if input.ndim == 0:
        raise RuntimeError("prelu: Not allow zero-dim input tensor.")
    channels = input.array.shape[1] if input.ndim > 1 else 1
    if weight.array.size != channels:
        raise RuntimeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.array.size} and "
            f"channel size = {channels}."
        )
    return PreluKernel.apply(input, weight.reshape(-1, *(1,) * (input.ndim - 2)))


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x where it is positive, else times a slope between `lower` and `upper`: drawn while training, else the middle."""
    refuse_integers("rrelu", input)
    if not lower <= upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound: {lower}, {upper}")
    x = input.array
    if not training:
        return placed(input, LeakyRelu.apply(input, slope=(lower + upper) / 2), inplace)
    drawn = random.default_generator().draw().uniform(lower, upper, x.shape)
    xp = array_module(x)
    slope = Tensor(xp.where(x > 0, 1, xp.asarray(drawn)).astype(x.dtype))
    return placed(input, RreluWithNoise.apply(input, slope), inplace)


def rrelu_(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, inplace=True)


def threshold(input: Tensor, threshold: Number, value: Number, inplace: bool = False) -> Tensor:
    """x where it is larger than `threshold`, else `value`."""
    refuse(0, "threshold", input)
    return placed(input, Threshold.apply(input, threshold=threshold, value=value), inplace)


def threshold_(input: Tensor, threshold: Number, value: Number) -> Tensor:
    """`threshold` in place."""
    refuse(0, "threshold", input)
    return placed(input, Threshold.apply(input, threshold=threshold, value=value), True)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Each element, but at least `min_val` and at most `max_val`; no gradient at the bounds."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input.array.dtype == np.bool_:
        raise NotImplementedError("Bool inputs not supported for hardtanh")
    if input.array.dtype == np.uint8 and min_val < 0:
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    return placed(input, Hardtanh.apply(input, low=min_val, high=max_val), inplace)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6."""
    refuse_integers("hardsigmoid", input)
    return placed(input, Hardsigmoid.apply(input), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x times its `hardsigmoid`."""
    refuse_integers("hardswish", input)
    return placed(input, Hardswish.apply(input), inplace)


@method
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x, or 0 where |x| is at most `lambd`."""
    refuse_integers("hardshrink", input)
    return Hardshrink.apply(input, lambd=lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved by `lambd` towards 0; 0 where |x| is at most that."""
    refuse_integers("softshrink", input)
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return Softshrink.apply(input, lambd=lambd)
