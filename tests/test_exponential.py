"""The exponential functions for compiled loops, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddpnet.kernels.cpu import exponential
from ddpnet.kernels.cpu.compiled import compiled

SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 86.0, -86.0, 200.0, -200.0]


@compiled
def _exp(x, y):
    for i in range(x.size):
        y[i] = exponential.exp(x[i])


@compiled
def _sigmoid(x, y):
    for i in range(x.size):
        y[i] = exponential.sigmoid(x[i])


@compiled
def _tanh(x, y):
    for i in range(x.size):
        y[i] = exponential.tanh(x[i])


REFERENCES: list[tuple[Any, Any]] = [(_exp, np.exp), (_sigmoid, lambda x: 1 / (1 + np.exp(-x))), (_tanh, np.tanh)]


@pytest.mark.parametrize(("loop", "reference"), REFERENCES, ids=["exp", "sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy(loop: Any, reference: Any, dtype: Any) -> None:
    """To 2.5 units in the last place, near 0 as well; of float64 the reference has an error, too."""
    small = np.logspace(-30, 1.9, 100_001)
    x = np.concatenate([np.linspace(-86, 86, 300_001), small, -small]).astype(dtype)
    y = np.empty_like(x)
    loop(x, y)
    expected = reference(x.astype(np.float64))
    units = np.abs(y - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert units.max() <= (2.5 if dtype is np.float32 else 5), x[units.argmax()]


@pytest.mark.parametrize(("loop", "reference"), REFERENCES, ids=["exp", "sigmoid", "tanh"])
def test_special_values(loop: Any, reference: Any) -> None:
    """The limits, NaN, and the sign of 0, the same in vector code as for one number alone."""
    x = np.tile(np.array(SPECIAL, np.float32), 8)
    y = np.empty_like(x)
    loop(x, y)
    with np.errstate(over="ignore"):
        expected = reference(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(y, expected, rtol=3e-7)
    np.testing.assert_array_equal(np.signbit(y)[~np.isnan(y)], np.signbit(expected)[~np.isnan(y)])
    for i in range(len(SPECIAL)):
        one = np.empty(1, np.float32)
        loop(x[i : i + 1], one)
        np.testing.assert_array_equal(one, y[i : i + 1])
