"""Compressed gradients: the same bits on any number of ranks and hosts, and close to what they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed import Communicator, Reducer
from ddpnet.distributed.step.compression import NARROW, PowerSGD, compression_of
from ddpnet.distributed.step.low_rank import orthonormal
from ddpnet.distributed.transport.threads import run_threads

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((26, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 26)
POWERSGD = PowerSGD(rank=1, start_step=2, min_compression_rate=1.1)


def build() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 12),
        nn.ReLU(),
        nn.Linear(12, 3),
    )


def train(
    comm: Communicator,
    compression: Any,
    steps: int = 7,
    state: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None,
    **options: Any,
) -> tuple[dict[str, bytes], dict[str, Any], dict[str, np.ndarray]]:
    """The weights, and what a run that goes on from here needs."""
    model = build()
    reducer = Reducer(model, comm, 8, compression=compression, **options)
    if state is not None:
        model.load_state_dict(state[0])
        reducer.load_state_dict(state[1])
        reducer.step = steps
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(steps):
        for rows in reducer.shards(26):
            nn.functional.cross_entropy(model(torch.tensor(IMAGES[rows])), torch.tensor(LABELS[rows])).backward()
        reducer.reduce()
        optimizer.step()
    bits = {name: tensor.array.tobytes() for name, tensor in model.state_dict().items()}
    return bits, model.state_dict(), reducer.state_dict()


LAYOUTS: list[tuple[int, list[list[int]] | None]] = [
    (2, None), (3, [[0, 1], [2]]), (3, [[0], [1], [2]]), (5, None), (8, None),
]  # fmt: skip


@pytest.mark.parametrize("compression", ["fp16", "bf16", POWERSGD, PowerSGD(2, 0, 1.0)])
def test_the_same_bits_wherever_ranks_and_hosts_end(compression: Any) -> None:
    (alone,) = run_threads(1, lambda comm: train(comm, compression))
    for size, hosts in LAYOUTS:
        for result in run_threads(size, lambda comm: train(comm, compression), hosts=hosts):
            assert result[0] == alone[0], (size, hosts)
    (plain,) = run_threads(1, lambda comm: train(comm, None))
    assert alone[0] != plain[0]
    for name, tensor in plain[1].items():
        np.testing.assert_allclose(alone[1][name].array, tensor.array, atol=0.1)


@pytest.mark.parametrize("options", [{"overlap": True, "bucket_bytes": 200}, {"shared_memory": False}])
def test_powersgd_however_buckets_are_exchanged(options: dict[str, Any]) -> None:
    (alone,) = run_threads(1, lambda comm: train(comm, POWERSGD))
    assert all(result[0] == alone[0] for result in run_threads(3, lambda comm: train(comm, POWERSGD, **options)))


def test_powersgd_goes_on_from_its_state_on_another_number_of_ranks() -> None:
    (whole,) = run_threads(1, lambda comm: train(comm, POWERSGD, 10))
    _, model, state = run_threads(3, lambda comm: train(comm, POWERSGD, 5))[0]
    assert sorted(state) == [f"{n}.weight.{key}" for n in "057" for key in ("q", *(f"rest.{s}" for s in range(8)))]
    for size in (1, 2):
        for result in run_threads(size, lambda comm: train(comm, POWERSGD, 5, (model, state))):
            assert result[0] == whole[0]
    with pytest.raises(ValueError, match=r"0\.weight\.rest\.0 is missing"):
        run_threads(1, lambda comm: train(comm, POWERSGD, 5, (model, {"0.weight.q": state["0.weight.q"]})))


# What PowerSGD makes of gradients


class Given(nn.Module):
    """A matrix whose gradient is what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(20, 30))
        self.other = nn.Parameter(torch.zeros(20, 30))

    def forward(self, gradient: torch.Tensor) -> torch.Tensor:
        return (self.weight * gradient).sum()


def products(
    comm: Communicator, gradients: list[np.ndarray], compression: PowerSGD, **attributes: Any
) -> tuple[list[np.ndarray], Given]:
    """The mean gradients of some steps, in each of which every shard has the same one times its number."""
    model = Given()
    reducer = Reducer(model, comm, 4, compression=compression)
    for name, value in attributes.items():
        setattr(reducer, name, value)
    results = []
    for gradient in gradients:
        for rows in reducer.shards(8):
            model(torch.tensor(gradient) * float(rows.start)).backward()
        reducer.reduce()
        assert model.other.grad is None
        results.append(model.weight.grad.array.copy())
    return results, model


def matrix(rank: int) -> np.ndarray:
    return (RNG.standard_normal((20, rank)) @ RNG.standard_normal((rank, 30))).astype(np.float32)


def test_gradients_of_low_rank_are_exact() -> None:
    gradient = matrix(2)
    for results, _ in run_threads(2, lambda comm: products(comm, [gradient] * 2, PowerSGD(2, 0, 1.0))):
        for result in results:
            np.testing.assert_allclose(result, gradient * 3, rtol=1e-4, atol=1e-4)


def test_nothing_is_lost_only_late() -> None:
    """The products add up to the gradients, but for what is still held."""
    gradients = [matrix(20) for _ in range(30)]
    ((results, _),) = run_threads(1, lambda comm: products(comm, gradients, PowerSGD(3, 0, 1.0)))
    assert np.linalg.matrix_rank(results[0]) == 3
    total, given = sum(results), sum(gradients) * 3
    late = np.linalg.norm(total - given) / np.linalg.norm(given)
    cut = np.linalg.norm(results[0] - gradients[0] * 3) / np.linalg.norm(gradients[0] * 3)
    assert late < 0.75 < cut * 1.2
    ((more, _),) = run_threads(
        1, lambda comm: products(comm, [*gradients, *[0 * gradients[0]] * 60], PowerSGD(3, 0, 1))
    )
    np.testing.assert_allclose(sum(more), given, atol=0.01 * np.abs(given).max())


def test_gradients_that_are_not_finite_are_seen_and_forgotten() -> None:
    for bad in (np.nan, np.inf):
        gradients = [matrix(1) for _ in range(3)]
        gradients[1][3, 4] = bad
        for results, _ in run_threads(2, lambda comm, g=gradients: products(comm, g, PowerSGD(1, 0, 1.0))):
            assert not np.isfinite(results[1]).any()
            np.testing.assert_allclose(results[2], gradients[2] * 3, rtol=1e-4, atol=1e-4)


def test_a_gradient_that_vanishes_for_a_step_comes_back() -> None:
    gradients = [matrix(1), np.zeros((20, 30), np.float32), matrix(1)]
    ((results, _),) = run_threads(1, lambda comm: products(comm, gradients, PowerSGD(1, 0, 1.0)))
    np.testing.assert_allclose(results[1], 0, atol=1e-5)
    np.testing.assert_allclose(results[2], gradients[2] * 3, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("undoable", [True, False])
def test_a_step_can_be_undone(undoable: bool) -> None:
    def rank(comm: Communicator) -> list[np.ndarray]:
        model = Given()
        reducer = Reducer(model, comm, 2, compression=PowerSGD(2, 0, 1.0))
        reducer.undoable = undoable
        results = []
        gradients = [first, second, second, third]
        for step, gradient in enumerate(gradients):
            for _ in reducer.shards(2):
                model(torch.tensor(gradient)).backward()
            reducer.reduce()
            results.append(model.weight.grad.array.copy())
            if step == 1:
                reducer.undo()
        return results

    first, second, third = (matrix(20) for _ in range(3))
    if not undoable:
        with pytest.raises(RuntimeError, match=r"set reducer\.undoable = True"):
            run_threads(1, rank)
        return
    for results in run_threads(2, rank):
        np.testing.assert_array_equal(results[1], results[2])


def test_orthonormal_columns() -> None:
    tall = RNG.standard_normal((50, 4)).astype(np.float32)
    tall[:, 2] = tall[:, 0] - 3 * tall[:, 1]
    basis = orthonormal(tall * np.float32(1e30))
    np.testing.assert_allclose(basis.T @ basis, np.diag([1, 1, 0, 1]), atol=1e-6)
    spare = RNG.standard_normal((50, 4)).astype(np.float32)
    basis = orthonormal(tall * np.float32(1e-30), spare)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-6)
    assert basis.dtype == np.float32


# Two bytes


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_rounding_is_to_the_nearest_number_of_the_dtype(name: str) -> None:
    """All bit patterns of float32 that are a few steps from numbers of the dtype, and random ones."""
    narrow = NARROW[name]
    halves = np.arange(2**16, dtype=np.uint16).view(narrow.dtype).astype(np.float32)
    bits = halves.view(np.uint32)
    step = np.uint32(1 << (12 if name == "fp16" else 15))
    near = [bits + np.uint32(d) for d in (0, 1, step - 1, step, step + 1, 2 * step - 1)]
    random = RNG.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    for values in (*near, random):
        given = values.view(np.float32).copy()
        with np.errstate(all="ignore"):
            expected = given.astype(narrow.dtype).astype(np.float32)
        apart = np.repeat(given, 2)[::2]  # as where there is no kernel
        narrow.round(apart)
        narrow.round(given)
        back = np.empty_like(given)
        narrow.unpack(narrow.pack(given), back)
        finite = ~np.isnan(expected)
        for result in (given, apart, back):
            np.testing.assert_array_equal(result, expected)  # nan equals nan
            np.testing.assert_array_equal(result[finite].view(np.uint32), expected[finite].view(np.uint32))


def test_names() -> None:
    assert compression_of(None) is None
    assert compression_of("powersgd") == PowerSGD()
    assert compression_of(("powersgd", 2)) == PowerSGD(2)
    with pytest.raises(ValueError, match="unknown 'fp61': did you mean 'fp16'"):
        Reducer(nn.Linear(1, 1), run_threads(1, lambda comm: comm)[0], compression="fp61")
    with pytest.raises(ValueError, match=r"unknown \('fp16', 2\): expected one of fp16, bf16, powersgd, or"):
        compression_of(("fp16", 2))
    with pytest.raises(ValueError, match="expected rank >= 1"):
        compression_of(("powersgd", 0))
