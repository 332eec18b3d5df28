"""Which elements of a row come first; of equal ones those that lie first."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any


def top_places(x: Array, k: int, largest: bool) -> Array:
    """int64 (rows, k): where the k largest or smallest of each row (rows, n) are, in order; nan is the largest."""
    if largest:
        return (x.shape[1] - 1 - cupy.flip(cupy.flip(x, 1).argsort(axis=1, kind="stable"), 1))[:, :k]
    return x.argsort(axis=1, kind="stable")[:, :k]


def kth_places(x: Array, k: int) -> Array:
    """int64 (rows,): where the k-th smallest of each row (rows, n) is, counted from 0; nan is the largest."""
    return x.argsort(axis=1, kind="stable")[:, k]
