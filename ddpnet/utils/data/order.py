"""Which samples make up the global batch of a step: a function of the seed, so that no position is saved."""

from __future__ import annotations

import numpy as np

from ddpnet.random import permutation


class Batches:
    """The global batches of a run: `batches[step]` are the sample indices of a step, int64 (batch,).

    An epoch visits each of the `samples` exactly once; its last batch may be smaller, or with `drop_last` is left out.
    Its order depends on the seed and the epoch alone, not on what was asked before. ValueError for sizes below 1.
    """

    def __init__(self, samples: int, batch: int, seed: int, drop_last: bool = False) -> None:
        if samples < 1 or batch < 1:
            raise ValueError(f"expected at least 1 sample and a batch of at least 1, got {samples} and {batch}")
        self.samples = samples
        self.batch = batch
        self.seed = seed
        self.drop_last = drop_last
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return self.samples // self.batch if self.drop_last else -(-self.samples // self.batch)

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0 on, to which a step belongs; IndexError for negative steps."""
        if step < 0:
            raise IndexError(f"expected a step from 0 on, got {step}")
        return step // self.per_epoch

    def __getitem__(self, step: int) -> np.ndarray:
        epoch = self.epoch_of(step)
        if epoch != self._epoch:
            self._order, self._epoch = permutation(self.samples, self.seed, epoch), epoch
        start = step % self.per_epoch * self.batch
        return self._order[start : start + self.batch]
