"""Element types, and which type an operation on several gives (PyTorch's rules, not NumPy's)."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

import numpy as np


class DType:
    """An element type (`torch.dtype`); `numpy` is what NumPy and CuPy call it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """NumPy's dtype. bfloat16 is not NumPy's own: RuntimeError without ml_dtypes."""
        if self.name != "bfloat16":
            return np.dtype(self.name)
        try:
            return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        except ImportError as error:
            raise RuntimeError("bfloat16 needs ml_dtypes: pip install 'ddpnet[bfloat16]'") from error

    @property
    def is_floating_point(self) -> bool:
        """Whether it is float16, bfloat16, float32 or float64."""
        return self.name.lstrip("b").startswith("float")

    @property
    def is_complex(self) -> bool:
        """Never: complex numbers are not supported."""
        return False

    @property
    def is_signed(self) -> bool:
        """Whether it holds negative numbers."""
        return self.name not in ("bool", "uint8")

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.numpy.itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (_named, (self.name,))


uint8, int8, int16, int32, int64 = (DType(name) for name in ("uint8", "int8", "int16", "int32", "int64"))
float16, bfloat16, float32, float64 = (DType(name) for name in ("float16", "bfloat16", "float32", "float64"))
bool_ = DType("bool")

_BY_NAME = {
    dtype.name: dtype for dtype in (uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, bool_)
}


def _named(name: str) -> DType:
    return _BY_NAME[name]


def from_numpy(dtype: np.dtype[Any]) -> DType:
    """Our name of a NumPy dtype; TypeError for those that PyTorch's tensors do not have."""
    try:
        return _BY_NAME[dtype.name]
    except KeyError:
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{dtype.name}; the supported types are: {', '.join(_BY_NAME)}"
        ) from None


_default = float32


def get_default_dtype() -> DType:
    """The type of new floating-point tensors."""
    return _default


def set_default_dtype(dtype: DType) -> None:
    """Let new floating-point tensors have `dtype`; TypeError if it is not a floating-point type."""
    global _default
    if not isinstance(dtype, DType) or not dtype.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {dtype!r}")
    _default = dtype


def category(dtype: np.dtype[Any]) -> int:
    """0 for bool, 1 for integers, 2 for floating point (ml_dtypes' types have kind 'V')."""
    return {"b": 0, "i": 1, "u": 1}.get(dtype.kind, 2)


def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The type of an operation on arrays of types `a` and `b` (`torch.promote_types`)."""
    if a == b:
        return a
    if category(a) != category(b):
        return max(a, b, key=category)
    if category(a) == 2 and a.itemsize == b.itemsize:  # float16 and bfloat16: neither holds the other
        return np.dtype(np.float32)
    if category(a) == 2:
        return max(a, b, key=lambda dtype: dtype.itemsize)
    return np.promote_types(a, b)


def of_number(value: object) -> np.dtype[Any]:
    """The type of a tensor made of a Python number."""
    if isinstance(value, int):
        return np.dtype(np.bool_ if value is True or value is False else np.int64)
    return _default.numpy
