"""Ranks that are threads of one process: for tests that run many worlds quickly, and can delay, drop and fail."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet.distributed.communicator import Communicator, Message

Fault = Callable[[int, int], bool]
"""Called with (sender, receiver) before each message: it may sleep or raise; False drops the message."""


class _World:
    """What the threads of one world share."""

    def __init__(self, size: int, timeout: float, fault: Fault | None) -> None:
        self.size, self.timeout, self.fault = size, timeout, fault
        self.mail: dict[tuple[int, int], queue.SimpleQueue[np.ndarray | None]] = {
            (sender, receiver): queue.SimpleQueue() for sender in range(size) for receiver in range(size)
        }


class ThreadCommunicator(Communicator):
    """One thread's place in a world of threads."""

    name = "threads"

    def __init__(self, world: _World, rank: int) -> None:
        self._world, self.rank, self.size = world, rank, world.size

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """All messages at once; TimeoutError names the peer from which nothing came."""
        world = self._world
        for peer, array in sends:
            if world.fault is None or world.fault(self.rank, peer):
                world.mail[self.rank, peer].put(array.copy())
        for peer, array in receives:
            try:
                came = world.mail[peer, self.rank].get(timeout=world.timeout)
            except queue.Empty:
                raise TimeoutError(
                    f"rank {self.rank} of {self.size}: nothing came from rank {peer} in {world.timeout} s"
                ) from None
            if came is None:
                raise TimeoutError(f"rank {self.rank} of {self.size}: rank {peer} has failed")
            if came.nbytes != array.nbytes:
                raise ValueError(f"rank {self.rank}: expected {array.nbytes} bytes from rank {peer}, got {came.nbytes}")
            array[...] = came.reshape(array.shape)

    def broadcast(self, array: np.ndarray, root: int) -> None:
        """Fill `array` on every rank with that of `root`."""
        peers = [peer for peer in range(self.size) if peer != root]
        mine = self.rank == root
        self.exchange([(peer, array) for peer in peers] if mine else [], [] if mine else [(root, array)])


def run_threads(
    size: int,
    function: Callable[[Communicator], Any],
    *,
    timeout: float = 30.0,
    fault: Fault | None = None,
) -> list[Any]:
    """Call `function(communicator)` on `size` threads; their results by rank.

    The first exception, by rank, that is not a time-out is raised: those are mere consequences of others.
    """
    world = _World(size, timeout, fault)
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadCommunicator(world, rank))
        except BaseException as error:
            errors[rank] = error
            for peer in range(size):
                world.mail[rank, peer].put(None)  # nothing else will come

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
