"""Local SGD: ranks step by themselves, and now and then take the mean of all, the same bits on every rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed import Communicator
from ddpnet.distributed.algorithms.model_averaging import averagers, utils
from ddpnet.distributed.algorithms.model_averaging.hierarchical_model_averager import HierarchicalModelAverager
from ddpnet.distributed.optim import PostLocalSGDOptimizer
from ddpnet.distributed.transport.threads import run_threads


def parameter(values: Any, dtype: Any = torch.float32) -> torch.Tensor:
    p = nn.Parameter(torch.tensor(values, dtype=dtype))
    p.grad = torch.ones_like(p)
    return p


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_mean_of_the_ranks(dtype: Any) -> None:
    """Of several shapes; one that has no gradient stays."""
    values = np.random.default_rng(0).standard_normal((3, 7))

    def rank(comm: Communicator) -> Any:
        a, b = parameter(values[comm.rank], dtype), parameter(values[comm.rank, 0], dtype)
        c = parameter(values[comm.rank], dtype)
        c.grad = None
        utils.average_parameters_or_parameter_groups([{"params": [a, b]}, {"params": [c]}], comm)
        np.testing.assert_array_equal(c.detach().array, torch.tensor(values[comm.rank], dtype=dtype).array)
        return a.detach(), b.detach()

    results = run_threads(3, rank)
    bound = 1e-2 if dtype.itemsize == 2 else 1e-6
    np.testing.assert_allclose(results[0][0].to(torch.float64).array, values.mean(axis=0), atol=bound)
    for a, b in results:
        assert a.array.tobytes() == results[0][0].array.tobytes()
        assert b.array.tobytes() == results[0][0][:1].array.tobytes()


def steps_averaged(period: int, warmup: int, count: int) -> list[int]:
    """In which steps the averager lets two ranks meet."""

    def rank(comm: Communicator) -> list[int]:
        averager = averagers.PeriodicModelAverager(period, warmup, comm)
        p, met = parameter(0.0), []
        for step in range(count):
            p.data.fill_(comm.rank)
            averager.average_parameters([p])
            met += [step] * (p.item() == 0.5)
        assert averager.step == count
        return met

    first, second = run_threads(2, rank)
    assert first == second
    return first


@pytest.mark.parametrize(("period", "warmup"), [(4, 3), (2, 0), (3, 5)])
def test_when_it_averages(period: int, warmup: int, tmp_path: Any) -> None:
    """In the steps in which PyTorch does."""
    oracle = pytest.importorskip("torch")
    from torch.distributed.algorithms.model_averaging import averagers as oracle_averagers

    oracle.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        averager, theirs = oracle_averagers.PeriodicModelAverager(period, warmup), []
        p = oracle.nn.Parameter(oracle.zeros(1))
        p.grad = oracle.ones(1)
        for step in range(12):
            before = p.data_ptr()
            averager.average_parameters([p])
            theirs += [step] * (p.data_ptr() != before)  # averaging gives it other memory
    finally:
        oracle.distributed.destroy_process_group()
    assert steps_averaged(period, warmup, 12) == theirs


def test_post_local_sgd() -> None:
    """Local steps in between, the mean every third; its count is in the state dict."""

    def rank(comm: Communicator) -> Any:
        p = parameter([0.0])
        local = torch.optim.SGD([p], lr=1.0)
        optimizer = PostLocalSGDOptimizer(local, averagers.PeriodicModelAverager(3, 1, comm))
        seen = []
        for _ in range(5):
            optimizer.zero_grad()
            p.grad = torch.tensor([-float(comm.rank)])
            optimizer.step()
            seen.append(p.item())
        state = optimizer.state_dict()
        assert state["step"] == 5
        optimizer.load_state_dict({**state, "step": 7})
        assert optimizer.averager.step == 7
        optimizer.param_groups[0]["lr"] = 0.25
        assert local.param_groups[0]["lr"] == 0.25
        with pytest.warns(UserWarning, match="does not contain a step counter for an averager"):
            optimizer.load_state_dict({key: value for key, value in state.items() if key != "step"})
        assert optimizer.averager.step == 0
        return seen

    # each step adds the rank's number; the steps 1 and 4 end with the mean
    expected = [[r, 2.0, 2.0 + r, 2.0 + 2 * r, 5.0] for r in range(3)]
    assert run_threads(3, rank) == expected


def test_schedulers_work_on_it() -> None:
    def rank(comm: Communicator) -> float:
        optimizer = PostLocalSGDOptimizer(
            torch.optim.SGD([parameter([0.0])], lr=1.0), averagers.PeriodicModelAverager(2, 0, comm)
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        optimizer.step()
        schedule.step()
        return optimizer.optim.param_groups[0]["lr"]

    assert run_threads(2, rank) == [0.5] * 2


def test_hierarchy() -> None:
    """Pairs every second step, all four every fourth."""

    def rank(comm: Communicator) -> list[float]:
        averager = HierarchicalModelAverager({2: 2, 4: 4}, 0, comm)
        p, seen = parameter(0.0), []
        for _ in range(5):
            p.data.fill_(comm.rank)
            averager.average_parameters([p])
            seen.append(p.item())
        return seen

    alone = [0.0, 1.0, 2.0, 3.0]
    pairs = [0.5, 0.5, 2.5, 2.5]
    assert run_threads(4, rank) == [[1.5, alone[r], pairs[r], alone[r], 1.5] for r in range(4)]


def test_bad_arguments_are_pytorchs_errors() -> None:
    def rank(comm: Communicator) -> None:
        with pytest.raises(ValueError, match="``warmup_steps`` must be a non-negative"):
            averagers.PeriodicModelAverager(2, -1, comm)
        with pytest.raises(ValueError, match="``period`` must be a positive"):
            averagers.PeriodicModelAverager(0, 0, comm)
        with pytest.warns(UserWarning, match="When period is 1"):
            averagers.PeriodicModelAverager(1, 0, comm)
        with pytest.raises(NotImplementedError, match="is not supported"):
            utils.get_params_to_average([3])
        for sizes, text in (
            ({}, "must not be empty"),
            ({0: 2}, "minimum period"),
            ({2: 1}, "must be equal to the size"),
        ):
            with pytest.raises(ValueError, match=text):
                HierarchicalModelAverager(sizes, 0, comm)

    run_threads(2, rank)
