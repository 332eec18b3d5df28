"""Buffers that are used again in each call, so that their pages stay in memory and in the cache."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np


class Workspace(threading.local):
    """Arrays by name and dtype; each thread has its own, because threads may be ranks."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, Any], np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array with any content, valid until the name is taken again."""
        size = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name, dtype] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)


workspace = Workspace()
