"""Arrays as safetensors bytes, and the digest of a model's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ddpnet import dtypes

_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}
"""NumPy's names of the element types that are saved, by those of safetensors."""


def to_bytes(arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """The arrays as a safetensors file; TypeError for an element type that it has no name for."""
    return safetensors.numpy.save({name: _little_endian(name, array) for name, array in arrays.items()}, metadata)


def from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, in no particular order; ValueError if it is not one."""
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    return {name: _array(entry) for name, entry in entries}


def weights_digest(model: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the arrays in their order, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in model.items():
        array = _little_endian(name, array)
        digest.update(json.dumps([name, array.dtype.name, list(array.shape)]).encode() + b"\n")
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _little_endian(name: str, array: np.ndarray) -> np.ndarray:
    """The array as it is stored: contiguous, because safetensors would take the wrong bytes of any other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}")
    if array.dtype.name not in _NAMES.values():
        known = ", ".join(_NAMES.values())
        raise TypeError(f"{name}: arrays of type {array.dtype} cannot be saved; expected one of {known}")
    return np.asarray(array, _stored(array.dtype), order="C")


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in the byte order of the file; bfloat16 is not NumPy's own and has none to choose."""
    return dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype


def dtype_of(kind: str) -> np.dtype[Any]:
    """NumPy's type for the name of one in a safetensors file; ValueError if it has none."""
    if kind not in _NAMES:
        raise ValueError(f"unknown element type {kind!r}")
    return _stored(dtypes.bfloat16.numpy if kind == "BF16" else np.dtype(_NAMES[kind]))


def _array(entry: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(entry["data"], dtype_of(entry["dtype"])).reshape(entry["shape"])
