"""Python's numbers and nested sequences as arrays of the dtypes that PyTorch gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.dtypes import DType
from ddpnet.tensor import Tensor


def array_of(data: Any, dtype: DType | None) -> np.ndarray:
    """Data as an array of the host, without a copy where it is one; errors for what holds no numbers."""
    if isinstance(data, Tensor):
        data = backend.host(data.array)
    elif isinstance(data, list | tuple):
        data = _plain(data)
    elif data is None or isinstance(data, str):
        raise (TypeError if data else RuntimeError)(
            f"new(): invalid data type '{type(data).__name__}'"
            if data
            else f"Could not infer dtype of {type(data).__name__}"
        )
    elif backend.is_array(data):
        data = backend.host(data)
    wanted = None if dtype is None else dtype.numpy
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"expected nested sequences of equal lengths: {error}") from None
    if array.dtype.kind in "USO":
        array = _refused(array, data)
    if array.size == 0 and wanted is None and not isinstance(data, np.ndarray | np.generic):
        wanted = dtypes.get_default_dtype().numpy
    if wanted is None and array.dtype == np.float64 and not isinstance(data, np.ndarray | np.generic):
        wanted = _of_sequence(data)
    if array.dtype == np.uint64 and not isinstance(data, np.ndarray | np.generic):
        raise ValueError("Overflow when unpacking long long")
    if wanted is not None and wanted.kind in "iu" and array.dtype == np.int64 and not backend.is_array(data):
        _check_range(array, wanted)
    array = array if wanted is None else _converted(array, wanted)
    dtypes.from_numpy(array.dtype)
    return array


def _of_sequence(data: Any) -> np.dtype[Any]:
    """float64 where a sequence begins with NumPy's float64, else the default dtype."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return np.dtype(np.float64) if isinstance(data, np.float64 | np.ndarray) else dtypes.get_default_dtype().numpy


def _check_range(array: np.ndarray, wanted: np.dtype[Any]) -> None:
    """RuntimeError for numbers that an integer type does not hold; of unsigned types negative ones wrap around."""
    limits = np.iinfo(wanted)
    low = limits.min or -limits.max
    if array.size and (int(array.min()) < low or int(array.max()) > limits.max):
        raise RuntimeError(f"value cannot be converted to type {wanted.name} without overflow")


def _converted(array: np.ndarray, wanted: np.dtype[Any]) -> np.ndarray:
    if array.dtype.kind in "f" and wanted.kind in "iu" and array.size and not np.isfinite(array).all():
        with np.errstate(invalid="ignore"):
            return array.astype(wanted)
    return array.astype(wanted, copy=False)


def _refused(array: np.ndarray, data: Any) -> np.ndarray:
    """An error for what holds no numbers."""
    value = array.reshape(-1)[0].item() if array.dtype.kind in "US" else array.reshape(-1)[0]
    if isinstance(value, int):
        raise ValueError("Overflow when unpacking long long")
    if isinstance(value, str):
        raise ValueError("too many dimensions 'str'")
    if isinstance(data, np.ndarray):
        raise TypeError(f"can't convert np.ndarray of type numpy.{array.dtype}.")
    raise RuntimeError(f"Could not infer dtype of {type(value).__name__}")


def _plain(data: Any) -> Any:
    """Nested sequences with arrays in place of tensors."""
    if isinstance(data, list | tuple):
        if data and type(data[0]) in (int, float, bool):
            return [_plain(value) if isinstance(value, Tensor) else value for value in data]
        return [_plain(value) for value in data]
    if not isinstance(data, Tensor):
        return data
    if data.array.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return backend.host(data.array).reshape(())
