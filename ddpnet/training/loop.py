"""The run behind `ddpnet train`: steps, metrics, checkpoints."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from signal import Signals
from typing import Any

from ddpnet import checkpoint, timeline
from ddpnet.distributed import Communicator, Reducer, broadcast_state
from ddpnet.distributed.trust.desync import Desync
from ddpnet.distributed.trust.plan import Plan, agree
from ddpnet.distributed.trust.watch import Watch
from ddpnet.nn.utils import clip_grad_norm_
from ddpnet.optim.lr_scheduler import CosineAnnealingLR
from ddpnet.spans import span
from ddpnet.training.drift import check_drift, environment_fingerprint
from ddpnet.training.evaluation import Evaluation, evaluate_model
from ddpnet.training.local import LocalSGD, next_average
from ddpnet.training.preparation import (
    arrays,
    build_optimizer,
    load_model,
    load_optimizer,
    optimizer_arrays,
    prepare,
)
from ddpnet.training.report import Report
from ddpnet.training.settings import Settings
from ddpnet.training.shards import Shards
from ddpnet.training.stop import SIGNALS, stop_signals
from ddpnet.utils.data import Batches


def train(settings: Settings, comm: Communicator, report: Report) -> Signals | None:
    """Train on all ranks of `comm` from the settings that `preflight` gave; rank 0 reports and saves.

    Returns the signal by which a rank was told to stop before the end, on every rank, or None. InputError for more
    ranks than shards, for ranks that run other programs, and for files that cannot be read or written.
    """
    out = settings.out if comm.rank == 0 else None
    with nullcontext() if out is None else checkpoint.claimed(out), stop_signals() as heard:
        run = _Run(settings.for_ranks(comm.size), comm, report if comm.rank == 0 else Report())
        return run.go(heard)


class _Run:
    """A model in training: what a checkpoint holds, and what a step needs."""

    def __init__(self, settings: Settings, comm: Communicator, report: Report) -> None:
        self.settings, self.comm, self.report = settings, comm, report
        prepared = prepare(settings)
        self.model, self.train_set, self.test_set = prepared.model, prepared.train, prepared.test
        settings.check_last_batch(len(self.train_set))
        self.batches = Batches(len(self.train_set), settings.batch, settings.seed, settings.drop_last)
        self.total = settings.total_steps(self.batches.per_epoch)
        self.optimizer = build_optimizer(settings, self.model, comm)
        cosine = settings.schedule == "cosine"
        self.schedule = CosineAnnealingLR(self.optimizer, self.total) if cosine else None
        self.fingerprint = environment_fingerprint(settings.device, settings.parts)
        self.step = 0
        saved = checkpoint.load(settings.resume) if settings.resume is not None else None
        if saved is not None:
            self._restore(saved)
        facts = {"settings": settings.defining(), "steps": self.total, "start": self.step}
        agree(Plan.of(self.model, self.optimizer, script=False, **facts), comm)
        broadcast_state(self.model, comm)
        self.reducer = self._reducer(saved)
        self.shards = Shards(self.model, self.reducer, self.train_set, spared=settings.accumulate > 1)
        self.watch = Watch(self.model, self.optimizer, comm, settings.on_desync, settings.fingerprint_every)
        self.local: LocalSGD | None = None
        if saved is not None and settings.is_local(self.step - 1):
            self.local = LocalSGD(settings, self.model, self.optimizer, comm)
            self.local.load(saved)
        self._tested: tuple[int, Evaluation] | None = None

    def _reducer(self, saved: checkpoint.Checkpoint | None) -> Reducer:
        settings = self.settings
        reducer = Reducer(
            self.model,
            self.comm,
            settings.parts,
            ("loss", "correct", *(number.name for number in SIGNALS)),
            None if settings.bucket_mb is None else max(1, round(settings.bucket_mb * 2**20)),
            overlap={"auto": None, "on": True, "off": False}[settings.overlap],
            compression=settings.compress,
            init_sync=False,
        )
        reducer.step, reducer.undoable = self.step, settings.on_desync == "heal"
        if saved is not None:
            reducer.load_state_dict(saved.optimizer.get("compression", {}))
        return reducer

    def go(self, heard: list[Signals]) -> Signals | None:
        """From the step that was reached to the last, or to the end of the step in which a rank has heard a signal."""
        started = time.perf_counter()
        self._begin()
        if self.settings.trace is not None:
            timeline.start(self.comm)
        told = self._go(heard)
        if self.settings.trace is not None:
            timeline.stop()
        if told is None:
            self._end(time.perf_counter() - started)
        if self.settings.trace is not None:
            summary = timeline.save(self.settings.trace, self.comm)
            self.report.note(f"timeline of all ranks: {summary}")
        return told

    def _go(self, heard: list[Signals]) -> Signals | None:
        epoch = _EpochMeter()
        while self.step < self.total:
            before = self.step
            sums = self._local_steps(heard) if self.settings.is_local(before) else self._step(heard)
            with span("report"):
                epoch.add(sums)
                self.report.step(self.step, sums["loss"] / sums["samples"])
            if self.step % self.batches.per_epoch == 0:
                self._end_epoch(epoch)
                epoch = _EpochMeter()
            told = next((number for number in SIGNALS if sums[number.name]), None)
            if told is not None and self.step < self.total:
                self.report.stopped(self.step, self._save())
                return told
            if self._checkpoint_is_due(before):
                self._save()
        self._test()
        return None

    def _step(self, heard: list[Signals]) -> dict[str, float]:
        """One optimizer step: the data of this rank's shards to new weights, and the sums of the metrics."""
        sums = self._gradients(heard)
        while (desync := self._desync()) is not None:
            self.reducer.undo()
            self.report.note(self.watch.heal(desync))
            sums = self._gradients(heard)
        with span("optimizer"):
            if self.settings.clip_norm is not None:
                clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            self.watch.end()
        self.step += 1
        return sums

    def _local_steps(self, heard: list[Signals]) -> dict[str, float]:
        """Steps of each shard by itself, up to the next after which all have the same weights again."""
        if self.local is None:
            with span("exchange"):
                self.local = LocalSGD(self.settings, self.model, self.optimizer, self.comm)
        steps = range(self.step, next_average(self.settings, self.step, self.batches.per_epoch))
        sums = self.local.run(steps, self.batches, self.train_set, self.schedule, heard)
        self.step = steps.stop
        return sums

    def _desync(self) -> Desync | None:
        """What the ranks' fingerprints say, if they differ."""
        with span("exchange"):
            return self.watch.check(self.reducer.words)

    def _gradients(self, heard: list[Signals]) -> dict[str, float]:
        """Every parameter's mean gradient over the global batch of this step, and the sums of the metrics."""
        with span("data"):
            batch = self.batches[self.step]
            self.watch.begin(self.step)
        self.shards.run(batch)
        with span("exchange"):
            signals = {number.name: number in heard for number in SIGNALS}
            return self.reducer.reduce(self.watch.word(), **signals)

    def _begin(self) -> None:
        self.report.begin(
            self.settings,
            samples=len(self.train_set),
            test_samples=len(self.test_set),
            parameters=sum(p.numel() for p in self.model.parameters()),
            steps=self.total,
            start_step=self.step,
            ranks=self.comm.size,
            fingerprint=self.fingerprint,
        )

    def _end_epoch(self, epoch: _EpochMeter) -> None:
        rate = epoch.images_per_second()
        test = self._test()
        number = self.step // self.batches.per_epoch
        self.report.epoch(number, *epoch.means(), test.loss, test.accuracy, rate)

    def _test(self) -> Evaluation:
        """The test images, evaluated once for the weights of a step."""
        if self._tested is None or self._tested[0] != self.step:
            self._tested = self.step, evaluate_model(self.model, self.test_set, self.comm)
        return self._tested[1]

    def _checkpoint_is_due(self, before: int) -> bool:
        """Whether a multiple of the steps between checkpoints, or the end, was reached since the step `before`."""
        every = self.settings.checkpoint_every or self.batches.per_epoch
        return self.step // every > before // every or self.step == self.total

    def _end(self, seconds: float) -> None:
        test = self._test()
        digest = checkpoint.weights_digest(arrays(self.model))
        self.report.end(digest, test.loss, test.accuracy, seconds)

    # Checkpoints: rank 0 writes, every rank reads

    def _save(self) -> Path:
        out = self.settings.out
        if out is None:
            raise ValueError("train: expected settings with an output folder, as preflight gives them")
        with span("checkpoint"):
            optimizer = optimizer_arrays(self.optimizer)
            compression = self.reducer.state_dict()
            if compression:
                optimizer["compression"] = compression
            if self.local is not None:
                optimizer["replicas"] = self.local.state()
            return self._write(out, optimizer) if self.comm.rank == 0 else out

    def _write(self, out: Path, optimizer: dict[str, Any]) -> Path:
        path = checkpoint.save(
            out,
            model=arrays(self.model),
            optimizer=optimizer,
            schedule=None if self.schedule is None else self.schedule.state_dict(),
            step=self.step,
            settings=self.settings.defining(),
            fingerprint=self.fingerprint,
        )
        if self.settings.keep is not None:
            checkpoint.prune(out, self.settings.keep)
        self.report.checkpoint(path)
        return path

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        load_model(self.model, saved)
        load_optimizer(self.optimizer, saved)
        if self.schedule is not None and saved.schedule is not None:
            self.schedule.load_state_dict(saved.schedule)
        self.step = saved.step
        differing = check_drift(saved.path, saved.fingerprint, self.fingerprint, self.settings.allow_drift)
        if differing:
            self.report.note(f"the last bits may differ from an uninterrupted run's: {'; '.join(differing)}")


class _EpochMeter:
    """Sums over the steps of an epoch."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._sums = {"samples": 0.0, "loss": 0.0, "correct": 0.0}

    def add(self, sums: dict[str, float]) -> None:
        for name in self._sums:
            self._sums[name] += sums[name]

    def means(self) -> tuple[float, float]:
        """(loss, accuracy) of a sample."""
        return self._sums["loss"] / self._sums["samples"], self._sums["correct"] / self._sums["samples"]

    def images_per_second(self) -> float:
        return self._sums["samples"] / (time.perf_counter() - self._started)
