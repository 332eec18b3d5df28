"""Elements replaced: those under a mask, those that are not numbers; and mixtures of two tensors."""

from __future__ import annotations

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.choice import kept
from ddpnet.ops.conversion import (
    Number,
    Operand,
    as_operand,
    refuse,
    tensors,
)
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor, method

__all__ = [
    "lerp",
    "masked_fill",
    "nan_to_num",
]


class MaskedFill(Op):
    dense = True

    def forward(self, x, mask, value):
        self.save(mask)
        return kernels_for(x).select(~mask, x, value)

    def backward(self, g):
        (mask,) = self.saved
        return kept(~mask, g), None, kept(mask, g) if self.needs[2] else None


@in_float32
class Lerp(Op):
    """A number as the weight."""

    def forward(self, a, b, weight):
        self.weight = weight
        return a + (b - a) * weight if abs(weight) < 0.5 else b - (b - a) * (1 - weight)

    def backward(self, g):
        return g * (1 - self.weight), g * self.weight


@in_float32
class TensorLerp(Op):
    graph_name = "LerpBackward1"

    def forward(self, a, b, weight):
        self.save(a, b, weight)
        where = array_module(weight).where
        return where(np.abs(weight) < 0.5, a + (b - a) * weight, b - (b - a) * (1 - weight))

    def backward(self, g):
        a, b, weight = self.saved
        return g * (1 - weight), g * weight, g * (b - a) if self.needs[2] else None


class NanToNum(Op):
    def forward(self, x, nan, posinf, neginf):
        xp = array_module(x)
        number = x.dtype.type
        self.save(xp.isfinite(x))
        y = xp.where(x != x, number(nan), x)
        y = xp.where(x == np.inf, number(posinf), y)
        return xp.where(x == -np.inf, number(neginf), y)

    def backward(self, g):
        (finite,) = self.saved
        return kept(finite, g)


@inplace
@method
def masked_fill(input: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """`value`, a number or a tensor without dimensions, where `mask` (bool) holds, else `input`."""
    tensors("masked_fill", input, mask)
    if mask.array.dtype.kind != "b":
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype.name}")
    dtype = input.array.dtype
    if isinstance(value, Tensor) and value.array.ndim:
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    return MaskedFill.apply(input, mask, as_operand(value, dtype, input))


@with_out
@inplace
@method
def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """input + weight * (end - input); one floating-point dtype."""
    tensors("lerp", input, end)
    for name, x in (("end", end), ("weight", weight)):
        if isinstance(x, Tensor) and x.array.dtype != input.array.dtype:
            raise RuntimeError(f"expected dtype {input.dtype.name} for `{name}` but got dtype {x.dtype.name}")
    refuse(0, "lerp", input)
    refuse(1, "lerp", input)
    if isinstance(weight, Tensor):
        return TensorLerp.apply(input, end, weight)
    return Lerp.apply(input, end, weight=weight)


@with_out
@inplace
@method
def nan_to_num(
    input: Tensor, nan: Number | None = None, posinf: Number | None = None, neginf: Number | None = None
) -> Tensor:
    """Numbers in place of what is not one, 0 by default, and of infinities, by default the largest and smallest."""
    tensors("nan_to_num", input)
    if not input.is_floating_point():
        return Tensor(input.array.copy())
    limits = dtypes.finfo(input.dtype)
    return NanToNum.apply(
        input,
        nan=0.0 if nan is None else nan,
        posinf=limits.max if posinf is None else posinf,
        neginf=limits.min if neginf is None else neginf,
    )
