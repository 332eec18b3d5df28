"""Settings: all that a run depends on."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ddpnet.errors import InputError

MODELS = ("lenet", "mlp", "cnn")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "cosine")
USUAL_RATES = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3}
DEFAULT_EPOCHS = 3

_INCIDENTAL = ("resume", "out", "checkpoint_every", "keep", "device")


@dataclass(frozen=True)
class Settings:
    """The options of `ddpnet train`, but for those that change no bit of the result (ranks, threads)."""

    model: str = "lenet"
    data: str = "mnist"
    shards: int = 8
    batch: int = 64
    epochs: int | None = None
    steps: int | None = None
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    seed: int = 0
    checkpoint_every: int | None = None
    keep: int | None = None
    resume: Path | None = None
    out: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """InputError for a value that no run can have."""
        for name, names in (("model", MODELS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            check_name(name, getattr(self, name), names)
        for name in ("shards", "batch", "epochs", "steps", "checkpoint_every", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', '-')}: expected a whole number of 1 or more, got {value}")
        if self.epochs is not None and self.steps is not None:
            raise InputError("epochs and steps exclude each other: give one")
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr: expected a positive number, got {self.lr}")
        for name in ("momentum", "weight_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name.replace('_', '-')}: expected a number of 0 or more, got {value}")
        if self.seed < 0:
            raise InputError(f"seed: expected a whole number of 0 or more, got {self.seed}")
        if self.shards > self.batch:
            raise InputError(
                f"shards: expected at most one a sample of the global batch ({self.batch}), got {self.shards}"
            )

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
        return {name: value for name, value in self.to_dict().items() if name not in _INCIDENTAL}

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
        paths = {name: Path(values[name]) for name in ("resume", "out") if values.get(name) is not None}
        return cls(**{**values, **paths})


def check_name(kind: str, name: str, names: Iterable[str]) -> None:
    """InputError, with the nearest name, for one that is not among `names`."""
    known = list(names)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown {kind} {name!r}: {hint}expected one of {', '.join(known)}")
