"""Numba's door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> Any:
    """Compile at the first call, for one thread; the machine code is kept for later runs where there is a place."""
    try:
        return _compile(function, cache=True)
    except RuntimeError:  # no directory for the cache is writable
        return _compile(function, cache=False)


def _compile(function: Any, cache: bool) -> Any:
    return numba.njit(function, cache=cache, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
