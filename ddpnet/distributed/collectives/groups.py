"""ProcessGroup: some of the ranks, with what their calls need; and which groups this process, or thread, is in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ddpnet.distributed.collectives.agreement import Agreement
from ddpnet.distributed.collectives.letters import Letterbox
from ddpnet.distributed.collectives.work import Line, Work
from ddpnet.distributed.errors import ArgumentError
from ddpnet.distributed.transport.communicator import Communicator


class ProcessGroup:
    """Ranks that act together (`torch.distributed.ProcessGroup`); made by `init_process_group` and `new_group`."""

    def __init__(self, comm: Communicator, group_name: str, group_desc: str) -> None:
        self.comm, self.group_name, self.group_desc = comm, group_name, group_desc
        label = "the default group" if group_desc == "default_pg" else f"group {group_name} of ranks {comm.members}"
        self.agreement = Agreement(comm, label)
        self.letters = Letterbox(comm, label)
        self._line = Line(label)
        self.monitored = 0
        self._open = True

    def rank(self) -> int:
        """The number of this process in the group."""
        return self.comm.rank

    def size(self) -> int:
        """How many ranks it has."""
        return self.comm.size

    def name(self) -> str:
        """What carries its messages."""
        return self.comm.name

    @property
    def timeout(self) -> timedelta:
        """How long a rank waits for another one."""
        return timedelta(seconds=self.comm.timeout)

    def call(
        self,
        operation: str,
        check: Callable[[], str],
        act: Callable[[str], list[Any]],
        async_op: bool = False,
        timeout: float | None = None,
    ) -> Work | None:
        """Check the arguments, agree with the other ranks on what `check` says of them, then act.

        `act` gets the name of the call, and returns the tensors with the result. An error of the check is told to
        the other ranks, so that none of them waits.
        """
        self.check_open(operation)
        try:
            details = check()
        except Exception as error:
            refusal = error
            self._line.run(operation, lambda: self.agreement.refuse(operation, refusal), beside=False)
            raise
        return self._line.run(
            operation, lambda: act(self.agreement.reach(operation, details, timeout)), beside=async_op
        )

    def check_open(self, operation: str) -> None:
        """ValueError after `destroy_process_group`."""
        if not self._open:
            raise ValueError(
                f"{operation}: group {self.group_name} has been destroyed: call destroy_process_group after the last "
                "collective, or make a new group (init_process_group, new_group)"
            )

    def finish(self) -> None:
        """Wait for the end of what runs beside the program; no call may follow."""
        self._open = False
        self._line.close()
        self.letters.close()

    def close(self) -> None:
        """`finish`, and give back the communicator."""
        if self._open:
            self.finish()
            self.comm.close()

    def __repr__(self) -> str:
        return f"<ddpnet.distributed.ProcessGroup {self.group_name}: rank {self.rank()} of ranks {self.comm.members}>"


class World:
    """The groups of a process, or of a thread that stands for a rank; the default group is the first."""

    def __init__(self, comm: Communicator) -> None:
        self.groups = [ProcessGroup(comm, "0", "default_pg")]
        self.count = 1

    def close(self) -> None:
        """Close all groups, the last first."""
        for group in reversed(self.groups):
            group.close()


_process: list[World] = []
_left: list[str] = []
"""Which rank this process was, as messages name it, once it has destroyed its default group."""
_thread = threading.local()


def world(operation: str = "the call") -> World:
    """The groups of this thread; ValueError before `init_process_group`."""
    mine = own_world()
    if mine is None and not _process:
        destroyed = f" {operation}: {_left[-1]} has called destroy_process_group before." if _left else ""
        raise ValueError(
            f"Default process group has not been initialized, please make sure to call init_process_group.{destroyed}"
        )
    return mine or _process[0]


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return bool(_process) or own_world() is not None


def join(comm: Communicator) -> None:
    """Let `comm` be the default group of this process."""
    _process.append(World(comm))


def leave() -> None:
    """There is no default group any more."""
    _left[:] = [world().groups[0].comm.place()]
    world().close()
    _process.clear()


@contextmanager
def using(comm: Communicator) -> Iterator[None]:
    """Let `comm` be the default group of this thread: how a test gives threads ranks."""
    world = World(comm)
    try:
        with within(world):
            yield
    finally:
        for group in reversed(world.groups):
            group.finish()


def own_world() -> World | None:
    """The groups that `using` gave this thread; None where it has those of the process."""
    return getattr(_thread, "world", None)


@contextmanager
def within(world: World | None) -> Iterator[None]:
    """Let this thread have the groups of another one, which stands for the same rank; see `own_world`."""
    before, _thread.world = own_world(), world
    try:
        yield
    finally:
        _thread.world = before


class _Groups(type):
    """What `group.WORLD` is changes with `init_process_group`."""

    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The default group; None before `init_process_group`."""
        return world().groups[0] if is_initialized() else None


class group(metaclass=_Groups):
    """`group.WORLD` is the default group."""


class GroupMember(metaclass=_Groups):
    """What `new_group` returns on ranks that are not in the group."""

    NON_GROUP_MEMBER = -100


Group = ProcessGroup | int | None
"""A group argument: None is the default group, an int is GroupMember.NON_GROUP_MEMBER."""


def find(given: Group, operation: str) -> ProcessGroup:
    """The group of an argument.

    ArgumentError on a rank that is not in it: PyTorch warns and does nothing, and the program goes on with numbers that
    were never exchanged.
    """
    if given is None:
        return world(operation).groups[0]
    if isinstance(given, ProcessGroup):
        given.check_open(operation)
        return given
    if given == GroupMember.NON_GROUP_MEMBER:
        here = world().groups[0]
        raise ArgumentError(
            f"{operation}: rank {here.rank()} of {here.size()} does not belong to the given group: make the call on "
            "the ranks of the group only (where get_rank(group) is not -1)"
        )
    raise TypeError(f"{operation}: expected a ProcessGroup or None, got {type(given).__name__}")


def group_rank(group: ProcessGroup, operation: str, rank: int | None, number: int | None) -> int:
    """The place in the group of a rank that is given by its number in the world or in the group."""
    if number is not None:
        if rank is not None:
            raise ValueError("Can't specify both group_rank and global_rank")
        if not 0 <= number < group.size():
            raise ArgumentError(f"{operation}: Group rank {number} is not part of group {group}")
        return number
    if rank is None:
        raise ValueError("Must specify global_rank or group_rank")
    if rank not in group.comm.members:
        raise ArgumentError(f"{operation}: Global rank {rank} is not part of group {group}")
    return group.comm.members.index(rank)
