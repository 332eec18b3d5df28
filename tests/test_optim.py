"""Optimizers take PyTorch's steps, from the same start, for every combination of options."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn, optim

GRID: dict[str, dict[str, tuple[Any, ...]]] = {
    "SGD": {
        "momentum": (0, 0.9), "dampening": (0, 0.3), "weight_decay": (0, 0.1), "nesterov": (False, True),
        "maximize": (False, True),
    },
    "Adam": {
        "betas": ((0.9, 0.999), (0.5, 0.6)), "eps": (1e-8, 0.1), "weight_decay": (0, 0.1), "amsgrad": (False, True),
        "maximize": (False, True),
    },
    "AdamW": {
        "betas": ((0.9, 0.999), (0.5, 0.6)), "weight_decay": (0, 0.1), "amsgrad": (False, True),
        "maximize": (False, True),
    },
    "RMSprop": {
        "alpha": (0.99, 0.5), "weight_decay": (0, 0.1), "momentum": (0, 0.9), "centered": (False, True),
        "maximize": (False, True),
    },
}  # fmt: skip


def combinations() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, options in GRID.items():
        for values in itertools.product(*options.values()):
            chosen = dict(zip(options, values, strict=True))
            if not (chosen.get("nesterov") and (chosen["momentum"] == 0 or chosen["dampening"] != 0)):
                yield name, chosen


START = np.random.default_rng(0).standard_normal((2, 3, 4))
GRADIENTS = np.random.default_rng(1).standard_normal((20, 2, 3, 4))


def parameters(library: Any, dtype: str = "float64") -> list[Any]:
    """Two parameters: a matrix, and a vector that has no gradient in every third step."""
    kind = getattr(library, dtype)
    return [library.nn.Parameter(library.tensor(part, dtype=kind)) for part in (START[0], START[1, 0])]


def walk(library: Any, optimizer: Any, params: list[Any], steps: range = range(20)) -> None:
    for step in steps:
        for p, g in zip(params, (GRADIENTS[step, 0], GRADIENTS[step, 1, 0]), strict=True):
            p.grad = library.tensor(g, dtype=p.dtype)
        if step % 3 == 1:
            params[1].grad = None
        optimizer.step()


def close(ours: list[Any], theirs: list[Any], tolerance: float = 1e-6) -> None:
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 1e-2, strict=True)


@pytest.mark.parametrize(("name", "options"), list(combinations()), ids=lambda value: str(value))
def test_steps(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library in (ddpnet, torch):
        params = parameters(library)
        optimizer = getattr(library.optim, name)(params, lr=0.05, **options)
        walk(library, optimizer, params)
        results.append((params, optimizer.state_dict()))
    close(results[0][0], results[1][0])
    for number, theirs in results[1][1]["state"].items():
        ours = results[0][1]["state"][number]
        kept = {key for key, value in theirs.items() if value is not None}
        assert set(ours) == kept
        for key in kept:
            assert tuple(ours[key].shape) == tuple(theirs[key].shape), key
            np.testing.assert_allclose(ours[key].numpy(), theirs[key].numpy(), rtol=1e-6, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", GRID)
def test_defaults(name: str) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library in (ddpnet, torch):
        params = parameters(library, "float32")
        optimizer = getattr(library.optim, name)(params)
        walk(library, optimizer, params)
        results.append((params, optimizer))
    close(results[0][0], results[1][0], 1e-5)
    ours, theirs = (optimizer.state_dict() for _, optimizer in results)
    assert ours.keys() == theirs.keys()
    assert ours["state"].keys() == theirs["state"].keys()
    for a, b in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        assert a == {key: b[key] for key in a}
    assert results[0][1].param_groups[0].keys() <= results[1][1].param_groups[0].keys()


@pytest.mark.parametrize("name", GRID)
def test_state_goes_round(name: str) -> None:
    """Ten steps, saved, loaded into another optimizer, ten more: the same bits as twenty."""
    options = {"momentum": 0.9} if "momentum" in GRID[name] else {"amsgrad": True}
    whole, halves = parameters(ddpnet), parameters(ddpnet)
    make = getattr(optim, name)
    walk(ddpnet, make(whole, lr=0.05, **options), whole)
    first = make(halves, lr=0.05, **options)
    walk(ddpnet, first, halves, range(10))
    state = first.state_dict()
    second = make(halves, lr=9.0)
    second.load_state_dict(state)
    before = {key: value.clone() for key, value in state["state"][0].items()}
    walk(ddpnet, second, halves, range(10, 20))
    assert all(ddpnet.equal(a, b) for a, b in zip(whole, halves, strict=True))
    assert second.param_groups[0]["lr"] == 0.05
    assert all(ddpnet.equal(state["state"][0][key], value) for key, value in before.items()), "loaded state is shared"


@pytest.mark.parametrize("name", GRID)
def test_groups(name: str) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library in (ddpnet, torch):
        params = parameters(library)
        groups = [{"params": params[0]}, {"params": [params[1]], "lr": 0.5, "weight_decay": 0.2}]
        optimizer = getattr(library.optim, name)(groups, lr=0.01)
        walk(library, optimizer, params)
        results.append(params)
        assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.5]
        assert [group["params"] for group in optimizer.state_dict()["param_groups"]] == [[0], [1]]
    close(*results)


def test_named_parameters_may_be_given() -> None:
    layer = nn.Linear(2, 2)
    optimizer = optim.SGD(layer.named_parameters(), lr=0.1)
    assert list(map(id, optimizer.param_groups[0]["params"])) == list(map(id, layer.parameters()))


def test_half_precision_parameters() -> None:
    for name in GRID:
        p = nn.Parameter(ddpnet.ones(3, dtype=ddpnet.float16))
        p.grad = ddpnet.ones(3, dtype=ddpnet.float16)
        getattr(optim, name)([p], lr=0.5).step()
        assert p.dtype is ddpnet.float16
        assert p.tolist() != [1, 1, 1]


def test_parameters_that_do_not_lie_in_order() -> None:
    torch = pytest.importorskip("torch")
    for name in GRID:
        results = []
        for library in (ddpnet, torch):
            p = library.nn.Parameter(library.tensor(START[0]).t())
            optimizer = getattr(library.optim, name)([p], lr=0.1)
            for step in range(3):
                p.grad = library.tensor(GRADIENTS[step, 0]).t()
                optimizer.step()
            results.append([p])
        close(*results)


def test_step_is_seen_by_the_graph() -> None:
    w = nn.Parameter(ddpnet.ones(2))
    optimizer = optim.SGD([w], lr=0.1)
    y = (w * w).sum()
    w.grad = ddpnet.ones(2)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_step_with_a_closure() -> None:
    w = nn.Parameter(ddpnet.ones(2))
    optimizer = optim.SGD([w], lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert np.allclose(w.tolist(), 0.8)


def test_gradients_are_cleared() -> None:
    w = nn.Parameter(ddpnet.ones(2))
    optimizer = optim.SGD([w], lr=0.1)
    w.grad = ddpnet.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert w.grad is None
    optimizer.step()
    assert w.tolist() == [1, 1]


INVALID: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "sgd lr": (lambda optim, p: optim.SGD(p, lr=-1), "Invalid learning rate: -1"),
    "sgd momentum": (lambda optim, p: optim.SGD(p, lr=1, momentum=-1), "Invalid momentum value: -1"),
    "sgd weight decay": (lambda optim, p: optim.SGD(p, lr=1, weight_decay=-1), "Invalid weight_decay value: -1"),
    "nesterov": (
        lambda optim, p: optim.SGD(p, lr=1, nesterov=True),
        "Nesterov momentum requires a momentum and zero dampening",
    ),
    "adam lr": (lambda optim, p: optim.Adam(p, lr=-1), "Invalid learning rate: -1"),
    "adam beta": (lambda optim, p: optim.Adam(p, betas=(1.0, 0.9)), "Invalid beta parameter at index 0: 1.0"),
    "adam second beta": (lambda optim, p: optim.Adam(p, betas=(0.9, -0.1)), "Invalid beta parameter at index 1: -0.1"),
    "adam eps": (lambda optim, p: optim.Adam(p, eps=-1), "Invalid epsilon value: -1"),
    "adamw weight decay": (lambda optim, p: optim.AdamW(p, weight_decay=-1), "Invalid weight_decay value: -1"),
    "rmsprop alpha": (lambda optim, p: optim.RMSprop(p, alpha=-1), "Invalid alpha value: -1"),
    "rmsprop momentum": (lambda optim, p: optim.RMSprop(p, momentum=-1), "Invalid momentum value: -1"),
    "nothing": (lambda optim, p: optim.SGD([], lr=1), "optimizer got an empty parameter list"),
    "twice": (lambda optim, p: optim.SGD([{"params": p}, {"params": p}], lr=1), "more than one parameter group"),
    "not a leaf": (lambda optim, p: optim.SGD([p[0] * 2], lr=1), "can't optimize a non-leaf Tensor"),
    "a tensor": (lambda optim, p: optim.SGD(p[0], lr=1), "iterable"),
    "numbers": (lambda optim, p: optim.SGD([1.0], lr=1), "can only optimize Tensors"),
    "other groups": (lambda optim, p: optim.SGD(p, lr=1).load_state_dict(optim.SGD(p[:1], lr=1).state_dict()), "group"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_options(name: str) -> None:
    torch = pytest.importorskip("torch")
    make, message = INVALID[name]
    with pytest.raises((ValueError, TypeError)) as theirs:
        make(torch.optim, parameters(torch))
    with pytest.raises(theirs.type, match=message):
        make(optim, parameters(ddpnet))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_options_that_are_no_numbers(value: float) -> None:
    """PyTorch lets these pass; here they end where they enter."""
    with pytest.raises(ValueError, match="Invalid learning rate"):
        optim.SGD(parameters(ddpnet), lr=value)


def test_text() -> None:
    text = repr(optim.SGD(parameters(ddpnet), lr=0.1, momentum=0.9))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert "    lr: 0.1\n" in text
