"""Ranks that are threads of one process: for tests that run many worlds quickly, and can delay, drop and fail."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet.distributed.errors import PeerTimeoutError
from ddpnet.distributed.transport.communicator import Communicator, Message, as_bytes, by_host

Fault = Callable[[int, int], bool]
"""Called with (sender, receiver) before each message: it may sleep or raise; False drops the message."""


class _World:
    """What all threads share: one lock for everything, and who has failed."""

    def __init__(self, size: int, fault: Fault | None, hosts: Sequence[Sequence[int]] | None) -> None:
        self.size, self.fault = size, fault
        self.changed = threading.Condition()
        self.failed: list[int] = []
        self.host = {rank: index for index, ranks in enumerate(hosts or [range(size)]) for rank in ranks}
        if sorted(self.host) != list(range(size)):
            raise ValueError(f"hosts: expected each rank from 0 to {size - 1} once, got {hosts}")


class _Context:
    """What the threads of one communicator share: their mail, by rank."""

    def __init__(self, size: int) -> None:
        self.messages: dict[tuple[int, int], deque[np.ndarray]] = {
            (sender, receiver): deque() for sender in range(size) for receiver in range(size)
        }
        self.letters: dict[int, deque[tuple[int, int, np.ndarray]]] = {rank: deque() for rank in range(size)}
        self.shared: dict[int, dict[int, np.ndarray]] = {}
        self.groups: dict[tuple[int, ...], _Context] = {}


class ThreadCommunicator(Communicator):
    """One thread's place in a world of threads."""

    name = "threads"

    def __init__(self, world: _World, context: _Context, members: list[int], rank: int, timeout: float) -> None:
        super().__init__(rank, members, world.size, timeout)
        self._world, self._context = world, context
        self._calls = 0
        self.hosts = by_host([world.host[member] for member in members])

    def exchange(
        self,
        sends: Sequence[Message],
        receives: Sequence[Message],
        what: str = "exchange",
        timeout: float | None = None,
    ) -> None:
        """All messages at once."""
        seconds = self.timeout if timeout is None else timeout
        for peer, array in sends:
            if self._delivers(peer):
                with self._world.changed:
                    self._context.messages[self.rank, peer].append(as_bytes(array).copy())
                    self._world.changed.notify_all()
        deadline = time.monotonic() + seconds
        missing: list[int] = []
        for peer, array in receives:
            came = self._next(peer, what, deadline)
            if came is None:
                missing += [peer] if peer not in missing else []
            elif came.nbytes != array.nbytes:
                raise self.misfit(peer, f"{came.nbytes} bytes", array.nbytes, what)
            else:
                as_bytes(array)[...] = came
        if missing:
            raise self.missing(missing, what, seconds)

    def _next(self, peer: int, what: str, deadline: float) -> np.ndarray | None:
        """The next message of a peer; None if the deadline has passed."""
        box, failed, member = self._context.messages[peer, self.rank], self._world.failed, self.members[peer]
        with self._world.changed:
            self._world.changed.wait_for(lambda: box or member in failed, max(deadline - time.monotonic(), 0))
            if box:
                return box.popleft()
            if member in failed:
                raise PeerTimeoutError(f"{self.place()}: {what}: rank {member} has failed", [member])
            return None

    def _delivers(self, peer: int) -> bool:
        return self._world.fault is None or self._world.fault(self.members[self.rank], self.members[peer])

    def post(self, peer: int, array: np.ndarray, tag: int) -> Callable[[], bool]:
        """The letter is there at once."""
        if self._delivers(peer):
            with self._world.changed:
                self._context.letters[peer].append((self.rank, tag, as_bytes(array).copy()))
        return lambda: True

    def take(self, peer: int | None, tag: int) -> tuple[int, Callable[[], np.ndarray | None]] | None:
        """The first letter that fits; PeerTimeoutError if the only sender has failed."""
        letters = self._context.letters[self.rank]
        with self._world.changed:
            for index, (sender, its_tag, _) in enumerate(letters):
                if its_tag == tag and peer in (None, sender):
                    content = letters[index][2]
                    del letters[index]
                    return sender, content.view  # the same bytes
            member = None if peer is None else self.members[peer]
            if member in self._world.failed:
                raise PeerTimeoutError(f"{self.place()}: recv: rank {member} has failed", [member])
        return None

    def share(self, nbytes: int) -> dict[int, np.ndarray]:
        """Arrays that the threads of one host see."""
        self._calls += 1
        with self._world.changed:
            self._context.shared.setdefault(self._calls, {})[self.rank] = np.zeros(nbytes, np.uint8)
        self.barrier("share")
        host = next(ranks for ranks in self.hosts if self.rank in ranks)
        return {rank: self._context.shared[self._calls][rank] for rank in host}

    def subgroup(self, ranks: Sequence[int]) -> Communicator | None:
        """A communicator of some of the ranks."""
        self._agree_on(ranks, "subgroup")
        self._calls += 1
        if self.rank not in ranks:
            return None
        with self._world.changed:
            context = self._context.groups.setdefault((self._calls, *ranks), _Context(len(ranks)))
        members = [self.members[rank] for rank in ranks]
        return ThreadCommunicator(self._world, context, members, list(ranks).index(self.rank), self.timeout)


def run_threads(
    size: int,
    function: Callable[[Communicator], Any],
    *,
    timeout: float = 30.0,
    fault: Fault | None = None,
    hosts: Sequence[Sequence[int]] | None = None,
) -> list[Any]:
    """Call `function(communicator)` on `size` threads; their results by rank.

    `hosts` lays the ranks out over several hosts, by default they are on one. The first exception, by rank, that is
    not a time-out is raised: those are mere consequences of others.
    """
    world, context = _World(size, fault, hosts), _Context(size)
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadCommunicator(world, context, list(range(size)), rank, timeout))
        except BaseException as error:
            errors[rank] = error
            with world.changed:
                world.failed.append(rank)  # nothing else will come
                world.changed.notify_all()

    threads = [threading.Thread(target=run, args=(rank,), name=f"rank {rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    causes = [error for error in raised if not isinstance(error, TimeoutError)]
    if raised:
        raise (causes or raised)[0]
    return results
