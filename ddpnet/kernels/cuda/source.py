"""CuPy's door: the CUDA C++ sources beside this file, compiled when they are first used."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

FOLDER = Path(__file__).parent
REALS = {"float32": "float", "float64": "double"}
THREADS = 256
BLOCKS = 65_535
MAX_COUNT = 2**31 - 1 - THREADS * BLOCKS
"""Elements: an index and one step of the grid fit into an int."""


def source(name: str, real: str) -> str:
    """The text of `name`.cu for one type of numbers, which the source calls `real`."""
    return f"typedef {real} real;\n" + (FOLDER / f"{name}.cu").read_text()


@cache
def _module(name: str, real: str) -> Any:
    return cupy.RawModule(code=source(name, real), options=("--std=c++17",))


def launch(name: str, kernel: str, dtype: Any, count: int, *arguments: Any) -> None:
    """Run a kernel of `name`.cu over `count` elements; Python integers arrive as int, floats as `real`.

    Each kernel goes over its elements in strides of the grid, so that any grid is right. Raises ValueError for arrays
    that are not C-contiguous, which a kernel would read in the wrong order, and for more than MAX_COUNT elements.
    """
    if any(isinstance(x, cupy.ndarray) and not x.flags.c_contiguous for x in arguments):
        raise ValueError(f"{kernel}: expected C-contiguous arrays")
    if count > MAX_COUNT:
        raise ValueError(f"{kernel}: expected at most {MAX_COUNT} elements, got {count}: use smaller batches")
    if count == 0:
        return
    real = np.dtype(dtype)
    converted = [np.int32(x) if isinstance(x, int) else real.type(x) if isinstance(x, float) else x for x in arguments]
    blocks = min(-(-count // THREADS), BLOCKS)
    _module(name, REALS[real.name]).get_function(kernel)((blocks,), (THREADS,), tuple(converted))
