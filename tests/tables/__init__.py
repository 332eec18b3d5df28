"""Tables of operations, one file a family: a row is a call and its inputs; `tests/test_ops.py` checks every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RNG = np.random.default_rng(0)


@dataclass
class Row:
    name: str
    call: Callable[..., Any]
    """A function of the module `torch` (ours or PyTorch's) and of tensors."""
    inputs: tuple[np.ndarray, ...]
    """float64 inputs become tensors that require gradients, in float64 and in float32; others stay as they are."""
    tolerance: float = 1.0
    """Multiplies what float32 and float64 are allowed to differ by."""
    smooth: bool = True
    """Whether differences of the values tell the gradient; not at edges and jumps."""
    twice: bool = True
    """Whether gradients of the gradients are compared, too."""
    strided: bool = True
    """Whether inputs that are not contiguous are allowed."""


class Table(list[Row]):
    def row(self, name: str, call: Callable[..., Any], *inputs: np.ndarray, **options: Any) -> None:
        self.append(Row(name, call, inputs, **options))

    def rows(
        self,
        name: str,
        call: Callable[..., Any],
        make: Callable[..., np.ndarray],
        *shapes: tuple[int, ...],
        **options: Any,
    ) -> None:
        """One row a shape."""
        for shape in shapes:
            self.row(f"{name} {shape}", call, make(*shape), **options)


def real(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape))


def positive(*shape: int) -> np.ndarray:
    return np.asarray(RNG.uniform(0.5, 2.0, shape))


def apart(*shape: int) -> np.ndarray:
    """Numbers no two of which are close, and none close to 0: safe for differences through max, abs, relu."""
    count = int(np.prod(shape))
    return ((RNG.permutation(count) - count // 2 + 0.5) / 4).reshape(shape)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return np.asarray(RNG.integers(low, high, shape))


def truth(*shape: int) -> np.ndarray:
    return np.asarray(RNG.random(shape) < 0.5)


def probabilities(*shape: int) -> np.ndarray:
    values = RNG.random(shape)
    return values / values.sum(1, keepdims=True)


SHAPES = ((2, 3), (), (0, 3))
"""Ordinary, 0-d, empty."""
