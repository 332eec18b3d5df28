"""What functions of two operands share: the operators of Tensor, and results that no gradient flows through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet.ops.conversion import Operand, promoted, refuse
from ddpnet.tensor import Tensor


def operator(*names: str) -> Callable[[Any], Any]:
    """Decorator: the function of two operands is these operators of Tensor, too; other types are not ours to add."""

    def attach(function: Any) -> Any:
        def forward_operator(self: Tensor, other: Any) -> Any:
            return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

        def reflected_operator(self: Tensor, other: Any) -> Any:
            return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

        for name in names:
            setattr(Tensor, name, reflected_operator if name.startswith("__r") else forward_operator)
        return function

    return attach


_OPERANDS = (Tensor, int, float, np.generic)
Tensor.__array_priority__ = 1000  # type: ignore[attr-defined]  # array * tensor is tensor.__rmul__, not an object array


def unrecorded(
    compute: Callable[[Any, Any], Any], input: Operand, other: Operand, name: str, refused: int | None = None
) -> Tensor:
    """An operation without a gradient on two operands, in their common dtype."""
    a, b = promoted(input, other)
    refuse(refused, name, a, b)
    try:
        return Tensor(compute(*(x.array if isinstance(x, Tensor) else x for x in (a, b))))
    except ValueError as error:  # NumPy's word for shapes that do not fit
        raise RuntimeError(str(error)) from error
