"""Inner loops, for the CPU and for the GPU under the same names."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

_loaded: dict[type, ModuleType] = {}


def kernels_for(array: Any) -> Any:
    """The kernels that work on `array`; loaded at the first use."""
    return _loaded.get(type(array)) or _load(array)


def _load(array: Any) -> ModuleType:
    name = "cpu" if isinstance(array, np.ndarray) else "cuda"
    module = _loaded[type(array)] = importlib.import_module(f"ddpnet.kernels.{name}")
    return module
