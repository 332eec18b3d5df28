"""Every operation is a row of a table in `tables/`: its values, dtypes and gradients are PyTorch's.

Gradients, and gradients of gradients, are compared with differences as well, which needs no PyTorch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tables
from tables import Row

import ddpnet

FAMILIES = [module.name for module in pkgutil.iter_modules(tables.__path__)]
ROWS = [
    pytest.param(row, id=f"{family}: {row.name}")
    for family in FAMILIES
    for row in importlib.import_module(f"tables.{family}").TABLE
]

every_row = pytest.mark.parametrize("case", ROWS)


def leaves(torch: Any, case: Row, dtype: str, to: Callable[[np.ndarray], np.ndarray] = np.array) -> list[Any]:
    """The inputs as tensors; those of floating point require gradients."""
    return [
        torch.tensor(to(x), dtype=getattr(torch, dtype), requires_grad=True)
        if x.dtype == np.float64
        else torch.from_numpy(np.array(x))
        for x in case.inputs
    ]


def listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def run(torch: Any, case: Row, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """The outputs, and the gradients of the inputs for fixed gradients of the outputs."""
    outputs = listed(case.call(torch, *inputs))
    rng = np.random.default_rng(1)
    flowing = [y for y in outputs if y.requires_grad]
    if flowing:
        directions = [torch.tensor(rng.standard_normal(tuple(y.shape)), dtype=y.dtype) for y in flowing]
        torch.autograd.backward(flowing, directions)
    return outputs, [x.grad for x in inputs]


def same(ours: Any, theirs: Any, what: str, tolerance: float) -> None:
    assert repr(ours.dtype) == repr(theirs.dtype), what
    assert tuple(ours.shape) == tuple(theirs.shape), what
    relative = tolerance * (1e-5 if ours.dtype is ddpnet.float32 else 1e-12)
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=relative, atol=relative, err_msg=what, strict=True
    )


@every_row
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equals_pytorch(case: Row, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ours, our_gradients = run(ddpnet, case, leaves(ddpnet, case, dtype))
    theirs, their_gradients = run(torch, case, leaves(torch, case, dtype))
    assert len(ours) == len(theirs)
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        same(a, b, f"output {number}", case.tolerance)
        assert a.requires_grad == b.requires_grad, f"output {number}"
    for number, (a, b) in enumerate(zip(our_gradients, their_gradients, strict=True)):
        assert (a is None) == (b is None), f"gradient {number}"
        if a is not None:
            same(a, b, f"gradient {number}", case.tolerance)


def values(case: Row, steps: list[np.ndarray], size: float, device: str) -> list[np.ndarray]:
    """The outputs at inputs moved by `size` along `steps`."""
    inputs = [
        ddpnet.tensor(x + size * step if x.dtype == np.float64 else x, device=device)
        for x, step in zip(case.inputs, steps, strict=True)
    ]
    return [y.detach().cpu().numpy() for y in listed(case.call(ddpnet, *inputs))]


@pytest.mark.parametrize("case", [p for p in ROWS if p.values[0].smooth])
def test_gradient_in_a_random_direction(case: Row, device: str) -> None:
    """The slope of a random sum of the outputs along a random direction, by backward and by a central difference."""
    inputs = [x.to(device).detach().requires_grad_(x.is_floating_point()) for x in leaves(ddpnet, case, "float64")]
    rng = np.random.default_rng(1)
    outputs = listed(case.call(ddpnet, *inputs))
    weights = [rng.standard_normal(y.shape) if y.requires_grad else np.zeros(y.shape) for y in outputs]
    flowing = [(y, ddpnet.tensor(w, device=device)) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    if not flowing:
        pytest.skip("no gradient flows")
    ddpnet.autograd.backward([y for y, _ in flowing], [w for _, w in flowing])
    gradients = [np.zeros(x.shape) if x.grad is None else x.grad.cpu().numpy() for x in inputs]
    steps = [np.zeros(x.shape) if x.grad is None else rng.standard_normal(x.shape) for x in inputs]
    slope = sum(float((gradient * step).sum()) for gradient, step in zip(gradients, steps, strict=True))
    size = 1e-6
    ahead, behind = values(case, steps, size, device), values(case, steps, -size, device)
    changes = [
        float(((b - a) * w).sum())
        for a, b, w in zip(behind, ahead, weights, strict=True)
        if w.any() and a.dtype != bool
    ]
    difference = sum(changes) / (2 * size)
    assert slope == pytest.approx(difference, rel=1e-6, abs=1e-6), f"backward {slope!r}, difference {difference!r}"


def _inner(case: Row, inputs: list[Any], weights: list[np.ndarray], steps: list[np.ndarray]) -> Any:
    """The derivative of the weighted outputs along `steps`, as a tensor that can be derived again."""
    outputs = listed(case.call(ddpnet, *inputs))
    flowing = [(y, ddpnet.tensor(w, device=y.device)) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    reached = [x for x in inputs if x.requires_grad]
    grads = ddpnet.autograd.grad(
        [y for y, _ in flowing], reached, [w for _, w in flowing], create_graph=True, allow_unused=True
    )
    moves = [ddpnet.tensor(s, device=x.device) for x, s in zip(inputs, steps, strict=True) if x.requires_grad]
    return sum(((g * s).sum() for g, s in zip(grads, moves, strict=True) if g is not None), ddpnet.zeros(()))


@pytest.mark.parametrize("case", [p for p in ROWS if p.values[0].smooth and p.values[0].twice])
def test_second_order_in_a_random_direction(case: Row, device: str) -> None:
    """The slope of a directional derivative along the same direction, by `create_graph` and by a central difference."""
    rng = np.random.default_rng(1)

    def inputs(size: float) -> list[Any]:
        moved = [x + size * s if x.dtype == np.float64 else x for x, s in zip(case.inputs, steps, strict=True)]
        return [ddpnet.tensor(x, device=device, requires_grad=x.dtype == np.float64) for x in moved]

    steps = [rng.standard_normal(x.shape) if x.dtype == np.float64 else np.zeros(x.shape) for x in case.inputs]
    here = inputs(0)
    outputs = listed(case.call(ddpnet, *here))
    if not any(y.requires_grad for y in outputs):
        pytest.skip("no gradient flows")
    weights = [rng.standard_normal(y.shape) for y in outputs]
    derivative = _inner(case, here, weights, steps)
    slope = 0.0
    if derivative.requires_grad:
        grads = ddpnet.autograd.grad(derivative, [x for x in here if x.requires_grad], allow_unused=True)
        moves = [s for x, s in zip(here, steps, strict=True) if x.requires_grad]
        slope = sum(float((g.cpu().numpy() * s).sum()) for g, s in zip(grads, moves, strict=True) if g is not None)
    ahead, behind = (_inner(case, inputs(size), weights, steps).item() for size in (1e-6, -1e-6))
    difference = (ahead - behind) / 2e-6
    assert slope == pytest.approx(difference, rel=2e-6, abs=2e-6), f"create_graph {slope!r}, difference {difference!r}"


def _strided(x: np.ndarray) -> np.ndarray:
    """The same values, every second element of a larger array with its dimensions reversed."""
    wide = np.zeros([2 * extent for extent in reversed(x.shape)], x.dtype)
    view = wide[(..., *(slice(None, None, 2) for _ in x.shape))].T
    view[...] = x
    return view


@pytest.mark.parametrize("case", [p for p in ROWS if p.values[0].strided])
def test_non_contiguous_inputs(case: Row) -> None:
    straight = leaves(ddpnet, case, "float64")
    strided = [ddpnet.from_numpy(_strided(x)) for x in case.inputs]
    for x in strided:
        x.requires_grad = x.is_floating_point()
    for a, b in zip(run(ddpnet, case, straight), run(ddpnet, case, strided), strict=True):
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_allclose(
                    y.detach().numpy(), x.detach().numpy(), rtol=1e-9, atol=1e-11, err_msg=str(number), strict=True
                )


def test_random_numbers() -> None:
    ddpnet.manual_seed(1)
    even, normal = ddpnet.rand(100_000).numpy(), ddpnet.randn(100_000).numpy()
    assert (even.min() >= 0, even.max() < 1) == (True, True)
    assert (even.mean(), even.var()) == (pytest.approx(1 / 2, abs=0.005), pytest.approx(1 / 12, abs=0.002))
    assert (normal.mean(), normal.var()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert sorted(ddpnet.randperm(1000).tolist()) == list(range(1000))
    assert set(ddpnet.randint(2, 5, (1000,)).tolist()) == {2, 3, 4}
    moved = ddpnet.zeros(100_000).uniform_(-3, 1).numpy()
    assert (moved.min(), moved.max()) == (pytest.approx(-3, abs=1e-3), pytest.approx(1, abs=1e-3))
    assert ddpnet.zeros(100_000).normal_(5, 0.1).numpy().mean() == pytest.approx(5, abs=0.01)


def test_the_seed_decides_and_the_state_goes_back() -> None:
    ddpnet.manual_seed(1)
    first = ddpnet.rand(3)
    state = ddpnet.get_rng_state()
    second = ddpnet.rand(3)
    ddpnet.set_rng_state(state)
    assert ddpnet.equal(ddpnet.rand(3), second)
    assert not ddpnet.equal(first, second)
    ddpnet.manual_seed(1)
    assert ddpnet.equal(ddpnet.rand(3), first)
    own = ddpnet.Generator().manual_seed(1)
    assert ddpnet.equal(ddpnet.rand(3, generator=own), first)


def test_from_numpy_shares_memory_and_tensor_does_not() -> None:
    array = np.zeros(2)
    shared, copied = ddpnet.from_numpy(array), ddpnet.tensor(array)
    array[0] = 1
    assert (shared.tolist(), copied.tolist()) == ([1, 0], [0, 0])
    shared[1] = 5
    assert array.tolist() == [1, 5]
