"""Linear layers with random numbers, exact results, and what is expected of the kernels for them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import ddpnet


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def layer(n: int, i: int, o: int) -> list[np.ndarray]:
    """x, w, b and a gradient."""
    return [normal(seed, *shape) for seed, shape in enumerate([(n, i), (o, i), (o,), (n, o)])]


def exact(x: Any, w: Any, b: Any, g: Any) -> list[np.ndarray]:
    """The result, and the gradients of b, x and w."""
    x, w, b, g = (a.astype(np.float64) for a in (x, w, b, g))
    return [x @ w.T + b, g.sum(0), g @ w, g.T @ x]


def close(actual: Any, expected: np.ndarray) -> None:
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite].astype(np.float32))
    error = np.abs(actual[finite] - expected[finite])
    assert error.max(initial=0) <= 1e-5 * np.abs(expected[finite]).max(initial=1e-3)


def derived(x: Any, w: Any, b: Any, g: Any) -> list[np.ndarray]:
    """As `exact`, by `linear`."""
    tensors = [ddpnet.tensor(a, requires_grad=True) for a in (x, w, b)]
    y = ddpnet.nn.functional.linear(*tensors)
    y.backward(ddpnet.tensor(g))
    dx, dw, db = (t.grad.numpy() for t in tensors)
    return [y.detach().numpy(), db, dx, dw]


def check_kernels(forward: Any, backward: Any, shape: tuple[int, int, int]) -> None:
    """Two kernels take a layer of a shape, and make what is needed and no more."""
    x, w, b, g = layer(*shape)
    y, *gradients = exact(x, w, b, g)
    close(forward(x, w, b), y)
    close(forward(x, w, None), y - b)
    for needs in itertools.product([False, True], repeat=3):
        if any(needs[1:]):
            found = backward(g, x if needs[2] else None, w if needs[1] else None, needs)
            assert [a is not None for a in found] == list(needs)
            for actual, expected in zip(found, gradients, strict=True):
                if actual is not None:
                    close(actual, expected)


def elsewhere(a: np.ndarray) -> np.ndarray:
    """The same numbers off any boundary."""
    wide = np.full(a.size + 1, np.nan, np.float32)[1:].reshape(a.shape)
    wide[...] = a
    return wide
