"""Contents: what a step's buckets hold, and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddpnet.backend import Array
from ddpnet.distributed.buckets import Buckets, Layout, Slot, module_of
from ddpnet.distributed.communicator import Communicator
from ddpnet.distributed.compression import Narrow
from ddpnet.dtypes import category
from ddpnet.tensor import Tensor

_SMALL = 2**20
"""Bytes of a bucket for what is not a gradient."""


class Contents:
    """Gradients of `parameters`, in `order`; changes of buffers; whole numbers and metrics.

    `used` counts for each parameter the shards in which it had a gradient, `words` has one of 64 bits from each rank.
    """

    def __init__(
        self,
        comm: Communicator,
        shards: int,
        parameters: Sequence[Tensor],
        order: Sequence[int],
        buffers: Sequence[Tensor],
        metrics: int,
        bucket_bytes: int,
        *,
        shared_memory: bool,
        narrow: Narrow | None,
    ) -> None:
        layout, whole = Layout(), np.dtype(np.int64)
        placed = layout.place([parameters[index] for index in order], bucket_bytes, narrow=narrow)
        self.gradient_buckets = range(len(layout.sizes))
        self.floats = layout.place([b for b in buffers if category(b.array.dtype) == 2], _SMALL)
        self.divided = range(len(layout.sizes))
        """Buckets whose sums become means."""
        numbers = [Tensor(np.zeros(len(parameters), whole)), Tensor(np.zeros(comm.size, whole))]
        integers = [b for b in buffers if category(b.array.dtype) < 2]
        *self.integers, self.used, self.words = layout.place([*integers, *numbers], _SMALL, whole)
        (self.metrics,) = layout.place([Tensor(np.zeros(metrics))], _SMALL)
        xp = module_of(parameters)
        self.buckets = Buckets(layout, comm, shards, shared_memory=shared_memory, xp=xp)
        by_parameter = dict(zip(order, placed, strict=True))
        self.gradients = [by_parameter[index] for index in range(len(parameters))]
        self.state = [*self.floats, *self.integers]
        others = (*self.state, self.used, self.words, self.metrics)
        self.views = {slot: self.buckets.views(slot) for slot in (*placed, *others)}
        self.in_bucket: list[dict[Slot, int]] = [{} for _ in self.gradient_buckets]
        """The gradients of each bucket, with the numbers of their parameters."""
        for index, slot in zip(order, placed, strict=True):
            self.in_bucket[slot.bucket][slot] = index

    def total(self, slot: Slot) -> Array:
        """What all shards have together, once it was reduced; before, what this rank's first node has."""
        return self.views[slot][0]
