"""What a rank does: `python -m ddpnet_launch.rank KIND ...`.

KIND is train, evaluate, bench, profile, run or run-as-torch. A rank of somebody's mpirun does the same.
"""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from . import environment, silence
from .deck import Deck, Failure
from .script import run_script, users_frames
from .watcher import fork_watched

_PATIENCE = 2.0
"""Seconds that other ranks give rank 0 to say what all of them may have to say, and to end the job."""


def main() -> None:
    """A rank that the supervisor started."""
    rank = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")))
    deck = Deck.joined()
    if deck is not None:
        fork_watched(deck, rank)
    environment.prepare()
    kind, *arguments = sys.argv[1:]
    if kind in ("run", "run-as-torch"):
        path, *arguments = arguments
        sys.exit(run_as_rank(lambda: run_script(path, arguments, as_torch=kind == "run-as-torch"), script=True))
    sys.exit(run_as_rank(lambda: _work(kind, arguments), script=kind == "profile"))


def _work(kind: str, arguments: list[str]) -> int:
    from . import bench, evaluate, profile, train

    works = {"train": train.work, "evaluate": evaluate.work, "bench": bench.work, "profile": profile.work}
    return works[kind](*arguments)


def run_as_rank(action: Callable[[], int | None], *, script: bool = False) -> int:
    """Do the work of a rank and return its exit code; if it fails, it says why, and the whole job ends at once.

    Without it the others would wait in MPI for ever. Bad input is one line from rank 0; in a user's script it
    is an exception like any other.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe, but people wait for the lines of a script
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return action() or 0
    except SystemExit as error:
        return _leave(error.code)
    except KeyboardInterrupt as error:
        if script and _place()[0] == 0:
            _print("".join(traceback.format_exception(type(error), error, users_frames(error))))
        _end_job(128 + signal.SIGINT)
    except BaseException as error:
        _fail(error, script)


def _place() -> tuple[int, int]:
    from ddpnet.distributed.environment import launched_world

    return launched_world() or (0, 1)


def _fail(error: BaseException, script: bool) -> NoReturn:
    from ddpnet.distributed.errors import PeerTimeoutError
    from ddpnet.distributed.transport.ending import linger, told, wait_for_turn
    from ddpnet.errors import InputError

    rank, size = _place()
    wait_for_turn(error, rank)
    known = isinstance(error, InputError) and not script
    if known:
        time.sleep(_PATIENCE if rank != 0 else 0)
        _print("\n".join([f"ddpnet: error: {error}", *getattr(error, "__notes__", [])]) + "\n")
    else:
        _print(told(error, users_frames(error), f"rank {rank} of {size}"))
    waited_for = error.peers if isinstance(error, PeerTimeoutError) else []
    deck = Deck.joined()
    if deck is not None:
        deck.fail(rank, Failure(f"{type(error).__name__}: {error}".partition("\n")[0], known, waited_for))
    linger(error)
    if deck is not None and waited_for:
        silence.show(deck, rank, size)
    _end_job(1)


def _leave(code: str | int | None) -> int:
    """`sys.exit(code)`: in one rank it is the end of all, unless it is a success."""
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    number = code if isinstance(code, int) else int(code is not None)
    if number != 0:
        _end_job(number & 0xFF)
    return 0


def _print(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text)  # in one piece: other ranks write, too
    sys.stderr.flush()


def _end_job(code: int) -> NoReturn:
    """Leave without the ceremonies of MPI, in which the other ranks would have to take part."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    mpi = sys.modules.get("mpi4py.MPI")
    supervised = Deck.joined() is not None  # then the supervisor ends the others
    if not supervised and mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.COMM_WORLD.Abort(code)
    os._exit(code)


if __name__ == "__main__":
    main()
