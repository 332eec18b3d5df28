"""Contents: what a step's buckets hold, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ddpnet.backend import Array, host
from ddpnet.distributed.step.buckets import Buckets, Layout, Slot, module_of
from ddpnet.distributed.step.compression import Narrow
from ddpnet.distributed.step.low_rank import LowRank
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.dtypes import category
from ddpnet.tensor import Tensor

_SMALL, _UNBOUNDED = 2**20, 2**62
"""Bytes of a bucket for what is not a gradient, and for the factors of gradients that are sent as products."""


class Contents:
    """Gradients of `parameters`, in `order`; changes of buffers; whole numbers and metrics.

    `used` counts for each parameter the shards in which it had a gradient, `words` has one of 64 bits from each rank.
    Gradients that are matrices of `low_rank` have no place of their own: their factors P have a bucket, the last one of
    `gradient_buckets`, and their factors Q another, which is exchanged after all others, the `first_buckets`.
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
        least_bytes: int | None = None,
        *,
        shared_memory: bool,
        narrow: Narrow | None,
        low_rank: LowRank | None = None,
    ) -> None:
        layout, whole = Layout(), np.dtype(np.int64)
        self._matrices = {} if low_rank is None else low_rank.matrices
        plain = [index for index in order if index not in self._matrices]
        placed = layout.place(
            [parameters[index] for index in plain], bucket_bytes, narrow=narrow, least_bytes=least_bytes
        )
        self._p_bucket = len(layout.sizes)
        self._p = self._factors(layout, [(matrix.rows, matrix.rank) for matrix in self._matrices.values()])
        self.gradient_buckets = range(len(layout.sizes))
        self.floats = layout.place([b for b in buffers if category(b.array.dtype) == 2], _SMALL)
        self.divided = [bucket for bucket in range(len(layout.sizes)) if bucket != self._p_bucket or not self._p]
        """Buckets whose sums become means."""
        numbers = [Tensor(np.zeros(len(parameters), whole)), Tensor(np.zeros(comm.size, whole))]
        integers = [b for b in buffers if category(b.array.dtype) < 2]
        *self.integers, self.used, self.words = layout.place([*integers, *numbers], _SMALL, whole)
        (self.metrics,) = layout.place([Tensor(np.zeros(metrics))], _SMALL)
        self.first_buckets = range(len(layout.sizes))
        self._q = self._factors(layout, [(matrix.columns, matrix.rank) for matrix in self._matrices.values()])
        self.buckets = Buckets(layout, comm, shards, shared_memory=shared_memory, xp=module_of(parameters))
        by_parameter = dict(zip(plain, placed, strict=True))
        by_parameter |= {index: Slot(parameters[index], self._p_bucket, slice(0)) for index in self._matrices}
        self.gradients = [by_parameter[index] for index in range(len(parameters))]
        self.state = [*self.floats, *self.integers]
        others = (*self.state, self.used, self.words, self.metrics, *self._p.values(), *self._q.values())
        self.views = {slot: self.buckets.views(slot) for slot in (*placed, *others)}
        for index, matrix in self._matrices.items():
            self.views[by_parameter[index]] = [matrix.product.reshape(parameters[index].array.shape)]
        self.in_bucket: list[dict[Slot, int]] = [{} for _ in self.gradient_buckets]
        """The gradients of each bucket, with the numbers of their parameters."""
        for index in (*plain, *self._matrices):
            self.in_bucket[by_parameter[index].bucket][by_parameter[index]] = index

    def _factors(self, layout: Layout, shapes: Sequence[tuple[int, int]]) -> dict[int, Slot]:
        """Places for one factor of each matrix, in a bucket of their own if there are any."""
        slots = layout.place([Tensor(np.zeros(shape, np.float32)) for shape in shapes], _UNBOUNDED)
        return dict(zip(self._matrices, slots, strict=True))

    def total(self, slot: Slot) -> Array:
        """What all shards have together, once it was reduced; before, what this rank's first node has."""
        return self.views[slot][0]

    def put(self, slot: Slot, shard: int, values: Any, weight: float | None = None) -> None:
        """Take what a shard has of a tensor, times `weight`; `values` may be overwritten if there is one."""
        self.buckets.put(slot, self.views[slot], shard, values, weight)

    def put_gradient(self, index: int, shard: int, values: Array | None, weight: float, part: float) -> None:
        """Take a shard's gradient of a parameter, or None, times `weight`; one that is sent as a product times `part`.

        `part` is the shard's part of the samples, so that the sum needs no division.
        """
        matrix = self._matrices.get(index)
        if matrix is None:
            self.put(self.gradients[index], shard, 0 if values is None else values, None if values is None else weight)
        elif values is not None:
            matrix.add(shard, values, part)

    def put_gradients(self, index: int, values: Sequence[Array] | None, weight: float) -> None:
        """Take a parameter's gradients of all of this rank's shards, or None, times `weight`, and add them up."""
        slot = self.gradients[index]
        if values is not None:
            self.buckets.put_all(slot, self.views[slot], values, weight)
            return
        for view in self.views[slot]:
            view[...] = 0

    def put_changes(self, before: Mapping[Slot, Array], shard: int, samples: int) -> None:
        """Take how a shard has changed the buffers, from what they were: of integers only shard 0's changes count."""
        for slot in self.floats:
            self.put(slot, shard, slot.tensor.array - before[slot], samples)
        for slot in self.integers:
            self.put(slot, shard, slot.tensor.array.astype(np.int64) - before[slot] if shard == 0 else 0)

    def change(self, before: Mapping[Slot, Array]) -> None:
        """Set the buffers, from what they were and the changes of all shards."""
        for slot in self.state:
            slot.tensor.array[...] = (before[slot] + self.total(slot)).astype(slot.tensor.array.dtype)
            slot.tensor.changed()

    def finish(self, bucket: int, shard: int) -> None:
        """All values of a shard are there for a bucket."""
        if bucket == self._p_bucket:
            for index, matrix in self._matrices.items():
                self.put(self._p[index], shard, matrix.project(shard))
        self.buckets.finish(bucket, shard)

    def multiply(self, exchange: Callable[[Sequence[int]], None]) -> None:
        """After the first buckets: let `exchange` add up the factors Q, and make the products.

        What the shards hold of a parameter that has not been used waits for a later step.
        """
        if not self._matrices:
            return
        for index, matrix in self._matrices.items():
            matrix.take_p(host(self.total(self._p[index])))
        last = self.buckets.count - 1
        for shard in self.buckets.shards:
            for index, matrix in self._matrices.items():
                self.put(self._q[index], shard, matrix.project_back(shard))
            self.buckets.finish(last, shard)
        exchange([last])
        for index, matrix in self._matrices.items():
            if self.total(self.used)[index]:
                matrix.take_q(host(self.total(self._q[index])))
