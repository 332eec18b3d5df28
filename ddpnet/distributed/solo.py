"""The world of one: a single process, without MPI."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddpnet.distributed.communicator import Communicator, Message


class SoloCommunicator(Communicator):
    """Rank 0 of 1: there is nobody to exchange anything with."""

    name, rank, size = "solo", 0, 1

    def library(self) -> str:
        """Nothing carries messages."""
        return "not used"

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """ValueError for any message."""
        if sends or receives:
            raise ValueError(f"a world of one has no peers; got {len(sends)} sends and {len(receives)} receives")

    def broadcast(self, array: np.ndarray, root: int) -> None:
        """The array is there already; ValueError for a root other than 0."""
        if root != 0:
            raise ValueError(f"broadcast: expected root 0 in a world of one, got {root}")
