"""DistributedSampler: each rank's part of an epoch, for users' own loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ddpnet import distributed
from ddpnet.random import permutation
from ddpnet.utils.data.dataset import length
from ddpnet.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th sample of the epoch's order, from the `rank`-th on, equally many for each rank.

    As in PyTorch, samples are repeated from the beginning to make the parts equal, or the last ones dropped
    with `drop_last`; the order depends on `seed` and on the epoch that `set_epoch` sets. `num_replicas` and
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
            raise ValueError(f"Invalid rank {self.rank}: expected 0 to {self.num_replicas - 1}")
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
        order = permutation(count, self.seed, self.epoch) if self.shuffle else np.arange(count)
        # `resize` drops what is too much and repeats from the beginning what is missing
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has; without it every epoch has the same."""
        self.epoch = epoch
