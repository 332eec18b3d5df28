"""Products of a linear layer for a batch of few rows: cuBLAS has kernels for them."""

from __future__ import annotations

from typing import Any

Array = Any


def goes_row_by_row(most: int, x: Array, w: Array, b: Array | None, needs: tuple[bool, bool, bool]) -> bool:
    """False: nothing is known of how the library divides the products."""
    return False


def few_rows_forward(x: Array, w: Array, b: Array | None) -> None:
    """None: the product is left to cuBLAS."""


def few_rows_backward(g: Array, x: Array | None, w: Array | None, needs: tuple[bool, bool, bool]) -> None:
    """None: the products are left to cuBLAS."""
