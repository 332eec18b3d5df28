"""Fingerprints of memory: one 64-bit word for each array, from its raw bits, by integer arithmetic alone.

An array is read as 8-byte words, the last one filled up with zeros. Each is mixed with its place by a bijection
(the finalizer of MurmurHash3), and the results are added modulo 2^64. So a change within one such word always changes
the sum, whatever the numbers are; changes of several cancel with a probability of 2^-64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np import numpy_support

from ddpnet.kernels.cpu.compiled import compiled

_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53))
_SHIFT = np.uint64(33)


def memory_table(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(n, 2) uint64: where each array lies, and its bytes. It holds as long as the arrays do.

    ValueError for an array that is not C-contiguous, or does not begin at a multiple of 8 bytes.
    """
    table = np.empty((len(arrays), 2), np.uint64)
    for row, array in zip(table, arrays, strict=True):
        row[:] = array.__array_interface__["data"][0], array.nbytes
        if not array.flags.c_contiguous or (array.nbytes and int(row[0]) % 8):
            raise ValueError(
                f"memory_table: expected C-contiguous arrays that begin at a multiple of 8 bytes, got strides "
                f"{array.strides} for shape {array.shape} at {int(row[0]):#x}"
            )
    return table


def fingerprints(table: np.ndarray) -> np.ndarray:
    """(n,) uint64: the fingerprint of each row of a `memory_table`."""
    words = np.empty(len(table), np.uint64)
    _fingerprints(table, words)
    return words


def _pointer(typing_context, address):
    """An address as a pointer to bytes: its signature, and how the call is compiled."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.uint8)(types.uint64), code


_at: Any = intrinsic(_pointer)
_array: Any = numpy_support.carray


@compiled
def _mixed(x):
    x ^= x >> _SHIFT
    x *= _FIRST
    x ^= x >> _SHIFT
    x *= _SECOND
    return x ^ (x >> _SHIFT)


@compiled
def _sum(words):
    total = np.uint64(0)
    for i in range(words.size):
        total += _mixed(words[i] ^ (np.uint64(i) * _GOLDEN))
    return total


@compiled
def _fingerprints(table, out):
    for row in range(table.shape[0]):
        size = np.int64(table[row, 1])
        memory, whole = _array(_at(table[row, 0]), (size,)), size // 8
        total = _sum(memory[: 8 * whole].view(np.uint64))
        if size % 8:
            last = np.uint64(0)
            for i in range(size % 8):
                last |= np.uint64(memory[8 * whole + i]) << np.uint64(8 * i)
            total += _mixed(last ^ (np.uint64(whole) * _GOLDEN))
        out[row] = total
