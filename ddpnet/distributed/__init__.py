"""Everything that crosses ranks (`torch.distributed`)."""

import sys

from ddpnet.alias import missing
from ddpnet.distributed import nn
from ddpnet.distributed.collectives.availability import (
    Backend,
    is_available,
    is_backend_available,
    is_gloo_available,
    is_mpi_available,
    is_nccl_available,
    is_torchelastic_launched,
    is_ucc_available,
    is_xccl_available,
)
from ddpnet.distributed.collectives.barriers import monitored_barrier
from ddpnet.distributed.collectives.coalesced import all_gather_coalesced, all_reduce_coalesced
from ddpnet.distributed.collectives.combining import (
    all_gather,
    all_gather_into_tensor,
    all_gather_single,
    all_reduce,
    barrier,
    broadcast,
    gather,
    reduce,
)
from ddpnet.distributed.collectives.groups import GroupMember, ProcessGroup, group
from ddpnet.distributed.collectives.objects import (
    all_gather_object,
    broadcast_object_list,
    gather_object,
    recv_object_list,
    scatter_object_list,
    send_object_list,
)
from ddpnet.distributed.collectives.point_to_point import P2POp, batch_isend_irecv, irecv, isend, recv, send
from ddpnet.distributed.collectives.process_group import (
    broadcast_state,
    connect,
    destroy_process_group,
    get_backend,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_pg_count,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    init_process_group,
    is_initialized,
    new_group,
)
from ddpnet.distributed.collectives.reduction import ReduceOp
from ddpnet.distributed.collectives.scattering import (
    all_to_all,
    all_to_all_single,
    reduce_scatter,
    reduce_scatter_single,
    reduce_scatter_tensor,
    scatter,
)
from ddpnet.distributed.collectives.subgroups import new_subgroups, new_subgroups_by_enumeration
from ddpnet.distributed.collectives.work import Future, Work
from ddpnet.distributed.errors import (
    ArgumentError,
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    PeerTimeoutError,
)
from ddpnet.distributed.step.grad_bucket import GradBucket
from ddpnet.distributed.step.reducer import Reducer
from ddpnet.distributed.transport.communicator import Communicator

__all__ = [
    "ArgumentError",
    "Backend",
    "Communicator",
    "DistBackendError",
    "DistError",
    "DistNetworkError",
    "DistStoreError",
    "Future",
    "GradBucket",
    "GroupMember",
    "P2POp",
    "PeerTimeoutError",
    "ProcessGroup",
    "ReduceOp",
    "Reducer",
    "Work",
    "all_gather",
    "all_gather_coalesced",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_gather_single",
    "all_reduce",
    "all_reduce_coalesced",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "batch_isend_irecv",
    "broadcast",
    "broadcast_object_list",
    "broadcast_state",
    "connect",
    "destroy_process_group",
    "gather",
    "gather_object",
    "get_backend",
    "get_global_rank",
    "get_group_rank",
    "get_node_local_rank",
    "get_pg_count",
    "get_process_group_ranks",
    "get_rank",
    "get_world_size",
    "group",
    "init_process_group",
    "irecv",
    "is_available",
    "is_backend_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
    "is_ucc_available",
    "is_xccl_available",
    "isend",
    "monitored_barrier",
    "new_group",
    "new_subgroups",
    "new_subgroups_by_enumeration",
    "nn",
    "recv",
    "recv_object_list",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_single",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
    "send",
    "send_object_list",
]

missing.explain(sys.modules[__name__], "torch.distributed")
