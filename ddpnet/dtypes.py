"""Element types, and which type an operation on several gives (PyTorch's rules, not NumPy's)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np


class DType:
    """An element type (`torch.dtype`); `numpy` is what NumPy and CuPy call it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.numpy: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)

    @property
    def scalar_name(self) -> str:
        """The name of its numbers in PyTorch's error messages."""
        return _SCALARS[self.name]

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

    @property
    def type(self) -> Callable[[Any], Any]:
        """The Python number of a value: what `array.dtype.type` is in formulas that serve arrays and Tensors."""
        return {0: bool, 1: int, 2: float}[category(self.numpy)]

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (_named, (self.name,))


uint8, int8, int16, int32, int64 = (DType(name) for name in ("uint8", "int8", "int16", "int32", "int64"))
float16, bfloat16, float32, float64 = (DType(name) for name in ("float16", "bfloat16", "float32", "float64"))
bool_ = DType("bool")

_SCALARS = {
    "bool": "Bool",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float32": "Float",
    "float64": "Double",
}

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
    return _CATEGORIES.get(dtype.kind, 2)


_CATEGORIES = {"b": 0, "i": 1, "u": 1}


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


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest type that holds what both hold."""
    return from_numpy(promote(type1.numpy, type2.numpy))


def can_cast(from_: DType, to: DType) -> bool:
    """Whether values of one type may be written into another: no fractions into integers, no numbers into bool."""
    return category(from_.numpy) <= category(to.numpy)


class finfo:
    """The limits of a floating-point type (`torch.finfo`); the default dtype's without an argument."""

    def __init__(self, type: DType | None = None) -> None:
        dtype = _default if type is None else type
        if not dtype.is_floating_point:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        limits: Any = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
        self.bits = 8 * dtype.itemsize
        self.eps, self.min, self.max = float(limits.eps), float(limits.min), float(limits.max)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = float(f"1e-{limits.precision}")
        self.dtype = dtype.name

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in names)}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


class iinfo:
    """The limits of an integer type (`torch.iinfo`)."""

    def __init__(self, type: DType) -> None:
        if type.is_floating_point:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        if type is bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        limits = np.iinfo(type.numpy)
        self.bits, self.min, self.max = limits.bits, int(limits.min), int(limits.max)
        self.dtype = type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


def of_number(value: object) -> np.dtype[Any]:
    """The type of a tensor made of a Python number."""
    if isinstance(value, int):
        return np.dtype(np.bool_ if value is True or value is False else np.int64)
    return _default.numpy
