"""Reducer: from the gradients of shards to the mean gradient of the global batch, the same bits on every rank.

What crosses shards lies in buckets, flat arrays that are reduced at once: gradients weighted by the samples of their
shard, the changes of buffers, and the sums of metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet import random
from ddpnet.backend import Array, array_module, host
from ddpnet.distributed.communicator import Communicator
from ddpnet.distributed.tree import TreeSum, share, tree_all_reduce
from ddpnet.dtypes import category
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor

BUCKET_BYTES = 4 * 2**20
"""Between 1 and 8 MiB, an exchange on one host is fastest (measured with MPICH)."""


@dataclass(frozen=True, eq=False)
class _Slot:
    """The place of one tensor in the buckets."""

    tensor: Tensor
    bucket: int
    place: slice


class _Layout:
    """Which tensor lies where: in the order given, one dtype a bucket, a new bucket when one is full."""

    def __init__(self, bucket_bytes: int) -> None:
        self.sizes: list[int] = []
        self.dtypes: list[np.dtype[Any]] = []
        self._bytes = bucket_bytes

    def place(self, tensors: Sequence[Tensor], dtype: np.dtype[Any] | None = None) -> list[_Slot]:
        """Slots for tensors, in new buckets of their own dtypes or of one for all."""
        slots = []
        open_buckets: dict[np.dtype[Any], int] = {}
        for tensor in tensors:
            kind = dtype or tensor.array.dtype
            bucket = open_buckets.get(kind)
            if bucket is None or (self.sizes[bucket] + tensor.array.size) * kind.itemsize > self._bytes:
                bucket = open_buckets[kind] = len(self.sizes)
                self.sizes.append(0)
                self.dtypes.append(kind)
            start = self.sizes[bucket]
            self.sizes[bucket] += tensor.array.size
            slots.append(_Slot(tensor, bucket, slice(start, self.sizes[bucket])))
        return slots


class _Buckets:
    """The flat arrays of one partial sum."""

    def __init__(self, layout: _Layout, xp: Any) -> None:
        self.flat = [xp.zeros(size, kind) for size, kind in zip(layout.sizes, layout.dtypes, strict=True)]

    def view(self, slot: _Slot) -> Array:
        """The part of a slot, in the shape of its tensor."""
        return self.flat[slot.bucket][slot.place].reshape(slot.tensor.array.shape)

    def add(self, other: _Buckets) -> None:
        """Add another partial sum to this one."""
        for mine, theirs in zip(self.flat, other.flat, strict=True):
            mine += theirs


class Reducer:
    """Averages gradients over the samples of a global batch that is cut into `shards`.

        for rows in reducer.shards(len(batch)):          # this rank's shards, one after the other
            loss = criterion(model(images[rows]), labels[rows])
            loss.backward()
            reducer.count(loss=loss.item() * (rows.stop - rows.start))
        sums = reducer.reduce()                          # `.grad` is now the mean over the global batch
        optimizer.step()

    What is random inside is drawn from the stream of (step, shard). Buffers of floating point end the step with the
    mean of the shards' changes, weighted by samples; integer buffers with the change that shard 0 made. `metrics` are
    names of numbers that are summed over the shards in float64; "samples" is counted always. With `gradients_as_views`
    the `.grad`s lie in the buckets, and change with the next step.
    """

    def __init__(
        self,
        module: Module,
        comm: Communicator,
        shards: int,
        metrics: Sequence[str] = (),
        bucket_bytes: int = BUCKET_BYTES,
        gradients_as_views: bool = True,
    ) -> None:
        if shards < comm.size:
            raise ValueError(f"{comm.size} ranks need at least as many shards, got shards={shards}")
        self.comm, self.shard_count, self.step = comm, shards, 0
        self._as_views = gradients_as_views
        parameters = [p for p in module.parameters() if p.requires_grad]
        buffers = list(module.buffers())
        layout = self._layout = _Layout(bucket_bytes)
        self._gradients = layout.place(parameters[::-1])  # backward reaches the last ones first
        self._floats = layout.place([b for b in buffers if category(b.array.dtype) == 2])
        self._integers = layout.place([b for b in buffers if category(b.array.dtype) < 2], np.dtype(np.int64))
        self._names = ("samples", *metrics)
        (self._metrics,) = layout.place([Tensor(np.zeros(len(self._names)))])
        self._xp = array_module(parameters[0].array) if parameters else np
        self._spare: list[_Buckets] = []
        self._result: _Buckets | None = None
        self.begin()

    # One step

    def begin(self) -> None:
        """Start a step: what is collected from here on belongs to it."""
        if self._result is not None:
            self._spare.append(self._result)
            self._result = None
        self._sum = TreeSum(self.shard_count, self._merge)
        self._before = {slot: slot.tensor.array.copy() for slot in (*self._floats, *self._integers)}
        self._counts = dict.fromkeys(self._names, 0.0)

    def shards(self, samples: int) -> Iterator[slice]:
        """The rows of each of this rank's shards of a global batch of `samples`, for the caller to compute."""
        self.begin()
        for shard in range(*share(self.shard_count, self.comm.size, self.comm.rank)):
            rows = slice(*share(samples, self.shard_count, shard))
            self._clear()
            if rows.stop > rows.start:
                with random.default_generator().at(step=self.step, shard=shard):
                    yield rows
            self.collect(shard, rows.stop - rows.start)

    def count(self, **metrics: float) -> None:
        """Add to the sums of the shard that is being computed."""
        for name, value in metrics.items():
            self._counts[name] += value

    def collect(self, shard: int, samples: int) -> None:
        """Take the gradients, buffers and counts of a shard whose backward has ended."""
        buckets = self._spare.pop() if self._spare else _Buckets(self._layout, self._xp)
        for slot in self._gradients:
            gradient = slot.tensor.grad
            if gradient is None:
                buckets.view(slot)[...] = 0
            else:
                np.multiply(gradient.array, samples, out=buckets.view(slot))
        for slot in self._floats:
            np.multiply(slot.tensor.array - self._before[slot], samples, out=buckets.view(slot))
        for slot in self._integers:
            change = slot.tensor.array.astype(np.int64) - self._before[slot]
            buckets.view(slot)[...] = change if shard == 0 else 0
        self._counts["samples"] += samples
        buckets.view(self._metrics)[...] = self._xp.asarray(list(self._counts.values()))
        self._sum.push(shard, buckets)

    def reduce(self, **flags: float) -> dict[str, float]:
        """Exchange and add; set every parameter's `.grad` and every buffer, and return the sums of the metrics.

        `flags` are metrics that belong to the rank, not to a shard. They are whole numbers, so that the order in which
        they are added does not matter.
        """
        first = self._sum.partial[0][1]
        for name, value in flags.items():
            first.view(self._metrics)[self._names.index(name)] += value
        held = [(span, [host(array) for array in buckets.flat]) for span, buckets in self._sum.partial]
        totals = tree_all_reduce(self.comm, self.shard_count, held)
        for flat, total in zip(first.flat, totals, strict=True):
            if flat is not total:
                flat[...] = self._xp.asarray(total)
        self._spare += [buckets for _, buckets in self._sum.partial[1:]]
        self._result = first
        self.step += 1
        sums = dict(zip(self._names, first.view(self._metrics).tolist(), strict=True))
        self._hand_out(first, sums["samples"])
        return sums

    def _hand_out(self, result: _Buckets, samples: float) -> None:
        """From sums to means, and from the buckets to where users look for them."""
        for bucket in {slot.bucket: None for slot in (*self._gradients, *self._floats)}:
            result.flat[bucket] /= max(samples, 1)
        for slot in self._gradients:
            if self._as_views or slot.tensor.grad is None:
                slot.tensor.grad = Tensor(result.view(slot) if self._as_views else result.view(slot).copy())
            else:
                slot.tensor.grad.array[...] = result.view(slot)
        for slot in (*self._floats, *self._integers):
            slot.tensor.array[...] = (self._before[slot] + result.view(slot)).astype(slot.tensor.array.dtype)
            slot.tensor.changed()

    def _clear(self) -> None:
        """Before each shard: no gradients, the buffers as they were when the step began, nothing counted."""
        for slot in self._gradients:
            slot.tensor.grad = None
        for slot, before in self._before.items():
            slot.tensor.array[...] = before
        self._counts = dict.fromkeys(self._names, 0.0)

    def _merge(self, total: _Buckets, value: _Buckets) -> None:
        total.add(value)
        self._spare.append(value)
