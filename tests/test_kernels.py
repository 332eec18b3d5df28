"""Kernels against slow, obvious references; the CPU's and the GPU's have the same names and signatures."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpnet import backend
from ddpnet import kernels as package
from ddpnet.kernels import cpu

RNG = np.random.default_rng(0)
REALS = [np.float32, np.float64]


class Device:
    """The kernels of a device, called with NumPy arrays."""

    def __init__(self, name: str) -> None:
        self.module = importlib.import_module(f"ddpnet.kernels.{name}")
        self.name = name

    def __getattr__(self, kernel: str) -> Any:
        function = getattr(self.module, kernel)
        if self.name == "cpu":
            return function

        def on_gpu(*arguments: Any) -> Any:
            there = [backend.cupy().asarray(x) if isinstance(x, np.ndarray) else x for x in arguments]
            result = function(*there)
            for before, after in zip(arguments, there, strict=True):
                if isinstance(before, np.ndarray):
                    before[...] = after.get()  # for those that work in place
            results = result if isinstance(result, tuple) else (result,)
            back = tuple(None if y is None else y.get() for y in results)
            return back if isinstance(result, tuple) else back[0]

        return on_gpu


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Device:
    if request.param == "cuda" and not backend.cuda_device_count():
        pytest.skip("no CUDA device with CuPy")
    return Device(request.param)


def normal(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape)).astype(dtype)


def close(actual: np.ndarray | None, expected: np.ndarray, dtype: Any) -> None:
    assert actual is not None
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    tolerance = {np.float64: 1e-12, np.float32: 2e-5, np.float16: 2e-2}[dtype]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * (1 + np.abs(expected).max(initial=0)))


# Convolution


def convolve(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """Every output by itself."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    (n, _, h, width), (o, cg, kh, kw) = x.shape, w.shape
    rows = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    cols = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, rows, cols))
    for out in range(o):
        first = out // (o // groups) * cg
        for row in range(rows):
            for col in range(cols):
                r, q = row * stride[0], col * stride[1]
                patch = x[
                    :,
                    first : first + cg,
                    r : r + dilation[0] * (kh - 1) + 1 : dilation[0],
                    q : q + dilation[1] * (kw - 1) + 1 : dilation[1],
                ]
                y[:, out, row, col] = (patch * w[out]).sum(axis=(1, 2, 3))
    return y if b is None else y + b[:, None, None]


CONVOLUTIONS = [
    # x, w, stride, padding, dilation, groups
    ((2, 1, 9, 9), (3, 1, 5, 5), (1, 1), (0, 0), (1, 1), 1),
    ((3, 2, 8, 7), (4, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 9, 8), (4, 3, 3, 2), (2, 3), (1, 0), (1, 1), 1),
    ((1, 2, 11, 10), (2, 2, 3, 3), (1, 1), (2, 3), (2, 3), 1),
    ((2, 4, 6, 6), (6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 4, 7, 7), (4, 1, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    ((2, 5, 4, 4), (3, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 1, 3, 3), (1, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((40, 6, 14, 14), (16, 6, 5, 5), (1, 1), (0, 0), (1, 1), 1),  # several blocks of images
    ((0, 2, 5, 5), (3, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((30, 96, 4, 4), (96, 96, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # products over several images, in uneven blocks
    ((3, 96, 4, 4), (160, 96, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # many weights
    ((5, 96, 9, 9), (96, 96, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((5, 192, 4, 4), (192, 96, 3, 3), (1, 1), (1, 1), (1, 1), 2),
]


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(
    kernels: Device, dtype: Any, x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    x, w, b = normal(*x_shape), normal(*w_shape), normal(w_shape[0])
    options = (stride, padding, dilation, groups)
    expected = convolve(x, w, b, *options)
    x_, w_, b_ = (a.astype(dtype) for a in (x, w, b))
    close(kernels.conv2d_forward(x_, w_, b_, *options), expected, dtype)
    close(kernels.conv2d_forward(x_, w_, None, *options), convolve(x, w, None, *options), dtype)
    g = normal(*expected.shape)
    dx, dw, db = kernels.conv2d_backward(g.astype(dtype), x_, w_, *options, (True, True, True))
    # <g, conv(x)> is linear in each of x, w and b: its derivative along a direction is exact.
    for gradient, point, kind in ((dx, x, 0), (dw, w, 1), (db, b, 2)):
        assert gradient.dtype == dtype
        direction = normal(*point.shape)
        moved = [direction if i == kind else a for i, a in enumerate((x, w, b))]
        change = convolve(moved[0], moved[1], moved[2] if kind == 2 else None, *options)
        if kind == 2:
            change = change - convolve(x, w, None, *options)
        slope, along = float((g * change).sum()), float((gradient.astype(np.float64) * direction).sum())
        scale = np.abs(g * change).sum() + 1
        assert abs(slope - along) <= scale * (1e-12 if dtype == np.float64 else 1e-5), (slope, along)


def test_convolution_leaves_out_what_is_not_needed(kernels: Device) -> None:
    x, w, g = normal(2, 1, 5, 5), normal(2, 1, 3, 3), normal(2, 2, 3, 3)
    options = (1, 1), (0, 0), (1, 1), 1
    assert kernels.conv2d_backward(g, x, w, *options, (False, True, False))[::2] == (None, None)
    assert kernels.conv2d_backward(g, x, w, *options, (True, False, True))[1] is None


@pytest.mark.parametrize("dtype", REALS)
def test_convolution_of_views(kernels: Device, dtype: Any) -> None:
    x = normal(6, 9, 8, 4, dtype=dtype).transpose(0, 3, 1, 2)[::2]
    w = normal(3, 3, 4, 2, dtype=dtype).transpose(3, 2, 0, 1)
    options = (1, 1), (1, 1), (1, 1), 1
    close(kernels.conv2d_forward(x, w, None, *options), convolve(x, w, None, *options), dtype)
    g = normal(3, 9, 8, 2, dtype=dtype).transpose(0, 3, 1, 2)
    for actual, expected in zip(
        kernels.conv2d_backward(g, x, w, *options, (True, True, True)),
        kernels.conv2d_backward(*map(np.ascontiguousarray, (g, x, w)), *options, (True, True, True)),
        strict=True,
    ):
        close(actual, expected, dtype)


def test_infinite_sample_reaches_only_the_weights_that_meet_it(kernels: Device) -> None:
    x, w, g = normal(2, 1, 5, 5), normal(1, 1, 3, 3), normal(2, 1, 3, 3)
    x[0, 0, 2, 0], x[1, 0, 1, 4] = np.inf, np.nan  # met by the first and by the last column of the kernel
    with np.errstate(all="ignore"):
        dx, dw, _ = kernels.conv2d_backward(g, x, w, (1, 1), (0, 0), (1, 1), 1, (True, True, True))
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), axis=(1, 2))
    expected = np.einsum("nij,nijab->ab", g[:, 0], windows)
    np.testing.assert_allclose(dw[0, 0, :, 1], expected[:, 1], rtol=1e-12)
    assert not np.isfinite(dw[0, 0, :, 0]).any()
    assert np.isfinite(dx).all()


def test_results_do_not_alias_the_workspace(kernels: Device) -> None:
    w, options = normal(2, 2, 3, 3), ((1, 1), (1, 1), (1, 1), 1)
    first = kernels.conv2d_forward(normal(2, 2, 6, 6), w, None, *options)
    before = first.copy()
    kernels.conv2d_forward(normal(2, 2, 6, 6), w, None, *options)
    np.testing.assert_array_equal(first, before)


def test_same_bits_each_time(kernels: Device) -> None:
    x, w, g = normal(30, 6, 14, 14, dtype=np.float32), normal(16, 6, 5, 5, dtype=np.float32), None
    options = (1, 1), (0, 0), (1, 1), 1
    y = [kernels.conv2d_forward(x.copy(), w, None, *options) for _ in range(3)]
    g = normal(*y[0].shape, dtype=np.float32)
    dw = [kernels.conv2d_backward(g.copy(), x, w, *options, (True, True, True))[1] for _ in range(3)]
    assert len({array.tobytes() for array in y}) == len({array.tobytes() for array in dw}) == 1


def test_bfloat16_is_computed_in_float32(kernels: Device) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x, w = normal(2, 3, 6, 6).astype(bfloat16), normal(4, 3, 3, 3).astype(bfloat16)
    options = (1, 1), (0, 0), (1, 1), 1
    y = kernels.conv2d_forward(x, w, None, *options)
    assert y.dtype == bfloat16
    expected = convolve(x.astype(float), w.astype(float), None, *options)
    np.testing.assert_allclose(y.astype(float), expected, rtol=2**-8, atol=1e-2)
    p = np.ones(3, bfloat16)
    kernels.sgd_step(p, np.full(3, 2, bfloat16), None, 0.25, 0.0, 0.0, 0.0, False, False, True)
    assert p.dtype == bfloat16
    np.testing.assert_array_equal(p.astype(float), 0.5)


def test_half_precision_is_computed_in_float32(kernels: Device) -> None:
    x, w = normal(2, 3, 6, 6, dtype=np.float16), normal(4, 3, 3, 3, dtype=np.float16)
    options = (1, 1), (0, 0), (1, 1), 1
    close(
        kernels.conv2d_forward(x, w, None, *options),
        convolve(x.astype(float), w.astype(float), None, *options),
        np.float16,
    )
    y, places = kernels.max_pool2d_forward(x, (2, 2), (2, 2), (0, 0), (1, 1), False)
    assert (y.dtype, places.dtype) == (np.float16, np.int32)


# Pooling


def windows(x: np.ndarray, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    """For each output, the rows and columns of its window that lie inside, and its extent with padding."""
    h, w = x.shape[2:]
    size = []
    for extent, k, s, p, d in zip((h, w), kernel, stride, padding, dilation, strict=True):
        span = (extent + 2 * p - d * (k - 1) - 1) / s
        count = int(np.ceil(span) if ceil_mode else np.floor(span)) + 1
        if ceil_mode and (count - 1) * s >= extent + p:
            count -= 1
        size.append(count)
    for row in range(size[0]):
        for col in range(size[1]):
            r = [row * stride[0] - padding[0] + i * dilation[0] for i in range(kernel[0])]
            c = [col * stride[1] - padding[1] + j * dilation[1] for j in range(kernel[1])]
            area = sum(v < h + padding[0] for v in r) * sum(v < w + padding[1] for v in c)
            yield (row, col), [v for v in r if 0 <= v < h], [v for v in c if 0 <= v < w], area, tuple(size)


POOLS = [
    # x, kernel, stride, padding, ceil_mode
    ((2, 3, 6, 8), (2, 2), (2, 2), (0, 0), False),
    ((2, 2, 7, 5), (2, 2), (2, 2), (0, 0), False),
    ((1, 2, 7, 7), (3, 3), (2, 2), (1, 1), False),
    ((1, 2, 7, 6), (3, 2), (2, 2), (1, 0), True),
    ((2, 1, 5, 5), (3, 3), (1, 1), (0, 0), False),
    ((1, 1, 4, 9), (2, 3), (3, 2), (1, 1), True),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), False),
]


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode"), POOLS)
def test_max_pool(
    kernels: Device, dtype: Any, dilation: Any, shape: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool
) -> None:
    x = np.round(normal(*shape, dtype=dtype) * 2)  # with equal numbers
    y, places = kernels.max_pool2d_forward(x, kernel, stride, padding, dilation, ceil_mode)
    g = normal(*y.shape, dtype=dtype)
    dx = np.zeros(shape, np.float64)
    for (row, col), rows, cols, _, size in windows(x, kernel, stride, padding, dilation, ceil_mode):
        assert y.shape[2:] == size
        for n in range(shape[0]):
            for c in range(shape[1]):
                best = max((x[n, c, i, j], -i, -j) for i in rows for j in cols)
                assert (y[n, c, row, col], places[n, c, row, col]) == (best[0], -best[1] * shape[3] - best[2])
                dx[n, c, -best[1], -best[2]] += g[n, c, row, col]
    close(kernels.max_pool2d_backward(g, places, shape), dx, dtype)


@pytest.mark.parametrize("stride", [(2, 2), (1, 1)])
def test_max_pool_keeps_nan_and_minus_infinity(kernels: Device, stride: Any) -> None:
    x = normal(1, 1, 4, 4, dtype=np.float32)
    x[0, 0, 0, 1], x[0, 0, 2:, 2:] = np.nan, -np.inf
    y, places = kernels.max_pool2d_forward(x, (2, 2), stride, (0, 0), (1, 1), False)
    assert np.isnan(y[0, 0, 0, 0])
    assert places[0, 0, 0, 0] == 1
    assert (y[0, 0, -1, -1], places[0, 0, -1, -1]) == (-np.inf, 10)


@pytest.mark.parametrize("stride", [(2, 2), (1, 1)])
def test_last_nan_of_a_window_is_its_maximum(kernels: Device, stride: Any) -> None:
    x = np.zeros((1, 1, 2, 2))
    x[0, 0, :, 0] = np.nan
    _, places = kernels.max_pool2d_forward(x, (2, 2), stride, (0, 0), (1, 1), False)
    assert places.item() == 2


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("extents", [(2, 2), (7, 9), (10, 33), (16, 64), (11, 70)])
@pytest.mark.parametrize("window", [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1))])
def test_max_pool_of_relu(kernels: Device, dtype: Any, extents: Any, window: Any) -> None:
    x = RNG.integers(-3, 3, (3, 2, *extents)).astype(dtype)
    x.reshape(-1)[::7], x.reshape(-1)[1::5], x.reshape(-1)[2::11] = np.nan, -0.0, -np.inf
    x[0, 0] = -1
    options = *window, (1, 1), False
    y, places = kernels.relu_max_pool2d_forward(x, *options)
    expected, expected_places = kernels.max_pool2d_forward(kernels.relu_forward(x), *options)
    assert y.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(places, expected_places)


def test_max_pool_of_nothing_but_padding_has_no_gradient(kernels: Device) -> None:
    x = np.ones((1, 1, 2, 2))  # the window meets rows and columns -1 and 2
    _, places = kernels.max_pool2d_forward(x, (2, 2), (1, 1), (1, 1), (3, 3), False)
    assert places.item() == -1
    np.testing.assert_array_equal(kernels.max_pool2d_backward(np.ones((1, 1, 1, 1)), places, x.shape), 0)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize(("include", "divisor"), [(True, None), (False, None), (True, 3)])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode"), POOLS)
def test_avg_pool(
    kernels: Device,
    dtype: Any,
    include: bool,
    divisor: int | None,
    shape: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
) -> None:
    x = normal(*shape, dtype=dtype)
    options = (kernel, stride, padding, ceil_mode, include, divisor)
    y = kernels.avg_pool2d_forward(x, *options)
    g = normal(*y.shape, dtype=dtype)
    expected, dx = np.zeros(y.shape), np.zeros(shape)
    for (row, col), rows, cols, area, size in windows(x, kernel, stride, padding, (1, 1), ceil_mode):
        assert y.shape[2:] == size
        by = divisor or (area if include else len(rows) * len(cols))
        inside = np.ix_(range(shape[0]), range(shape[1]), rows, cols)
        expected[:, :, row, col] = x[inside].sum(axis=(2, 3)) / by
        dx[inside] += g[:, :, row, col, None, None] / by
    close(y, expected, dtype)
    close(kernels.avg_pool2d_backward(g, shape, *options), dx, dtype)


# Normalisation


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", [(6, 3), (4, 2, 5), (3, 4, 5, 6), (200, 2, 30)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(kernels: Device, dtype: Any, shape: Any, affine: bool) -> None:
    x = normal(*shape) * 3 + 100  # a mean far from 0, where sums of squares lose digits
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    column = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = kernels.batch_norm_statistics(x.astype(dtype))
    np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(dtype).astype(np.float64).var(axes), rtol=1e-5)
    assert mean.dtype == var.dtype == dtype
    x, mean, invstd = normal(*shape), normal(shape[1]), np.abs(normal(shape[1])) + 0.5
    weight, bias = (normal(shape[1]), normal(shape[1])) if affine else (None, None)
    standard = (x - mean.reshape(column)) * invstd.reshape(column)
    scale = np.ones(shape[1]) if weight is None else weight
    expected = standard * scale.reshape(column) + (0 if bias is None else bias.reshape(column))
    given = [None if a is None else a.astype(dtype) for a in (x, mean, invstd, weight, bias)]
    close(kernels.batch_norm_apply(*given), expected, dtype)
    g = normal(*shape)
    total, product = g.sum(axes), (g * standard).sum(axes)
    count = x.size // shape[1]
    for training in (True, False):
        dx, dw, db = kernels.batch_norm_backward(g.astype(dtype), *given[:4], training)
        inner = g - (total.reshape(column) + standard * product.reshape(column)) / count * training
        close(dx, inner * (scale * invstd).reshape(column), dtype)
        close(dw, product, dtype)
        close(db, total, dtype)


# Element by element, and optimizers


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("extent", [0, 3, 70])
def test_relu(kernels: Device, dtype: Any, extent: int) -> None:
    x = normal(extent, 33, dtype=dtype)
    if x.dtype.kind == "f":
        x.reshape(-1)[1::9], x.reshape(-1)[2::9], x.reshape(-1)[3::9] = np.nan, -np.inf, -0.0
    for given in (x, x.T, x[:, ::2]):
        y = kernels.relu_forward(given)
        np.testing.assert_array_equal(y, np.where(given <= 0, 0, given))
        assert y.dtype == dtype
        if dtype in REALS:
            assert not np.signbit(y[y == 0]).any()


@pytest.mark.parametrize("dtype", REALS)
def test_relu_backward(kernels: Device, dtype: Any) -> None:
    g, y = normal(5, 7, dtype=dtype), np.maximum(normal(5, 7, dtype=dtype), 0)
    close(kernels.relu_backward(g, y), np.where(y > 0, g, 0), dtype)
    close(kernels.relu_backward(g.T, y.T), np.where(y > 0, g, 0).T, dtype)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_sgd(kernels: Device, dtype: Any, momentum: float, nesterov: bool, maximize: bool) -> None:
    p, buf = normal(3, 5), np.zeros((3, 5))
    mine, mine_buf = p.astype(dtype), np.zeros((3, 5), dtype)
    for step in range(4):
        g = normal(3, 5)
        kernels.sgd_step(
            mine,
            g.astype(dtype),
            mine_buf if momentum else None,
            0.1,
            momentum,
            0.2,
            0.05,
            nesterov,
            maximize,
            step == 0,
        )
        d = (-g if maximize else g) + 0.05 * p
        buf = d if step == 0 else momentum * buf + 0.8 * d
        p = p - 0.1 * ((d + momentum * buf if nesterov else buf) if momentum else d)
    close(mine, p, dtype)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(kernels: Device, dtype: Any, amsgrad: bool, decoupled: bool) -> None:
    p, m, v, top = normal(4, 3), 0.0, 0.0, 0.0
    arrays = [p.astype(dtype), *(np.zeros((4, 3), dtype) for _ in range(3))]
    for step in range(1, 5):
        g = normal(4, 3)
        mine, m1, v1, vmax = arrays
        kernels.adam_step(
            mine, g.astype(dtype), m1, v1, vmax if amsgrad else None, 0.01, 0.8, 0.9, 1e-8, 0.1, decoupled, False, step
        )
        if decoupled:
            p = p * (1 - 0.01 * 0.1)
        else:
            g = g + 0.1 * p
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        top = np.maximum(top, v)
        p = p - 0.01 * (m / (1 - 0.8**step)) / (np.sqrt((top if amsgrad else v) / (1 - 0.9**step)) + 1e-8)
    close(arrays[0], p, dtype)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop(kernels: Device, dtype: Any, momentum: float, centered: bool) -> None:
    p, v, buf, avg = normal(7), 0.0, 0.0, 0.0
    arrays = [p.astype(dtype), *(np.zeros(7, dtype) for _ in range(3))]
    for _ in range(4):
        g = normal(7)
        mine, v1, buf1, avg1 = arrays
        kernels.rmsprop_step(
            mine,
            g.astype(dtype),
            v1,
            buf1 if momentum else None,
            avg1 if centered else None,
            0.01,
            0.9,
            1e-3,
            0.1,
            momentum,
            centered,
            False,
        )
        g = g + 0.1 * p
        v, avg = 0.9 * v + 0.1 * g * g, 0.9 * avg + 0.1 * g
        change = g / (np.sqrt(v - avg * avg if centered else v) + 1e-3)
        buf = momentum * buf + change
        p = p - 0.01 * (buf if momentum else change)
    close(arrays[0], p, dtype)


def test_first_momentum_is_the_gradient_whatever_the_buffer_held(kernels: Device) -> None:
    p, g, buf = np.zeros(3), normal(3), np.full(3, np.nan)
    kernels.sgd_step(p, g, buf, 1.0, 0.9, 0.5, 0.0, False, False, True)
    np.testing.assert_array_equal(buf, g)
    np.testing.assert_array_equal(p, -g)


def test_step_takes_any_gradient_but_only_contiguous_parameters(kernels: Device) -> None:
    p, g = np.zeros((2, 3)), normal(3, 2)
    kernels.sgd_step(p, g.T, None, 1.0, 0.0, 0.0, 0.0, False, False, True)
    np.testing.assert_array_equal(p, -g.T)
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's words on one device, ours on the other
        kernels.sgd_step(np.zeros((3, 2)).T, g.T, None, 1.0, 0.0, 0.0, 0.0, False, False, True)


def test_optimizer_step_in_half_precision(kernels: Device) -> None:
    p, g = normal(10, dtype=np.float16), normal(10, dtype=np.float16)
    expected = (p.astype(np.float32) - np.float32(0.1) * g.astype(np.float32)).astype(np.float16)
    kernels.sgd_step(p, g, None, 0.1, 0.0, 0.0, 0.0, False, False, True)
    np.testing.assert_allclose(p, expected, rtol=2e-3)


# Against PyTorch


@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution_is_that_of_pytorch(
    kernels: Device, x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape, dtype=np.float32) for shape in (x_shape, w_shape, w_shape[:1])]
    options = (stride, padding, dilation, groups)
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = torch.nn.functional.conv2d(*theirs, *options)
    g = normal(*y.shape, dtype=np.float32)
    y.backward(torch.tensor(g))
    close(kernels.conv2d_forward(*arrays, *options), y.detach().numpy(), np.float32)
    gradients = kernels.conv2d_backward(g, *arrays[:2], *options, (True, True, True))
    for mine, leaf in zip(gradients, theirs, strict=True):
        close(mine, leaf.grad.numpy(), np.float32)


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode"), POOLS)
def test_pooling_is_that_of_pytorch(
    kernels: Device, shape: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool
) -> None:
    torch = pytest.importorskip("torch")
    x = np.round(normal(*shape, dtype=np.float32) * 2)
    x[..., 1::3, ::2] = np.nan
    options = (kernel, stride, padding)
    pooled = torch.nn.functional.max_pool2d(torch.tensor(x), *options, 1, ceil_mode, return_indices=True)
    for mine, its in zip(kernels.max_pool2d_forward(x, *options, (1, 1), ceil_mode), pooled, strict=True):
        np.testing.assert_array_equal(mine, its.numpy())
    leaf = torch.tensor(normal(*shape, dtype=np.float32), requires_grad=True)
    for include, divisor in ((True, None), (False, None), (True, 3)):
        leaf.grad = None
        y = torch.nn.functional.avg_pool2d(leaf, *options, ceil_mode, include, divisor)
        g = normal(*y.shape, dtype=np.float32)
        y.backward(torch.tensor(g))
        rest = (ceil_mode, include, divisor)
        mine = kernels.avg_pool2d_forward(leaf.detach().numpy(), *options, *rest)
        close(mine, y.detach().numpy(), np.float32)
        close(kernels.avg_pool2d_backward(g, shape, *options, *rest), leaf.grad.numpy(), np.float32)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_optimizers_are_those_of_pytorch(kernels: Device, decay: float) -> None:
    torch = pytest.importorskip("torch")
    start, steps = normal(50, dtype=np.float32), [normal(50, dtype=np.float32) for _ in range(6)]
    decayed = {"lr": 0.01, "weight_decay": decay}

    def theirs(optimizer: Any, **options: Any) -> np.ndarray:
        p = torch.nn.Parameter(torch.tensor(start))
        rule = optimizer([p], foreach=False, **decayed, **options)
        for g in steps:
            p.grad = torch.tensor(g)
            rule.step()
        return p.detach().numpy()

    def mine(step: Any, arrays: int) -> np.ndarray:
        state = [start.copy(), *(np.zeros_like(start) for _ in range(arrays))]
        for count, g in enumerate(steps, 1):
            step(state[0], g, state[1:], count)
        return state[0]

    def sgd(p: Any, g: Any, state: Any, count: int) -> None:
        kernels.sgd_step(p, g, state[0], 0.01, 0.9, 0.1, decay, False, False, count == 1)

    def adam(p: Any, g: Any, state: Any, count: int) -> None:
        kernels.adam_step(p, g, *state, 0.01, 0.9, 0.99, 1e-8, decay, False, True, count)

    def adamw(p: Any, g: Any, state: Any, count: int) -> None:
        kernels.adam_step(p, g, *state, None, 0.01, 0.9, 0.99, 1e-8, decay, True, False, count)

    def rmsprop(p: Any, g: Any, state: Any, count: int) -> None:
        kernels.rmsprop_step(p, g, *state, 0.01, 0.9, 1e-8, decay, 0.5, True, False)

    for step, arrays, optimizer, options in (
        (sgd, 1, torch.optim.SGD, {"momentum": 0.9, "dampening": 0.1}),
        (adam, 3, torch.optim.Adam, {"betas": (0.9, 0.99), "amsgrad": True, "maximize": True}),
        (adamw, 2, torch.optim.AdamW, {"betas": (0.9, 0.99)}),
        (rmsprop, 3, torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0.5, "centered": True}),
    ):
        np.testing.assert_allclose(mine(step, arrays), theirs(optimizer, **options), rtol=2e-6, atol=2e-6)


# Recurrent cells


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_reference(a: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output and the new cells, from the gates' sums and the cells."""
    i, f, u, o = np.split(a, 4, axis=1)
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
    return sigmoid(o) * np.tanh(new), new


def gru_reference(x: np.ndarray, part: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The new state, from the input's and the state's part of the gates and the state."""
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, axis=1), np.split(part, 3, axis=1)
    z, new = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
    return np.asarray(new + z * (h - new))


def slope(function: Any, places: list[np.ndarray], directions: list[np.ndarray]) -> float:
    """The derivative of a number along directions, by a central difference."""
    step = 1e-6
    ahead, behind = ([x + sign * step * d for x, d in zip(places, directions, strict=True)] for sign in (1, -1))
    return float((function(*ahead) - function(*behind)) / (2 * step))


def along(gradients: list[np.ndarray], directions: list[np.ndarray]) -> float:
    return float(sum((g * d).sum() for g, d in zip(gradients, directions, strict=True)))


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 32)])
def test_lstm_step(kernels: Device, dtype: Any, shape: tuple[int, int]) -> None:
    wide = (shape[0], 4 * shape[1])
    x, part, c = normal(*wide, dtype=dtype), normal(*wide, dtype=dtype), normal(*shape, dtype=dtype)
    a, cells = x.astype(float) + part, c.astype(float)
    output, new = lstm_reference(a, cells)
    gates, before, squashed, y = x.copy(), *(np.empty_like(c) for _ in range(3))
    memory = c.copy()
    kernels.lstm_step(gates, part, memory, before, squashed, y)
    for actual, expected in ((y, output), (memory, new), (before, cells), (squashed, np.tanh(new))):
        close(actual, expected, dtype)
    g, dc, da = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype), np.empty_like(gates)

    def total(a: np.ndarray, c: np.ndarray) -> Any:
        output, new = lstm_reference(a, c)
        return (output * g).sum() + (new * given).sum()

    given = dc.astype(float)
    kernels.lstm_step_backward(g, dc, gates, before, squashed, da)
    directions = [normal(*wide), normal(*shape)]
    np.testing.assert_allclose(along([da, dc], directions), slope(total, [a, cells], directions), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 32)])
def test_gru_step(kernels: Device, dtype: Any, shape: tuple[int, int]) -> None:
    wide = (shape[0], 3 * shape[1])
    x, part, h = normal(*wide, dtype=dtype), normal(*wide, dtype=dtype), normal(*shape, dtype=dtype)
    places = [x.astype(float), part.astype(float), h.astype(float)]
    gates, before, inner, y = x.copy(), *(np.empty_like(h) for _ in range(3))
    state = h.copy()
    kernels.gru_step(gates, part.copy(), state, before, inner, y)
    for actual, expected in ((y, gru_reference(*places)), (state, gru_reference(*places)), (before, places[2])):
        close(actual, expected, dtype)
    g, da, recurrent = normal(*shape, dtype=dtype), np.empty_like(gates), np.empty_like(gates)
    given = g.astype(float)
    kernels.gru_step_backward(g, gates, before, inner, da, recurrent)
    directions = [normal(*wide), normal(*wide), normal(*shape)]
    expected = slope(lambda *places: (gru_reference(*places) * given).sum(), places, directions)
    np.testing.assert_allclose(along([da, recurrent, g], directions), expected, rtol=2e-5, atol=1e-6)


# Loading


def python(code: str) -> str:
    """What a new interpreter prints."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_importing_starts_neither_numba_nor_cupy() -> None:
    loaded = "print([name for name in ('numba', 'cupy') if name in sys.modules])"
    assert python(f"import sys, ddpnet, ddpnet.kernels; {loaded}") == "[]"


# One interface


def signatures(device: str) -> dict[str, list[str]]:
    """The public kernels of a device with the names of their arguments, read without loading CuPy."""
    folder = Path(package.__file__).parent / device
    public = ast.parse((folder / "__init__.py").read_text())
    listed = next(node.value for node in public.body if isinstance(node, ast.Assign))
    names = cpu.__all__ if device == "cpu" else ast.literal_eval(listed)
    functions = {
        node.name: [argument.arg for argument in node.args.args]
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    return {name: functions[name] for name in names}


def test_both_devices_have_the_same_kernels() -> None:
    assert signatures("cpu") == signatures("cuda")


def test_every_kernel_of_the_cpu_is_found_by_its_name() -> None:
    for name in cpu.__all__:
        assert callable(getattr(cpu, name)), name
    with pytest.raises(AttributeError, match="no attribute 'relu_forwards'"):
        _ = cpu.relu_forwards
    assert not set(cpu.__all__) & {path.stem for path in Path(cpu.__file__).parent.glob("*.py")}
