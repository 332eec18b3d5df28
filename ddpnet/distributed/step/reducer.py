"""Reducer: loops over the shards of a global batch, with the same bits on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ddpnet import random
from ddpnet.backend import Array
from ddpnet.distributed.step.lockstep import Lockstep
from ddpnet.distributed.step.reduction import Reduction
from ddpnet.distributed.step.tree import share
from ddpnet.spans import span
from ddpnet.tensor import Tensor


class Reducer(Reduction):
    """Averages gradients over the samples of a global batch that is cut into `shards` (default: one a rank).

        for rows in reducer.shards(len(batch)):          # this rank's shards, one after the other
            loss = criterion(model(images[rows]), labels[rows])
            loss.backward()
            reducer.count(loss=loss.item() * (rows.stop - rows.start))
        sums = reducer.reduce()                          # `.grad` is now the mean over the global batch
        optimizer.step()

    What is random inside is drawn from the stream of (step, shard). Buffers of floating point end the step with the
    mean of the shards' changes, weighted by samples; integer buffers with the change that shard 0 made. `metrics` are
    names of numbers that are summed over the shards in float64; "samples" is counted always. Inside the loop a gradient
    goes into its bucket as soon as it is final, and `.grad` is None again.

    The first step shows in which order gradients come, and how fast the ranks can exchange: buckets of `bucket_bytes`,
    if None of the size that suits the measured latency and bandwidth, are filled in that order. `overlap` exchanges
    them while the last shard's backward goes on; None lets the next steps decide which is faster. Neither, nor whether
    ranks of one host use `shared_memory`, changes a bit; `compression` ("fp16", "bf16", "powersgd" and what
    `compression_of` takes) does, the same way everywhere.

    With `init_sync` the ranks compare what they are about to do, PlanError if that differs, and start from rank 0's
    weights. With `gradients_as_views` the `.grad`s lie in the buckets, and change with the next step. Parameters and
    buffers whose names are `ignored` belong to each rank alone, and so do all buffers unless `average_buffers`.
    """

    def shards(self, samples: int) -> Iterator[slice]:
        """The rows of each of this rank's shards of a global batch of `samples`, for the caller to compute.

        ValueError if the batch has fewer samples than there are shards, or if they have to `run` side by side.
        """
        if self._in_lockstep:
            raise ValueError(
                "Reducer: a layer of this module needs all shards at once (SyncBatchNorm): call "
                "reducer.run(samples, compute) in place of a loop over reducer.shards(samples)"
            )
        with span("exchange"):
            self.begin(samples)
        for number in self._contents.buckets.shards:
            rows = slice(*share(samples, self.shard_count, number))
            with span("exchange"):
                self.open(number, rows.stop - rows.start)
            with random.default_generator().at(step=self.step, shard=number):
                yield rows
            with span("exchange"):
                self.close()

    def run(self, samples: int, compute: Callable[[slice], None]) -> None:
        """Call `compute(rows)` for each of this rank's shards, as a loop over `shards` would.

        With layers that need all shards of the global batch at once (SyncBatchNorm), only this can be used: the shards
        of a rank are then computed side by side, and the gradients of all of them are held.
        """
        if not self._in_lockstep:
            for rows in self.shards(samples):
                compute(rows)
            return
        bounds = [share(samples, self.shard_count, number) for number in range(self.shard_count)]
        sizes = [stop - start for start, stop in bounds]
        with span("exchange"):
            self.begin(samples)
            mine = self.own_shards
            self._filling.side_by_side = {number: self._new_shard(number, sizes[number]) for number in mine}
            self._clear()

        def compute_shard(number: int) -> None:
            with random.default_generator().at(step=self.step, shard=number):
                compute(slice(*bounds[number]))

        Lockstep(self.comm, sizes).run(compute_shard)
        with span("exchange"):
            for number in mine:
                shard = self._filling.side_by_side.pop(number)
                self._filling.open(shard)
                for index, parameter in enumerate(self._parameters):
                    parameter.grad = shard.parked.pop(index, None)
                self.close()

    def rows_at_once(self, samples: int) -> slice | None:
        """The rows of all of this rank's shards, if `take_all` can be used in place of a loop over them."""
        mine = self._contents.buckets.shards
        sizes = {stop - start for start, stop in (share(samples, self.shard_count, number) for number in mine)}
        plain = self._filling.streams and self.exchange_bucket is None and self._arrangement.low_rank is None
        if len(sizes) > 1 or not plain or self._in_lockstep or not min(sizes):
            return None
        return slice(share(samples, self.shard_count, mine[0])[0], share(samples, self.shard_count, mine[-1])[1])

    def take_all(
        self,
        samples: int,
        gradients: Iterable[tuple[Tensor, Sequence[Array]]],
        metrics: Iterable[Mapping[str, float]],
    ) -> None:
        """Take the gradients of all of this rank's shards, for each parameter those of each shard, as they come; after
        the last one, the `metrics` of each shard."""
        self.begin(samples)
        mine = self._contents.buckets.shards
        bounds = [share(samples, self.shard_count, number) for number in mine]
        shards = [self._new_shard(number, stop - start) for number, (start, stop) in zip(mine, bounds, strict=True)]
        self._clear()
        self._filling.take_all(shards, gradients)
        for shard, counts in zip(shards, metrics, strict=True):
            shard.counts.update(counts)
            self._close(shard)

    # What PowerSGD holds

    def state_dict(self) -> dict[str, np.ndarray]:
        """On rank 0 the arrays that the next step needs beside the model, by name; all ranks make the call.

        They are the same for any number of ranks, and none without PowerSGD.
        """
        return self._arrangement.state_dict()

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take what `state_dict` gave, on every rank, all of it; ValueError if something is missing."""
        if self._arrangement.low_rank is not None:
            self._arrangement.low_rank.load_state_dict(state)
