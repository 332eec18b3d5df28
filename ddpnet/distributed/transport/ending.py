"""How the ranks of an MPI job end: together, and all of them when one has failed or has left the others alone."""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
import traceback
from concurrent import futures
from types import TracebackType
from typing import Any

import ddpnet
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport.farewells import Farewells

_POLL_SECONDS = 0.01
_CONSEQUENCE_SECONDS = 2.0
_GRACE_SECONDS = 5.0
"""For ranks that wait for one which has come to its end: they notice, and say in which call."""
_TURN_SECONDS, _LINGER_SECONDS = 0.1, 0.5
"""By which ranks other than 0 report later what all of them have seen, and what a rank leaves the others for it."""
_PASS_ON_SECONDS = 0.1
"""For a launcher to pass on what a rank has written: an abort can overtake it (seen with MPICH)."""
_OURS = tuple(os.path.dirname(file) + os.sep for file in (str(ddpnet.__file__), os.path.dirname(futures.__file__)))
"""Folders of code that is not the user's: ddpnet, and what its threads run in."""

_KEPT = 100

_watched: list[tuple[Any, list[int]]] = []
"""The MPI communicators of this process, with their ranks: in a message that waits there, a rank waits for this one."""
_closed: list[Any] = []
"""Those of them that are closed here, though perhaps not on other ranks. MPI has only some thousand."""


def watch(comm: Any, members: list[int]) -> None:
    """A communicator of some ranks of the world has been opened."""
    _watched.append((comm, members))


def forget(comm: Any) -> None:
    """A communicator is closed; it is given back to MPI when enough others have been closed after it."""
    _closed.append(comm)
    if len(_closed) > _KEPT:
        oldest = _closed.pop(0)
        abandon(oldest)
        oldest.Free()


def abandon(comm: Any) -> None:
    """A communicator on which messages got lost: what waits there says nothing, and it cannot be given back."""
    _watched[:] = [pair for pair in _watched if pair[0] is not comm]


def leave_together(mpi: Any, rank: int, size: int, farewells: Farewells) -> None:
    """At the end of the process, tell the others, wait for them, and end the job if one still waits for this rank.

    MPI would wait, too, but for ever: a rank that has left early never answers. A rank that goes on by itself, to
    save for example, sends nothing, and is given its time.
    """

    def leave() -> None:
        if not mpi.Is_initialized() or mpi.Is_finalized():
            return
        farewells.say()
        seen = math.inf
        while not farewells.have_all_come():
            waiting = _who_waits(mpi)
            seen = min(seen, time.monotonic()) if waiting is not None else math.inf
            if time.monotonic() - seen > _GRACE_SECONDS:  # else it may be about to come to its end, too
                sys.stdout.flush()
                sys.stderr.write(
                    f"rank {rank} of {size} has come to its end, but rank {waiting} waits for it in a collective: all "
                    "ranks have to make the same calls; look for a loop or an exit that differs\n"
                )
                linger()
                mpi.COMM_WORLD.Abort(1)
            time.sleep(_POLL_SECONDS)

    atexit.register(leave)


def _who_waits(mpi: Any) -> int | None:
    """The sender, by its number in the world, of a message that nobody has read."""
    status = mpi.Status()
    for comm, members in _watched:
        if comm.Iprobe(tag=0, status=status):
            return members[status.Get_source()]
    return None


def wait_for_turn(error: BaseException, rank: int) -> None:
    """Before a rank reports an error: let those speak who know more.

    An error of MPI mostly tells that another rank has died, of which its launcher knows more, and is about to end all.
    Where nothing came from a rank, or the ranks did not agree, many say so at the same time: rank 0 first.
    """
    if any(type(e).__module__.partition(".")[0] == "mpi4py" for e in (error, error.__cause__)):
        time.sleep(_CONSEQUENCE_SECONDS)
    elif isinstance(error, DistBackendError) and rank > 0:
        time.sleep(_TURN_SECONDS)


def linger(error: BaseException | None = None) -> None:
    """Before a rank that has reported an error ends the job: give ranks that have seen the same the time to say so."""
    sys.stderr.flush()
    time.sleep(_LINGER_SECONDS if isinstance(error, DistBackendError) else _PASS_ON_SECONDS)


def told(error: BaseException, trace: TracebackType | None, who: str) -> str:
    """An exception as Python shows it, below a line that tells `who`, a rank, had it.

    Where something went wrong between ranks, without our own frames below the user's, which explain nothing then. If
    there are none but ours, without a traceback.
    """
    shown = traceback.TracebackException(type(error), error, trace)
    if isinstance(error, DistBackendError):
        while shown.stack and shown.stack[-1].filename.startswith(_OURS):
            shown.stack.pop()
        if not shown.stack:
            return "".join(f"{line}\n" for line in (f"ddpnet: {error}", *getattr(error, "__notes__", [])))
    return "".join((f"{who} failed:\n", *shown.format()))


def end_all_ranks_on_an_exception(mpi: Any, rank: int, size: int) -> None:
    """Without this, the other ranks would wait for ever for one that has raised."""
    before = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not mpi.Is_initialized() or mpi.Is_finalized() or size == 1:
            before(kind, error, trace)
            return
        wait_for_turn(error, rank)
        sys.stdout.flush()
        sys.stderr.write(told(error, trace, f"rank {rank} of {size}"))
        linger(error)
        mpi.COMM_WORLD.Abort(1)

    sys.excepthook = end
