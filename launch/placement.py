"""Where the ranks of a command are to run: in this process, in somebody's launcher, or in ours."""

from __future__ import annotations

import click

from ddpnet.distributed.environment import launched_world
from ddpnet.errors import InputError

from . import machine, mpiexec
from .mpiexec import Launcher

_RANKS_A_CORE = 16
_ALWAYS_ALLOWED = 64


def is_rank(ranks: int | None) -> bool:
    """Whether a launcher started this process as a rank; UsageError if `ranks` is not the size of its world."""
    world = launched_world()
    if world is None:
        return False
    if ranks not in (None, world[1]):
        raise click.UsageError(
            f"ranks: --ranks is {ranks}, but the launcher has started {world[1]}: leave the option out"
        )
    return True


def check_number(ranks: int | None) -> None:
    """UsageError for more ranks than this machine can sensibly run."""
    limit = max(_ALWAYS_ALLOWED, _RANKS_A_CORE * machine.cores())
    if ranks is not None and ranks > limit:
        raise click.UsageError(
            f"ranks: expected at most {limit} on this machine ({machine.cores()} cores), got {ranks}: start more of "
            "them with your cluster's mpirun or srun"
        )


def launcher_for(ranks: int) -> Launcher | None:
    """What starts `ranks` ranks: None for one, which is this process; InputError where there is no MPI."""
    return mpiexec.find() if ranks > 1 else None


def launcher_if_any(ranks: int) -> Launcher | None:
    """As `launcher_for`, but where there is no MPI, one rank has to do, and a line says so."""
    try:
        return launcher_for(ranks)
    except InputError as error:
        click.echo(f"ddpnet: note: one rank: {error}", err=True)
        return None
