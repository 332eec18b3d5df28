"""Tensors that share the memory of other objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.dtypes import DType
from ddpnet.ops.creation import DeviceLike, as_tensor
from ddpnet.tensor import Tensor

__all__ = [
    "asarray",
    "from_numpy",
    "frombuffer",
]


def asarray(
    obj: Any,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of anything that holds numbers: sharing memory where it can, unless `copy` is true; ValueError where
    `copy` is False and it cannot."""
    if hasattr(obj, "__dlpack__") and not isinstance(obj, Tensor | np.ndarray):
        obj = np.from_dlpack(obj)
    elif isinstance(obj, bytes | bytearray | memoryview):
        obj = np.frombuffer(obj, (dtype or dtypes.get_default_dtype()).numpy)
    result = as_tensor(obj, dtype, device)
    source = obj.array if isinstance(obj, Tensor) else obj
    shared = backend.is_array(source) and result.array.size and backend.shares_memory(source, result.array)
    if copy is False and not shared:
        raise ValueError("can't alias arbitrary sequence into a tensor.")
    if copy and shared:
        result = result.clone()
    if isinstance(obj, Tensor) and not requires_grad:
        result = result.detach() if obj.requires_grad else result
    return result.requires_grad_() if requires_grad else result


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a NumPy array; TypeError for dtypes that tensors do not have."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.from_numpy(ndarray.dtype)
    if any(step < 0 for step in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array with array.copy().)"
        )
    return Tensor(ndarray)


def frombuffer(buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A vector that shares the memory of an object with a buffer."""
    size = memoryview(buffer).nbytes
    if size == 0 or count == 0:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size} bytes)"
        )
    if count < 0 and (size - offset) % dtype.itemsize:
        raise ValueError(f"buffer length ({size - offset} bytes) after offset must be a multiple of element size")
    if count > 0 and offset + count * dtype.itemsize > size:
        raise ValueError(
            f"requested buffer length ({count} * {dtype.itemsize} bytes) after offset ({offset} bytes) must not be "
            f"greater than actual buffer length ({size} bytes)"
        )
    return Tensor(np.frombuffer(buffer, dtype.numpy, count, offset)).requires_grad_(requires_grad)
