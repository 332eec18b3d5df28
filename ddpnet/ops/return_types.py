"""Named tuples that print as PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


def named(name: str) -> Callable[[_Class], _Class]:
    """Decorator: the named tuple prints as PyTorch's of this name."""

    def shown(self: Any) -> str:
        fields = ",\n".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{name}(\n{fields})"

    def decorate(kind: _Class) -> _Class:
        kind.__repr__ = shown  # type: ignore[assignment]
        return kind

    return decorate
