"""`weighted_sum`: the bits of NumPy's multiplications and additions, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from ddpnet.kernels.cpu import weighted_sum


@pytest.mark.parametrize("weight", [8.0, 3.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [2, 4])
def test_bits_of_numpy(count, dtype, weight):
    rng = np.random.default_rng(count)
    values = [
        (rng.standard_normal((7, 33)) * 10.0 ** rng.integers(-40, 38, (7, 33))).astype(dtype) for _ in range(count)
    ]
    values[0][0, :4] = np.inf, -np.inf, np.nan, -0.0
    values[-1] = np.asfortranarray(values[-1])
    out = np.full((7, 33), 5, dtype)
    with np.errstate(all="ignore"):
        weighted_sum(values, weight, out)
        parts = [value * dtype(weight) for value in values]
        expected = parts[0] + parts[1] if count == 2 else (parts[0] + parts[1]) + (parts[2] + parts[3])
    assert np.array_equal(out, expected, equal_nan=True)
    assert np.array_equal(np.signbit(out), np.signbit(expected)) or np.isnan(expected).any()
