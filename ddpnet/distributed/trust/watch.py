"""Watch: compares the states of the ranks at every step of a loop, and stops or heals it when they differ."""

from __future__ import annotations

import numpy as np

from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.trust.desync import Desync, DesyncError, heal, locate
from ddpnet.distributed.trust.fingerprint import Fingerprint, same
from ddpnet.distributed.trust.seal import Seal
from ddpnet.nn.module import Module
from ddpnet.optim.optimizer import Optimizer

ON_DESYNC = ("stop", "heal")
"""What can be done when ranks differ."""


class Watch:
    """The fingerprints of a loop.

        watch.begin(step)                    # before the first forward of a step
        ...                                  # forward and backward
        word = watch.word()                  # goes to all ranks with the gradients, before they are used
        desync = watch.check(words)          # the words of all ranks
        if desync is not None:
            ...                              # forget the gradients; buffers as they were at the begin of the step
            note = watch.heal(desync)        # the step is computed again
        else:
            optimizer.step()
            watch.end()                      # with a ZeroRedundancyOptimizer

    The word belongs to the parameters from which the gradients came. So a rank that has lost a bit is found before its
    gradient is used, and a healed run has the bits of one that was never disturbed. With `every` above 1 only each
    such step is watched, and a heal comes too late for the steps before; with 0 none is. The state of a
    ZeroRedundancyOptimizer, which no other rank has, must be in the next step what it was at the `end` of the one
    before; it cannot be healed. ValueError for another `on_desync` than those of ON_DESYNC, or `every` below 0.
    """

    def __init__(
        self, module: Module, optimizer: Optimizer | None, comm: Communicator, on_desync: str = "stop", every: int = 1
    ) -> None:
        if on_desync not in ON_DESYNC:
            raise ValueError(f"on_desync: expected one of {', '.join(ON_DESYNC)}, got {on_desync!r}")
        if every < 0:
            raise ValueError(f"every: expected a number of steps, or 0 for never, got {every}")
        self._fingerprint, self._comm = Fingerprint(module, optimizer), comm
        self._seal = Seal(module, optimizer, comm) if isinstance(optimizer, ZeroRedundancyOptimizer) else None
        self._on_desync, self._every = on_desync, every
        self._step, self._watched, self._healed = 0, False, -1

    def begin(self, step: int) -> None:
        """Start a step."""
        self._step, self._watched = step, self._watches(step)
        if self._watched:
            self._fingerprint.begin()

    def word(self) -> int:
        """The word of this rank's state; 0 in a step that is not watched, and in a world of one."""
        return self._fingerprint.word() if self._watched else 0

    def end(self) -> None:
        """The optimizer has made its step."""
        if self._seal is not None:
            self._seal.close(needed=self._watches(self._step + 1))

    def _watches(self, step: int) -> bool:
        return self._comm.size > 1 and self._every > 0 and step % self._every == 0

    def check(self, words: np.ndarray) -> Desync | None:
        """None if the words (P,) of all ranks are equal; else which ranks are out of step, to be healed.

        DesyncError, on every rank, if the run is to stop, if it cannot be healed, or was healed in this very step; on
        this rank alone if its part of the state of a ZeroRedundancyOptimizer has changed.
        """
        if self._seal is not None:
            self._seal.check(self._step)
        if same(words):
            return None
        desync = locate(self._fingerprint, self._comm, self._step)
        if desync is None:
            raise ValueError(f"step {self._step}: expected the words of this step on every rank, got {words.tolist()}")
        if self._on_desync == "stop":
            raise DesyncError(str(desync), desync)
        refusal = desync.refusal()
        if self._healed == self._step:
            refusal = "it was healed in this step already, so the program does not do the same on every rank"
        if refusal is not None:
            raise DesyncError(f"{desync}; it cannot be healed: {refusal}", desync)
        return desync

    def heal(self, desync: Desync) -> str:
        """Give the odd ranks the state of the others, and return what to report; every rank calls it."""
        heal(desync, self._fingerprint, self._comm)
        self._healed = self._step
        late = ""
        if self._every > 1:
            late = (
                f"; up to {self._every} steps were computed with it, so the bits of the result are not those of an "
                "undisturbed run"
            )
        return f"{desync.found()}: healed with the state of rank {desync.reference}{late}"
