"""Linear layers for a batch of many rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from linear_layers import check_kernels, close, derived, elsewhere, exact, layer

import ddpnet
from ddpnet.kernels import cpu

SHAPES = [(512, 180, 190), (513, 516, 96), (601, 520, 64), (1130, 128, 127), (520, 1500, 180), (700, 64, 4200)]
"""Rows, inputs and outputs: whole tiles, tiles that overlap, one or several parts of what is summed over."""
ELSEWHERE = [
    *[(64, 513, 516), (65, 60, 4400), (70, 1500, 180), (63, 640, 640), (1030, 128, 130), (1030, 130, 128)],
    *[(5000, 128, 31), (5000, 31, 128), (100, 128, 128)],
]
"""As above, of which BLAS makes at least one product."""


@pytest.mark.parametrize("shape", SHAPES + ELSEWHERE)
def test_result_and_gradients(shape: tuple[int, int, int]) -> None:
    arrays = layer(*shape)
    for actual, expected in zip(derived(*arrays), exact(*arrays), strict=True):
        assert actual.dtype == np.float32
        close(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_take_these(shape: tuple[int, int, int]) -> None:
    check_kernels(cpu.many_rows_forward, cpu.many_rows_backward, shape)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(4))
def test_what_is_not_finite(which: int, value: float) -> None:
    arrays = layer(513, 90, 470)
    arrays[which].reshape(-1)[[3, -1]] = value
    with np.errstate(invalid="ignore"):
        wanted = exact(*arrays)
    for actual, expected in zip(derived(*arrays), wanted, strict=True):
        close(actual, expected)


def test_any_place_and_layout_has_the_same_bits() -> None:
    x, w, b, g = layer(601, 90, 3200)
    moved = [elsewhere(a) for a in (x, w, b, g)]
    stacked = [x.reshape(1, -1, x.shape[1]), w, np.repeat(b, 2)[::2], g.reshape(1, -1, g.shape[1])]
    y, gradients = cpu.many_rows_forward(x, w, b), cpu.many_rows_backward(g, x, w, (True,) * 3)
    for xs, ws, bs, gs in (moved, stacked):
        again = cpu.many_rows_forward(xs, ws, bs), *cpu.many_rows_backward(gs, xs, ws, (True,) * 3)
        for actual, expected in zip(again, (y, *gradients), strict=True):
            np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


def test_a_row_has_the_same_bits_among_any_others() -> None:
    x, w, b, _ = layer(1500, 250, 62)
    whole = cpu.many_rows_forward(x, w, b)
    assert whole is not None
    for start, stop in ((0, 1100), (3, 1200), (301, 1500)):
        np.testing.assert_array_equal(cpu.many_rows_forward(x[start:stop], w, b), whole[start:stop])


def test_weights_of_other_kinds() -> None:
    x, w, b, g = layer(512, 256, 150)
    assert cpu.many_rows_forward(x, w, b) is not None
    assert cpu.many_rows_forward(x, np.asfortranarray(w), b) is None
    assert cpu.many_rows_forward(x.astype(np.float64), w.astype(np.float64), b.astype(np.float64)) is None
    assert cpu.many_rows_backward(g, x, np.asfortranarray(w), (True,) * 3) is None
    assert cpu.many_rows_backward(g, np.asfortranarray(x), w, (True,) * 3) is None
    swapped = x.astype(x.dtype.newbyteorder())
    assert cpu.many_rows_forward(swapped, w, b) is None
    assert cpu.many_rows_backward(g, swapped, w, (True,) * 3) is None
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
    x, w, b, _ = layer(1024, 128, 150)

    def twice(library: Any, dtype: Any) -> list[np.ndarray]:
        tensors = [library.tensor(a.tolist(), dtype=dtype, requires_grad=True) for a in (x, w, b)]
        y = library.nn.functional.linear(*tensors)
        first = library.autograd.grad((y * y * y).sum(), tensors, create_graph=True)
        sum((d * d).sum() for d in first).backward()
        return [t.grad.detach().numpy() for t in tensors]

    for actual, expected in zip(twice(ddpnet, ddpnet.float32), twice(torch, torch.float64), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
