"""Logic of truth values and of bits: no gradient flows through any of it."""

from __future__ import annotations

import operator as python

import numpy as np

from ddpnet.ops.conversion import Operand, refuse, tensors
from ddpnet.ops.inplace import inplace
from ddpnet.ops.operators import operator, unrecorded
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
]


@with_out
@inplace
@method
def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """bool: whether both are not zero."""
    tensors("logical_and", input, other)
    return unrecorded(python.and_, _truth(input), _truth(other), "logical_and")


@with_out
@inplace
@method
def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """bool: whether at least one is not zero."""
    tensors("logical_or", input, other)
    return unrecorded(python.or_, _truth(input), _truth(other), "logical_or")


@with_out
@inplace
@method
def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """bool: whether exactly one is not zero."""
    tensors("logical_xor", input, other)
    return unrecorded(python.xor, _truth(input), _truth(other), "logical_xor")


@with_out
@inplace
@method
def logical_not(input: Tensor) -> Tensor:
    """bool: whether each element is zero."""
    tensors("logical_not", input)
    return Tensor(input.array == 0)


def _truth(x: Tensor) -> Tensor:
    return x if x.array.dtype.kind == "b" else Tensor(x.array != 0)


@with_out
@inplace
@operator("__and__", "__rand__")
@method
def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """input & other, for integers and bools."""
    return unrecorded(python.and_, input, other, "bitwise_and", refused=2)


@with_out
@inplace
@operator("__or__", "__ror__")
@method
def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """input | other, for integers and bools."""
    return unrecorded(python.or_, input, other, "bitwise_or", refused=2)


@with_out
@inplace
@operator("__xor__", "__rxor__")
@method
def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """input ^ other, for integers and bools."""
    return unrecorded(python.xor, input, other, "bitwise_xor", refused=2)


@with_out
@inplace
@method
def bitwise_not(input: Tensor) -> Tensor:
    """~input, for integers and bools."""
    tensors("bitwise_not", input)
    refuse(2, "bitwise_not", input)
    return Tensor(~input.array)


@with_out
@inplace
@operator("__lshift__", "__rlshift__")
@method
def bitwise_left_shift(input: Operand, other: Operand) -> Tensor:
    """input << other, for integers; 0 where all bits are shifted out."""
    return _shifted(np.left_shift, "lshift", input, other)


@with_out
@inplace
@operator("__rshift__", "__rrshift__")
@method
def bitwise_right_shift(input: Operand, other: Operand) -> Tensor:
    """input >> other, for integers."""
    return _shifted(np.right_shift, "rshift", input, other)


def _shifted(compute: np.ufunc, name: str, input: Operand, other: Operand) -> Tensor:
    def shift(a: object, b: object) -> object:
        if getattr(a, "dtype", None) == np.bool_ or getattr(b, "dtype", None) == np.bool_:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")
        return compute(a, b)

    return unrecorded(shift, input, other, name, refused=2)


def _invert(self: Tensor) -> Tensor:
    """~self; TypeError for floating point, as PyTorch has it for the operator."""
    if self.is_floating_point():
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    result: Tensor = bitwise_not(self)
    return result


Tensor.__invert__ = _invert  # type: ignore[method-assign]
