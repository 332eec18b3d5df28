"""Checks before ranks are started: most mistakes are told once, and nothing is touched."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

from ddpnet import backend, checkpoint
from ddpnet.checkpoint import Checkpoint
from ddpnet.datasets import DATASETS
from ddpnet.errors import InputError
from ddpnet.training.local import check_end
from ddpnet.training.preparation import load_model, prepare
from ddpnet.training.settings import INCIDENTAL, Settings
from ddpnet.utils.data import Batches

FREE_AT_RESUME = frozenset({*INCIDENTAL, "steps", "epochs"})
"""Settings that a resumed run may change: the others define the run."""


def preflight(settings: Settings, given: frozenset[str] = frozenset()) -> Settings:
    """The settings of the run, with `resume` and `out` as full paths; InputError for what cannot work.

    A resumed run has the settings of its checkpoint; `given` names those that the user typed, which must agree.
    """
    check_device(settings.device)
    check_trace(settings.trace)
    if settings.data not in DATASETS and Path(settings.data).is_dir():
        settings = replace(settings, data=str(Path(settings.data).absolute()))
    saved: Checkpoint | None = None
    if settings.resume is not None:
        saved = checkpoint.load(checkpoint.find(settings.resume.absolute()))
        settings = _resumed(settings, given, saved)
    prepared = prepare(settings)
    if settings.batch > len(prepared.train):
        raise InputError(f"batch: expected at most the {len(prepared.train)} training images, got {settings.batch}")
    settings.for_ranks(1).check_last_batch(len(prepared.train))
    per_epoch = Batches(len(prepared.train), settings.batch, 0, settings.drop_last).per_epoch
    total = settings.total_steps(per_epoch)
    check_end(settings, total, per_epoch)
    if saved is not None:
        load_model(prepared.model, saved)
        planned = Settings.from_dict(saved.settings).total_steps(per_epoch)
        if settings.schedule == "cosine" and total != planned:
            raise InputError(
                f"{saved.path}: the run's cosine schedule ends at step {planned}, and cannot be made to end at {total}"
                ": leave --steps and --epochs out, or start a new run"
            )
        if saved.step >= total:
            raise InputError(
                f"{saved.path}: the run is at step {saved.step} of {total} and has ended; to go on, give more --steps "
                "or --epochs"
            )
    return replace(settings, out=_output_folder(settings, saved))


def check_trace(path: Path | None) -> None:
    """InputError for a file that could not be written when the run has ended."""
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir() or not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise InputError(f"trace: {path} cannot be written: give a new file in a folder that is there")


def check_device(name: str) -> None:
    """InputError for a device that is not here."""
    try:
        device = backend.Device(name)
    except RuntimeError as error:
        raise InputError(f"device: {error}") from error
    if device.type == "cuda":
        try:
            backend.cupy()
        except RuntimeError as error:
            raise InputError(str(error)) from error
        if backend.cuda_device_count() <= (device.index or 0):
            raise InputError(f"device: {name} is not there: CuPy finds {backend.cuda_device_count()} CUDA devices")


def _resumed(settings: Settings, given: frozenset[str], saved: Checkpoint) -> Settings:
    """The checkpoint's settings, with what a resumed run may change."""
    kept = Settings.from_dict(saved.settings)
    for name in sorted(given - FREE_AT_RESUME):
        if getattr(settings, name) != getattr(kept, name):
            raise InputError(
                f"{saved.path}: the run has {name.replace('_', '-')} {getattr(kept, name)}, not "
                f"{getattr(settings, name)}: leave the option out, or start a new run"
            )
    changes = {field.name: getattr(settings, field.name) for field in fields(Settings) if field.name in given}
    if "steps" in given:
        changes["epochs"] = None
    elif "epochs" in given:
        changes["steps"] = None
    free = {name: getattr(settings, name) for name in INCIDENTAL}
    return replace(kept, **{**free, **changes, "resume": saved.path})


def _output_folder(settings: Settings, saved: Checkpoint | None) -> Path:
    """A folder for checkpoints in which nothing can be overwritten: new, empty, or the resumed run's own."""
    if settings.out is None:
        return _next_free(f"{settings.model}-{Path(settings.data).name}")
    out = settings.out.absolute()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for checkpoints, found a file")
    holds = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if holds and (saved is None or not saved.path.parent.samefile(out)):
        raise InputError(
            f"{out}: the output folder is not empty (it holds {holds[0]}): choose another --out, or go on with "
            f"--resume {out}"
        )
    for name in holds:  # a later checkpoint, whole or damaged, would be in the way
        if saved is not None and name.startswith("step-") and name > saved.path.name:
            raise InputError(
                f"{out}: holds {name}, which is newer than {saved.path.name}: resume that, or choose another --out"
            )
    return out


def _next_free(name: str) -> Path:
    runs = Path("runs").absolute()
    number = 1
    while (runs / f"{name}-{number}").exists():
        number += 1
    return runs / f"{name}-{number}"
