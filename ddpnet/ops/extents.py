"""Numbers a dimension - sizes of windows, strides, paddings - as their users write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Extents = int | Sequence[int]
"""One number for every dimension, or a number for each."""


def extents_of(value: Any, dims: int, name: str) -> tuple[int, ...]:
    """A number for each of `dims` dimensions; RuntimeError for another count, TypeError for anything but integers."""
    if type(value) is int:
        return (value,) * dims
    if type(value) is tuple and [type(entry) for entry in value] == [int] * dims:
        return value
    entries = tuple(value) if isinstance(value, list | tuple) else (value,)
    if any(isinstance(entry, bool) or not isinstance(entry, int | np.integer) for entry in entries):
        raise TypeError(f"{name}: expected an int or {dims} ints, got {value!r}")
    if len(entries) == 1:
        entries *= dims
    if len(entries) != dims:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {dims} values to match the dimensions, "
            f"but got {name}={list(entries)}"
        )
    return tuple(int(entry) for entry in entries)
