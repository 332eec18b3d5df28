"""Before the ranks of a group act together, each says what it is about to do: a difference ends the call on every rank.

A word of 256 bytes goes to every rank. Equal words cost some microseconds; different ones are printed as a difference,
before any of them meets the memory of a tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport.communicator import Communicator

WORD_BYTES = 256
_DIGEST_BYTES = 16
_REFUSED = "!"


class Agreement:
    """Counts the calls of a group, and compares them."""

    def __init__(self, comm: Communicator, group: str) -> None:
        self._comm, self._group = comm, group
        self._calls = 0
        self._unread = 0

    def name(self, operation: str) -> str:
        """How messages name the next call of the group."""
        return f"{operation} (call {self._calls + 1} of {self._group})"

    def reach(self, operation: str, details: str = "", timeout: float | None = None) -> str:
        """Return the name of the call when all ranks have come to it, with the same operation and details.

        DistBackendError on every rank if one of them does something else.
        """
        what = self.name(operation)
        self._calls += 1
        if self._comm.size == 1:
            return what
        mine = self._word(f"{operation}|{details}")
        theirs = self._swap(mine, what, timeout)
        if any(word != mine for word in theirs):
            raise DistBackendError(f"{self._comm.place()}: {what}: {self._difference(theirs)}")
        return what

    def refuse(self, operation: str, error: Exception) -> None:
        """Tell the others that this rank will not take part: its arguments were wrong. It does not wait for them."""
        what = self.name(operation)
        self._calls += 1
        if self._comm.size > 1:
            word = np.frombuffer(self._word(f"{operation}|{_REFUSED}{type(error).__name__}: {error}"), np.uint8)
            self._comm.exchange([(peer, word) for peer in self._peers()], [], what)
            self._unread += 1

    def _peers(self) -> list[int]:
        return [peer for peer in range(self._comm.size) if peer != self._comm.rank]

    def _swap(self, mine: bytes, what: str, timeout: float | None) -> list[bytes]:
        """The words of all ranks; those of calls that this rank refused are read, too, and left."""
        words = np.zeros((self._comm.size, self._unread + 1, WORD_BYTES), np.uint8)
        words[self._comm.rank, -1] = sent = np.frombuffer(mine, np.uint8)
        receives = [(peer, words[peer, turn]) for peer in self._peers() for turn in range(self._unread + 1)]
        self._unread = 0
        self._comm.exchange([(peer, sent) for peer in self._peers()], receives, what, timeout)
        return [word.tobytes() for word in words[:, -1]]

    def _word(self, text: str) -> bytes:
        """The number of the call, a digest of the text, and as much of it as there is room for."""
        letters = text.encode()
        number = self._calls.to_bytes(8, "little")
        return (number + hashlib.sha256(letters).digest()[:_DIGEST_BYTES] + letters).ljust(WORD_BYTES, b"\0")[
            :WORD_BYTES
        ]

    def _difference(self, words: list[bytes]) -> str:
        """What rank 0 does, and the first rank that does something else."""
        other = next(rank for rank, word in enumerate(words) if word != words[0])
        calls = [int.from_bytes(words[rank][:8], "little") for rank in (0, other)]
        texts = [words[rank][8 + _DIGEST_BYTES :].rstrip(b"\0").decode(errors="ignore") for rank in range(len(words))]
        for rank, text in enumerate(texts):
            operation, _, details = text.partition("|")
            if details.startswith(_REFUSED):
                return f"rank {self._comm.members[rank]} called {operation} with wrong arguments: {details[1:]}"
        (first, _, here), (second, _, there) = (texts[rank].partition("|") for rank in (0, other))
        names = [f"rank {self._comm.members[rank]}" for rank in (0, other)]
        if first != second:
            found = f"{names[1]} called {second} where {names[0]} called {first}"
        elif here != there:
            found = f"{names[0]} has {here}, {names[1]} has {there}"
        else:
            found = f"this is call {calls[1]} of {names[1]}, call {calls[0]} of {names[0]}"
        return f"{found}: all ranks have to make the same calls in the same order"


def checked(agreement: Agreement, operation: str, check: Callable[[], str]) -> str:
    """The details of a call, from a check of its arguments; an error there is told to all ranks, and raised."""
    try:
        return check()
    except Exception as error:
        agreement.refuse(operation, error)
        raise
