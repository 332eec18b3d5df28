"""Everything that crosses ranks (`torch.distributed`)."""

from ddpnet.distributed.communicator import Communicator
from ddpnet.distributed.process_group import (
    ReduceOp,
    Work,
    all_gather,
    all_reduce,
    barrier,
    broadcast,
    broadcast_state,
    connect,
    destroy_process_group,
    get_backend,
    get_rank,
    get_world_size,
    init_process_group,
    is_available,
    is_initialized,
)
from ddpnet.distributed.reducer import Reducer

__all__ = [
    "Communicator",
    "ReduceOp",
    "Reducer",
    "Work",
    "all_gather",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_state",
    "connect",
    "destroy_process_group",
    "get_backend",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
]
