"""Reduction: a step from the gradients of shards to the mean gradient of the global batch, the same bits on every rank.

What crosses shards lies in buckets: gradients weighted by the samples of their shard, the changes of buffers, the sums
of metrics, and the words that ranks show each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ddpnet.backend import Array
from ddpnet.distributed.collectives.process_group import broadcast_state, current
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.step import misuse
from ddpnet.distributed.step.arrangement import Arrangement
from ddpnet.distributed.step.buckets import module_of
from ddpnet.distributed.step.compression import Compression
from ddpnet.distributed.step.contents import Contents
from ddpnet.distributed.step.filling import Filling, Shard
from ddpnet.distributed.step.lockstep import current_shard, needs_lockstep
from ddpnet.distributed.step.overlap import Overlap
from ddpnet.distributed.step.structure import Structure
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.trust.plan import Plan, agree
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor

_SEVERAL, _SECONDS = "ddpnet.several", "ddpnet.seconds"
"""Metrics of our own: ranks where a parameter got several gradients in a shard; what the step before took."""

Exchange = Callable[[int], Callable[[], None]]
"""Starts to exchange a bucket, by its number; the result waits for the end."""


class Reduction:
    """Steps, whose shards a caller opens and closes around what computes their gradients; then `reduce` makes means.

    `Reducer` explains the options and has the loops; `DistributedDataParallel` opens one shard around each backward.
    """

    undoable = False
    """Whether steps can be undone with PowerSGD too, for which a copy of what it holds is kept."""
    exchange_bucket: Exchange | None = None
    """What is called in place of our own exchange of gradients; they are then not weighted, and buckets not divided."""

    def __init__(
        self,
        module: Module,
        comm: Communicator | None = None,
        shards: int | None = None,
        metrics: Sequence[str] = (),
        bucket_bytes: int | None = None,
        gradients_as_views: bool = True,
        *,
        overlap: bool | None = None,
        shared_memory: bool = True,
        compression: Compression | None = None,
        ignored: Sequence[str] = (),
        average_buffers: bool = True,
        init_sync: bool = True,
    ) -> None:
        self.comm = current() if comm is None else comm
        self.shard_count, self.step = self.comm.size if shards is None else shards, 0
        if self.shard_count < self.comm.size:
            raise ValueError(
                f"Reducer: {self.comm.size} ranks need at least as many shards, got shards={shards}: give more shards, "
                "on which the bits depend, or start fewer ranks"
            )
        misuse.check_metrics(metrics)
        if init_sync and self.comm.size > 1:
            facts = {"shards": self.shard_count, "compression": str(compression), "metrics": ", ".join(metrics)}
            agree(Plan.of(module, reducer=facts), self.comm)
            broadcast_state(module, self.comm)
        named = {n: p for n, p in module.named_parameters() if p.requires_grad and n not in ignored}
        if not named:
            raise RuntimeError("Reducer: the module has no parameter that requires a gradient")
        self._parameters, self._as_views = list(named.values()), gradients_as_views
        self.structure = Structure(module, ignored)
        self._metrics, self._names = tuple(metrics), ("samples", *metrics, _SEVERAL, _SECONDS)
        # Messages of ours never meet those of the program, which may send some while our thread exchanges a bucket.
        self._arrangement = Arrangement(
            self.comm.duplicate() if self.comm.size > 1 else self.comm,
            self.shard_count,
            named,
            [b for name, b in module.named_buffers() if average_buffers and name not in ignored],
            len(self._names),
            bucket_bytes=bucket_bytes,
            shared_memory=shared_memory,
            compression=compression,
        )
        self._filling = Filling(self._parameters, self._arrangement.contents, self._exchange_early)
        self._overlap = Overlap(False if self.comm.size == 1 else overlap)
        self._in_lockstep = needs_lockstep(module, self.shard_count > self.comm.size)
        self._running: list[Callable[[], None]] = []
        self._closed = 0
        self.used = [0] * len(self._parameters)
        """In how many shards of the last step each parameter had a gradient."""
        self.words = np.zeros(self.comm.size, np.uint64)
        """What each rank passed to `reduce` last."""

    @property
    def overlaps(self) -> bool | None:
        """Whether buckets are exchanged during backward; None while that is measured."""
        return self._overlap.decided

    @property
    def _contents(self) -> Contents:
        return self._filling.contents

    @property
    def own_shards(self) -> range:
        """The numbers of this rank's shards."""
        return self._contents.buckets.shards

    # The shards of a step

    def begin(self, samples: int | None = None) -> None:
        """Start a step of a global batch of `samples`, if that is known: what is taken from here on belongs to it.

        ValueError for fewer samples than shards; RuntimeError for a parameter that is new, or no longer frozen.
        """
        self.structure.check()
        if samples is not None:
            misuse.check_batch(self._place, samples, self.shard_count)
        self._samples = samples
        self._filling.contents = self._arrangement.at(self.step)
        if self._arrangement.low_rank is not None and self.undoable:
            self._arrangement.low_rank.remember()
        self.remember_buffers()
        self.restart()

    def remember_buffers(self) -> None:
        """The buffers' changes in this step count from here."""
        self._before = {slot: slot.tensor.array.copy() for slot in self._contents.state}

    def restart(self) -> None:
        """Forget what was taken in this step."""
        self._overlap.finish()
        self._running, self._closed = [], 0
        hooked = self.exchange_bucket is not None
        self._filling.restart(self._filling.streams and (hooked or self._overlap.begin(self.step)))

    def recover(self) -> None:
        """A backward pass was broken off by an error: forget it.

        If its buckets were being exchanged, all ranks must have broken off theirs at the same place, and call this;
        DistBackendError if they have not, since nobody can tell any more which sums are whose.
        """
        if self._filling.early:
            sent = [int(count[0]) for count in self.comm.all_gather(np.array([self._filling.sent]), "recovery")]
            if len(set(sent)) > 1:
                raise DistBackendError(
                    f"{self._place()}: an error broke off the backward pass after different "
                    f"numbers of buckets had been exchanged, by rank {sent}: let all ranks end, or meet errors alike"
                )
        self.restart()

    def open(self, number: int, samples: int, fresh: bool = True) -> None:
        """What is computed from here on is a shard of so many samples.

        If `fresh` there are no gradients, and buffers are as the step began; else gradients are added to those before,
        and a parameter that has got none since the last step keeps what it has.
        """
        self._filling.open(self._new_shard(number, samples), fresh)
        if fresh:
            self._clear()

    def count(self, **metrics: float) -> None:
        """Add to the sums of the shard that is being computed; a metric that is not counted in it is 0 there."""
        shard = self._filling.shard or self._filling.side_by_side.get(current_shard() or 0)
        if shard is None:
            raise RuntimeError(
                f"{self._place()}: count: no shard is being computed: call it in the loop over reducer.shards(samples)"
            )
        misuse.check_names(self._place, metrics, self._metrics)
        for name, value in metrics.items():
            shard.counts[name] += value

    def close(self) -> None:
        """The shard is computed: take the gradients that are left, the buffers and the counts."""
        self._close(self._filling.close())

    def _close(self, shard: Shard) -> None:
        self._closed += 1
        contents, xp = self._contents, module_of(self._parameters)
        contents.put_changes(self._before, shard.number, shard.samples)
        contents.put(contents.used, shard.number, xp.asarray(shard.used))
        contents.put(contents.words, shard.number, 0)
        contents.put(contents.metrics, shard.number, xp.asarray(list(shard.counts.values())))
        for bucket in contents.first_buckets[len(contents.gradient_buckets) :]:
            contents.finish(bucket, shard.number)

    def skip(self, number: int) -> None:
        """A shard has no samples: its rank takes part in the exchange, whatever gradients it holds."""
        shard = self._new_shard(number, 0)
        shard.absent = True
        self._filling.open(shard, fresh=False)
        self.close()

    def give_up(self, parameters: Sequence[int]) -> None:
        """No gradient will come for these parameters, by number, in the shard that is open: do not wait for them."""
        self._filling.give_up(parameters)

    def received(self) -> list[bool]:
        """Which parameters have got a gradient on this rank since the last step."""
        return list(self._filling.got)

    def bucket(self, number: int) -> tuple[Array, list[tuple[int, slice]], bool]:
        """A bucket of gradients: its memory, the numbers and places of its parameters, and whether it is the last."""
        members = [(index, slot.place) for slot, index in self._contents.in_bucket[number].items()]
        return self._contents.buckets.arrays[number][0], members, number == len(self._contents.gradient_buckets) - 1

    def undo(self) -> None:
        """Forget the step that was reduced last, so that it can be computed again: buffers are as it began.

        RuntimeError with PowerSGD, unless the step began with `undoable` set.
        """
        if self._arrangement.low_rank is not None:
            if not self.undoable:
                raise RuntimeError('Reducer: to undo a step with "powersgd" set reducer.undoable = True before it')
            self._arrangement.low_rank.recall()
        self.step -= 1
        self._clear()

    def _place(self) -> str:
        return f"{self.comm.place()}: step {self.step}"

    def _new_shard(self, number: int, samples: int) -> Shard:
        whole = samples * self.shard_count if self._samples is None else self._samples
        part = samples / whole if whole else 0.0
        weight = float(samples) if self._arrangement.narrow is None else part
        if self.exchange_bucket is not None:
            weight = 1.0
        return Shard(self._place, number, samples, weight, part, self._names, len(self._parameters))

    def _clear(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
        for slot, before in self._before.items():
            slot.tensor.array[...] = before

    # The exchange

    def reduce(self, word: int = 0, **flags: float) -> dict[str, float]:
        """Exchange and add; set every parameter's `.grad` and every buffer, and return the sums of the metrics.

        `flags` are metrics that belong to the rank, not to a shard. They are whole numbers, so that the order in which
        they are added does not matter. `word`, of 64 bits, is shown to all: `words` then has those of all ranks.
        RuntimeError if not all shards of this rank were computed for it; ValueError if ranks gave other `samples`.
        """
        misuse.check_shards(self._place, self._closed, len(self.own_shards))
        misuse.check_names(self._place, flags, self._metrics)
        contents = self._contents
        metrics, words = contents.total(contents.metrics), contents.total(contents.words)
        for name, value in (*flags.items(), (_SEVERAL, not self._filling.one), (_SECONDS, self._overlap.seconds)):
            metrics[self._names.index(name)] += value
        words[self.comm.rank] = np.uint64(word).view(np.int64)
        self._overlap.finish()
        sent = self._filling.sent
        if self.exchange_bucket is not None:
            self._running += [self.exchange_bucket(bucket) for bucket in contents.gradient_buckets[sent:]]
            sent = len(contents.gradient_buckets)
            for wait in self._running:
                wait()
        self._exchange(contents.first_buckets[sent:])
        contents.multiply(self._exchange)
        sums = dict(zip(self._names, metrics.tolist(), strict=True))
        misuse.check_samples(self._place, self._samples, sums["samples"])
        self.words = words.view(np.uint64).copy()
        self._hand_out(None if self._samples is not None else sums["samples"])
        seconds, several = sums.pop(_SECONDS), sums.pop(_SEVERAL)
        self._overlap.end(seconds)
        if not self._filling.settled:
            self._filling.one, self._filling.settled = not several, True
            self._filling.contents = self._arrangement.settle(self._filling.came)
        self.step, self._closed = self.step + 1, 0
        return sums

    def _exchange_early(self, bucket: int) -> None:
        if self.exchange_bucket is None:
            self._overlap.start(partial(self._exchange, [bucket], beside=True))
        else:
            self._running.append(self.exchange_bucket(bucket))

    def _exchange(self, buckets: Sequence[int], beside: bool = False) -> None:
        divided = self._divided()
        divisors = [self._samples if bucket in divided else None for bucket in buckets]
        computing = beside and not self._overlap.waiting
        self._contents.buckets.reduce(buckets, divisors, f"step {self.step}: sum of gradients", computing=computing)

    def _divided(self) -> list[int]:
        """The buckets whose sums become means: gradients, unless they are weighted so already, and buffers."""
        sums = self._arrangement.narrow is None and self.exchange_bucket is None
        return [b for b in self._contents.divided if sums or b not in self._contents.gradient_buckets]

    def _hand_out(self, samples: float | None) -> None:
        """From the buckets to where users look for them; sums over `samples` become means if they are not yet."""
        contents = self._contents
        for bucket in self._divided() if samples else ():  # where no rank has any, the sums are zeros
            contents.buckets.arrays[bucket][0] /= samples
        self.used = contents.total(contents.used).tolist()
        self._filling.got = [False] * len(self._parameters)
        for slot, used in zip(contents.gradients, self.used, strict=True):
            view = contents.total(slot)
            if not used:  # as in one process: nothing has used the parameter
                slot.tensor.grad = None if self._filling.fresh else slot.tensor.grad
            elif self._as_views or slot.tensor.grad is None:
                slot.tensor.grad = Tensor(view if self._as_views else view.copy())
            else:
                slot.tensor.grad.array[...] = view
        contents.change(self._before)
