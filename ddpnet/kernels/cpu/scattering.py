"""Sums at places that may come several times."""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.precision import through_float32


@through_float32
def sum_rows(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """(rows, D): for each row the sum of the g (n, D) whose index (n,) it is."""
    total = np.zeros((rows, g.shape[1]), g.dtype)
    _sum_rows(np.ascontiguousarray(g), np.ascontiguousarray(index), total)
    return total


@compiled
def _sum_rows(g, index, total):
    for i in range(len(index)):
        row = index[i]
        for j in range(g.shape[1]):
            total[row, j] += g[i, j]
