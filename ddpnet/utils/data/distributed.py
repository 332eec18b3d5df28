"""Each rank's part of an epoch, for users' own loops: DistributedSampler, PyTorch's; GlobalBatchSampler, exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ddpnet import distributed
from ddpnet.distributed.step.tree import share
from ddpnet.random import permutation
from ddpnet.utils.data.dataset import length
from ddpnet.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th sample of the epoch's order, from the `rank`-th on, equally many for each rank.

    As in PyTorch, samples are repeated from the beginning to make the parts equal, or the last ones dropped
    with `drop_last`. The order, PyTorch's, depends on `seed` and on the epoch that `set_epoch` sets. `num_replicas` and
    `rank` are the default group's if left out. ValueError for a rank outside [0, num_replicas), or if there is
    no group to ask.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.num_replicas: int = distributed.get_world_size() if num_replicas is None else num_replicas
        self.rank: int = distributed.get_rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(_outside(self.rank, self.num_replicas))
        self.dataset = dataset
        self.epoch = 0
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        whole, rest = divmod(length(dataset), self.num_replicas)
        self.num_samples = whole + (rest > 0 and not drop_last)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        count = length(self.dataset)
        order = _pytorchs_randperm(count, self.seed + self.epoch) if self.shuffle else list(range(count))
        # `resize` drops what is too much and repeats from the beginning what is missing
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has; without it every epoch has the same."""
        self.epoch = epoch


class GlobalBatchSampler(Sampler[list[int]]):
    """This rank's part of each global batch, for `DataLoader(dataset, batch_sampler=...)`.

    `batch_size` is what all ranks together compute in a step, so that it need not change with their number: each epoch
    goes through the same global batches, and every sample comes once. A rank takes a contiguous part of each; the parts
    differ by one sample at most, which DistributedDataParallel accounts for, since it weights gradients by samples.

    Nothing is called at the start of an epoch: iterations are counted, and the order is a function of (seed, epoch),
    that of `Batches`. `seek` goes to any step, to resume. The last batch of an epoch may be smaller, or is left out
    with `drop_last`. `num_replicas` and `rank` are the default group's if left out. ValueError if there is a batch with
    fewer samples than ranks, since a rank without samples has nothing to compute.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.num_replicas: int = distributed.get_world_size() if num_replicas is None else num_replicas
        self.rank: int = distributed.get_rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(_outside(self.rank, self.num_replicas))
        if batch_size < self.num_replicas:
            raise ValueError(
                f"batch_size: {self.num_replicas} ranks cannot share global batches of {batch_size} samples: expected "
                f"at least {self.num_replicas}"
            )
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.shuffle, self.seed = shuffle, seed
        self.epoch = 0
        """The epoch that the next iteration goes through."""
        self._skipped = 0
        self._check_last()

    def __len__(self) -> int:
        """Steps in an epoch: the same on every rank."""
        whole, rest = divmod(length(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self.epoch, self._skipped
        self.epoch, self._skipped = epoch + 1, 0
        count = length(self.dataset)
        self._check_last()
        order = permutation(count, self.seed, epoch) if self.shuffle else np.arange(count)
        return (self._part(order, step) for step in range(first, len(self)))

    def seek(self, step: int) -> None:
        """Let the next iteration begin at a step, counted from the first of epoch 0 on; ValueError below 0."""
        if step < 0:
            raise ValueError(f"seek: expected a step from 0 on, got {step}")
        self.epoch, self._skipped = divmod(step, max(len(self), 1))

    def _part(self, order: np.ndarray, step: int) -> list[int]:
        batch = order[step * self.batch_size : (step + 1) * self.batch_size]
        return batch[slice(*share(len(batch), self.num_replicas, self.rank))].tolist()

    def _check_last(self) -> None:
        rest = length(self.dataset) % self.batch_size
        if 0 < rest < self.num_replicas and not self.drop_last:
            raise ValueError(
                f"the last global batch of an epoch has {rest} of {length(self.dataset)} samples, too few for "
                f"{self.num_replicas} ranks: leave it out with drop_last=True, or choose another batch_size than "
                f"{self.batch_size}"
            )


def _pytorchs_randperm(count: int, seed: int) -> list[int]:
    """What `torch.randperm` gives for a generator with this seed: each place gets one of those that are left."""
    order = list(range(count))
    left = np.arange(count, 1, -1, dtype=np.uint32)
    drawn = np.random.RandomState(seed % 2**32).randint(0, 2**32, len(left), np.uint32) % left
    for place, step in enumerate(drawn.tolist()):
        order[place], order[place + step] = order[place + step], order[place]
    return order


def _outside(rank: int, ranks: int) -> str:
    return f"Invalid rank {rank}, rank should be in the interval [0, {ranks - 1}]"
