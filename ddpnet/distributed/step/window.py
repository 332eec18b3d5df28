"""Window: the buckets of this rank in memory that the other ranks of its host read and write, and a barrier there."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.distributed.transport.communicator import Communicator

_LINE = 64
"""Bytes of a cache line: two ranks never write to the same one."""
_SPINS = 1000
_EAGER_YIELDS, _SHY_YIELDS = 2000, 200
"""A rank that waits gives its core away for about a millisecond before it sleeps, or only shortly if others need it."""
_NAP_US, _SHORT_NAP_US, _LONG_NAP_US = 50, 20, 800
"""Of the naps of a rank that waits for long: three that sleep for 50 us each time take a tenth of a core from those
that compute there."""
_NAPS = 100
"""Naps before Python looks at the clock and at signals again."""


class Window:
    """Flat arrays of given sizes and dtypes, `copies` of each on every rank of this host.

    `arrays[bucket][rank][copy]` is an array of a rank that shares this rank's memory. With `shared=False` a rank sees
    only its own, as if each rank had a host of its own; `hosts` says which ranks see each other.
    """

    def __init__(
        self,
        comm: Communicator,
        sizes: Sequence[int],
        dtypes: Sequence[np.dtype[Any]],
        copies: int,
        *,
        shared: bool = True,
    ) -> None:
        self.comm = comm
        self.hosts = comm.hosts if shared else [[rank] for rank in range(comm.size)]
        self.peers = next(host for host in self.hosts if comm.rank in host)
        spans = [_aligned(size * dtype.itemsize) for size, dtype in zip(sizes, dtypes, strict=True)]
        nbytes = _LINE + copies * sum(spans)
        private = len(self.hosts) == comm.size
        memory = {comm.rank: np.zeros(nbytes, np.uint8)} if private else comm.share(nbytes)
        self.arrays: list[dict[int, list[np.ndarray]]] = []
        start = _LINE
        for size, dtype, span in zip(sizes, dtypes, spans, strict=True):
            places = [slice(start + copy * span, start + copy * span + size * dtype.itemsize) for copy in range(copies)]
            self.arrays.append({rank: [memory[rank][place].view(dtype) for place in places] for rank in self.peers})
            start += copies * span
        self._memory = memory
        self._arrived = 0
        self._mine = memory[comm.rank].ctypes.data
        others = [rank for rank in self.peers if rank != comm.rank]
        self._others = others
        self._addresses = np.array([memory[rank].ctypes.data for rank in others], np.int64)
        self._eager = len(self.peers) <= _cores()

    def barrier(self, what: str, *, computing: bool = False) -> None:
        """Return when every rank of this host has come here and what it wrote can be read.

        `computing`: another thread of this process needs the core, so sleep soon. DistBackendError names the ranks
        that have not come within the communicator's timeout, or have come to their end.
        """
        if not self._others:
            return
        from ddpnet.kernels.cpu.signals import raise_to, wait_for  # compiled where ranks share memory, only there

        self._arrived += 1
        raise_to(self._mine, self._arrived)
        spins, yields = (0, 0) if computing else (_SPINS, _EAGER_YIELDS if self._eager else _SHY_YIELDS)
        nap, longest = (_SHORT_NAP_US, _SHORT_NAP_US) if computing else (_NAP_US, _LONG_NAP_US)
        started = None
        while wait_for(self._addresses, self._arrived, spins, yields, _NAPS, nap, longest) >= 0:
            started = started or time.monotonic()
            late = self._late()
            if late and (time.monotonic() - started > self.comm.timeout or self.comm.absent(late)):
                raise self.comm.missing(late, what, self.comm.timeout)

    def _late(self) -> list[int]:
        """The ranks of this host that have not come."""
        return [rank for rank in self._others if int(self._memory[rank][:8].view(np.int64)[0]) < self._arrived]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _LINE) * _LINE
