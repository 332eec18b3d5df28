"""Comparisons and logic, element by element and of whole tensors: no gradient flows through any of them."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet.ops.conversion import Operand
from ddpnet.ops.operators import operator, unrecorded
from ddpnet.tensor import Tensor, method


def _comparison(compare: Callable[[Any, Any], Any], name: str, *operators: str) -> Callable[..., Tensor]:
    def comparison(input: Operand, other: Operand) -> Tensor:
        return unrecorded(compare, input, other, name)

    comparison.__name__ = comparison.__qualname__ = name
    comparison.__doc__ = f"bool: input {operators[0].strip('_')} other, element by element."
    return operator(*operators)(method(comparison))


eq = _comparison(python.eq, "eq", "__eq__")
ne = _comparison(python.ne, "ne", "__ne__")
lt = _comparison(python.lt, "lt", "__lt__")
le = _comparison(python.le, "le", "__le__")
gt = _comparison(python.gt, "gt", "__gt__")
ge = _comparison(python.ge, "ge", "__ge__")


@operator("__and__", "__rand__")
@method
def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """input & other, for integers and bools."""
    return unrecorded(python.and_, input, other, "bitwise_and", refused=2)


@operator("__or__", "__ror__")
@method
def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """input | other, for integers and bools."""
    return unrecorded(python.or_, input, other, "bitwise_or", refused=2)


@method
def logical_not(input: Tensor) -> Tensor:
    """bool: whether each element is zero."""
    return Tensor(input.array == 0)


@method
def bitwise_not(input: Tensor) -> Tensor:
    """~input, for integers and bools."""
    return Tensor(~input.array)


Tensor.__invert__ = bitwise_not  # type: ignore[method-assign]


@method
def isnan(input: Tensor) -> Tensor:
    """bool: whether each element is not a number."""
    return Tensor(input.array != input.array)


@method
def isfinite(input: Tensor) -> Tensor:
    """bool: whether each element is neither infinite nor not a number."""
    return Tensor(np.isfinite(input.array))


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    return input.array.shape == other.array.shape and bool((input.array == other.array).all())


@method
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol * |other| everywhere."""
    if input.array.dtype != other.array.dtype:
        raise RuntimeError(f"allclose: expected one dtype, got {input.dtype} and {other.dtype}")
    return bool(np.allclose(input.array, other.array, rtol, atol, equal_nan))
