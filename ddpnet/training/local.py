"""Local SGD: each shard steps with weights of its own, and now and then all take the mean (Lin et al., "Don't Use Large
Mini-Batches, Use Local SGD", 2020).

The replicas belong to the shards, not to the ranks: a rank with several shards holds as many, computes them one after
the other, and the mean is added in the order of the tree. So the number of ranks changes no bit. As in PyTorch
(PostLocalSGDOptimizer), what the optimizers remember is not averaged; buffers of floating point are, unlike there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from signal import Signals
from typing import Any

import numpy as np

from ddpnet import random
from ddpnet.backend import host
from ddpnet.checkpoint import Checkpoint
from ddpnet.compiler.compiled import Compiled
from ddpnet.distributed import Communicator
from ddpnet.distributed.optim.gathering import gathered
from ddpnet.distributed.step.buckets import Buckets, Layout, module_of
from ddpnet.distributed.step.tree import share
from ddpnet.distributed.trust.watch import Watch
from ddpnet.dtypes import category
from ddpnet.errors import InputError
from ddpnet.nn.module import Module
from ddpnet.nn.utils import clip_grad_norm_
from ddpnet.optim.lr_scheduler import LRScheduler
from ddpnet.optim.optimizer import Optimizer
from ddpnet.spans import span
from ddpnet.tensor import Tensor
from ddpnet.training.images import Split
from ddpnet.training.preparation import build_optimizer, load_optimizer
from ddpnet.training.settings import Settings
from ddpnet.training.shards import backward, loss_of
from ddpnet.training.stop import SIGNALS
from ddpnet.utils.data import Batches

_BUCKET_BYTES = 16 * 2**20
_METRICS = ("samples", "loss", "correct")


@dataclass(frozen=True)
class Replica:
    """The weights of one shard, what its optimizer remembers, and how its loss is computed."""

    model: Module
    optimizer: Optimizer
    compute: Compiled

    def averaged(self) -> list[Tensor]:
        """What all replicas have in common after a mean: parameters, and buffers of floating point."""
        return [*self.model.parameters(), *(b for b in self.model.buffers() if category(b.array.dtype) == 2)]


class LocalSGD:
    """The replicas of this rank's shards. The first is the `model` and `optimizer` given, the others are copies.

    Every rank makes it when the weights are the same everywhere, and makes the same calls.
    """

    def __init__(self, settings: Settings, model: Module, optimizer: Optimizer, comm: Communicator) -> None:
        self._settings, self._comm = settings, comm
        self._shards = range(*share(settings.parts, comm.size, comm.rank))
        optimizer.zero_grad()  # gradients may lie in the buckets of a Reducer
        self._replicas = [Replica(model, optimizer, loss_of(model))]
        for _ in self._shards[1:]:
            twin = copy.deepcopy(model)
            self._replicas.append(Replica(twin, build_optimizer(settings, twin, comm), loss_of(twin)))
            self._replicas[-1].optimizer.load_state_dict(optimizer.state_dict())
        self._watch = Watch(model, None, comm, every=settings.fingerprint_every)
        layout, averaged = Layout(), self._replicas[0].averaged()
        self._slots, self._xp = layout.place(averaged, _BUCKET_BYTES), module_of(averaged)
        self._means = len(layout.sizes)
        (self._metrics,) = layout.place([Tensor(np.zeros(len(_METRICS) + len(SIGNALS)))], _BUCKET_BYTES)
        self._buckets = Buckets(layout, comm, settings.parts, xp=self._xp)

    def run(
        self, steps: range, batches: Batches, images: Split, schedule: LRScheduler | None, heard: Sequence[Signals]
    ) -> dict[str, float]:
        """Some steps of every replica, then the mean of all; the sums of the metrics, and how many ranks heard what.

        DesyncError if the ranks' weights or buffers are not the same at the begin.
        """
        self._compare(steps.start)
        sums = {shard: np.zeros(len(_METRICS) + len(SIGNALS)) for shard in self._shards}
        for step in steps:
            with span("data"):
                batch = batches[step]
            for shard, replica in zip(self._shards, self._replicas, strict=True):
                rows = batch[slice(*share(len(batch), self._settings.parts, shard))]
                with random.default_generator().at(step=step, shard=shard):
                    sums[shard][: len(_METRICS)] += self._step(replica, rows, images)
            if schedule is not None:
                schedule.step()
                self._spread_rates()
        sums[self._shards[0]][len(_METRICS) :] = [number in heard for number in SIGNALS]
        with span("exchange"):
            return self._average(sums, f"step {steps.stop}: mean of the replicas")

    def _compare(self, step: int) -> None:
        with span("exchange"):
            self._watch.begin(step)
            word = np.array([self._watch.word()], np.uint64)
            words = self._comm.all_gather(word, f"step {step}: fingerprints")
            self._watch.check(np.concatenate(words))

    def _step(self, replica: Replica, rows: np.ndarray, images: Split) -> np.ndarray:
        """One step of one replica by the gradient of its own shard; the metrics."""
        metrics = {"samples": len(rows), **backward(replica.compute, images, rows)}
        with span("optimizer"):
            if self._settings.clip_norm is not None:
                clip_grad_norm_(replica.model.parameters(), self._settings.clip_norm)
            replica.optimizer.step()
            replica.optimizer.zero_grad()
        return np.array([metrics[name] for name in _METRICS], np.float64)

    def _spread_rates(self) -> None:
        """The schedule changes the first optimizer's learning rates; the others follow."""
        first, *others = (replica.optimizer.param_groups for replica in self._replicas)
        for groups in others:
            for group, leading in zip(groups, first, strict=True):
                group["lr"] = leading["lr"]

    def _average(self, sums: dict[int, np.ndarray], what: str) -> dict[str, float]:
        """Give all replicas the mean of all shards', each with the same weight, and add up the metrics."""
        buckets = self._buckets
        views = [buckets.views(slot) for slot in self._slots]
        for shard, replica in zip(self._shards, self._replicas, strict=True):
            for slot, view, tensor in zip(self._slots, views, replica.averaged(), strict=True):
                buckets.put(slot, view, shard, tensor.array)
            buckets.put(self._metrics, buckets.views(self._metrics), shard, self._xp.asarray(sums[shard]))
            for bucket in range(buckets.count):
                buckets.finish(bucket, shard)
        count = self._settings.parts
        divisors = [count if bucket < self._means else None for bucket in range(buckets.count)]
        buckets.reduce(range(buckets.count), divisors, what)
        for replica in self._replicas:
            for view, tensor in zip(views, replica.averaged(), strict=True):
                tensor.array[...] = view[0]
                tensor.changed()
        totals = host(buckets.views(self._metrics)[0]).tolist()
        return dict(zip((*_METRICS, *(number.name for number in SIGNALS)), totals, strict=True))

    # What a checkpoint holds, after a mean

    def state(self) -> list[dict[int, dict[str, Any]]] | None:
        """On rank 0 what the optimizer of each shard but the first remembers, as NumPy arrays; every rank calls it."""
        parameters = list(self._replicas[0].model.parameters())
        owned = [
            (shard * len(parameters) + number, 0, {name: _flat(value) for name, value in entry.items()})
            for shard, replica in zip(self._shards, self._replicas, strict=True)
            for number, entry in replica.optimizer.state_dict()["state"].items()
        ]
        shapes = [p.array.shape for p in parameters] * self._settings.parts
        found = gathered(self._comm, owned, shapes, 0, "gathering the optimizers of the replicas")
        if found is None:
            return None
        states: list[dict[int, dict[str, Any]]] = [{} for _ in range(self._settings.parts)]
        for place, entry in found.items():
            shard, number = divmod(place, len(parameters))
            states[shard][number] = {n: v.array if isinstance(v, Tensor) else v for n, v in entry.items()}
        return states[1:]

    def load(self, saved: Checkpoint) -> None:
        """Take what `state` gave, and the first shard's, on every rank; InputError if it is not there."""
        states = [saved.optimizer["state"], *saved.optimizer.get("replicas", [])]
        if len(states) != self._settings.parts:
            raise InputError(
                f"{saved.path}: expected the optimizers of {self._settings.parts} replicas (local SGD), found "
                f"{len(states)}: the checkpoint is that of another run"
            )
        for shard, replica in zip(self._shards, self._replicas, strict=True):
            load_optimizer(replica.optimizer, replace(saved, optimizer={**saved.optimizer, "state": states[shard]}))


def next_average(settings: Settings, step: int, per_epoch: int) -> int:
    """The first step after `step` that ends with a mean: every `local_sgd`-th after the start, the last of an epoch."""
    period = settings.local_sgd or 1
    return min(step + period - (step - settings.local_sgd_start) % period, (step // per_epoch + 1) * per_epoch)


def check_end(settings: Settings, total: int, per_epoch: int) -> None:
    """InputError for a run of `total` steps whose last is local."""
    start = settings.local_sgd_start
    if settings.local_sgd is None or total <= start or next_average(settings, total - 1, per_epoch) == total:
        return
    before = max(total - (total - start) % settings.local_sgd, total // per_epoch * per_epoch)
    choices = [str(steps) for steps in (before, next_average(settings, total, per_epoch)) if steps > 0]
    raise InputError(
        f"steps: with local SGD a run ends where the replicas are averaged, and step {total} is no such step: give "
        f"--steps {' or '.join(choices)}"
    )


def _flat(value: Any) -> Any:
    """An entry of an optimizer's state as `gathered` wants it."""
    return Tensor(value.array.reshape(-1)) if isinstance(value, Tensor) and value.ndim else value
