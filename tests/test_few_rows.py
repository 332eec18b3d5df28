"""Linear layers for a batch of few rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from linear_layers import check_kernels, close, derived, elsewhere, exact, layer

import ddpnet
from ddpnet.kernels import cpu

SHAPES = [(4, 32, 4), (5, 33, 5), (8, 400, 120), (16, 120, 84), (7, 84, 10), (64, 95, 17), (32, 64, 2000)]
"""Rows, inputs and outputs: whole tiles, tiles that overlap, and the first layers of LeNet."""
ELSEWHERE = [(3, 64, 8), (65, 64, 8), (8, 64, 3), (8, 31, 8), (64, 400, 400), (0, 64, 8)]
"""As above, of which BLAS makes at least one product."""


@pytest.mark.parametrize("shape", SHAPES + ELSEWHERE)
def test_result_and_gradients(shape: tuple[int, int, int]) -> None:
    arrays = layer(*shape)
    for actual, expected in zip(derived(*arrays), exact(*arrays), strict=True):
        assert actual.dtype == np.float32
        close(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_take_these(shape: tuple[int, int, int]) -> None:
    check_kernels(cpu.few_rows_forward, cpu.few_rows_backward, shape)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(4))
def test_what_is_not_finite(which: int, value: float) -> None:
    arrays = layer(9, 70, 11)
    arrays[which].reshape(-1)[[3, -1]] = value
    with np.errstate(invalid="ignore"):
        wanted = exact(*arrays)
    for actual, expected in zip(derived(*arrays), wanted, strict=True):
        close(actual, expected)


def test_any_place_and_layout_has_the_same_bits() -> None:
    x, w, b, g = layer(8, 84, 10)
    moved = [elsewhere(a) for a in (x, w, b, g)]
    across = [np.asfortranarray(x), w, b, np.asfortranarray(g)]
    apart = [np.repeat(a, 2, axis=-1)[..., ::2] for a in (x, b, g)]
    scattered = [apart[0], w, apart[1], apart[2]]
    y, gradients = cpu.few_rows_forward(x, w, b), cpu.few_rows_backward(g, x, w, (True,) * 3)
    for xs, ws, bs, gs in (moved, across, scattered):
        again = cpu.few_rows_forward(xs, ws, bs), *cpu.few_rows_backward(gs, xs, ws, (True,) * 3)
        for actual, expected in zip(again, (y, *gradients), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_row_has_the_same_bits_among_any_others() -> None:
    x, w, b, _ = layer(20, 84, 10)
    whole = cpu.few_rows_forward(x, w, b)
    for start, stop in ((0, 4), (3, 8), (15, 20)):
        np.testing.assert_array_equal(cpu.few_rows_forward(x[start:stop], w, b), whole[start:stop])


def test_weights_of_other_kinds() -> None:
    x, w, b, g = layer(8, 64, 12)
    assert cpu.few_rows_forward(x, np.asfortranarray(w), b) is None
    assert cpu.few_rows_forward(x.astype(np.float64), w.astype(np.float64), b.astype(np.float64)) is None
    assert cpu.few_rows_backward(g, x, np.asfortranarray(w), (True,) * 3) is None
    swapped = x.astype(x.dtype.newbyteorder())
    assert cpu.few_rows_forward(swapped, w, b) is None
    assert cpu.few_rows_backward(g, swapped, w, (True,) * 3) is None
    for dtype, tolerance in ((ddpnet.float64, 1e-12), (ddpnet.bfloat16, 0.02)):
        tensors = [ddpnet.tensor(a).to(dtype).requires_grad_() for a in (x, w, b)]
        y = ddpnet.nn.functional.linear(*tensors)
        y.backward(ddpnet.tensor(g).to(dtype))
        found = [y, *(tensors[place].grad for place in (2, 0, 1))]
        rounded = [a.detach().double().numpy() for a in tensors], ddpnet.tensor(g).to(dtype).double().numpy()
        for actual, expected in zip(found, exact(*rounded[0], rounded[1]), strict=True):
            assert actual.dtype is dtype
            error = np.abs(actual.detach().double().numpy() - expected).max()
            assert error <= tolerance * np.abs(expected).max()


def test_second_derivatives() -> None:
    torch = pytest.importorskip("torch")
    x, w, b, _ = layer(8, 40, 6)

    def twice(library: Any, dtype: Any) -> list[np.ndarray]:
        tensors = [library.tensor(a.tolist(), dtype=dtype, requires_grad=True) for a in (x, w, b)]
        y = library.nn.functional.linear(*tensors)
        first = library.autograd.grad((y * y * y).sum(), tensors, create_graph=True)
        sum((d * d).sum() for d in first).backward()
        return [t.grad.detach().numpy() for t in tensors]

    for actual, expected in zip(twice(ddpnet, ddpnet.float32), twice(torch, torch.float64), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
