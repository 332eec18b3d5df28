"""float32 numbers as those of two bytes: rounding in place, and the way there and back.

Arithmetic on the bits, `words` (n,) uint32. NumPy converts to float16 number by number: 4 to 30 times as long.
"""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled

_SIGN, _REST, _INFINITY, _QUIET = (np.uint32(x) for x in (0x80000000, 0x7FFFFFFF, 0x7F800000, 0x00400000))
_ONE, _WIDTH16, _WIDTH13 = np.uint32(1), np.uint32(16), np.uint32(13)
_HALF16, _KEEP16 = np.uint32(0x7FFF), np.uint32(0xFFFF0000)
_HALF13, _KEEP13 = np.uint32(0x0FFF), np.uint32(0xFFFFE000)
_LEAST_NORMAL, _TOO_LARGE = np.uint32(0x38800000), np.uint32(0x47800000)
_BIAS = np.uint32(0x38000000)
_MAGIC = np.float32(0.5)
"""Its last bit is the smallest number of float16, 2^-24: what is added to it is rounded to a multiple of that."""
_MAGIC_BITS = np.uint32(0x3F000000)
_SMALLEST = np.float32(2.0**-24)


@compiled
def round_to_bfloat16(words):
    """To the nearest number of bfloat16, of two the even one; nan stays nan."""
    for i in range(words.size):
        x = words[i]
        rounded = (x + _HALF16 + ((x >> _WIDTH16) & _ONE)) & _KEEP16
        words[i] = (x | _QUIET) & _KEEP16 if x & _REST > _INFINITY else rounded


@compiled
def round_to_float16(words):
    """To the nearest number of float16, of two the even one; what is too large is infinite, nan stays nan."""
    for i in range(words.size):
        x = words[i]
        sign, size = x & _SIGN, x & _REST
        rounded = (size + _HALF13 + ((size >> _WIDTH13) & _ONE)) & _KEEP13
        rounded = _INFINITY if rounded >= _TOO_LARGE else rounded
        rounded = size | _QUIET if size > _INFINITY else rounded
        small = np.float32((np.uint32(size).view(np.float32) + _MAGIC) - _MAGIC).view(np.uint32)
        words[i] = sign | (small if size < _LEAST_NORMAL else rounded)


@compiled
def pack_bfloat16(words, out):
    """Numbers that bfloat16 has, as bits in uint16."""
    for i in range(words.size):
        out[i] = words[i] >> _WIDTH16


@compiled
def unpack_bfloat16(packed, words):
    """The way back."""
    for i in range(words.size):
        words[i] = np.uint32(packed[i]) << _WIDTH16


@compiled
def pack_float16(words, out):
    """Numbers that float16 has, as bits in uint16."""
    for i in range(words.size):
        x = words[i]
        size = x & _REST
        normal = (size - _BIAS) >> _WIDTH13
        normal = np.uint32(0x7C00) if size == _INFINITY else normal
        normal = np.uint32(0x7E00) if size > _INFINITY else normal
        small = np.float32(np.uint32(size).view(np.float32) + _MAGIC).view(np.uint32) - _MAGIC_BITS
        out[i] = (x & _SIGN) >> _WIDTH16 | (small if size < _LEAST_NORMAL else normal)


@compiled
def unpack_float16(packed, words):
    """The way back."""
    for i in range(words.size):
        x = np.uint32(packed[i])
        sign, size = (x & np.uint32(0x8000)) << _WIDTH16, x & np.uint32(0x7FFF)
        normal = (size << _WIDTH13) + _BIAS
        normal = (size << _WIDTH13) | _INFINITY if size >= np.uint32(0x7C00) else normal
        small = np.float32(np.float32(size) * _SMALLEST).view(np.uint32)
        words[i] = sign | (small if size < np.uint32(0x0400) else normal)
