"""Settings: all that a run depends on."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ddpnet.distributed.step.compression import COMPRESSIONS
from ddpnet.distributed.trust.watch import ON_DESYNC
from ddpnet.errors import InputError

MODELS = ("lenet", "mlp", "cnn")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "cosine")
OVERLAPS = ("auto", "on", "off")
SHARDS = 8
"""On the CPU, so that 1 to 8 ranks have the same bits without an option."""
USUAL_RATES = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3}
DEFAULT_EPOCHS = 3

INCIDENTAL = (
    "resume", "out", "checkpoint_every", "keep", "device", "zero", "overlap", "bucket_mb", "fingerprint_every",
    "on_desync", "allow_drift", "trace", "timeout",
)  # fmt: skip
"""Settings that change no bit of a result that is reached."""


@dataclass(frozen=True)
class Settings:
    """The options of `ddpnet train`, but for ranks and threads."""

    model: str = "lenet"
    data: str = "mnist"
    shards: int | None = None
    accumulate: int = 1
    batch: int = 64
    drop_last: bool = False
    epochs: int | None = None
    steps: int | None = None
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None
    sync_batchnorm: bool = False
    compress: str | None = None
    local_sgd: int | None = None
    local_sgd_start: int = 0
    schedule: str = "constant"
    seed: int = 0
    checkpoint_every: int | None = None
    keep: int | None = None
    resume: Path | None = None
    out: Path | None = None
    device: str = "cpu"
    zero: bool = False
    overlap: str = "auto"
    bucket_mb: float | None = None
    fingerprint_every: int = 1
    on_desync: str = "stop"
    allow_drift: bool = False
    trace: Path | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """InputError for a value that no run can have."""
        kinds = {"model": MODELS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "overlap": OVERLAPS}
        kinds |= {"on_desync": ON_DESYNC} | ({} if self.compress is None else {"compress": COMPRESSIONS})
        for name, names in kinds.items():
            check_name(name.replace("_", "-"), getattr(self, name), names)
        for name in ("shards", "accumulate", "batch", "epochs", "steps", "local_sgd", "checkpoint_every", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', '-')}: expected a whole number of 1 or more, got {value}")
        for name in ("lr", "clip_norm", "bucket_mb", "timeout"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and (math.isfinite(value) or name == "timeout")):
                raise InputError(f"{name.replace('_', '-')}: expected a positive number, got {value}")
        if self.epochs is not None and self.steps is not None:
            raise InputError("epochs and steps exclude each other: give one")
        for name in ("momentum", "weight_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name.replace('_', '-')}: expected a number of 0 or more, got {value}")
        for name in ("seed", "fingerprint_every", "local_sgd_start"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name.replace('_', '-')}: expected a whole number of 0 or more, got {getattr(self, name)}"
                )
        if self.shards is not None and self.parts > self.batch:
            raise InputError(
                f"shards: expected at most one a sample of the global batch ({self.batch}), got {self._told_parts()}"
            )
        self._check_local_sgd()

    def _check_local_sgd(self) -> None:
        """InputError for what has no meaning where each shard steps with weights of its own."""
        if self.local_sgd is None:
            if self.local_sgd_start:
                raise InputError("local-sgd-start: give --local-sgd, too: the steps from one average to the next")
            return
        reasons = {
            "zero": (self.zero, "each shard has an optimizer of its own, whose state is not cut"),
            "compress": (self.compress is not None, "weights are exchanged, not gradients"),
            "sync-batchnorm": (self.sync_batchnorm, "shards do not wait for each other in a step"),
            "accumulate": (self.accumulate > 1, "each part of a shard would have weights of its own: choose --shards"),
            "on-desync heal": (self.on_desync == "heal", "no other rank has the weights of a shard between averages"),
        }
        for name, (given, reason) in reasons.items():
            if given:
                raise InputError(f"{name}: not with --local-sgd: {reason}; leave one of the two options out")

    def is_local(self, step: int) -> bool:
        """Whether the shards have weights of their own in a step, counted from 0."""
        return self.local_sgd is not None and step >= self.local_sgd_start

    def for_ranks(self, ranks: int) -> Settings:
        """These settings with the shards that `ranks` ranks take if none are given; InputError for too many ranks.

        8 on the CPU; as many as there are ranks on a GPU, and for batches that are too small.
        """
        settings = self
        if self.shards is None:
            usual = self.device == "cpu" and self.batch >= SHARDS * self.accumulate
            settings = replace(self, shards=SHARDS if usual else max(1, -(-ranks // self.accumulate)))
        if ranks > settings.parts:
            raise InputError(
                f"ranks: expected at most one a shard ({settings._told_parts()}), got {ranks}: give fewer --ranks, or "
                "more --shards, on which the bits of the result depend"
            )
        return settings

    def check_last_batch(self, samples: int) -> None:
        """InputError if the last step of an epoch of `samples` would leave shards empty."""
        last = samples % self.batch
        if 0 < last < self.parts and not self.drop_last:
            raise InputError(
                f"batch: {samples} training images leave {last} for the last step of an epoch, too few for "
                f"{self.parts} shards: give another --batch, at most {last} --shards, or --drop-last"
            )

    @property
    def parts(self) -> int:
        """The shards that are computed: each of the `shards` in as many parts as gradients are to be accumulated."""
        return (self.shards or SHARDS) * self.accumulate

    def _told_parts(self) -> str:
        product = f" times {self.accumulate} to accumulate" if self.accumulate > 1 else ""
        return f"{self.shards}{product}"

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return USUAL_RATES[self.optimizer] if self.lr is None else self.lr

    def total_steps(self, per_epoch: int) -> int:
        """The optimizer steps of the whole run, with `per_epoch` steps in an epoch."""
        return self.steps if self.steps is not None else (self.epochs or DEFAULT_EPOCHS) * per_epoch

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    def defining(self) -> dict[str, Any]:
        """The settings on which the result depends, as plain data: what a checkpoint keeps."""
        return {name: value for name, value in self.to_dict().items() if name not in INCIDENTAL}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The inverse of `to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """From plain data; InputError for names that are not settings."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise InputError(f"unknown settings: {', '.join(sorted(unknown))}")
        paths = {name: Path(values[name]) for name in ("resume", "out", "trace") if values.get(name) is not None}
        return cls(**{**values, **paths})


def check_name(kind: str, name: str, names: Iterable[str]) -> None:
    """InputError, with the nearest name, for one that is not among `names`."""
    known = list(names)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown {kind} {name!r}: {hint}expected one of {', '.join(known)}")
