"""Fingerprints of memory: one 64-bit word for each array, the same as on the CPU (see kernels/cpu/fingerprint.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from ddpnet.kernels.cuda.source import launch

Array = Any
_THREADS = 2**14
"""Enough to keep a GPU reading, and few enough to add up in one word an array."""


def memory_table(arrays: Sequence[Array]) -> Array:
    """(n, 2) uint64: where each array lies, and its bytes. It holds as long as the arrays do.

    ValueError for an array that is not C-contiguous, or does not begin at a multiple of 8 bytes.
    """
    rows = [(int(array.data.ptr), array.nbytes) for array in arrays]
    for array, (address, size) in zip(arrays, rows, strict=True):
        if not array.flags.c_contiguous or (size and address % 8):
            raise ValueError(
                f"memory_table: expected C-contiguous arrays that begin at a multiple of 8 bytes, got strides "
                f"{array.strides} for shape {array.shape} at {address:#x}"
            )
    return cupy.asarray(np.array(rows, np.uint64).reshape(-1, 2))


def fingerprints(table: Array) -> Array:
    """(n,) uint64: the fingerprint of each row of a `memory_table`."""
    words = cupy.zeros(len(table), np.uint64)
    launch("fingerprint", "fingerprints", "float32", _THREADS if len(table) else 0, table, words, len(table))
    return words
