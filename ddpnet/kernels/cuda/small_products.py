"""Products of many small matrices with the same one, as a recurrent layer has them at each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

Array = Any


def repeated_product(b: Array, rows: int) -> Callable[[Array, Array], None]:
    """A function of x (n, K) and y (n, N) that writes x @ b to y, for b (K, N); `rows` is the sum of all n to come."""

    def multiply(x: Array, y: Array) -> None:
        cupy.matmul(x, b, out=y)

    return multiply
