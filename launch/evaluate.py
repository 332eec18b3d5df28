"""`ddpnet eval`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ddpnet import training
from ddpnet.distributed import connect
from ddpnet.training.preflight import check_device

from . import placement
from .rank import run_as_rank
from .supervisor import supervise


def evaluate(checkpoint: Path, data: str | None, device: str, ranks: int | None, batch: int) -> int:
    """Evaluate a checkpoint, or the newest one of a run's folder; the exit code."""
    arguments = json.dumps([str(checkpoint), data, device, batch])
    if placement.is_rank(ranks):
        return run_as_rank(lambda: work(arguments))
    check_device(device)
    placement.check_number(ranks)
    launcher = placement.launcher_for(ranks or 1)
    if launcher is None:
        return work(arguments)
    return supervise(launcher, ["evaluate", arguments], ranks or 1, lambda: "try again with --ranks 1")


def work(arguments: str) -> int:
    """What each rank does; rank 0 prints the result."""
    checkpoint, data, device, batch = json.loads(arguments)
    comm = connect()
    found = training.evaluate(Path(checkpoint), data, comm, device, batch)
    if comm.rank == 0:
        click.echo(f"loss      {found.loss!r}")
        click.echo(f"accuracy  {found.accuracy:.2%}")
        click.echo(f"samples   {found.samples}")
    return 0
