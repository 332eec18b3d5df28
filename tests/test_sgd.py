"""SGD: its parameters together, whatever they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet.optim import SGD

OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True, "maximize": True},
]
DTYPES = ["float32", "float64", "float32", "bfloat16", "float32"]


def parameters(library: Any) -> list[Any]:
    """Several dtypes, a number, one in another order of memory, one without elements."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 4), (), (2, 3, 4, 5), (7,), (0, 2))]
    made = [library.tensor(a).to(getattr(library, dtype)) for a, dtype in zip(arrays, DTYPES, strict=True)]
    made[2] = made[2].contiguous(memory_format=library.channels_last) if library is not ddpnet else across(made[2])
    return [library.nn.Parameter(p) for p in made]


def across(p: Any) -> Any:
    return ddpnet.tensor(np.ascontiguousarray(p.numpy().transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)


def step(library: Any, optimizer: Any, ps: list[Any], number: int) -> None:
    rng = np.random.default_rng(number)
    for place, p in enumerate(ps):
        g = rng.standard_normal(tuple(p.shape)) if number != 3 or place else np.full(tuple(p.shape), np.inf)
        p.grad = library.tensor(g).to(p.dtype) if (number, place) != (2, 0) else None
    optimizer.step()


@pytest.mark.parametrize("options", OPTIONS)
def test_any_parameters(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library in (ddpnet, torch):
        ps = parameters(library)
        optimizer = library.optim.SGD(ps, lr=0.1, **options)
        for number in range(5):
            step(library, optimizer, ps, number)
        results.append([p.detach().to(library.float64).numpy() for p in ps])
    for mine, theirs, dtype in zip(*results, DTYPES, strict=True):
        tolerance = 0.02 if dtype == "bfloat16" else 1e-5
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", OPTIONS)
def test_together_as_one_by_one(options: dict[str, Any]) -> None:
    """The same bits as optimizers of one parameter each, and as a class that has its own `update`."""

    class Own(SGD):
        def update(self, *arguments: Any) -> None:
            super().update(*arguments)
            self.calls = getattr(self, "calls", 0) + 1

    together, alone, own = (parameters(ddpnet) for _ in range(3))
    first, second = SGD(together, lr=0.1, **options), Own(own, lr=0.1, **options)
    each = [SGD([p], lr=0.1, **options) for p in alone]
    for number in range(4):
        step(ddpnet, first, together, number)
        step(ddpnet, second, own, number)
        for p, q, optimizer in zip(alone, together, each, strict=True):
            p.grad = q.grad
            optimizer.step()
    assert second.calls == 4 * len(own) - 1
    for p, *others in zip(together, alone, own, strict=True):
        for q in others:
            np.testing.assert_array_equal(p.detach().double().numpy(), q.detach().double().numpy())


def test_a_changed_parameter_is_noticed() -> None:
    w = ddpnet.nn.Parameter(ddpnet.ones(3))
    optimizer = SGD([w], lr=0.1, momentum=0.9)
    for _ in range(2):
        loss = (w * w).sum()
        w.grad = ddpnet.ones(3)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
