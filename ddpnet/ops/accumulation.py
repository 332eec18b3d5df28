"""Values added up at places in an array, as often as an index names them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module


def collected(values: Any, shape: tuple[int, ...], key: tuple[Any, ...]) -> Any:
    """Zeros of a shape, to which values are added at the places of a key of arrays."""
    result = array_module(values).zeros(shape, values.dtype)
    add_at(result, key, values)
    return result


def add_at(x: Any, key: tuple[Any, ...], values: Any) -> None:
    """Add values in place to the elements that a key of arrays chooses, as often as it chooses them."""
    xp = array_module(x)
    if x.dtype.itemsize == 2 and dtypes.category(x.dtype) == 2:  # neither library adds these at places
        total = x.astype(np.float32)
        add_at(total, key, values.astype(np.float32))
        x[...] = total.astype(x.dtype)
        return
    chosen = [part for part in key if type(part) is not slice]
    if len(chosen) == 1 and chosen[0].dtype.kind == "b":
        x[key] += values
    elif xp is not np:
        xp.add.at(x, key, values)
    elif len(key) == 1 and x.ndim > 1 and x.flags.c_contiguous:
        _add_rows(x, key[0], values)
    elif x.flags.c_contiguous:  # NumPy is fast where the index is one vector
        places = np.arange(x.size).reshape(x.shape)[key]
        np.add.at(x.reshape(-1), places.reshape(-1), np.broadcast_to(values, places.shape).reshape(-1))
    else:
        np.add.at(x, key, values)


_AT_ONCE = 1 << 20
"""Elements; their places take eight bytes each."""


def _add_rows(x: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """x[rows[i]] += values[i]: by flat places, for which NumPy is several times faster."""
    line, width = x.reshape(-1), int(np.prod(x.shape[1:]))
    values = np.broadcast_to(values, (*rows.shape, *x.shape[1:])).reshape(rows.size, width)
    rows = rows.reshape(-1) % (len(x) or 1)
    step = max(_AT_ONCE // (width or 1), 1)
    for start in range(0, rows.size, step):
        places = rows[start : start + step, None] * width + np.arange(width)
        np.add.at(line, places.reshape(-1), values[start : start + step].reshape(-1))
