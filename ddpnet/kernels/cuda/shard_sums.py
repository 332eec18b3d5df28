"""Sums of the gradients of a few shards, in the order of the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def weighted_sum(values: Sequence[Any], weight: float, out: Any) -> None:
    """`out` becomes the sum of two, or of four in pairs, arrays of its shape, each times `weight` first."""
    parts = [array * weight for array in values]
    pairs = [left + right for left, right in zip(parts[::2], parts[1::2], strict=True)]
    out[...] = pairs[0] if len(pairs) == 1 else pairs[0] + pairs[1]
