"""Gradients flow through collectives: compared with those of the same function of all ranks' inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_collectives import on_ranks

import ddpnet as torch
import ddpnet.distributed as dist
from ddpnet.distributed import nn as collective

SIZE = 3
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((SIZE, SIZE, 2, 4))  # (rank, part, rows, columns), float64
WEIGHTS = RNG.standard_normal((SIZE, SIZE, 2, 4))
ELSEWHERE = np.zeros((2, 4))


def alone(function: Callable[[list[torch.Tensor]], list[list[Any]]]) -> list[np.ndarray]:
    """The gradients of the sum of all ranks' losses, computed in one process from all inputs."""
    inputs = [torch.tensor(x, requires_grad=True) for x in INPUTS]
    losses = [
        (output.sin() * torch.tensor(weight)).sum()
        for outputs, weights in zip(function(inputs), WEIGHTS, strict=True)
        for output, weight in zip(outputs, weights, strict=False)
        if isinstance(output, torch.Tensor) and output.requires_grad
    ]
    sum(losses[1:], losses[0]).backward()
    return [np.zeros(x.shape) if x.grad is None else x.grad.array for x in inputs]


def total(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] + (parts[1] + parts[2])


Case = tuple[Callable[[torch.Tensor], Any], Callable[[list[torch.Tensor]], list[list[Any]]]]
CASES: dict[str, Case] = {
    "all_reduce": (
        lambda x: [collective.all_reduce(x[0])],
        lambda xs: [[total([x[0] for x in xs])] for _ in xs],
    ),
    "all_reduce mean": (
        lambda x: [collective.all_reduce(x[0], dist.ReduceOp.AVG)],
        lambda xs: [[total([x[0] for x in xs]) / SIZE] for _ in xs],
    ),
    "broadcast": (lambda x: [collective.broadcast(x[0], 1)], lambda xs: [[xs[1][0]] for _ in xs]),
    "reduce": (
        lambda x: [collective.reduce(x[0], 2)],
        lambda xs: [[total([x[0] for x in xs]) if r == 2 else ELSEWHERE] for r in range(SIZE)],
    ),
    "reduce mean": (
        lambda x: [collective.reduce(x[0], 2, dist.ReduceOp.AVG)],
        lambda xs: [[total([x[0] for x in xs]) / SIZE if r == 2 else ELSEWHERE] for r in range(SIZE)],
    ),
    "gather": (
        lambda x: collective.gather(x[0], 1),
        lambda xs: [[x[0] for x in xs] if r == 1 else [ELSEWHERE] * SIZE for r in range(SIZE)],
    ),
    "scatter": (
        lambda x: [collective.scatter(list(x), 1)],
        lambda xs: [[xs[1][r]] for r in range(SIZE)],
    ),
    "all_gather": (lambda x: collective.all_gather(x[0]), lambda xs: [[x[0] for x in xs] for _ in xs]),
    "reduce_scatter": (
        lambda x: [collective.reduce_scatter(torch.empty(2, 4, dtype=torch.float64), list(x))],
        lambda xs: [[total([x[r] for x in xs])] for r in range(SIZE)],
    ),
    "reduce_scatter mean": (
        lambda x: [collective.reduce_scatter(torch.empty(2, 4, dtype=torch.float64), list(x), dist.ReduceOp.AVG)],
        lambda xs: [[total([x[r] for x in xs]) / SIZE] for r in range(SIZE)],
    ),
    "all_to_all": (
        lambda x: collective.all_to_all([torch.empty(2, 4, dtype=torch.float64)] * SIZE, list(x)),
        lambda xs: [[x[r] for x in xs] for r in range(SIZE)],
    ),
    "all_to_all_single": (
        lambda x: collective.all_to_all_single(torch.empty(6, 4, dtype=torch.float64), x.reshape(6, 4)).split(2),
        lambda xs: [[x[r] for x in xs] for r in range(SIZE)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    together, separately = CASES[name]
    expected = alone(separately)

    def rank(me: int) -> None:
        x = torch.tensor(INPUTS[me], requires_grad=True)
        outputs = together(x)
        for output, wanted in zip(outputs, separately([torch.tensor(x) for x in INPUTS])[me], strict=True):
            np.testing.assert_allclose(output.detach().array, np.asarray(getattr(wanted, "array", wanted)), rtol=1e-12)
        loss = [(output.sin() * torch.tensor(w)).sum() for output, w in zip(outputs, WEIGHTS[me], strict=False)]
        sum(loss[1:], loss[0]).backward()
        np.testing.assert_allclose(x.grad.array, expected[me], rtol=1e-12, atol=1e-14)

    on_ranks(SIZE, rank)


def test_uneven_rows() -> None:
    """all_to_all_single with sizes: rank r sends r + 1 rows to each rank; the gradients go back the same way."""

    def rank(me: int) -> None:
        x = torch.ones(3 * (me + 1), 2, requires_grad=True)
        output = collective.all_to_all_single(torch.empty(6, 2), x, [1, 2, 3], [me + 1] * 3)
        (output * (me + 1)).sum().backward()
        assert x.grad[:, 0].tolist() == [float(to + 1) for to in range(3) for _ in range(me + 1)]

    on_ranks(3, rank)


def test_gradients_of_gradients() -> None:
    """all_reduce is linear: the second derivative of the sum of its cubes."""

    def rank(me: int) -> float:
        x = torch.tensor([float(me + 1)], dtype=torch.float64, requires_grad=True)
        y = (collective.all_reduce(x) ** 3).sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)  # SIZE * 3 s^2, s = 6
        assert first.item() == SIZE * 3 * 36
        first.sum().backward()
        return x.grad.item()

    assert on_ranks(SIZE, rank) == [SIZE * SIZE * 6 * 6.0] * SIZE


def test_other_operations_have_no_gradient() -> None:
    def rank(me: int) -> float:
        x = torch.tensor([float(me)], requires_grad=True)
        with pytest.raises(RuntimeError, match=r"gradients flow through ReduceOp.SUM and AVG only, got ReduceOp.MAX"):
            collective.all_reduce(x, dist.ReduceOp.MAX)
        return collective.all_reduce(x.detach(), dist.ReduceOp.MAX).item()

    assert on_ranks(2, rank) == [1.0, 1.0]
