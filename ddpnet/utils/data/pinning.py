"""Batches in page-locked memory, from which copies to a GPU need not wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ddpnet import backend
from ddpnet.tensor import Tensor


def pinned(batch: Any) -> Any:
    """`batch` with its tensors in page-locked memory, inside mappings and sequences, too; needs a GPU."""
    if isinstance(batch, Tensor):
        return Tensor(_pinned_array(batch.array)) if isinstance(batch.array, np.ndarray) else batch
    if isinstance(batch, str | bytes):
        return batch
    if hasattr(batch, "pin_memory"):
        return batch.pin_memory()
    if isinstance(batch, Mapping):
        return _made(batch, {key: pinned(value) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(pinned, batch))
    if isinstance(batch, tuple):
        return [pinned(item) for item in batch]  # a list, as in PyTorch
    if isinstance(batch, Sequence):
        return _made(batch, [pinned(item) for item in batch])
    return batch


def _made(original: Any, content: Any) -> Any:
    try:
        return type(original)(content)
    except TypeError:
        return content


def _pinned_array(array: np.ndarray) -> np.ndarray:
    memory = backend.cupy().cuda.alloc_pinned_memory(max(array.nbytes, 1))
    copy = np.frombuffer(memory, np.uint8, array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
