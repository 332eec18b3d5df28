"""The sums of batch norm over channels: in any extent, and far from zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddpnet.kernels.cpu import batch_norm_backward, batch_norm_statistics


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [1, 3, 16, 63, 64, 65, 200])
def test_statistics_far_from_zero(inner: int, dtype: Any) -> None:
    x = (1000 + np.random.default_rng(0).standard_normal((7, 5, inner))).astype(dtype)
    mean, var = batch_norm_statistics(x)
    assert mean.dtype == var.dtype == dtype
    tolerance = 2e-7 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=(0, 2)), rtol=tolerance)
    np.testing.assert_allclose(var, x.astype(np.float64).var(axis=(0, 2)), rtol=max(tolerance, 1e-11))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [1, 3, 16, 63, 64, 65, 200])
def test_gradients(inner: int, dtype: Any, training: bool) -> None:
    rng = np.random.default_rng(0)
    g, x = (rng.standard_normal((7, 5, inner)).astype(dtype) for _ in range(2))
    mean, invstd, weight = (rng.uniform(0.5, 1, 5).astype(dtype) for _ in range(3))
    wide_g, wide_x = g.astype(np.float64), x.astype(np.float64)
    middle, scale, factor = (array.astype(np.float64)[:, None] for array in (mean, invstd, weight))
    standard = (wide_x - middle) * scale
    db, dw = wide_g.sum(axis=(0, 2)), (wide_g * standard).sum(axis=(0, 2))
    inside = wide_g - (db[:, None] + standard * dw[:, None]) / (7 * inner) if training else wide_g
    results = batch_norm_backward(g, x, mean, invstd, weight, training)
    for actual, expected in zip(results, (factor * scale * inside, dw, db), strict=True):
        assert actual.dtype == dtype
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        assert error < (2e-6 if dtype == np.float32 else 1e-13)


def test_nan_stays_in_its_channel() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 70)).astype(np.float32)
    x[2, 1, 66] = np.nan
    mean, var = batch_norm_statistics(x)
    np.testing.assert_array_equal(np.isnan(mean), [False, True, False])
    np.testing.assert_array_equal(np.isnan(var), [False, True, False])
