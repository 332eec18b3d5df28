"""The world of this process, and collectives on tensors for users' own loops (`torch.distributed`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import numpy as np

from ddpnet.backend import array_module, host
from ddpnet.distributed.communicator import Communicator
from ddpnet.distributed.environment import launched_world
from ddpnet.distributed.mpi import MPICommunicator
from ddpnet.distributed.solo import SoloCommunicator
from ddpnet.distributed.tree import tree_all_reduce
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor

BACKENDS = ("mpi", "gloo", "nccl")
"""What `init_process_group` accepts; all of them are MPI, or nothing at all in a world of one."""


class ReduceOp(Enum):
    """How `all_reduce` combines the tensors of the ranks."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"


_UFUNCS = {
    ReduceOp.SUM: np.add,
    ReduceOp.AVG: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
}


class Work:
    """A collective that has ended: what `async_op=True` returns."""

    def wait(self) -> bool:
        """True: the result is there."""
        return True

    def is_completed(self) -> bool:
        """True."""
        return True


_process: list[Communicator] = []
_thread = threading.local()


def connect() -> Communicator:
    """The world that the launcher started this process in: MPI, or a world of one that never imports MPI.

    InputError where there is no MPI, or where it sees another number of ranks than were launched.
    """
    launched = launched_world()
    return MPICommunicator() if launched is not None and launched[1] > 1 else SoloCommunicator()


def init_process_group(backend: str | None = None, **options: Any) -> None:
    """Join the other ranks; `backend` is one of BACKENDS or left out. RuntimeError if it was called before.

    What PyTorch needs for its rendezvous (init_method, rank, world_size, ...) comes from the launcher here: rank and
    world_size are compared with it, and must agree.
    """
    if is_initialized():
        raise RuntimeError("trying to initialize the default process group twice!")
    names = (backend or "mpi").lower().replace("cpu:", "").replace("cuda:", "").split(",")
    for name in names:
        if name not in BACKENDS:
            raise ValueError(f"Invalid backend: '{backend}'; expected one of {', '.join(BACKENDS)}")
    unknown = set(options) - {"init_method", "timeout", "world_size", "rank", "store", "device_id", "group_name"}
    if unknown:
        raise TypeError(f"init_process_group() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    comm = connect()
    for name, have in (("world_size", comm.size), ("rank", comm.rank)):
        if options.get(name, -1) not in (-1, have):
            raise ValueError(f"init_process_group: {name}={options[name]}, but the launcher says {have}")
    _process.append(comm)


def destroy_process_group(group: None = None) -> None:
    """Leave the world: no collective may follow."""
    current().close()
    _process.clear()


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return bool(_process) or getattr(_thread, "comm", None) is not None


def current() -> Communicator:
    """The communicator of the default group; ValueError before `init_process_group`."""
    comm: Communicator | None = getattr(_thread, "comm", None)
    if comm is None and not _process:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return comm or _process[0]


@contextmanager
def using(comm: Communicator) -> Iterator[None]:
    """Let `comm` be the default group of this thread: how a test gives threads ranks."""
    before = getattr(_thread, "comm", None)
    _thread.comm = comm
    try:
        yield
    finally:
        _thread.comm = before


def get_rank(group: None = None) -> int:
    """The number of this process."""
    return current().rank


def get_world_size(group: None = None) -> int:
    """How many processes there are."""
    return current().size


def get_backend(group: None = None) -> str:
    """What carries the messages: "mpi", or "solo" in a world of one."""
    return current().name


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: None = None, async_op: bool = False) -> Work | None:
    """Combine the tensors of all ranks, in place on every rank, in the order of the fixed tree over the ranks."""
    comm = current()
    array = np.ascontiguousarray(host(tensor.array)).reshape(-1)
    leaf = (comm.rank, comm.rank + 1)
    (total,) = tree_all_reduce(comm, comm.size, [(leaf, [array])], _UFUNCS[op])
    if op is ReduceOp.AVG:
        total = total / comm.size
    _fill(tensor, total)
    return Work() if async_op else None


def broadcast(tensor: Tensor, src: int, group: None = None, async_op: bool = False) -> Work | None:
    """Fill the tensor on every rank with that of rank `src`."""
    comm = current()
    if not 0 <= src < comm.size:
        raise ValueError(f"broadcast: expected src from 0 to {comm.size - 1}, got {src}")
    array = np.ascontiguousarray(host(tensor.array))
    comm.broadcast(array, src)
    _fill(tensor, array)
    return Work() if async_op else None


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: None = None, async_op: bool = False) -> Work | None:
    """Fill `tensor_list` with the tensors of all ranks, in the order of the ranks."""
    comm = current()
    if len(tensor_list) != comm.size:
        raise ValueError(f"all_gather: expected a list of {comm.size} tensors, got {len(tensor_list)}")
    for target, array in zip(tensor_list, comm.all_gather(host(tensor.array)), strict=True):
        _fill(target, array)
    return Work() if async_op else None


def barrier(group: None = None, async_op: bool = False, device_ids: Any = None) -> Work | None:
    """Return when every rank has come here."""
    current().barrier()
    return Work() if async_op else None


def broadcast_state(module: Module, comm: Communicator, root: int = 0) -> None:
    """Give every rank the parameters and buffers of `root`."""
    for tensor in (*module.parameters(), *module.buffers()):
        array = np.ascontiguousarray(host(tensor.array))
        comm.broadcast(array, root)
        _fill(tensor, array)


def _fill(tensor: Tensor, values: np.ndarray) -> None:
    xp = array_module(tensor.array)
    tensor.array[...] = xp.asarray(values.reshape(tensor.array.shape), tensor.array.dtype)
    tensor.changed()
