"""Sums at places that may come several times."""

from __future__ import annotations

from typing import Any

import cupy

from ddpnet.kernels.precision import through_float32

Array = Any


@through_float32
def sum_rows(g: Array, index: Array, rows: int) -> Array:
    """(rows, D): for each row the sum of the g (n, D) whose index (n,) it is."""
    total = cupy.zeros((rows, g.shape[1]), g.dtype)
    cupy.add.at(total, index, g)
    return total
