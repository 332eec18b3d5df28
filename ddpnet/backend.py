"""Devices and array modules: which library holds an array. With `kernels/cuda` the only place that imports CuPy."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A `numpy.ndarray` or a `cupy.ndarray`."""


class Device:
    """Where an array lives: `Device("cpu")`, `Device("cuda:1")`, `Device("cuda", 1)`, `Device(1)`."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: str | Device | int, index: int | None = None) -> None:
        if isinstance(type, Device):
            self.type, self.index = type.type, type.index
            return
        if isinstance(type, int):
            self.type, self.index = "cuda", type
            return
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        kind, colon, number = type.partition(":")
        if kind not in ("cpu", "cuda") or (colon and (not number.isdigit() or (number[0] == "0" and number != "0"))):
            raise RuntimeError(f"Invalid device string: {type!r}; expected 'cpu', 'cuda' or 'cuda:N'")
        if index is not None and (colon or index < 0):
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {type}")
        self.type = kind
        self.index = int(number) if colon else index

    def __repr__(self) -> str:
        where = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{where})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU = Device("cpu")


@cache
def cupy() -> ModuleType:
    """CuPy, imported at the first use of a GPU."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which is not installed: pip install 'ddpnet[cuda13]' (or 'ddpnet[cuda12]')"
        ) from error


def cuda_device_count() -> int:
    """The number of CUDA devices that CuPy can use; 0 without CuPy or without a driver."""
    try:
        library = cupy()
        return int(library.cuda.runtime.getDeviceCount()) if library.cuda.is_available() else 0
    except RuntimeError:
        return 0


def array_module(array: Array) -> Any:
    """The module whose functions work on `array`: NumPy, CuPy, or for a Tensor `ops.namespace`, with NumPy's names."""
    if type(array) is np.ndarray or isinstance(array, np.ndarray | np.generic):
        return np
    return cupy() if type(array).__module__.partition(".")[0] == "cupy" else array.__array_namespace__()


def is_array(value: object) -> bool:
    """Whether `value` is an array of NumPy or CuPy."""
    return isinstance(value, np.ndarray) or (value is not None and type(value).__module__.partition(".")[0] == "cupy")


def shares_memory(a: Array, b: Array) -> bool:
    """Whether two arrays may overlap in memory (bounds are compared)."""
    return bool(array_module(a).may_share_memory(a, b))


def device_of(array: Array) -> Device:
    """The device that holds `array`."""
    return CPU if isinstance(array, np.ndarray) else Device("cuda", array.device.id)


def module_for(device: Device) -> Any:
    """The array module of a device."""
    return np if device.type == "cpu" else cupy()


def move(array: Array, device: Device) -> Array:
    """`array` on `device`: itself if it is there, else a copy."""
    here = device_of(array)
    if here.type == device.type and device.index in (None, here.index):
        return array
    if device.type == "cpu":
        return array.get()
    library = cupy()
    with library.cuda.Device(device.index or 0):
        return library.asarray(array)


def host(array: Array) -> np.ndarray:
    """`array` as a NumPy array: itself, or a copy from the GPU."""
    return array if isinstance(array, np.ndarray) else array.get()
