"""Desync: ranks whose states differ, which they are, in what, and how they are given the state of the others."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.backend import array_module, host
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.trust.fingerprint import Fingerprint
from ddpnet.errors import InputError

FLIPPED = (
    "a bit has flipped in memory, or the program does not do the same on every rank; go on from the last checkpoint, "
    "and if it comes again from the same rank, have the memory of its host looked at"
)
"""The likely cause, and what to do."""
_SHOWN = 4
"""Names in a message; it tells how many more there are."""


class DesyncError(DistBackendError, InputError):
    """The states of ranks differ; `desync` says which and in what."""

    def __init__(self, message: str, desync: Desync) -> None:
        super().__init__(message)
        self.desync = desync


@dataclass(frozen=True)
class Desync:
    """Ranks that are out of step, by their numbers in the world.

    `groups` has the ranks by what they have. If one group is the largest, its first rank is the `reference`, and `odd`
    are the ranks outside; otherwise nobody can tell who is right, `reference` is None, and `odd` are all ranks.
    `names` tells what differs. `program` is empty, or says what shows that it is not a matter of bits in memory.
    """

    step: int | None
    groups: list[list[int]]
    reference: int | None
    odd: list[int]
    names: dict[int, list[str]]
    hosts: dict[int, str]
    program: str

    def __str__(self) -> str:
        return f"{self.found()}: {self._cause()}"

    def found(self) -> str:
        """Which ranks differ in what, without a cause and a remedy."""
        when = "" if self.step is None else f"step {self.step}: "
        if self.reference is None:
            sides = " and ".join(_ranks(group) for group in self.groups)
            names = list(dict.fromkeys(name for rank in self.odd for name in self.names[rank]))
            return f"{when}{sides} differ in {listed(names)}, and cannot tell which of them is right"
        size = sum(map(len, self.groups))
        return when + "; ".join(
            f"rank {rank} of {size} (on {self.hosts[rank]}) differs from the other ranks in {listed(self.names[rank])}"
            for rank in self.odd
        )

    def _cause(self) -> str:
        if self.program:
            return f"{self.program}, so the program does not do the same on every rank"
        return FLIPPED

    def refusal(self) -> str | None:
        """Why the odd ranks cannot be given the state of the others; None if they can."""
        if self.reference is None:
            return "two ranks have no majority" if len(self.odd) == 2 else "no state is that of most ranks"
        return self.program or None


def locate(fingerprint: Fingerprint, comm: Communicator, step: int | None = None) -> Desync | None:
    """Which ranks had another last word, and in what they differ; None if all had the same. Every rank calls it."""
    words = [int(array[0]) for array in comm.all_gather(np.array([fingerprint.last], np.uint64), "desync")]
    groups: dict[int, list[int]] = {}
    for rank, word in enumerate(words):
        groups.setdefault(word, []).append(rank)
    if len(groups) == 1:
        return None
    mine = json.dumps(fingerprint.parts())
    parts = {ranks[0]: json.loads(comm.broadcast_text(mine, ranks[0], "desync")) for ranks in groups.values()}
    return _described(comm, list(groups.values()), parts, _nodes(comm), step)


def _nodes(comm: Communicator) -> list[str]:
    """The name of each rank's host."""
    name = np.zeros(64, np.uint8)
    letters = platform.node().encode()[: len(name)]
    name[: len(letters)] = np.frombuffer(letters, np.uint8)
    return [array.tobytes().rstrip(b"\0").decode(errors="replace") for array in comm.all_gather(name, "desync")]


def _described(
    comm: Communicator, groups: list[list[int]], parts: dict[int, dict[str, Any]], nodes: list[str], step: int | None
) -> Desync:
    """From the groups of ranks that have the same, the largest of which is right, and what the first of each has."""
    largest = max(groups, key=len)  # of several, that of the lowest rank
    clear = [len(group) for group in groups].count(len(largest)) == 1
    ours, program = parts[largest[0]], ""
    different: dict[int, list[str]] = {}
    for group in groups:
        theirs = parts[group[0]]
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        program = program or _program(names, ours, theirs)
        if not (clear and group is largest):
            different |= dict.fromkeys(group, names)
    member = comm.members
    return Desync(
        step=step,
        groups=[[member[rank] for rank in group] for group in groups],
        reference=member[largest[0]] if clear else None,
        odd=[member[rank] for rank in sorted(different)],
        names={member[rank]: names for rank, names in different.items()},
        hosts={member[rank]: node for rank, node in enumerate(nodes)},
        program=program,
    )


def _program(names: list[str], ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """A tensor that only one side has, or another number, such as a learning rate: copies of bits do not mend that."""
    for name in names:
        if (name in ours) != (name in theirs):
            return f"{name} is not there on every rank"
        if isinstance(ours[name], str):
            return f"{name} is {theirs[name]} instead of {ours[name]}"
    return ""


def heal(desync: Desync, fingerprint: Fingerprint, comm: Communicator) -> None:
    """Give the odd ranks the parameters, buffers and optimizer state of the reference; every rank calls it.

    DesyncError, on every rank, where that cannot be done. What was computed from the state before is still wrong.
    """
    refusal = desync.refusal()
    if refusal is not None or desync.reference is None:
        raise DesyncError(f"{desync}; the state of other ranks cannot be taken: {refusal}", desync)
    root, odd = comm.members.index(desync.reference), comm.members[comm.rank] in desync.odd
    for entry in fingerprint.tensors():
        array = entry.tensor.array
        values = np.array(host(array), order="C")
        comm.broadcast(values, root, "heal")
        if odd:
            array[...] = array_module(array).asarray(values)
            entry.tensor.changed()


def _ranks(group: list[int]) -> str:
    return f"rank {group[0]}" if len(group) == 1 else f"ranks {', '.join(map(str, group))}"


def listed(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
