"""MPI: the only file that imports mpi4py."""

from __future__ import annotations

import atexit
import os
import sys
import time
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ddpnet.distributed.communicator import Communicator, Message, as_bytes
from ddpnet.distributed.environment import launched_world
from ddpnet.errors import InputError

NO_MPI = (
    "no MPI library was found, which more than one rank needs: pip install 'ddpnet[mpich]', or load your cluster's MPI"
)

_POLL_SECONDS = 0.01
_CONSEQUENCE_SECONDS = 2.0


def load() -> Any:
    """`mpi4py.MPI`, initialised; InputError where there is no MPI."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there but finds no library
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{NO_MPI} ({reason})") from error
    return MPI


class MPICommunicator(Communicator):
    """All ranks that the launcher started."""

    name = "mpi"

    def __init__(self) -> None:
        self._mpi = load()
        self._comm = self._mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        _check_size(self.size)
        _end_all_ranks_on_an_exception(self._mpi, self.rank, self.size)
        atexit.register(self._leave)

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """All messages at once, without order among different peers."""
        requests = [self._comm.Irecv(as_bytes(array), source=peer) for peer, array in receives]
        requests += [self._comm.Isend(as_bytes(array), dest=peer) for peer, array in sends]
        self._mpi.Request.Waitall(requests)

    def broadcast(self, array: np.ndarray, root: int) -> None:
        """Fill `array` on every rank with that of `root`."""
        self._comm.Bcast(as_bytes(array), root=root)

    def _leave(self) -> None:
        """At the end of the process, wait for the others, and end the job if one of them waits for this rank.

        MPI would wait, too, but for ever: a rank that has left early never answers. A rank that goes on by itself, to
        save for example, sends nothing, and is given its time.
        """
        if not self._mpi.Is_initialized() or self._mpi.Is_finalized():
            return
        everybody, status = self._comm.Ibarrier(), self._mpi.Status()
        while not everybody.Test():
            if self._comm.Iprobe(status=status):
                sys.stdout.flush()
                sys.stderr.write(
                    f"rank {self.rank} of {self.size} has come to its end, but rank {status.Get_source()} waits for it "
                    "in a collective: all ranks have to make the same calls; look for a loop or an exit that differs\n"
                )
                sys.stderr.flush()
                self._mpi.COMM_WORLD.Abort(1)
            time.sleep(_POLL_SECONDS)

    def library(self) -> str:
        """Name and version of the MPI library."""
        return str(self._mpi.Get_library_version()).splitlines()[0].strip("\0 ")


def _check_size(size: int) -> None:
    """A launcher of one MPI with the library of another starts every rank as "0 of 1": notice it."""
    announced = launched_world()
    promised = int(os.environ.get("DDPNET_WORLD_SIZE", announced[1] if announced else size))
    if promised != size:
        raise InputError(
            f"the launcher started {promised} ranks but the MPI library sees a world of {size}: the launcher belongs "
            "to another MPI than the library that mpi4py loaded; use the mpiexec beside it (see `ddpnet doctor`)"
        )


def wait_if_a_consequence(error: BaseException) -> None:
    """Before a rank reports an error of MPI: give the job time to end by itself.

    Such an error mostly tells that another rank has died, of which its launcher knows more, and is about to end all.
    """
    if type(error).__module__.partition(".")[0] == "mpi4py":
        time.sleep(_CONSEQUENCE_SECONDS)


def _end_all_ranks_on_an_exception(mpi: Any, rank: int, size: int) -> None:
    """Without this, the other ranks would wait for ever for one that has raised."""
    before = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not mpi.Is_initialized() or mpi.Is_finalized() or size == 1:
            before(kind, error, trace)
            return
        wait_if_a_consequence(error)
        text = "".join(traceback.format_exception(kind, error, trace))
        sys.stdout.flush()
        sys.stderr.write(f"rank {rank} of {size} failed:\n{text}")
        sys.stderr.flush()
        mpi.COMM_WORLD.Abort(1)

    sys.excepthook = end
