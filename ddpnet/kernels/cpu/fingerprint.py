"""Fingerprints of memory: one 64-bit word for each array, from its raw bits, by integer arithmetic alone.

An array, filled up with zeros to a multiple of 1 KiB, is read as 8-byte words: in each KiB 16 chains of every 16th one.
A chain takes a word by a bijection (xor, multiply by an odd number, shift); its end is mixed with its place by another
one (the finalizer of MurmurHash3), and the results are added modulo 2^64. So a change within one word always changes
the sum, whatever the numbers are; changes of several cancel with a probability of about 2^-64. Chains of 8 words take
half the time of mixing every word, and neighbouring ones keep the order in which memory is fetched best.
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
_HALF, _SHIFT = np.uint64(32), np.uint64(33)
_KIB = 1024


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
    words, last = np.empty(len(table), np.uint64), np.empty(_KIB // 8, np.uint64)
    _fingerprints(table, words, last, last.view(np.uint8))
    return words


def _address(context, builder, signature, arguments):
    return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))


def _pointer_to(kind):
    """A function of an address, for kernels: its signature, and how the call is compiled."""
    return lambda typing_context, address: (types.CPointer(kind)(types.uint64), _address)


_bytes_at: Any = intrinsic(_pointer_to(types.uint8))
_words_at: Any = intrinsic(_pointer_to(types.uint64))
_array: Any = numpy_support.carray


@compiled
def _mixed(x):
    x ^= x >> _SHIFT
    x *= _FIRST
    x ^= x >> _SHIFT
    x *= _SECOND
    return x ^ (x >> _SHIFT)


@compiled
def _joined(x, word):
    x = (x ^ word) * _SECOND
    return x ^ (x >> _HALF)


@compiled
def _kib(words, place):
    """The sum of the 16 chains of 128 words, in which LLVM sees vectors; rows in a tuple make it three times slower."""
    a = words[0:16]
    b = words[16:32]
    c = words[32:48]
    d = words[48:64]
    e = words[64:80]
    f = words[80:96]
    g = words[96:112]
    h = words[112:128]
    total = np.uint64(0)
    for j in range(16):
        x = _joined(_joined(_joined(_joined(_GOLDEN, a[j]), b[j]), c[j]), d[j])
        x = _joined(_joined(_joined(_joined(x, e[j]), f[j]), g[j]), h[j])
        total += _mixed(x ^ (np.uint64(place + j) * _GOLDEN))
    return total


@compiled
def _fingerprints(table, out, last, last_bytes):
    """`last` (128,) uint64 and the same memory as bytes: a view, made here, would take two seconds to compile."""
    for row in range(table.shape[0]):
        size = np.int64(table[row, 1])
        whole, rest, total = size // _KIB, size % _KIB, np.uint64(0)
        words = _array(_words_at(table[row, 0]), (128 * whole,))
        for k in range(whole):
            total += _kib(words[128 * k : 128 * (k + 1)], 16 * k)
        if rest:
            memory = _array(_bytes_at(table[row, 0]), (size,))
            for i in range(_KIB // 8):
                last[i] = 0
            for i in range(rest):
                last_bytes[i] = memory[size - rest + i]
            total += _kib(last, 16 * whole)
        out[row] = total
