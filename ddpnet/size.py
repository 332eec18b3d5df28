"""Shapes of tensors."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np


class Size(tuple[int, ...]):
    """A shape (`torch.Size`): a tuple with PyTorch's name and `numel`."""

    __slots__ = ()

    def __new__(cls, extents: Iterable[Any] = ()) -> Size:
        return tuple.__new__(cls, [extent if type(extent) is int else _extent(extent) for extent in extents])

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return int(np.prod(self, dtype=np.int64))

    def __getitem__(self, index: Any) -> Any:
        extents = super().__getitem__(index)
        return Size(extents) if isinstance(index, slice) else extents

    def __add__(self, other: tuple[Any, ...]) -> Size:
        return Size(super().__add__(other))

    def __radd__(self, other: tuple[Any, ...]) -> Size:
        return Size(other + tuple(self))

    def __mul__(self, times: Any) -> Size:
        return Size(super().__mul__(times))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__


def _extent(value: Any) -> int:
    """An extent as an int; TypeError for what is none."""
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise TypeError(f"torch.Size() takes an iterable of 'int' (got '{type(value).__name__}')")
    return operator.index(value)
