"""Shards that have to know of each other while they are computed: layers whose statistics are the global batch's.

A rank computes its shards one after the other, but such a layer needs all of them at the same place. So the shards of a
rank become threads that pass on a baton: one runs at a time, in the order of the shards, up to the next meeting. There
each gives an array, and all go on with the sum over the shards of all ranks, added in the order of the tree.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ddpnet import random
from ddpnet.autograd.autocast_mode import restored, snapshot
from ddpnet.autograd.grad_mode import mode
from ddpnet.distributed.collectives.groups import own_world, within
from ddpnet.distributed.step.tree import Span, halves, nodes_within, share
from ddpnet.distributed.transport.communicator import Communicator, Message
from ddpnet.nn.batchnorm import _BatchNorm
from ddpnet.nn.module import Module
from ddpnet.spans import span

Merge = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Combines the arrays of the two halves of a node, left and right."""


class Meeting(Protocol):
    """Where a layer gets what it needs of the other shards."""

    @property
    def weight(self) -> float:
        """The share of this shard's loss in the whole: its samples, or any number in proportion to them."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this shard is the one that changes buffers: one on each rank is, so that they change once."""
        ...

    def meet(self, values: np.ndarray, merge: Merge = np.add) -> np.ndarray:
        """Give an array, and get what all shards gave, merged in the order of the tree; it must not be written to."""
        ...


_crew = ThreadPoolExecutor(2**16, "shard")
"""Threads that wait for the next step, with the memory that kernels keep for each: as many as were ever needed."""


class _Here(threading.local):
    lockstep: Lockstep | None = None
    shard: int | None = None
    weight = 1.0


_here = _Here()


def current_shard() -> int | None:
    """The shard that this thread computes in a `Lockstep`; None outside."""
    return _here.shard


def current_lockstep() -> Lockstep | None:
    """The lockstep that this thread runs in; None outside."""
    return _here.lockstep


@contextmanager
def weighted(samples: float) -> Iterator[None]:
    """Inside, a rank's loss counts with this weight where ranks meet: what gradients will be weighted by."""
    before, _here.weight = _here.weight, float(samples)
    try:
        yield
    finally:
        _here.weight = before


class RankMeeting:
    """Each rank of a group is one shard."""

    leads = True

    def __init__(self, comm: Communicator) -> None:
        self._comm, self.weight = comm, _here.weight

    def meet(self, values: np.ndarray, merge: Merge = np.add) -> np.ndarray:
        """What all ranks gave, merged; see `Meeting`."""
        return _merged(self._comm, [True] * self._comm.size, {self._comm.rank: values}, merge)


class Lockstep:
    """One pass of this rank's shards, together with those of the other ranks.

        lockstep = Lockstep(comm, samples)   # the samples of each shard of the global batch: the same on every rank
        lockstep.run(compute)                # compute(shard), for each shard of this rank that has samples

    All shards have to come to the same meetings. The activations of all shards of a rank are alive at once.
    """

    def __init__(self, comm: Communicator, samples: Sequence[int]) -> None:
        self._comm, self._samples = comm, list(samples)
        self._present = [count > 0 for count in samples]
        self._shards = [s for s in range(*share(len(self._samples), comm.size, comm.rank)) if self._present[s]]
        self._baton = threading.Condition()
        self._turn: int | None = self._shards[0] if self._shards else None
        self._given: dict[int, np.ndarray] = {}
        self._ended: list[int] = []
        self._total = np.empty(0)
        self._error: BaseException | None = None

    def run(self, compute: Callable[[int], None]) -> None:
        """Call `compute` for each shard. It finds the caller's random numbers, grad mode, autocast and process group.

        The first error of a shard ends the others, and is raised.
        """
        if len(self._shards) < 2:
            for shard in self._shards:
                with self._place(shard):
                    compute(shard)
            return
        enter = _settings()
        with span("exchange"):
            running = [
                _crew.submit(contextvars.copy_context().run, self._run, shard, compute, enter) for shard in self._shards
            ]
        try:
            wait(running)
        except BaseException as error:  # a signal came: no shard waits for another any more
            self._fail(error)
            raise
        if self._error is not None:
            raise self._error

    # What layers ask for

    @property
    def weight(self) -> float:
        """The samples of the shard that is being computed."""
        return self._samples[self._own()]

    @property
    def leads(self) -> bool:
        """Whether the shard that is being computed is this rank's first."""
        return self._own() == self._shards[0]

    def meet(self, values: np.ndarray, merge: Merge = np.add) -> np.ndarray:
        """What all shards gave, merged; see `Meeting`. ValueError if a shard has ended that others wait for."""
        shard = self._own()
        with self._baton:
            self._given[shard] = values
            self._advance(merge)
            self._wait(shard)
            return self._total

    # The baton

    def _run(self, shard: int, compute: Callable[[int], None], enter: Callable[[], Any]) -> None:
        """A thread's life."""
        try:
            with self._baton:
                self._wait(shard)
            with enter(), self._place(shard):
                compute(shard)
            with self._baton:
                self._ended.append(shard)
                self._advance(np.add)
        except _Stopped:
            pass
        except BaseException as error:
            self._fail(error)

    def _advance(self, merge: Merge) -> None:
        """Pass the baton to the next shard that has neither come to the meeting nor ended; after the last, meet."""
        ahead = [s for s in self._shards if s not in self._given and s not in self._ended]
        if not ahead and self._given:
            if self._ended:
                raise ValueError(
                    f"rank {self._comm.rank}: shard {self._ended[0]} has ended, but shard {next(iter(self._given))} "
                    "waits for it in a layer that all shards have to go through (SyncBatchNorm)"
                )
            self._total = _merged(self._comm, self._present, self._given, merge)
            self._given, ahead = {}, self._shards
        if ahead:
            self._turn = ahead[0]
            self._baton.notify_all()

    def _wait(self, shard: int) -> None:
        while self._turn != shard and self._error is None:
            self._baton.wait()
        if self._error is not None:
            raise _Stopped

    def _fail(self, error: BaseException) -> None:
        with self._baton:
            self._error = self._error or error
            self._baton.notify_all()

    def _own(self) -> int:
        if _here.lockstep is not self or _here.shard is None:
            raise RuntimeError("Lockstep: this is no thread of one of its shards")
        return _here.shard

    @contextmanager
    def _place(self, shard: int) -> Iterator[None]:
        before = _here.lockstep, _here.shard
        _here.lockstep, _here.shard = self, shard
        try:
            yield
        finally:
            _here.lockstep, _here.shard = before


def needs_lockstep(module: Module, several: bool) -> bool:
    """Whether a layer needs the shards of all ranks at once, which its class says: `meets = True`.

    ValueError where a rank has `several` shards, and other layers would see these in turn.
    """
    layers = list(module.modules())
    if not any(getattr(layer, "meets", False) for layer in layers):
        return False
    if several and any(isinstance(layer, _BatchNorm) and not getattr(layer, "meets", False) for layer in layers):
        raise ValueError(
            "SyncBatchNorm beside BatchNorm needs one shard a rank: convert all of them by "
            "nn.SyncBatchNorm.convert_sync_batchnorm(module)"
        )
    return True


class _Stopped(Exception):
    """Ends a shard whose results nobody needs: another one has failed."""


def _settings() -> Callable[[], Any]:
    """A context manager that gives another thread what this one has set."""
    place, autocast = random.get_rng_state(), snapshot()
    switches = mode.enabled, mode.observer, mode.check_nan
    world = own_world()

    @contextmanager
    def enter() -> Iterator[None]:
        random.set_rng_state(place)
        mode.enabled, mode.observer, mode.check_nan = switches
        with restored(autocast), within(world):
            yield

    return enter


def _merged(comm: Communicator, present: Sequence[bool], given: dict[int, np.ndarray], merge: Merge) -> np.ndarray:
    """What all shards that are present have given, on each rank that has one: one exchange of the ranks' nodes."""
    shards = len(present)
    leaves: dict[Span, np.ndarray] = {(shard, shard + 1): values for shard, values in given.items()}
    mine = _nodes(comm, present, comm.rank)
    known = {node: _finish(node, leaves, merge) for node in mine}
    theirs = {peer: _nodes(comm, present, peer) for peer in range(comm.size) if peer != comm.rank}
    (like, *_) = given.values()
    inbox = {peer: np.empty((len(nodes), *like.shape), like.dtype) for peer, nodes in theirs.items() if nodes}
    outgoing = np.stack([known[node] for node in mine])  # type: ignore[misc]
    sends: list[Message] = [(peer, outgoing) for peer in inbox]
    comm.exchange(sends, list(inbox.items()), what="the statistics of the global batch")
    for peer, came in inbox.items():
        known.update(zip(theirs[peer], came, strict=True))
    total = np.asarray(_finish((0, shards), known, merge))
    total.flags.writeable = False  # all shards of a rank get the same array
    return total


def _nodes(comm: Communicator, present: Sequence[bool], rank: int) -> list[Span]:
    """The nodes of the tree that a rank sums up, without those of which no shard is present."""
    held = share(len(present), comm.size, rank)
    return [node for node in nodes_within(held, (0, len(present))) if any(present[slice(*node)])]


def _finish(node: Span, known: dict[Span, Any], merge: Merge) -> np.ndarray | None:
    """What a node's shards gave, merged, from the nodes below it that are known; None if no shard is present."""
    if node in known:
        return known[node]
    if node[1] - node[0] == 1:
        return None
    left, right = (_finish(half, known, merge) for half in halves(node))
    return right if left is None else left if right is None else merge(left, right)
