"""GlobalBatchSampler: ranks share each global batch; every sample once, no padding, nothing to call per epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed import Communicator
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.utils.data import Batches, DataLoader, GlobalBatchSampler, TensorDataset


def parts(samples: int, batch: int, ranks: int, epochs: int = 2, **options: Any) -> list[list[list[list[int]]]]:
    """For each epoch and step, what each rank has."""
    samplers = [GlobalBatchSampler(range(samples), batch, ranks, rank, **options) for rank in range(ranks)]
    return [[list(step) for step in zip(*samplers, strict=True)] for _ in range(epochs)]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("samples", "batch"), [(64, 16), (60, 16), (7, 16), (100, 31)])
def test_the_same_global_batches_at_any_number_of_ranks(samples: int, batch: int, ranks: int) -> None:
    """Those of `Batches`: each sample once an epoch, in another order in the next; parts differ by one at most."""
    batches = Batches(samples, batch, 5)
    for epoch, steps in enumerate(parts(samples, batch, ranks, seed=5)):
        assert len(steps) == batches.per_epoch
        for number, shares in enumerate(steps):
            joined = [index for share in shares for index in share]
            assert joined == batches[epoch * batches.per_epoch + number].tolist()
            sizes = [len(share) for share in shares]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) > 0


def test_without_shuffling_and_without_the_last() -> None:
    assert parts(10, 4, 2, 1, shuffle=False) == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8], [9]]]]
    assert parts(9, 4, 2, 1, shuffle=False, drop_last=True) == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]


def test_every_step_can_be_sought() -> None:
    """In the middle of an epoch too; what follows is the uninterrupted run."""
    sampler = GlobalBatchSampler(range(30), 8, 2, 1, seed=3)
    run = [part for _ in range(3) for part in sampler]
    for step in range(len(run)):
        resumed = GlobalBatchSampler(range(30), 8, 2, 1, seed=3)
        resumed.seek(step)
        assert [part for _ in range(4) for part in resumed][: len(run) - step] == run[step:]


def test_an_iteration_that_was_given_up_counts() -> None:
    sampler = GlobalBatchSampler(range(30), 8, 1, 0)
    next(iter(sampler))
    second = list(sampler)
    sampler.seek(len(sampler))
    assert list(sampler) == second


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="3 ranks cannot share global batches of 2 samples"):
        GlobalBatchSampler(range(10), 2, 3, 0)
    with pytest.raises(ValueError, match="the last global batch of an epoch has 1 of 9 samples, too few for 2 ranks"):
        GlobalBatchSampler(range(9), 4, 2, 0)
    with pytest.raises(ValueError, match=r"Invalid rank 2, rank should be in the interval \[0, 1\]"):
        GlobalBatchSampler(range(9), 4, 2, 2)
    with pytest.raises(ValueError, match="from 0 on, got -1"):
        GlobalBatchSampler(range(8), 4, 2, 1).seek(-1)
    with pytest.raises(ValueError, match="init_process_group"):
        GlobalBatchSampler(range(8), 4)


def test_in_a_loop_with_distributed_data_parallel() -> None:
    """Uneven parts: the training of one process with whole batches."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((26, 4)).astype(np.float32), rng.standard_normal((26, 1)).astype(np.float32)

    def rank(comm: Communicator) -> np.ndarray:
        torch.manual_seed(1)
        data = TensorDataset(torch.tensor(x), torch.tensor(y))
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        with using(comm):
            model = nn.parallel.DistributedDataParallel(net)
            loader = DataLoader(data, batch_sampler=GlobalBatchSampler(data, 7, seed=2))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(3):
                for images, targets in loader:
                    optimizer.zero_grad()
                    nn.functional.mse_loss(model(images), targets).backward()
                    optimizer.step()
        return np.concatenate([p.detach().array.reshape(-1) for p in net.parameters()])

    (alone,) = run_threads(1, rank)
    for ranks in (2, 3):
        for weights in run_threads(ranks, rank):
            np.testing.assert_allclose(weights, alone, rtol=1e-4, atol=1e-6)
