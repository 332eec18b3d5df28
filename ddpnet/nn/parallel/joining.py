"""What a DistributedDataParallel does in a Join, once its rank has run out of inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddpnet.distributed.algorithms.join import JoinHook
from ddpnet.distributed.transport.communicator import Communicator


class Shadow(JoinHook):
    """`step` takes part in one exchange of the others; `take_from(rank)` takes the weights of a rank."""

    def __init__(self, comm: Communicator, step: Callable[[], None], take_from: Callable[[int], None]) -> None:
        self._comm, self._step, self._take_from = comm, step, take_from

    def main_hook(self) -> None:
        """One exchange, to which this rank gives nothing."""
        self._step()

    def post_hook(self, is_last_joiner: bool) -> None:
        """All ranks take what the highest of the last ones has."""
        if self._comm.size > 1:
            mine = np.array([self._comm.rank if is_last_joiner else -1])
            self._take_from(max(int(rank[0]) for rank in self._comm.all_gather(mine, "join")))
