"""The world of one: a single process, without MPI."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ddpnet.distributed.transport.communicator import Communicator, Message, as_bytes


class SoloCommunicator(Communicator):
    """Rank 0 of 1: there is nobody to exchange anything with."""

    name = "solo"

    def __init__(self, timeout: float | None = None) -> None:
        super().__init__(0, [0], 1, timeout)
        self.hosts = [[0]]
        self._letters: list[tuple[int, np.ndarray]] = []

    def library(self) -> str:
        """Nothing carries messages."""
        return "not used"

    def exchange(
        self,
        sends: Sequence[Message],
        receives: Sequence[Message],
        what: str = "exchange",
        timeout: float | None = None,
    ) -> None:
        """ValueError for any message."""
        if sends or receives:
            raise ValueError(
                f"{what}: a world of one has no peers; got {len(sends)} sends and {len(receives)} receives"
            )

    def post(self, peer: int, array: np.ndarray, tag: int) -> Callable[[], bool]:
        """A letter to oneself is there at once; ValueError for another rank."""
        if peer != 0:
            raise ValueError(f"a world of one has no rank {peer} to send to")
        self._letters.append((tag, as_bytes(array).copy()))
        return lambda: True

    def take(self, peer: int | None, tag: int) -> tuple[int, Callable[[], np.ndarray | None]] | None:
        """The first letter to oneself with this tag."""
        for index, (its_tag, content) in enumerate(self._letters):
            if its_tag == tag:
                del self._letters[index]
                return 0, content.view  # the same bytes
        return None

    def share(self, nbytes: int) -> dict[int, np.ndarray]:
        """Memory of this process."""
        return {0: np.zeros(nbytes, np.uint8)}

    def subgroup(self, ranks: Sequence[int]) -> Communicator:
        """Another world of one; ValueError for ranks other than [0]."""
        self._agree_on(ranks, "subgroup")
        return SoloCommunicator(self.timeout)
