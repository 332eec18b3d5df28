"""Convolutions of few weights and pooling by two, which have vector kernels of their own for float32.

The references are PyTorch's in float64, so that NaN and infinity are expected exactly where it has them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet.kernels import cpu

torch = pytest.importorskip("torch")

SHAPES = [
    # x, w, padding
    ((4, 1, 32, 32), (6, 1, 5, 5), (0, 0)),
    ((17, 6, 14, 14), (16, 6, 5, 5), (0, 0)),  # two blocks of images for the weights' gradient
    ((1, 3, 8, 8), (16, 3, 3, 3), (1, 1)),
    ((2, 20, 9, 37), (7, 20, 7, 3), (3, 0)),
    ((3, 2, 5, 70), (9, 2, 3, 1), (0, 2)),
    ((2, 5, 6, 4), (17, 5, 1, 1), (0, 0)),
    ((2, 4, 1, 33), (3, 4, 1, 7), (0, 3)),  # one-dimensional
    ((1, 7, 3, 3), (1, 7, 3, 3), (0, 0)),  # one pixel of output
    ((2, 3, 4, 4), (5, 3, 2, 2), (3, 3)),  # more padding than the kernel reaches over
    ((2, 6, 9, 37), (32, 6, 3, 3), (1, 1)),  # output channels are the lanes, as in the second; the last tile overlaps
    ((3, 16, 1, 12), (16, 16, 1, 4), (0, 2)),
    ((2, 9, 5, 21), (4, 9, 3, 12), (1, 6)),  # runs of more than a tile's vectors
]
SPECIAL = {"finite": None, "nan": np.nan, "inf": np.inf}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def put(array: np.ndarray, value: float | None) -> np.ndarray:
    """With the value in the middle and at the end, next to what vectors read for nothing."""
    if value is not None:
        array.reshape(-1)[[array.size // 2, -1]] = value
    return array


def reference(x: Any, w: Any, b: Any, g: Any, padding: Any) -> list[np.ndarray]:
    """The output and the gradients of x, w and b."""
    inputs = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (x, w, b)]
    y = torch.nn.functional.conv2d(*inputs, padding=padding)
    y.backward(torch.tensor(g.astype(np.float64)))
    return [y.detach().numpy(), *(one.grad.numpy() for one in inputs)]


def close(actual: Any, expected: np.ndarray) -> None:
    assert actual.dtype == np.float32
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite].astype(np.float32))
    error = np.abs(actual[finite] - expected[finite])
    assert error.max(initial=0) <= 1e-5 * np.abs(expected[finite]).max(initial=1e-3)


def extents(x: Any, w: Any, padding: Any) -> tuple[int, ...]:
    return tuple(x[i] + 2 * padding[i - 2] - w[i] + 1 for i in (2, 3))


@pytest.mark.parametrize("where", ["x", "w", "g"])
@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize(("x_shape", "w_shape", "padding"), SHAPES)
def test_convolution(x_shape: Any, w_shape: Any, padding: Any, special: str, where: str) -> None:
    arrays = {
        "x": normal(0, *x_shape),
        "w": normal(1, *w_shape),
        "g": normal(2, x_shape[0], w_shape[0], *extents(x_shape, w_shape, padding)),
    }
    x, w, g = (put(a, SPECIAL[special]) if name == where else a for name, a in arrays.items())
    b, options = normal(3, w_shape[0]), ((1, 1), padding, (1, 1), 1)
    with np.errstate(invalid="ignore"):  # as an operation has it
        y, gradients = cpu.conv2d_forward(x, w, b, *options), cpu.conv2d_backward(g, x, w, *options, (True,) * 3)
    for actual, expected in zip((y, *gradients), reference(x, w, b, g, padding), strict=True):
        close(actual, expected)


def test_any_size_of_everything() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        (kh, kw), padding = rng.choice([1, 2, 3, 5, 7], 2), tuple(int(p) for p in rng.integers(0, 4, 2))
        n, c, o = (int(k) for k in rng.integers(1, [5, 21, 21]))
        h, width = (int(max(1, k - 2 * p) + rng.integers(0, 24)) for k, p in zip((kh, kw), padding, strict=True))
        x, w, b = normal(0, n, c, h, width), normal(1, o, c, kh, kw), normal(2, o)
        g = normal(3, n, o, *extents(x.shape, w.shape, padding))
        options = (1, 1), padding, (1, 1), 1
        results = cpu.conv2d_forward(x, w, b, *options), *cpu.conv2d_backward(g, x, w, *options, (True, True, True))
        for actual, expected in zip(results, reference(x, w, b, g, padding), strict=True):
            close(actual, expected)


def test_only_what_is_needed() -> None:
    x, w, g = normal(0, 2, 3, 9, 9), normal(1, 4, 3, 3, 3), normal(2, 2, 4, 7, 7)
    options = (1, 1), (0, 0), (1, 1), 1
    whole = cpu.conv2d_backward(g, x, w, *options, (True, True, True))
    for needs in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        for need, one, other in zip(needs, cpu.conv2d_backward(g, x, w, *options, needs), whole, strict=True):
            assert (one is not None) == need
            if need:
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_any_layout_has_the_same_bits() -> None:
    x, w, g = normal(0, 2, 6, 14, 14), normal(1, 16, 6, 5, 5), normal(2, 2, 16, 10, 10)
    options = (1, 1), (0, 0), (1, 1), 1
    expected = cpu.conv2d_forward(x, w, None, *options), *cpu.conv2d_backward(g, x, w, *options, (True,) * 3)

    def scattered(a: np.ndarray) -> np.ndarray:
        """The same numbers in another order of memory, off any boundary."""
        wide = np.full(a.size + 1, np.nan, np.float32)[1:].reshape(a.shape[::-1]).T
        wide[...] = a
        return wide

    x, w, g = (scattered(a) for a in (x, w, g))
    results = cpu.conv2d_forward(x, w, None, *options), *cpu.conv2d_backward(g, x, w, *options, (True,) * 3)
    for actual, its in zip(results, expected, strict=True):
        np.testing.assert_array_equal(actual, its)


def test_second_derivatives() -> None:
    def twice(library: Any, dtype: Any) -> list[np.ndarray]:
        x, w = (library.tensor(normal(seed, *shape).tolist(), dtype=dtype) for seed, shape in enumerate(shapes))
        x.requires_grad, w.requires_grad = True, True
        y = library.nn.functional.max_pool2d(library.nn.functional.conv2d(x, w).relu(), 2)
        first = library.autograd.grad((y**2).sum(), [x, w], create_graph=True)
        (first[0] ** 2).sum().__add__((first[1] ** 2).sum()).backward()
        return [np.asarray(x.grad.detach().numpy()), np.asarray(w.grad.detach().numpy())]

    shapes = (2, 2, 11, 40), (3, 2, 4, 5)
    for actual, expected in zip(twice(ddpnet, ddpnet.float32), twice(torch, torch.float64), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "shape", [(2, 3, 28, 28), (3, 2, 10, 10), (1, 2, 7, 35), (1, 1, 2, 2), (2, 1, 9, 67), (4, 33, 34)]
)
def test_max_pool_by_two(shape: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, shape).astype(np.float32)  # with equal numbers
    for value in (np.nan, -np.inf, -0.0):
        x[rng.random(shape) < 0.1] = value
    results = []
    for library in (ddpnet, torch):
        leaf = library.tensor(x.tolist(), dtype=library.float32, requires_grad=True)
        y, where = library.nn.functional.max_pool2d(leaf, 2, return_indices=True)
        g = np.random.default_rng(1).standard_normal(tuple(y.shape)).astype(np.float32)
        g.reshape(-1)[0] = np.nan
        y.backward(library.tensor(g.tolist()))
        results.append([np.asarray(a.detach().numpy()) for a in (y, where, leaf.grad)])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("processor", ["generic", "haswell"])
def test_processors_with_narrower_registers(processor: str) -> None:
    """The file's tests of values, in a process whose kernels are compiled for another processor."""
    tests = f"{__file__}::test_convolution", f"{__file__}::test_max_pool_by_two"
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not w_shape11", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
