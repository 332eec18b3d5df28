"""Sizes of what windows give, the same on every device."""

from __future__ import annotations

Pair = tuple[int, int]


def convolved_extent(extent: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Positions of a kernel along one dimension."""
    return (extent + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def pooled_extent(extent: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Windows along one dimension; with `ceil_mode` the last may reach over the end, but starts within it."""
    free = extent + 2 * padding - dilation * (kernel - 1) - 1
    windows = (free + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (windows - 1) * stride >= extent + padding:
        windows -= 1
    return windows


def halves(kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> bool:
    """Whether a pooling halves height and width by windows of two by two that lie side by side."""
    return (kernel, stride, padding, dilation, ceil_mode) == ((2, 2), (2, 2), (0, 0), (1, 1), False)
