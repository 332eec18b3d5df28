"""Buckets: flat arrays that hold what crosses shards, tensor beside tensor, and are exchanged each at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module, host
from ddpnet.distributed.step.compression import Narrow
from ddpnet.distributed.step.exchange import AllReduce
from ddpnet.distributed.step.tree import additions_at_once, share, turns
from ddpnet.distributed.step.window import Window
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.kernels import kernels_for
from ddpnet.tensor import Tensor


@dataclass(frozen=True, eq=False)
class Slot:
    """The place of one tensor in the buckets."""

    tensor: Tensor
    bucket: int
    place: slice


class Layout:
    """Which tensor lies where: in the order given, one dtype a bucket, a new bucket when one is full."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.dtypes: list[np.dtype[Any]] = []
        self.narrow: list[Narrow | None] = []

    def place(
        self,
        tensors: Sequence[Tensor],
        bucket_bytes: int,
        dtype: np.dtype[Any] | None = None,
        narrow: Narrow | None = None,
        least_bytes: int | None = None,
    ) -> list[Slot]:
        """Slots for tensors, in new buckets of their own dtypes or of one for all.

        A tensor of more than `bucket_bytes` has a bucket of its own. With `least_bytes`, which no bucket needs to fall
        short of, a bucket takes at most half of what is left: the last ones, which no computing hides, are small.
        `narrow` is how float32 numbers are sent.
        """
        slots = []
        opened: dict[np.dtype[Any], int] = {}
        left = sum(tensor.array.size * (dtype or tensor.array.dtype).itemsize for tensor in tensors)
        most = bucket_bytes
        for tensor in tensors:
            kind = dtype or tensor.array.dtype
            bucket = opened.get(kind)
            if bucket is None or (self.sizes[bucket] + tensor.array.size) * kind.itemsize > most:
                if least_bytes is not None:
                    most = min(bucket_bytes, max(least_bytes, left // 2))
                bucket = opened[kind] = len(self.sizes)
                self.sizes.append(0)
                self.dtypes.append(kind)
                self.narrow.append(narrow if kind == np.float32 else None)
            start = self.sizes[bucket]
            self.sizes[bucket] += tensor.array.size
            left -= tensor.array.size * kind.itemsize
            slots.append(Slot(tensor, bucket, slice(start, self.sizes[bucket])))
        return slots


class Buckets:
    """The buckets of a layout on one rank: the sums of its nodes of the tree, and after `reduce` the total."""

    def __init__(
        self, layout: Layout, comm: Communicator, shards: int, *, shared_memory: bool = True, xp: Any = np
    ) -> None:
        self.count = len(layout.sizes)
        self.shards = range(*share(shards, comm.size, comm.rank))
        everyone = [turns(share(shards, comm.size, rank), shards) for rank in range(comm.size)]
        self._turns = dict(zip(self.shards, everyone[comm.rank], strict=True))
        self._additions = additions_at_once(share(shards, comm.size, comm.rank), shards)
        copies = 1 + max(turn.level for rank in everyone for turn in rank)
        self._window = Window(comm, layout.sizes, layout.dtypes, copies, shared=shared_memory)
        self._exchange = AllReduce(comm, shards, self._window, layout.narrow)
        self._narrow = layout.narrow
        self._staged = [arrays[comm.rank] for arrays in self._window.arrays]
        self._xp = xp
        self.arrays: list[list[Array]] = self._staged
        if xp is not np:
            self.arrays = [[xp.zeros(array.shape, array.dtype) for array in copies] for copies in self._staged]

    def views(self, slot: Slot) -> list[Array]:
        """The parts of a slot in the shape of its tensor, by level; that of level 0 has the total after `reduce`."""
        shape = slot.tensor.array.shape
        return [array[slot.place].reshape(shape) for array in self.arrays[slot.bucket]]

    def put(self, slot: Slot, views: Sequence[Array], shard: int, values: Array, weight: float | None = None) -> None:
        """Take the values of a tensor in one shard times `weight`; `values` may be overwritten if there is one."""
        turn, narrow = self._turns[shard], self._narrow[slot.bucket]
        view = views[turn.level]
        if not turn.adds:
            if weight is None:
                view[...] = values
            else:
                np.multiply(values, weight, out=view, casting="same_kind")
        else:
            if weight is not None:
                values = np.multiply(values, weight, out=values, casting="same_kind")
                if narrow is not None:
                    narrow.round(values)
            view += values
        if narrow is not None:
            narrow.round(view)

    def put_all(self, slot: Slot, views: list[Array], values: Sequence[Array], weight: float) -> None:
        """Take the values of a tensor in each of this rank's shards times `weight`, and add up what can be."""
        plain = self._narrow[slot.bucket] is None and all(array.dtype == views[0].dtype for array in values)
        for addition in self._additions:
            mine = [values[shard - self.shards.start] for shard in addition.shards]
            if plain and len(mine) > 1:
                kernels_for(mine[0]).weighted_sum(mine, weight, views[addition.level])
                self._merge(slot.bucket, views, addition.merges)
            else:
                for shard, array in zip(addition.shards, mine, strict=True):
                    self.put(slot, views, shard, array, weight)
                    self._merge(slot.bucket, views, self._turns[shard].merges)

    def finish(self, bucket: int, shard: int) -> None:
        """All values of a shard are in a bucket: add up the nodes that are now whole."""
        self._merge(bucket, self.arrays[bucket], self._turns[shard].merges)

    def _merge(self, bucket: int, arrays: list[Array], merges: Sequence[tuple[int, int]]) -> None:
        """Add arrays of a bucket, or parts of them, to others, by level."""
        narrow = self._narrow[bucket]
        for into, source in merges:
            arrays[into] += arrays[source]
            if narrow is not None:
                narrow.round(arrays[into])

    def reduce(self, buckets: Sequence[int], divisors: Sequence[Any], what: str, *, computing: bool = False) -> None:
        """Add the nodes of all ranks; level 0 of the buckets is the total over its divisor (or None), on every rank."""
        if self._xp is not np:
            for bucket in buckets:
                for staged, array in zip(self._staged[bucket], self.arrays[bucket], strict=True):
                    staged[...] = host(array)
        self._exchange.run(buckets, divisors, what, computing=computing)
        if self._xp is not np:
            for bucket in buckets:
                self.arrays[bucket][0][...] = self._xp.asarray(self._staged[bucket][0])


def module_of(tensors: Sequence[Tensor]) -> Any:
    """NumPy or CuPy, whatever the first tensor lies in."""
    return array_module(tensors[0].array) if tensors else np
