"""Seal: what only one rank has, its part of the optimizer's state (ZeRO), may not change between two steps.

No other rank can compare it. So its words at the end of a step are compared with those when the next gradients are
there, before it is used again.
"""

from __future__ import annotations

import platform

from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.trust.desync import FLIPPED, Desync, DesyncError, listed
from ddpnet.distributed.trust.fingerprint import Words
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor


class Seal:
    """The words of this rank's part of an optimizer's state, for the parameters of a module."""

    def __init__(self, module: Module, optimizer: ZeroRedundancyOptimizer, comm: Communicator) -> None:
        self._names = {id(p): name for name, p in module.named_parameters()}
        self._optimizer, self._comm = optimizer, comm
        self._words, self._sealed = Words(), dict[str, int]()

    def close(self, needed: bool) -> None:
        """The optimizer has made its step: keep the words, if they are `needed`."""
        self._sealed = self._now() if needed else {}

    def check(self, step: int) -> None:
        """DesyncError, on this rank alone, if the state is not what it was."""
        if not self._sealed:
            return
        names = [name for name, word in self._now().items() if self._sealed.get(name) != word]
        if names:
            me, host = self._comm.members[self._comm.rank], platform.node()
            raise DesyncError(
                f"step {step}: {self._comm.place()} (on {host}): {listed(names)} changed since the step before, and no "
                f"other rank has it (ZeRO): {FLIPPED}",
                Desync(step, [[me]], None, [me], {me: names}, {me: host}, ""),
            )

    def _now(self) -> dict[str, int]:
        tensors = {
            f"{key} of {self._names.get(id(parameter), 'a parameter')}": value.array
            for parameter, state in self._optimizer.local_state()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }
        return dict(zip(tensors, self._words([*tensors.values()]).tolist(), strict=True))
