"""Communicator: what the ranks of a world can do together. One interface; a world of one is an ordinary world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

Message = tuple[int, np.ndarray]
"""A peer's rank, and the contiguous array that goes there or comes from there."""


class Communicator(ABC):
    """Ranks 0 to size - 1. Every call but `abort` is made by all ranks in the same order."""

    name: str
    rank: int
    size: int

    @abstractmethod
    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send and receive arrays, all at once; between two ranks they arrive in the order in which they were sent.

        A receive is filled in place; it has the size of the array that was sent.
        """

    @abstractmethod
    def broadcast(self, array: np.ndarray, root: int) -> None:
        """Fill `array` on every rank with that of `root`."""

    def barrier(self) -> None:
        """Return when every rank has come here.

        In round k each hears from the rank 2^k before it, which has then heard of the 2^k ranks before itself.
        """
        distance = 1
        while distance < self.size:
            word = np.zeros(1, np.uint8)
            ahead, behind = (self.rank + distance) % self.size, (self.rank - distance) % self.size
            self.exchange([(ahead, word)], [(behind, word.copy())])
            distance *= 2

    def broadcast_text(self, text: str, root: int) -> str:
        """The text of `root`; what other ranks pass does not count."""
        letters = np.frombuffer(text.encode(), np.uint8).copy()
        length = np.array([len(letters)])
        self.broadcast(length, root)
        if self.rank != root:
            letters = np.empty(int(length[0]), np.uint8)
        self.broadcast(letters, root)
        return letters.tobytes().decode()

    def library(self) -> str:
        """Name and version of what carries the messages."""
        return self.name

    def all_gather(self, array: np.ndarray) -> list[np.ndarray]:
        """The arrays of all ranks, of one shape and dtype, in the order of the ranks."""
        gathered = [np.empty_like(array) for _ in range(self.size)]
        gathered[self.rank][...] = array
        peers = [peer for peer in range(self.size) if peer != self.rank]
        mine = np.ascontiguousarray(array)
        self.exchange([(peer, mine) for peer in peers], [(peer, gathered[peer]) for peer in peers])
        return gathered

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what the communicator holds; no call may follow."""


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array: what is moved has no dtype, so that every dtype can be moved."""
    if not array.flags.c_contiguous:
        raise ValueError(f"expected a contiguous array, got strides {array.strides} for shape {array.shape}")
    return array.reshape(-1).view(np.uint8)
