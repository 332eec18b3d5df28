"""`ddpnet train`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ddpnet import checkpoint, training
from ddpnet.distributed import Communicator, connect
from ddpnet.distributed.environment import TIMEOUT
from ddpnet.distributed.errors import PeerTimeoutError
from ddpnet.errors import InputError
from ddpnet.training import DATASETS, Settings
from ddpnet.training.settings import check_name

from . import machine, placement
from .deck import Deck
from .mpiexec import Launcher
from .rank import run_as_rank
from .report import TrainingReport
from .supervisor import supervise


def train(options: Mapping[str, Any], ranks: int | None) -> int:
    """Train with the options that the user gave, on ranks of our own unless this is one; the exit code."""
    given = frozenset(options)
    settings = _settings(options)
    if settings.timeout is not None:
        os.environ[TIMEOUT] = str(settings.timeout)
    if placement.is_rank(ranks):
        return run_as_rank(lambda: _train(_agreed(settings, given, comm := connect()), comm))
    if ranks is not None and settings.resume is None:
        _check(ranks, settings)
    settings = training.preflight(settings, given)
    ranks, launcher = _world(ranks, settings)
    if launcher is None:
        return _train(settings, connect())
    advice, resume = lambda: _advice(settings), lambda: _resume(settings)
    return supervise(launcher, ["train", settings.to_json()], ranks, advice, resume)


def work(settings: str) -> int:
    """What a rank of ours does: train from settings in JSON that have passed the preflight."""
    return _train(Settings.from_json(settings), connect())


def _train(settings: Settings, comm: Communicator) -> int:
    try:
        stopped_by = training.train(settings, comm, TrainingReport(comm) if comm.rank == 0 else training.Report())
    except Exception as error:
        silent = error.peers if isinstance(error, PeerTimeoutError) else list(range(comm.rank))
        repeated = any(rank not in silent for rank in range(comm.rank))  # a rank below waited, too, and says it
        if not repeated and Deck.joined() is None and (resume := _resume(settings)):  # else the supervisor says it
            error.add_note(f"ddpnet: {resume}")
        raise
    return 0 if stopped_by is None else 128 + stopped_by  # what a shell says of a process that a signal ended


def _settings(options: Mapping[str, Any]) -> Settings:
    """Settings from options; UsageError for a value that no run can have."""
    try:
        data = str(options.get("data", Settings.data))
        if data == Path(data).name and not Path(data).exists():  # not a folder, so meant as a name
            check_name("data set", data, DATASETS)
        return Settings(**options)
    except InputError as error:
        raise click.UsageError(str(error)) from error


def _agreed(settings: Settings, given: frozenset[str], comm: Communicator) -> Settings:
    """The settings as rank 0's preflight gives them: a free name, and the newest checkpoint, are found once."""
    text = training.preflight(settings, given).to_json() if comm.rank == 0 else ""
    return Settings.from_json(comm.broadcast_text(text, 0))


def _world(ranks: int | None, settings: Settings) -> tuple[int, Launcher | None]:
    """How many ranks, and what starts them; by default one a core, as far as there are shards."""
    if ranks is None:
        wanted = min(machine.cores(), settings.for_ranks(1).parts) if settings.device == "cpu" else 1
        launcher = placement.launcher_if_any(wanted)
        return (1 if launcher is None else wanted), launcher
    _check(ranks, settings)
    placement.check_number(ranks)
    return ranks, placement.launcher_for(ranks)


def _check(ranks: int, settings: Settings) -> None:
    """UsageError for more ranks than there are shards for."""
    try:
        settings.for_ranks(ranks)
    except InputError as error:
        raise click.UsageError(str(error)) from error


def _advice(settings: Settings) -> str:
    """What to do after a failure."""
    return _resume(settings) or "nothing was saved yet; to find out why, run the same command with --ranks 1"


def _resume(settings: Settings) -> str:
    """How to go on from the newest checkpoint; empty if there is none."""
    try:
        newest = checkpoint.find(settings.out) if settings.out is not None else None
    except InputError:
        newest = None
    return f"to go on from {newest.name}: ddpnet train --resume {newest.parent}" if newest is not None else ""
