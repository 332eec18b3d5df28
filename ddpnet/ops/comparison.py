"""Comparisons, element by element and of whole tensors: no gradient flows through any of them."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.conversion import Operand, cast, common_dtype, tensors
from ddpnet.ops.inplace import inplace
from ddpnet.ops.operators import alias, operator, unrecorded
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "allclose",
    "eq",
    "equal",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "le",
    "less",
    "less_equal",
    "lt",
    "ne",
    "not_equal",
]


def _comparison(compare: Callable[[Any, Any], Any], name: str, *operators: str) -> Callable[..., Tensor]:
    def comparison(input: Tensor, other: Operand) -> Tensor:
        if not isinstance(input, Tensor):
            tensors(name, input)
        return unrecorded(compare, input, other, name)

    comparison.__name__ = comparison.__qualname__ = name
    comparison.__doc__ = f"bool: input {operators[0].strip('_')} other, element by element."
    return with_out(inplace(operator(*operators)(method(comparison))))


eq = _comparison(python.eq, "eq", "__eq__")
ne = _comparison(python.ne, "ne", "__ne__")
lt = _comparison(python.lt, "lt", "__lt__")
le = _comparison(python.le, "le", "__le__")
gt = _comparison(python.gt, "gt", "__gt__")
ge = _comparison(python.ge, "ge", "__ge__")
greater, greater_equal = alias(gt, "greater"), alias(ge, "greater_equal")
less, less_equal, not_equal = alias(lt, "less"), alias(le, "less_equal"), alias(ne, "not_equal")


@method
def isnan(input: Tensor) -> Tensor:
    """bool: whether each element is not a number."""
    tensors("isnan", input)
    return Tensor(input.array != input.array)


@method
def isinf(input: Tensor) -> Tensor:
    """bool: whether each element is infinite."""
    tensors("isinf", input)
    return Tensor(np.isinf(input.array))


@with_out
@method
def isposinf(input: Tensor) -> Tensor:
    """bool: whether each element is positive infinity."""
    tensors("isposinf", input)
    return Tensor(input.array == np.inf)


@with_out
@method
def isneginf(input: Tensor) -> Tensor:
    """bool: whether each element is negative infinity."""
    tensors("isneginf", input)
    return Tensor(input.array == -np.inf)


@method
def isfinite(input: Tensor) -> Tensor:
    """bool: whether each element is neither infinite nor not a number."""
    tensors("isfinite", input)
    return Tensor(np.isfinite(input.array))


@method
def isreal(input: Tensor) -> Tensor:
    """bool: whether each element has no imaginary part: there are no complex numbers."""
    tensors("isreal", input)
    return Tensor(array_module(input.array).ones(input.array.shape, np.bool_))


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    tensors("equal", input, other)
    if input.array.shape != other.array.shape:
        return False
    dtype = common_dtype(input, other)
    return bool((cast(input.detach(), dtype).array == cast(other.detach(), dtype).array).all())


@method
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """bool: whether |input - other| <= atol + rtol * |other|; RuntimeError for two dtypes."""
    tensors("isclose", input, other)
    if input.array.dtype != other.array.dtype:
        raise RuntimeError(f"{input.dtype.scalar_name} did not match {other.dtype.scalar_name}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"rtol and atol must be greater than or equal to zero, but got {rtol} and {atol}")
    if equal_nan and not input.is_floating_point():
        equal_nan = False
    a, b = input.array, other.array
    try:
        with np.errstate(all="ignore"):
            close = a == b
            if equal_nan:
                close = close | ((a != a) & (b != b))
            if rtol == 0 and atol == 0:
                return Tensor(close)
            if a.dtype.kind == "b":
                a, b = a.astype(np.int8), b.astype(np.int8)
            difference = np.abs(a - b)
            allowed = atol + np.abs(b * rtol)
            return Tensor(close | (np.isfinite(difference) & (difference <= allowed)))
    except ValueError as error:  # NumPy's word for shapes that do not fit
        raise RuntimeError(str(error)) from error


@method
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol * |other| everywhere."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())
