"""Which inputs an output of an interpolation is made of, along one dimension, and with which weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Taps = tuple[np.ndarray, np.ndarray | None]
"""Indices (taps, outputs) of inputs, and their weights; None for one input with weight 1."""

MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}
"""The numbers of dimensions that a mode is for."""


def taps(
    extent: int, size: int, factor: float | None, mode: str, align_corners: bool, antialias: bool, dtype: Any
) -> Taps:
    """For `size` outputs of `extent` inputs; positions are computed in `dtype`, as PyTorch does."""
    if mode.startswith("nearest"):
        return _nearest(extent, size, factor, mode == "nearest-exact"), None
    scale = _scale(extent, size, factor, align_corners, dtype)
    if antialias:
        return _widened(extent, size, scale, mode == "bicubic", dtype)
    steps = np.arange(size, dtype=dtype)
    position = steps * scale if align_corners else (steps + dtype(0.5)) * scale - dtype(0.5)
    if mode == "bicubic":
        first = np.floor(position)
        weights = cubic_weights(position - first)
        places = first.astype(np.int64) + np.arange(-1, 3)[:, None]
        return places.clip(0, extent - 1), np.stack(weights)
    position = np.maximum(position, 0)
    lower = np.minimum(np.floor(position).astype(np.int64), extent - 1)
    share = (position - lower.astype(dtype)).clip(0, 1)
    return np.stack([lower, np.minimum(lower + 1, extent - 1)]), np.stack([1 - share, share])


def _nearest(extent: int, size: int, factor: float | None, exact: bool) -> np.ndarray:
    scale = np.float32(1 / factor) if factor else np.float32(extent) / np.float32(size)
    steps = np.arange(size, dtype=np.float32) + np.float32(0.5 if exact else 0)
    if size == extent and not exact:
        return np.arange(size)[None]
    if size == 2 * extent and not exact:
        return np.arange(size)[None] // 2
    return np.floor(steps * scale).astype(np.int64).clip(0, extent - 1)[None]


def _scale(extent: int, size: int, factor: float | None, align_corners: bool, dtype: Any) -> Any:
    """Inputs an output."""
    if align_corners:
        return dtype(extent - 1) / dtype(size - 1) if size > 1 else dtype(0)
    return dtype(1 / factor) if factor else dtype(extent) / dtype(size)


def cubic_weights(t: Any, a: float = -0.75) -> tuple[Any, Any, Any, Any]:
    """Of the four neighbours of a point at `t` between the inner two (Keys, 1981); of arrays or Tensors."""

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


def _widened(extent: int, size: int, scale: Any, cubic: bool, dtype: Any) -> Taps:
    """Windows as wide as the image shrinks, of a triangle or of Keys' cubic with a = -0.5."""
    half = (2.0 if cubic else 1.0) * max(float(scale), 1.0)
    center = scale * (np.arange(size) + dtype(0.5))
    first = np.maximum((center - half + 0.5).astype(np.int64), 0)
    end = np.minimum((center + half + 0.5).astype(np.int64), extent)
    places = first + np.arange(math.ceil(half) * 2 + 1)[:, None]
    x = np.abs((places - center + 0.5) / max(float(scale), 1.0))
    if cubic:
        near = (1.5 * x - 2.5) * x * x + 1
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    else:
        weights = np.maximum(1 - x, 0)
    weights = np.where(places < end, weights, 0)
    total = weights.sum(axis=0)
    return places.clip(0, extent - 1), (weights / np.where(total == 0, 1, total)).astype(dtype)
