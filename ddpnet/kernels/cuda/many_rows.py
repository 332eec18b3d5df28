"""Products of a linear layer for a batch of many rows: cuBLAS has kernels for them."""

from __future__ import annotations

from typing import Any

Array = Any


def many_rows_forward(x: Array, w: Array, b: Array | None) -> None:
    """None: the product is left to cuBLAS."""


def many_rows_backward(g: Array, x: Array | None, w: Array | None, needs: tuple[bool, bool, bool]) -> None:
    """None: the products are left to cuBLAS."""
