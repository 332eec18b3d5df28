"""MPI: the only file that imports mpi4py."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np

from ddpnet.distributed.environment import default_timeout, launched_world, memory_is_shared
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport import ending, host_memory
from ddpnet.distributed.transport.communicator import Communicator, Message, as_bytes, by_host
from ddpnet.distributed.transport.deadline import ends_within
from ddpnet.distributed.transport.farewells import Farewells
from ddpnet.errors import InputError

NO_MPI = (
    "no MPI library was found, which more than one rank needs: pip install 'ddpnet[mpich]', or load your cluster's MPI"
)

_PIECE_BYTES = 2**30
_SPIN_SECONDS = 1e-3
_CROWDED_SPIN_SECONDS = 20e-6
_SLEEP_SECONDS = 50e-6
_LOOK_SECONDS, _NAP_SECONDS = 0.05, 500e-6
"""A rank that has waited for long sleeps longer, and sees, too, whether those it waits for have come to their end."""
_CPUS = 4096
_LETTER_TAG = 1
"""Messages of `exchange` have tag 0, letters their own tag plus this."""


def load(seconds: float | None = None) -> Any:
    """`mpi4py.MPI`, initialised; InputError where there is no MPI.

    MPI starts when all ranks have come: if that takes longer than `seconds`, this process says so, and ends.
    """
    try:
        with nullcontext() if seconds is None else ends_within(seconds, _not_all_came(seconds)):
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there but finds no library
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{NO_MPI} ({reason})") from error
    return MPI


class MPICommunicator(Communicator):
    """All ranks that the launcher started, or some of them.

    A rank that waits looks for its messages without a break for `spin` seconds, then sleeps between looks: waiting
    ranks leave the cores to those that compute. By default this is 1 ms where every rank has a core, else 20 us.
    """

    name = "mpi"
    spin: float

    def __init__(self, timeout: float | None = None) -> None:
        seconds = default_timeout() if timeout is None else timeout
        self._mpi = load(seconds if "mpi4py.MPI" not in sys.modules else None)
        world = self._mpi.COMM_WORLD
        _check_size(world.Get_size())
        _meet(world, seconds)
        self._open(world.Dup(), list(range(world.Get_size())), seconds)
        self._farewells = _prepare_the_end(self._mpi, self.rank, self.size)
        self._hosts_of = self._find_hosts()
        self.hosts = by_host(self._hosts_of)

    def _open(self, comm: Any, members: list[int], timeout: float | None) -> None:
        Communicator.__init__(self, comm.Get_rank(), members, self._mpi.COMM_WORLD.Get_size(), timeout)
        self._comm, self._unfinished = comm, list[Any]()
        self.spin = _CROWDED_SPIN_SECONDS
        ending.watch(comm, members)

    def _find_hosts(self) -> list[bytes]:
        """What tells the host of each rank; on the way, whether the ranks of this one have a core each."""
        machine = host_memory.machine()
        shared = host_memory.AVAILABLE and memory_is_shared()
        key = machine if shared else hashlib.sha256(machine + bytes([self.rank % 256, self.rank // 256])).digest()
        cores = np.zeros(_CPUS, bool)
        cores[[core for core in _affinity() if core < _CPUS]] = True
        mine = np.frombuffer(machine + key + np.packbits(cores).tobytes(), np.uint8)
        words = [answer.tobytes() for answer in self.all_gather(mine, "init_process_group")]
        here = [np.frombuffer(word[64:], np.uint8) for word in words if word[:32] == machine]
        if len(here) <= np.unpackbits(np.bitwise_or.reduce(here)).sum():
            self.spin = _SPIN_SECONDS
        return [word[32:64] for word in words]

    def exchange(
        self,
        sends: Sequence[Message],
        receives: Sequence[Message],
        what: str = "exchange",
        timeout: float | None = None,
    ) -> None:
        """All messages at once, without order among different peers."""
        comm = self._usable(what)
        incoming = [(peer, piece) for peer, array in receives for piece in _pieces(array)]
        outgoing = [(peer, piece) for peer, array in sends for piece in _pieces(array)]
        requests = [comm.Irecv(piece, peer, 0) for peer, piece in incoming]
        requests += [comm.Isend(piece, peer, 0) for peer, piece in outgoing]
        statuses = [self._mpi.Status() for _ in requests]
        seconds = self.timeout if timeout is None else timeout
        peers, late = [peer for peer, _ in (*incoming, *outgoing)], list[int]()
        try:
            if not self._mpi.Request.Testall(requests, statuses):
                late = self._wait(requests, statuses, peers, seconds)
        except self._mpi.Exception as error:
            self._give_up(requests)
            for status, (peer, piece) in zip(statuses, incoming, strict=False):
                if self._mpi.Get_error_class(status.Get_error()) == self._mpi.ERR_TRUNCATE:
                    raise self.misfit(peer, "more", piece.nbytes, what) from None
            raise self._failure(error, what) from error
        if late:
            self._give_up(requests)
            raise self.missing(late, what, seconds)
        for status, (peer, piece) in zip(statuses, incoming, strict=False):
            if status.Get_count(self._mpi.BYTE) != piece.nbytes:
                raise self.misfit(peer, f"{status.Get_count(self._mpi.BYTE)} bytes", piece.nbytes, what)

    def _wait(self, requests: list[Any], statuses: list[Any], peers: list[int], seconds: float) -> list[int]:
        """Until all are done, the time is over, or a peer has ended; the peers that have not come then."""
        test_all = self._mpi.Request.Testall
        begun = time.perf_counter()
        while (waited := time.perf_counter() - begun) < min(seconds, _LOOK_SECONDS):
            if waited > self.spin:
                time.sleep(_SLEEP_SECONDS)
            if test_all(requests, statuses):
                return []
        open_ones = list(range(len(requests)))
        while True:
            open_ones = [index for index in open_ones if not requests[index].Test(statuses[index])]
            late = list(dict.fromkeys(peers[index] for index in open_ones))
            if not late or time.perf_counter() - begun > seconds or self.absent(late):
                return late
            time.sleep(_NAP_SECONDS)

    def _give_up(self, requests: list[Any]) -> None:
        """MPI may still write to the arrays of requests that are not done: keep them, and send nothing any more."""
        self._unfinished = requests
        ending.abandon(self._comm)

    def absent(self, peers: Sequence[int]) -> list[int]:
        """See `Farewells`."""
        left = self._farewells.left()
        return [peer for peer in peers if self.members[peer] in left]

    def _usable(self, what: str) -> Any:
        if self._unfinished or self._comm is None:
            reason = "an earlier call has not ended in time" if self._unfinished else "the group has been destroyed"
            raise DistBackendError(f"{self.place()}: {what}: {reason}: nothing can be sent any more")
        return self._comm

    def _failure(self, error: Exception, what: str) -> DistBackendError:
        return DistBackendError(f"{self.place()}: {what}: MPI says: {error} (mostly because another rank has died)")

    def post(self, peer: int, array: np.ndarray, tag: int) -> Callable[[], bool]:
        """A message of its own; ValueError from 2 GiB on."""
        if array.nbytes >= 2**31:
            raise ValueError(f"send: expected a tensor of less than 2 GiB, got {array.nbytes} bytes: send it in parts")
        request = self._usable("send").Isend(as_bytes(array), peer, tag + _LETTER_TAG)
        return lambda: self._test(request, "send")

    def take(self, peer: int | None, tag: int) -> tuple[int, Callable[[], np.ndarray | None]] | None:
        """What MPI has matched belongs to this call, whatever comes later."""
        comm, status = self._usable("recv"), self._mpi.Status()
        try:
            source = self._mpi.ANY_SOURCE if peer is None else peer
            message = comm.Improbe(source, tag + _LETTER_TAG, status)
            if message is None:
                return None
            letter = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
            request = message.Irecv(letter)
        except self._mpi.Exception as error:
            raise self._failure(error, "recv") from error
        return status.Get_source(), lambda: letter if self._test(request, "recv") else None

    def _test(self, request: Any, what: str) -> bool:
        try:
            return bool(request.Test())
        except self._mpi.Exception as error:
            raise self._failure(error, what) from error

    def share(self, nbytes: int) -> dict[int, np.ndarray]:
        """Mapped memory; DistBackendError on every rank if one of them has too little, or cannot see that of another.

        There is nothing to give back: it goes with the last array.
        """
        host = next(ranks for ranks in self.hosts if self.rank in ranks)
        if len(host) == 1:
            self._agree("", nbytes)
            return {self.rank: np.zeros(nbytes, np.uint8)}
        problem, descriptor, arrays = "", -1, dict[int, np.ndarray]()
        try:
            descriptor, arrays[self.rank] = host_memory.create(nbytes, len(host))
        except OSError as error:
            problem = f"{len(host)} ranks of this host need {nbytes} bytes each ({error})"
        owners = self._agree(problem, nbytes, descriptor)
        try:
            for peer in host:
                if peer != self.rank:
                    arrays[peer] = host_memory.attach(*owners[peer], nbytes)
        except OSError as error:
            problem = f"the memory of another rank of this host cannot be seen ({error})"
        self._agree(problem, nbytes)
        os.close(descriptor)
        return dict(sorted(arrays.items()))

    def _agree(self, problem: str, nbytes: int, descriptor: int = -1) -> list[tuple[int, int]]:
        """(process, descriptor) of each rank; DistBackendError on all if one has a problem or asks for another size."""
        words = np.zeros(4 + 64, np.int64)
        letters = np.frombuffer(problem.encode()[:512], np.uint8)
        words[:4] = os.getpid(), descriptor, nbytes, len(letters)
        words[4:].view(np.uint8)[: len(letters)] = letters
        answers = self.all_gather(words, "share")
        for rank, answer in enumerate(answers):
            text = answer[4:].view(np.uint8)[: answer[3]].tobytes().decode(errors="replace")
            if answer[2] != nbytes:
                text = f"it asks for {answer[2]} bytes, rank {self.members[self.rank]} for {nbytes}"
            if text:
                raise DistBackendError(
                    f"{self.place()}: share: rank {self.members[rank]}: {text}; DDPNET_SHARED_MEMORY=0 does without"
                )
        return [(int(answer[0]), int(answer[1])) for answer in answers]

    def subgroup(self, ranks: Sequence[int]) -> Communicator | None:
        """A communicator of some of the ranks."""
        self._agree_on(ranks, "subgroup")  # all have come: MPI's own call, which has no deadline, will end
        mine = self.rank in ranks
        try:
            comm = self._comm.Split(0 if mine else self._mpi.UNDEFINED, ranks.index(self.rank) if mine else 0)
        except self._mpi.Exception as error:
            raise self._failure(error, "subgroup") from error
        if not mine:
            return None
        group = object.__new__(MPICommunicator)
        group._mpi, group._farewells = self._mpi, self._farewells
        group._open(comm, [self.members[rank] for rank in ranks], self.timeout)
        group.spin = self.spin
        group._hosts_of = [self._hosts_of[rank] for rank in ranks]
        group.hosts = by_host(group._hosts_of)
        return group

    def close(self) -> None:
        """Give the context back to MPI, unless messages are still on their way."""
        comm, self._comm = self._comm, None
        if comm is not None:
            (ending.abandon if self._unfinished else ending.forget)(comm)

    def library(self) -> str:
        """Name and version of the MPI library."""
        return str(self._mpi.Get_library_version()).splitlines()[0].strip("\0 ")


def _pieces(array: np.ndarray) -> list[np.ndarray]:
    """The bytes of a message, in parts that MPI can count."""
    whole = as_bytes(array)
    if whole.nbytes <= _PIECE_BYTES:
        return [whole]
    return [whole[start : start + _PIECE_BYTES] for start in range(0, whole.nbytes, _PIECE_BYTES)]


@cache
def _prepare_the_end(mpi: Any, rank: int, size: int) -> Farewells:
    """Once a process, however often it joins."""
    farewells = Farewells(mpi)
    ending.end_all_ranks_on_an_exception(mpi, rank, size)
    ending.leave_together(mpi, rank, size, farewells)
    return farewells


def _meet(world: Any, seconds: float) -> None:
    """Return when all ranks have come: other calls of MPI, which have no deadline either, will end then."""
    everybody, begun = world.Ibarrier(), time.monotonic()
    while not everybody.Test():
        if time.monotonic() - begun > seconds:
            raise DistBackendError(_not_all_came(seconds))
        time.sleep(_SLEEP_SECONDS)


def _not_all_came(seconds: float) -> str:
    rank, size = launched_world() or (0, 1)
    return (
        f"rank {rank} of {size}: init_process_group: another rank has not come within {seconds:g} s: all ranks have to "
        "call it; look for an exit or a wait before it, or give them more time (timeout=..., DDPNET_TIMEOUT=SECONDS)"
    )


def _affinity() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _check_size(size: int) -> None:
    """A launcher of one MPI with the library of another starts every rank as "0 of 1": notice it."""
    announced = launched_world()
    promised = int(os.environ.get("DDPNET_WORLD_SIZE", announced[1] if announced else size))
    if promised != size:
        raise InputError(
            f"the launcher started {promised} ranks but the MPI library sees a world of {size}: the launcher belongs "
            "to another MPI than the library that mpi4py loaded; use the mpiexec beside it (see `ddpnet doctor`)"
        )
