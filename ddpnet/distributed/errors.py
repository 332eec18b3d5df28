"""What can go wrong between ranks: PyTorch's classes, and one that names the peers from which nothing came."""

from __future__ import annotations


class DistError(RuntimeError):
    """The base of the errors of `distributed`."""


class DistBackendError(DistError):
    """A message did not get through, or the ranks did not agree; it says which rank, which call, and what to do."""


class PeerTimeoutError(DistBackendError, TimeoutError):
    """Nothing came from `peers` (by their numbers in the world) before the deadline, or they have failed."""

    def __init__(self, message: str, peers: list[int]) -> None:
        super().__init__(message)
        self.peers = peers


class ArgumentError(DistError, ValueError):
    """An argument that does not fit the group: a RuntimeError to those who know Gloo, a ValueError to those of NCCL."""


class DistNetworkError(DistError):
    """PyTorch's error of its rendezvous; never raised here, so that programs can catch it."""


class DistStoreError(DistError):
    """PyTorch's error of its key-value store; never raised here."""
