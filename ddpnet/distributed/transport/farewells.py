"""Farewells: a rank that comes to its end tells all others, so that none waits for what will not come."""

from __future__ import annotations

import time
from typing import Any

_CERTAIN_SECONDS = 0.5
"""After a farewell: what its rank had sent before, on other communicators, has come by then."""


class Farewells:
    """Those of the ranks of a world. All ranks make one together; any thread may look."""

    def __init__(self, mpi: Any) -> None:
        self._mpi, self._comm = mpi, mpi.COMM_WORLD.Dup()
        self._came: dict[int, float] = {}

    def say(self) -> None:
        """This rank has come to its end."""
        me, size = self._comm.Get_rank(), self._comm.Get_size()
        self._sent = [self._comm.Isend(b"", peer) for peer in range(size) if peer != me]

    def left(self) -> list[int]:
        """The ranks that have come to their end, and from which nothing is on its way any more."""
        self._look()
        return [rank for rank, came in list(self._came.items()) if time.monotonic() - came > _CERTAIN_SECONDS]

    def have_all_come(self) -> bool:
        """Whether all other ranks have come to their end, and MPI may be ended, with nothing left unread."""
        self._look()
        return len(self._came) == self._comm.Get_size() - 1 and self._mpi.Request.Testall(self._sent)

    def _look(self) -> None:
        status = self._mpi.Status()
        while (message := self._comm.Improbe(status=status)) is not None:
            message.Recv(bytearray())
            self._came[status.Get_source()] = time.monotonic()
