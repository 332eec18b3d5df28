"""The IDX format, in which MNIST and its relatives are published: a small header, then the numbers.

A file begins with two zero bytes, a byte for the element type, a byte for the rank, and the extent of each
dimension as a big-endian 32-bit integer; the elements follow, big-endian, the last index fastest (Y. LeCun,
the MNIST page).
"""

from __future__ import annotations

import gzip
import math
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ddpnet.errors import InputError

ELEMENT_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
"""NumPy's names of the format's element types."""

MAX_RANK = 4
MAX_BYTES = 2**31
"""The largest array that is read; the training images of MNIST take 47 million bytes."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BEST = 1032
"""Deflate makes data at most 1032 times smaller: what a header announces beyond that is not in the file."""
_PIECE = 2**20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, plain or gzip, into an array of native byte order.

    The announced size is compared with a limit and with the file before memory is taken. InputError if the
    file cannot be read, is of another kind, is damaged, or holds fewer or more bytes than it announces.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: expected an IDX file, this is not a regular file")
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            size = os.fstat(file.fileno()).st_size
            if not compressed:
                return _read(path, file, size)
            with gzip.open(file) as content:
                return _read(path, content, size * _GZIP_BEST, exact=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip data ({error}); fetch the file again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(path: Path, content: BinaryIO | gzip.GzipFile, available: int, *, exact: bool = True) -> np.ndarray:
    """Read header and elements; `available` bytes are in the file, or at most so many if not `exact`."""
    dtype, shape = _read_header(path, content)
    announced = math.prod(shape) * dtype.itemsize
    expected = f"its header announces {_shape(shape)} elements of type {dtype.name}, {announced} bytes"
    if announced > MAX_BYTES:
        raise InputError(f"{path}: {expected}; at most {MAX_BYTES} are read, so this file is damaged or too large")
    rest = available - content.tell()
    if announced > available or (exact and announced > rest):
        amount = f"{max(rest, 0)} follow" if exact else "the compressed file is too short for that"
        raise InputError(f"{path}: truncated: {expected}, {amount}; fetch the file again")
    elements = np.empty(announced, np.uint8)  # untouched pages take no memory
    filled = _fill(elements, content)
    if filled < announced:
        raise InputError(f"{path}: truncated: {expected}, {filled} follow; fetch the file again")
    if content.read(1):
        raise InputError(f"{path}: {expected}, but more follow; this is not the file that its header describes")
    return elements.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _read_header(path: Path, content: BinaryIO | gzip.GzipFile) -> tuple[np.dtype, tuple[int, ...]]:
    """The element type (big-endian) and the shape."""
    magic = content.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        begin = magic.hex(" ") or "nothing"
        raise InputError(f"{path}: not an IDX file: expected it to begin with 00 00 TYPE RANK, got {begin}")
    code, rank = magic[2], magic[3]
    if code not in ELEMENT_TYPES:
        known = ", ".join(f"0x{known:02x}" for known in ELEMENT_TYPES)
        raise InputError(f"{path}: not an IDX file: unknown element type 0x{code:02x}, expected one of {known}")
    if not 1 <= rank <= MAX_RANK:
        raise InputError(f"{path}: expected an IDX file of rank 1 to {MAX_RANK}, got rank {rank}")
    extents = content.read(4 * rank)
    if len(extents) < 4 * rank:
        raise InputError(f"{path}: truncated in its header; fetch the file again")
    return np.dtype(f">{ELEMENT_TYPES[code]}"), struct.unpack(f">{rank}I", extents)


def _fill(target: np.ndarray, content: BinaryIO | gzip.GzipFile) -> int:
    """Read into `target` (uint8) until it is full or the content ends; how many bytes were read."""
    filled = 0
    while filled < len(target):
        piece = content.read(min(_PIECE, len(target) - filled))
        if not piece:
            break
        target[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return filled


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
