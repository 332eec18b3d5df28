"""The memory behind tensors, as far as programs ask about it: whether two share it, and how large it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.ops.striding import storage as memory_of
from ddpnet.tensor import Tensor, method

__all__: list[str] = []


class UntypedStorage:
    """The bytes that a tensor is a view of (`torch.UntypedStorage`)."""

    unit = 1

    def __init__(self, array: Array) -> None:
        self.array = memory_of(array)

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return int(self.array.ctypes.data if isinstance(self.array, np.ndarray) else self.array.data.ptr)

    def nbytes(self) -> int:
        """The number of bytes."""
        return int(self.array.nbytes)

    def size(self) -> int:
        """The number of bytes, or of elements of a storage that knows their type."""
        return self.nbytes() // self.unit

    __len__ = size

    def tolist(self) -> list[Any]:
        """The bytes, or the elements of a storage that knows their type, as Python numbers."""
        values: list[Any] = (self.array if self.unit > 1 else self.array.view(np.uint8)).tolist()
        return values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())


class TypedStorage(UntypedStorage):
    """The elements that a tensor is a view of (`torch.TypedStorage`)."""

    def __init__(self, array: Array) -> None:
        super().__init__(array)
        self.unit = array.itemsize

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        values: list[Any] = self.array.tolist()
        return values


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The bytes that the tensor is a view of."""
    return UntypedStorage(self.array)


@method
def storage(self: Tensor) -> TypedStorage:
    """The elements that the tensor is a view of."""
    return TypedStorage(self.array)
