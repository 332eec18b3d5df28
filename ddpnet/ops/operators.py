"""What functions of two operands share: the operators of Tensor, and results that no gradient flows through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ddpnet.ops.conversion import Operand, promoted, refuse, tensors
from ddpnet.tensor import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])


def operator(*names: str) -> Callable[[Any], Any]:
    """Decorator: the function of two operands is these operators of Tensor, too; other types are not ours to add."""

    def attach(function: Any) -> Any:
        def forward_operator(self: Tensor, other: Any) -> Any:
            return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

        def reflected_operator(self: Tensor, other: Any) -> Any:
            if not isinstance(self, Tensor):
                raise TypeError(f"expected a Tensor, got {type(self).__name__}")
            return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

        for name in names:
            setattr(Tensor, name, reflected_operator if name in _REFLECTED else forward_operator)
        return function

    return attach


_REFLECTED = frozenset(
    f"__r{name}__" for name in "add sub mul div truediv floordiv mod pow and or xor lshift rshift matmul".split()
)
_OPERANDS = (Tensor, int, float, np.generic)
Tensor.__array_priority__ = 1000  # type: ignore[attr-defined]  # array * tensor is tensor.__rmul__, not an object array


def alias(function: _Function, *names: str) -> _Function:
    """Let a function's methods, with those in place, have other names, too; returns the function."""
    for own, other in ((function.__name__ + end, name + end) for name in names for end in ("", "_")):
        if hasattr(Tensor, own):
            setattr(Tensor, other, getattr(Tensor, own))
    return function


def unrecorded(
    compute: Callable[[Any, Any], Any], input: Operand, other: Operand, name: str, refused: int | None = None
) -> Tensor:
    """An operation without a gradient on two operands, in their common dtype; TypeError for two numbers."""
    if not isinstance(input, Tensor):
        tensors(name, other)
    a, b = promoted(input, other)
    if refused is not None:
        refuse(refused, name, a, b)
    try:
        return Tensor(compute(*[x.array if isinstance(x, Tensor) else x for x in (a, b)]))
    except ValueError as error:  # NumPy's word for shapes that do not fit
        raise RuntimeError(str(error)) from error
