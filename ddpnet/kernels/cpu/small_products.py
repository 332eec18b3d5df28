"""Products of many small matrices with the same one, as a recurrent layer has them at each time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddpnet.kernels.cpu import vectors
from ddpnet.kernels.cpu.compiled import compiled

_ROWS, _COLUMNS = (5, 4) if vectors.WIDE else (4, 3)
"""The tile: its sums, and what it needs beside them, fill the registers."""
_WIDTH = _COLUMNS * vectors.LANES

_WORTH_PACKING = 128
"""Rows that have to come, all together."""
_DEPTH = 2048
"""Beyond, a panel does not fit a cache of the second level beside other things."""


def repeated_product(b: np.ndarray, rows: int) -> Callable[[np.ndarray, np.ndarray], None]:
    """A function of x (n, K) and y (n, N), both contiguous, that writes x @ b to y, for b (K, N); `rows` is the sum of
    all n to come.

    BLAS lays out b anew in each call. Here that happens once: 20 x 256 by 256 x 1024 takes 92 us instead of 140 on a
    Zen 4, where 88 is what the multipliers need.
    """
    if b.dtype != np.float32 or rows < _WORTH_PACKING or not 0 < len(b) <= _DEPTH:
        return lambda x, y: _by_blas(x, b, y)
    packed = _packed(b)

    def multiply(x: np.ndarray, y: np.ndarray) -> None:
        if len(x) < _ROWS:
            _by_blas(x, b, y)
        else:
            _multiply(x, packed, y)

    return multiply


def _by_blas(x: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    np.matmul(x, b, out=y)


def _packed(b: np.ndarray) -> np.ndarray:
    """Panels of `_WIDTH` columns, one after the other, each row by row; the last one filled up with zeros."""
    depth, width = b.shape
    whole, rest = divmod(width, _WIDTH)
    packed = np.zeros((whole + (rest > 0), depth, _WIDTH), b.dtype)
    packed[:whole] = b[:, : whole * _WIDTH].reshape(depth, whole, _WIDTH).transpose(1, 0, 2)
    if rest:
        packed[whole, :, :rest] = b[:, whole * _WIDTH :]
    return packed.reshape(-1)


@compiled
def _multiply(x, packed, y):
    (rows, depth), width = x.shape, y.shape[1]
    x, y = x.reshape(-1), y.reshape(-1)
    for panel in range((width + _WIDTH - 1) // _WIDTH):
        start, column = panel * depth * _WIDTH, panel * _WIDTH
        for block in range(0, rows, _ROWS):
            row = min(block, rows - _ROWS)  # the last block overlaps the one before
            tile = vectors.zeros(_ROWS, _COLUMNS)
            for k in range(depth):
                tile = vectors.add_outer(tile, x, row * depth + k, depth, packed, start + k * _WIDTH)
            vectors.store(tile, y, row * width + column, width, _ROWS, width - column)
