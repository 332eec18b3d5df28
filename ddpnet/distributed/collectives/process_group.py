"""Joining the other ranks, and leaving them; which rank this is; groups of some of them (`torch.distributed`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from ddpnet.distributed.collectives import groups
from ddpnet.distributed.collectives.availability import Backend
from ddpnet.distributed.collectives.groups import Group, GroupMember, ProcessGroup, find, is_initialized, using
from ddpnet.distributed.collectives.memory import fill, on_host
from ddpnet.distributed.collectives.work import seconds
from ddpnet.distributed.environment import launched_world, memory_is_shared
from ddpnet.distributed.transport import host_memory
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.transport.mpi import MPICommunicator
from ddpnet.distributed.transport.solo import SoloCommunicator
from ddpnet.nn.module import Module

__all__ = [
    "broadcast_state",
    "connect",
    "current",
    "destroy_process_group",
    "get_backend",
    "get_global_rank",
    "get_group_rank",
    "get_node_local_rank",
    "get_pg_count",
    "get_process_group_ranks",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_initialized",
    "new_group",
    "using",
]

_LOCAL_RANKS = (
    "LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "SLURM_LOCALID",
)


def connect(timeout: float | None = None) -> Communicator:
    """The world that the launcher started this process in: MPI, or a world of one that never imports MPI.

    `timeout` is how many seconds a rank waits for another one, now and later; by default as in `init_process_group`.
    InputError where there is no MPI, or where it sees another number of ranks than were launched.
    """
    launched = launched_world()
    kind = MPICommunicator if launched is not None and launched[1] > 1 else SoloCommunicator
    return kind(timeout)


def current() -> Communicator:
    """The communicator of the default group; ValueError before `init_process_group`."""
    return groups.world().groups[0].comm


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Join the other ranks. RuntimeError if it was called before.

    `backend` is "mpi", "gloo" or "nccl", which are all MPI here, and nothing at all in a world of one.

    What PyTorch needs for its rendezvous (init_method, rank, world_size, ...) comes from the launcher here: rank and
    world_size are compared with it, and must agree. `timeout` is how long a rank waits for another one: 30 s by
    default, or DDPNET_TIMEOUT seconds.
    """
    if is_initialized():
        raise RuntimeError("trying to initialize the default process group twice!")
    Backend(backend or "mpi")
    comm = connect(seconds(timeout))
    for name, given, have in (("world_size", world_size, comm.size), ("rank", rank, comm.rank)):
        if given not in (-1, have):
            raise ValueError(f"init_process_group: {name}={given}, but the launcher says {have}")
    groups.join(comm)


def destroy_process_group(group: Group = None) -> None:
    """Leave a group, or with the default group all: no collective may follow."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    world = groups.world("destroy_process_group")
    mine = find(group, "destroy_process_group")
    if mine is world.groups[0]:
        groups.leave()
    else:
        mine.close()
        world.groups.remove(mine)


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> ProcessGroup | int:
    """A group of some ranks, or of all; all ranks make the call, with the same list.

    GroupMember.NON_GROUP_MEMBER on those that are not in it. ValueError for ranks that do not exist, and for
    `use_local_synchronization`: MPI needs all ranks.
    """
    world = groups.world("new_group")
    everybody = world.groups[0]
    chosen: list[int] = []

    def check() -> str:
        if use_local_synchronization:
            raise ValueError("MPI backend doesn't support use_local_synchronization=True: call new_group on all ranks")
        Backend(backend or "mpi")
        seconds(timeout)
        chosen[:] = _check_ranks(ranks, everybody.size(), sort_ranks)
        return f"ranks {chosen}"

    made: list[Communicator | None] = []

    def act(what: str) -> list[Any]:
        made.append(everybody.comm.subgroup(chosen))
        return []

    everybody.call("new_group", check, act)
    name = str(world.count)
    world.count += 1
    comm = made[0]
    if comm is None:
        return GroupMember.NON_GROUP_MEMBER
    if timeout is not None:
        comm.timeout = timeout.total_seconds()
    group = ProcessGroup(comm, name, group_desc or "undefined")
    world.groups.append(group)
    return group


def _check_ranks(ranks: Sequence[int] | None, size: int, sort: bool) -> list[int]:
    """The ranks of a new group; ValueError for a list that is none."""
    chosen = list(range(size)) if ranks is None else sorted(ranks) if sort else list(ranks)
    if len(dict.fromkeys(chosen)) != len(chosen):
        raise ValueError(f"ranks list must not contain duplicate entries, got {chosen}")
    for rank in chosen:
        if not 0 <= rank < size:
            raise ValueError(f"Rank {rank} is out of range. Valid ranks are 0 to {size - 1} (world_size={size})")
    if not chosen:
        raise ValueError("new_group: expected at least one rank, got an empty list")
    return chosen


def get_rank(group: Group = None) -> int:
    """The number of this process in a group; -1 if it is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else find(group, "get_rank").rank()


def get_world_size(group: Group = None) -> int:
    """How many processes there are; -1 if this one is not in the group."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else find(group, "get_world_size").size()


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The number in a group of a rank of the world; ValueError if it is not in it."""
    return groups.group_rank(find(group, "get_group_rank"), "get_group_rank", global_rank, None)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The number in the world of a rank of a group; ValueError if there is no such rank."""
    mine = find(group, "get_global_rank")
    return mine.comm.members[groups.group_rank(mine, "get_global_rank", None, group_rank)]


def get_process_group_ranks(group: Group = None) -> list[int]:
    """The ranks of a group by their numbers in the world."""
    return list(find(group, "get_process_group_ranks").comm.members)


def get_pg_count() -> int:
    """How many groups this process is in."""
    return len(groups.world().groups)


def get_backend(group: Group = None) -> str:
    """What carries the messages: "mpi", or "solo" in a world of one. ValueError if this rank is not in the group."""
    if group == GroupMember.NON_GROUP_MEMBER:
        raise ValueError("Invalid process group specified")
    return find(group, "get_backend").name()


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The number of this process among those of its host: from LOCAL_RANK, the default group, or the MPI launcher."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if is_initialized() and host_memory.AVAILABLE and memory_is_shared():  # else `hosts` are no machines
        comm = current()
        return next(host.index(comm.rank) for host in comm.hosts if comm.rank in host)
    for name in _LOCAL_RANKS:
        if name in os.environ:
            return int(os.environ[name])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError(
        "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, "
        "assuming you are not running in a multi-device context and want the code to run locally instead."
    )


def broadcast_state(module: Module, comm: Communicator, root: int = 0) -> None:
    """Give every rank the parameters and buffers of `root`."""
    for tensor in (*module.parameters(), *module.buffers()):
        array = np.ascontiguousarray(on_host(tensor))
        comm.broadcast(array, root, "broadcast of the model")
        fill(tensor, array)
