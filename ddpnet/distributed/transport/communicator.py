"""Communicator: what the ranks of a world can do together. One interface; a world of one is an ordinary world."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from ddpnet.distributed.environment import default_timeout
from ddpnet.distributed.errors import DistBackendError, PeerTimeoutError

Message = tuple[int, np.ndarray]
"""A peer's rank, and the contiguous array that goes there or comes from there."""

_TREE_BYTES = 64 * 1024
"""A broadcast of more is cut into slices that all ranks pass on: twice the bytes, whatever the number of ranks."""


class Communicator(ABC):
    """Ranks 0 to size - 1. All ranks make the same calls in the same order, but for `post`, `take` and `close`.

    Every call ends: past `timeout` seconds with PeerTimeoutError, which names the call (`what`) and the missing peers.
    After that the communicator cannot be used any more. Two threads may use two communicators at the same time.
    """

    name: str
    rank: int
    size: int
    timeout: float
    members: list[int]
    """The ranks of this communicator by their numbers in the world: what messages to people name."""
    world_size: int
    hosts: list[list[int]]
    """The ranks by the host they run on, in order of their first rank; ranks of one host can `share` memory."""

    def __init__(self, rank: int, members: list[int], world_size: int, timeout: float | None = None) -> None:
        self.rank, self.size, self.members, self.world_size = rank, len(members), members, world_size
        self.timeout = default_timeout() if timeout is None else timeout

    @abstractmethod
    def exchange(
        self,
        sends: Sequence[Message],
        receives: Sequence[Message],
        what: str = "exchange",
        timeout: float | None = None,
    ) -> None:
        """Send and receive arrays, all at once; between two ranks they arrive in the order in which they were sent.

        A receive is filled in place; it has the size of the array that was sent. `timeout` counts for this call only.
        """

    @abstractmethod
    def post(self, peer: int, array: np.ndarray, tag: int) -> Callable[[], bool]:
        """Start to send a letter, which no `exchange` will see; call the result until it is True: it has gone."""

    @abstractmethod
    def take(self, peer: int | None, tag: int) -> tuple[int, Callable[[], np.ndarray | None]] | None:
        """Claim the first letter with this tag from `peer` or from any; None if there is none yet.

        Returns the sender, and a function to be called until it is the letter (uint8) instead of None.
        """

    @abstractmethod
    def share(self, nbytes: int) -> dict[int, np.ndarray]:
        """Memory for the ranks of this host: for each of them an array uint8 (nbytes,) that all of them see, zeros."""

    @abstractmethod
    def subgroup(self, ranks: Sequence[int]) -> Communicator | None:
        """A communicator of some of the ranks, numbered in the order given; None for those that are not among them.

        Its messages do not meet those of this one. DistBackendError, on every rank, if the ranks pass other lists.
        """

    def duplicate(self) -> Communicator:
        """A communicator of the same ranks, for another thread for example."""
        copy = self.subgroup(range(self.size))
        assert copy is not None
        return copy

    def broadcast(self, array: np.ndarray, root: int, what: str = "broadcast") -> None:
        """Fill `array` on every rank with that of `root`."""
        if not 0 <= root < self.size:
            raise ValueError(f"{what}: expected a root from 0 to {self.size - 1}, got {root}")
        if array.nbytes > _TREE_BYTES and self.size > 2:
            self._broadcast_slices(as_bytes(array), root, what)
            return
        place = (self.rank - root) % self.size  # a binomial tree: in each round, all that have it pass it on
        distance = 1
        while distance < self.size:
            if place < distance and place + distance < self.size:
                self.exchange([((place + distance + root) % self.size, array)], [], what)
            elif distance <= place < 2 * distance:
                self.exchange([], [((place - distance + root) % self.size, array)], what)
            distance *= 2

    def _broadcast_slices(self, whole: np.ndarray, root: int, what: str) -> None:
        """Each rank gets one slice of `whole` from the root and gives it to the others."""
        others = [peer for peer in range(self.size) if peer not in (root, self.rank)]
        slices = [whole[len(whole) * r // self.size : len(whole) * (r + 1) // self.size] for r in range(self.size)]
        mine = slices[self.rank]
        if self.rank == root:
            self.exchange([(peer, slices[peer]) for peer in others], [], what)
            self.exchange([(peer, mine) for peer in others], [], what)
            return
        self.exchange([], [(root, mine)], what)
        self.exchange([(peer, mine) for peer in others], [(peer, slices[peer]) for peer in (root, *others)], what)

    def barrier(self, what: str = "barrier") -> None:
        """Return when every rank has come here.

        In round k each hears from the rank 2^k before it, which has then heard of the 2^k ranks before itself.
        """
        distance = 1
        while distance < self.size:
            word = np.zeros(1, np.uint8)
            ahead, behind = (self.rank + distance) % self.size, (self.rank - distance) % self.size
            self.exchange([(ahead, word)], [(behind, word.copy())], what)
            distance *= 2

    def broadcast_text(self, text: str, root: int, what: str = "broadcast") -> str:
        """The text of `root`; what other ranks pass does not count."""
        letters = np.frombuffer(text.encode(), np.uint8).copy()
        length = np.array([len(letters)])
        self.broadcast(length, root, what)
        if self.rank != root:
            letters = np.empty(int(length[0]), np.uint8)
        self.broadcast(letters, root, what)
        return letters.tobytes().decode()

    def all_gather(self, array: np.ndarray, what: str = "all_gather") -> list[np.ndarray]:
        """The arrays of all ranks, of one shape and dtype, in the order of the ranks."""
        mine = np.ascontiguousarray(array)
        gathered = [np.empty_like(mine) for _ in range(self.size)]
        gathered[self.rank][...] = mine
        peers = [peer for peer in range(self.size) if peer != self.rank]
        self.exchange([(peer, mine) for peer in peers], [(peer, gathered[peer]) for peer in peers], what)
        return gathered

    def library(self) -> str:
        """Name and version of what carries the messages."""
        return self.name

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what the communicator holds; no call may follow."""

    def _agree_on(self, ranks: Sequence[int], what: str) -> None:
        """DistBackendError on every rank unless all passed the same list; ValueError for one that is none of ours."""
        bad = [r for r in ranks if not 0 <= r < self.size]
        if bad or len({*ranks}) != len(ranks) or not ranks:
            raise ValueError(f"{what}: expected different ranks from 0 to {self.size - 1}, got {list(ranks)}")
        digest = np.frombuffer(hashlib.sha256(repr(list(ranks)).encode()).digest(), np.uint8)
        for peer, theirs in enumerate(self.all_gather(digest, what)):
            if theirs.tobytes() != digest.tobytes():
                raise DistBackendError(
                    f"{self.place()}: {what}: this rank passed the ranks {list(ranks)}, rank {self.members[peer]} "
                    "passed others: all ranks have to pass the same list"
                )

    def misfit(self, peer: int, came: str, nbytes: int, what: str) -> DistBackendError:
        """The error for a message of another size than `nbytes`."""
        return DistBackendError(
            f"{self.place()}: {what}: {came} came from rank {self.members[peer]}, expected {nbytes} bytes: all ranks "
            "have to make the same calls in the same order, with the same shapes"
        )

    def place(self) -> str:
        """This rank, as messages name it: `rank 1 of 3`."""
        return f"rank {self.members[self.rank]} of {self.world_size}"

    def absent(self, peers: Sequence[int]) -> list[int]:
        """Those of some peers whose processes have come to their end: nothing will come from them any more."""
        return []

    def missing(self, peers: Sequence[int], what: str, seconds: float, happened: str = "came from") -> DistBackendError:
        """The error for peers that have not come in time, or that have ended; `happened`: what did not."""
        ended = self.absent(peers)
        members = [self.members[peer] for peer in ended or peers]
        these = named(members)
        if ended:
            end = "has come to its end" if len(ended) == 1 else "have come to their end"
            return DistBackendError(
                f"{self.place()}: {what}: {these} {end}: all ranks have to make the same calls in the same order; look "
                "for an exit that differs, or a loop that is longer on some ranks (DistributedDataParallel: join)"
            )
        return PeerTimeoutError(
            f"{self.place()}: {what}: nothing {happened} {these} within {seconds:g} s: all ranks have to make the same "
            f"calls in the same order; look at what {these} {'is' if len(peers) == 1 else 'are'} doing, or give "
            "init_process_group a longer timeout (DDPNET_TIMEOUT=SECONDS; ddpnet train --timeout SECONDS)",
            members,
        )


def named(ranks: Sequence[int]) -> str:
    """`rank 1`, or `ranks 1, 2`."""
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def by_host(keys: Sequence[object]) -> list[list[int]]:
    """Ranks whose keys are equal, together."""
    hosts: dict[object, list[int]] = {}
    for rank, key in enumerate(keys):
        hosts.setdefault(key, []).append(rank)
    return list(hosts.values())


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array: what is moved has no dtype, so that every dtype can be moved."""
    if not array.flags.c_contiguous:
        raise ValueError(f"expected a contiguous array, got strides {array.strides} for shape {array.shape}")
    return array.reshape(-1).view(np.uint8)
