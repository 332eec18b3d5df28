"""NumPy's warnings about numbers (overflow, division by zero, NaN), off while an operation computes, as in PyTorch.

    before = off()
    try:
        ...
    finally:
        restore(before)

`np.errstate` takes 0.96 µs. It sets a context variable, which alone takes 0.13 µs.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np


def _switches() -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """`off` and `restore`: of the one variable that `np.errstate` sets, or, where there is no such, `np.seterr`."""
    before = contextvars.copy_context()
    with np.errstate(all="ignore"):
        inside = contextvars.copy_context()
    changed = [name for name in inside if before.get(name) is not inside[name]]
    if len(changed) == 1:
        (variable,) = changed
        return partial(variable.set, inside[variable]), variable.reset
    return partial(np.seterr, all="ignore"), lambda before: np.seterr(**before)


off, restore = _switches()
