"""Values chosen from several, element by element: by a condition, by size, by bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module, is_array
from ddpnet.kernels import kernels_for
from ddpnet.ops.conversion import (
    Operand,
    as_operand,
    cast,
    common_dtype,
    exact,
    promoted,
    refuse,
    tensors,
)
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.operators import alias
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "fmax",
    "fmin",
    "maximum",
    "minimum",
    "where",
]


def kept(mask: Any, g: Any) -> Any:
    """`g` where `mask` holds, else 0, whatever `g` is there: arrays or Tensors."""
    if is_array(g) and is_array(mask):
        return kernels_for(g).select(mask, g, None)
    return array_module(g).where(mask, g, 0)


class Where(Op):
    def forward(self, condition, a, b):
        self.save(condition)
        return kernels_for(condition).select(condition, a, b)

    def backward(self, g):
        (condition,) = self.saved
        da = kept(condition, g) if self.needs[1] else None
        return None, da, kept(~condition, g) if self.needs[2] else None


class Clamp(Op):
    """Numbers as bounds."""

    graph_name = "ClampBackward1"

    def forward(self, x, low, high):
        self.low, self.high = low, high
        self.save(x)
        y = x if low is None else np.maximum(x, low)
        return y if high is None else np.minimum(y, high)

    def backward(self, g):
        (x,) = self.saved
        low, high = self.low, self.high
        inside = x <= high if low is None else x >= low if high is None else (x >= low) & (x <= high)
        return kept(inside, g)


class TensorClamp(Op):
    """Tensors as bounds; the upper one wins."""

    graph_name = "ClampBackward0"

    def forward(self, x, low, high):
        self.save(x, low, high)
        y = x if low is None else np.maximum(x, low)
        return y if high is None else np.minimum(y, high)

    def backward(self, g):
        x, low, high = self.saved
        dlow = dhigh = None
        if high is None:
            dx, dlow = kept(x >= low, g), kept(x < low, g)
        elif low is None:
            dx, dhigh = kept(x <= high, g), kept(x > high, g)
        else:
            dx = kept((x >= low) & (x <= high), g)
            dlow = kept((x < low) & (low < high), g)
            dhigh = kept((x > high) | (high < low), g)
        return dx, dlow, dhigh


class Maximum(Op):
    """Equal ones share the gradient."""

    def forward(self, a, b):
        self.save(a, b)
        return np.maximum(a, b)

    def backward(self, g):
        a, b = self.saved
        shared = g * (1 - (a == b) * g.dtype.type(0.5))
        return kept(~(a < b), shared), kept(~(a > b), shared)


class Minimum(Op):
    """Equal ones share the gradient."""

    def forward(self, a, b):
        self.save(a, b)
        return np.minimum(a, b)

    def backward(self, g):
        a, b = self.saved
        shared = g * (1 - (a == b) * g.dtype.type(0.5))
        return kept(~(a > b), shared), kept(~(a < b), shared)


class Fmax(Op):
    """The first of equal ones gets the gradient."""

    def forward(self, a, b):
        self.save(a, b)
        return np.fmax(a, b)

    def backward(self, g):
        a, b = self.saved
        first = (a >= b) | (b != b)
        return kept(first, g), kept(~first, g)


class Fmin(Op):
    """The first of equal ones gets the gradient."""

    def forward(self, a, b):
        self.save(a, b)
        return np.fmin(a, b)

    def backward(self, g):
        a, b = self.saved
        first = (a <= b) | (b != b)
        return kept(first, g), kept(~first, g)


@with_out
def where(condition: Tensor, input: Operand | None = None, other: Operand | None = None) -> Any:
    """`input` where `condition` (bool) holds, else `other`; with a condition only, the indices where it holds."""
    tensors("where", condition)
    mask = condition.array
    if input is None and other is None:
        return tuple(Tensor(places) for places in (mask if mask.ndim else mask.reshape(1)).nonzero())
    if mask.dtype.kind != "b":
        if mask.dtype != np.uint8:
            raise RuntimeError(
                f"where expected condition to be a boolean tensor, but got a tensor with dtype "
                f"{condition.dtype.scalar_name}"
            )
        condition = Tensor(mask != 0)
    if isinstance(input, Tensor) and isinstance(other, Tensor) and input.array.dtype == other.array.dtype:
        return Where.apply(condition, input, other)
    dtype = common_dtype(input, other)
    return Where.apply(condition, as_operand(input, dtype, condition), as_operand(other, dtype, condition))


def _where_method(self: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """The elements where `condition` holds, else those of `other`."""
    result: Tensor = where(condition, self, other)
    return result


@with_out
@inplace
@method
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Each element, but at least `min` and at most `max`: numbers or tensors."""
    tensors("clamp", input)
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    dtype = common_dtype(*[x for x in (input, min, max) if x is not None])
    x = cast(input, dtype)
    if min is not None and max is not None:
        refuse(0, "clamp", x)
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        low, high = (None if bound is None else as_operand(bound, dtype, x) for bound in (min, max))
        return TensorClamp.apply(x, low, high)
    refuse(0, "clamp", x)
    if dtype.kind != "f":
        min, max = (None if bound is None else dtype.type(exact(bound, dtype)) for bound in (min, max))
    return Clamp.apply(x, low=min, high=max)


@with_out
@inplace
@method
def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Each element, but at least `min`."""
    return clamp(input, min=min)


@with_out
@inplace
@method
def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """Each element, but at most `max`."""
    return clamp(input, max=max)


@with_out
@method
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; not a number if one is not."""
    tensors("maximum", input, other)
    return Maximum.apply(*promoted(input, other))


@with_out
@method
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; not a number if one is not."""
    tensors("minimum", input, other)
    return Minimum.apply(*promoted(input, other))


@with_out
@method
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; the other one where one is not a number."""
    tensors("fmax", input, other)
    return Fmax.apply(*promoted(input, other))


@with_out
@method
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; the other one where one is not a number."""
    tensors("fmin", input, other)
    return Fmin.apply(*promoted(input, other))


clip = alias(clamp, "clip")
setattr(Tensor, "where", _where_method)  # noqa: B010 - its arguments come in another order than the function's
