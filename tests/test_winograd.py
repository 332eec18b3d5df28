"""Winograd's convolution against direct sums in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddpnet.kernels.cpu import conv2d_backward, conv2d_forward
from ddpnet.kernels.cpu.tile_maps import MAPS
from ddpnet.kernels.cpu.winograd import has_many_tiles, winograd_backward, winograd_forward

SHAPES = [  # images, channels in and out, height and width, padding
    (2, 64, 64, 32, 32, (1, 1)),
    (4, 64, 96, 7, 9, (1, 1)),  # rows that are no whole vectors
    (3, 64, 128, 13, 8, (0, 0)),
    (2, 96, 64, 40, 6, (0, 3)),
    (40, 64, 64, 8, 8, (2, 1)),  # several blocks of images
    (6, 64, 64, 32, 32, (1, 1)),  # the last block smaller
    (9, 64, 64, 4, 4, (1, 1)),  # small tiles from here on
    (20, 64, 64, 3, 3, (1, 1)),
    (3, 256, 512, 6, 6, (1, 1)),  # the weights in parts
    (2, 64, 64, 5, 31, (1, 1)),
]


def convolved(x: np.ndarray, w: np.ndarray, g: np.ndarray, padding: Any) -> list[np.ndarray]:
    """The convolution of x with w and its gradients, tap by tap in float64."""
    x, w, g = (array.astype(np.float64) for array in (x, w, g))
    (top, left), (height, width) = padding, g.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    y, dx, dw = np.zeros_like(g), np.zeros_like(x), np.zeros_like(w)
    for i in range(3):
        for j in range(3):
            met = x[:, :, i : i + height, j : j + width]
            y += np.einsum("nchw,oc->nohw", met, w[:, :, i, j], optimize=True)
            dw[:, :, i, j] = np.einsum("nohw,nchw->oc", g, met, optimize=True)
            dx[:, :, i : i + height, j : j + width] += np.einsum("nohw,oc->nchw", g, w[:, :, i, j], optimize=True)
    return [y, dx[:, :, top : x.shape[2] - top, left : x.shape[3] - left], dw]


def operands(n: int, c: int, o: int, h: int, w: int, padding: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples after a ReLU, weights as they are initialised, and a gradient."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((n, c, h, w)), 0)
    weights = rng.uniform(-1, 1, (o, c, 3, 3)) / np.sqrt(9 * c)
    g = rng.standard_normal((n, o, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2))
    return x.astype(np.float32), weights.astype(np.float32), g.astype(np.float32)


def error(actual: np.ndarray | None, expected: np.ndarray) -> float:
    """The largest, relative to the largest result."""
    assert actual is not None
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("size", [2, 4])
def test_maps_give_a_correlation(size: int) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(size + 2), rng.standard_normal(3)
    matrices = {name: np.array(MAPS[f"{name}{size}"].apply(list(np.eye(n)))) for name, n in (("x", size + 2), ("w", 3))}
    back = np.array(MAPS[f"y{size}"].apply(list(np.eye(size + 2))))
    np.testing.assert_allclose(back @ ((matrices["x"] @ x) * (matrices["w"] @ w)), np.correlate(x, w), atol=1e-12)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", ["x", "y", "w"])
def test_gradients_maps_are_the_transposed_ones(name: str, size: int) -> None:
    there, back = MAPS[f"{name}{size}"], MAPS[f"d{name}{size}"]
    assert (there.inputs, there.outputs) == (back.outputs, back.inputs)
    matrix, transposed = (np.array(one.apply(list(np.eye(one.inputs)))) for one in (there, back))
    np.testing.assert_allclose(matrix, transposed.T, atol=1e-15)


@pytest.mark.parametrize(("n", "c", "o", "h", "w", "padding"), SHAPES)
def test_forward_and_gradients(n: int, c: int, o: int, h: int, w: int, padding: Any) -> None:
    x, weights, g = operands(n, c, o, h, w, padding)
    b = np.random.default_rng(1).standard_normal(o).astype(np.float32)
    assert has_many_tiles(x, weights, (1, 1), padding, (1, 1), 1)
    y, dx, dw = convolved(x, weights, g, padding)
    assert error(winograd_forward(x, weights, None, padding), y) < 5e-6
    assert error(winograd_forward(x, weights, b, padding), y + b[:, None, None]) < 5e-6
    found = winograd_backward(g, x, weights, padding, (True, True))
    assert found is not None
    assert error(found[0], dx) < 5e-6
    assert error(found[1], dw) < 5e-6


@pytest.mark.parametrize("size", [4, 8, 16])
def test_rounding_with_many_channels(size: int) -> None:
    x, w, g = operands(4, 512, 512, size, size, (1, 1))
    y, dx, dw = convolved(x, w, g, (1, 1))
    found = conv2d_backward(g, x, w, (1, 1), (1, 1), (1, 1), 1, (True, True, False))
    results = conv2d_forward(x, w, None, (1, 1), (1, 1), (1, 1), 1), *found[:2]
    errors = [error(actual, expected) for actual, expected in zip(results, (y, dx, dw), strict=True)]
    assert max(errors) < 7e-6, errors


def test_what_is_not_needed_is_not_computed() -> None:
    x, w, g = operands(2, 64, 64, 8, 8, (1, 1))
    whole = winograd_backward(g, x, w, (1, 1), (True, True))
    without_dw = winograd_backward(g, np.broadcast_to(np.float32(np.nan), x.shape), w, (1, 1), (True, False))
    without_dx = winograd_backward(g, x, np.broadcast_to(np.float32(np.nan), w.shape), (1, 1), (False, True))
    assert whole is not None
    assert without_dw is not None
    assert without_dx is not None
    np.testing.assert_array_equal(without_dw[0], whole[0])
    np.testing.assert_array_equal(without_dx[1], whole[1])
    assert without_dw[1] is None
    assert without_dx[0] is None


def test_views_give_the_same_bits() -> None:
    x, w, g = operands(3, 64, 80, 9, 10, (1, 1))
    turned = [np.asfortranarray(array) for array in (x, w, g)]
    np.testing.assert_array_equal(
        winograd_forward(turned[0], turned[1], None, (1, 1)), winograd_forward(x, w, None, (1, 1))
    )
    for a, b in zip(
        winograd_backward(turned[2], turned[0], turned[1], (1, 1), (True, True)) or (),
        winograd_backward(g, x, w, (1, 1), (True, True)) or (),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_same_bits_whatever_ran_before() -> None:
    x, w, g = operands(3, 64, 64, 7, 7, (1, 1))
    before = winograd_forward(x, w, None, (1, 1)), *(winograd_backward(g, x, w, (1, 1), (True, True)) or ())
    other = operands(2, 128, 96, 21, 5, (1, 1))
    with np.errstate(invalid="ignore"):
        assert winograd_forward(other[0] * np.float32(np.nan), other[1], None, (1, 1)) is None
        assert winograd_backward(other[2] * np.float32(np.inf), *other[:2], (1, 1), (True, True)) is None
    after = winograd_forward(x, w, None, (1, 1)), *(winograd_backward(g, x, w, (1, 1), (True, True)) or ())
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [4, 9, 16])
def test_what_is_not_finite_reaches_only_what_it_meets(size: int, bad: float) -> None:
    x, w, g = operands(12, 64, 64, size, size, (1, 1))
    assert has_many_tiles(x, w, (1, 1), (1, 1), (1, 1), 1)
    x[1, 3, 1, 2] = g[2, 5, 0, 1] = bad
    with np.errstate(invalid="ignore"):
        y, dx, dw = convolved(x, w, g, (1, 1))
        found = [conv2d_forward(x, w, None, (1, 1), (1, 1), (1, 1), 1)]
        found += conv2d_backward(g, x, w, (1, 1), (1, 1), (1, 1), 1, (True, True, False))[:2]
    for actual, expected in zip(found, (y, dx, dw), strict=True):
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(actual), finite)
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        assert np.abs(actual[finite] - expected[finite]).max() < 1e-5 * np.abs(expected[finite]).max()


def test_numbers_whose_tiles_overflow() -> None:
    x, w, g = operands(4, 64, 64, 8, 8, (1, 1))
    x[0, 0, 1, 1] = 2e38
    w[:, 0] = 1e-3
    assert winograd_forward(x, w, None, (1, 1)) is None
    y = conv2d_forward(x, w, None, (1, 1), (1, 1), (1, 1), 1)
    assert error(y, convolved(x, w, g, (1, 1))[0]) < 1e-6


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((4, 64, 8, 8), (64, 64, 3, 3), ((2, 2), (1, 1), (1, 1), 1)),
        ((4, 64, 8, 8), (64, 64, 3, 3), ((1, 1), (1, 1), (2, 2), 1)),
        ((4, 64, 8, 8), (64, 32, 3, 3), ((1, 1), (1, 1), (1, 1), 2)),
        ((4, 64, 8, 8), (64, 64, 5, 5), ((1, 1), (1, 1), (1, 1), 1)),
        ((4, 24, 8, 8), (64, 24, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
        ((4, 64, 8, 8), (65, 64, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
        ((1, 64, 4, 4), (64, 64, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),  # as long in the transformation of the weights
        ((0, 64, 8, 8), (64, 64, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
    ],
)
def test_others_go_another_way(x: Any, w: Any, options: Any) -> None:
    assert not has_many_tiles(np.zeros(x, np.float32), np.zeros(w, np.float32), *options)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_dtypes_go_another_way(dtype: Any) -> None:
    x, w = np.zeros((4, 64, 8, 8), dtype), np.zeros((64, 64, 3, 3), dtype)
    assert not has_many_tiles(x, w, (1, 1), (1, 1), (1, 1), 1)
