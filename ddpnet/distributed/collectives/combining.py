"""What all ranks of a group do together (`torch.distributed`): sums, copies, meetings.

Ranks `src` and `dst` are numbers of the world, `group_src` and `group_dst` of the group. With `async_op` a call returns
a Work at once and runs beside the program; the calls of one group keep their order. If the ranks make different calls,
or with other shapes, dtypes or roots, every one of them gets a DistBackendError that says what differs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from ddpnet.distributed.collectives import reduction
from ddpnet.distributed.collectives.groups import Group, ProcessGroup, find, group_rank
from ddpnet.distributed.collectives.memory import check_tensor, check_tensors, fill, kind, on_host
from ddpnet.distributed.collectives.reduction import ReduceOp
from ddpnet.distributed.collectives.work import Work, seconds
from ddpnet.distributed.errors import ArgumentError
from ddpnet.distributed.step.tree import share, tree_all_reduce
from ddpnet.tensor import Tensor


def broadcast(
    tensor: Tensor,
    src: int | None = None,
    group: Group = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Fill the tensor on every rank with that of rank `src`."""
    mine = find(group, "broadcast")

    def check() -> str:
        check_tensor(tensor, "tensor")
        return f"{kind(tensor)} from rank {_member(mine, 'broadcast', src, group_src)}"

    def act(what: str) -> list[Tensor]:
        array = on_host(tensor)
        mine.comm.broadcast(array, group_rank(mine, "broadcast", src, group_src), what)
        if mine.size() > 1:
            fill(tensor, array)
        return [tensor]

    return mine.call("broadcast", check, act, async_op)


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None, async_op: bool = False) -> Work | None:
    """Combine the tensors of all ranks, in place on every rank, in the order of the fixed tree over the ranks."""
    mine = find(group, "all_reduce")

    def check() -> str:
        return _reducible(tensor, op)

    def act(what: str) -> list[Tensor]:
        comm = mine.comm
        leaf = (comm.rank, comm.rank + 1)
        (total,) = tree_all_reduce(comm, comm.size, [(leaf, [on_host(tensor)])], reduction.ufunc(op))
        fill(tensor, reduction.finish(op, total, comm.size))
        return [tensor]

    return mine.call("all_reduce", check, act, async_op)


def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: ReduceOp = ReduceOp.SUM,
    group: Group = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """Combine the tensors of all ranks into that of rank `dst`; the others keep theirs."""
    mine = find(group, "reduce")

    def check() -> str:
        return f"{_reducible(tensor, op)} to rank {_member(mine, 'reduce', dst, group_dst)}"

    def act(what: str) -> list[Tensor]:
        root = group_rank(mine, "reduce", dst, group_dst)
        total = _reduce_to(mine, on_host(tensor), op, root, what)
        if mine.rank() == root:
            fill(tensor, total)
        return [tensor]

    return mine.call("reduce", check, act, async_op)


def _reduce_to(group: ProcessGroup, flat: np.ndarray, op: ReduceOp, root: int, what: str) -> np.ndarray:
    """The result on rank `root`: every rank finishes one slice, and sends it there."""
    comm = group.comm
    peers = [peer for peer in range(comm.size) if peer != comm.rank]
    slices = [slice(*share(flat.size, comm.size, owner)) for owner in range(comm.size)]
    parts = [np.empty_like(flat[slices[comm.rank]]) for _ in range(comm.size)]
    parts[comm.rank] = flat[slices[comm.rank]]
    comm.exchange([(peer, flat[slices[peer]]) for peer in peers], [(peer, parts[peer]) for peer in peers], what)
    part = np.ascontiguousarray(reduction.combine(op, parts))
    if comm.rank != root:
        comm.exchange([(root, part)], [], what)
        return part
    total = np.empty_like(flat)
    total[slices[root]] = part
    comm.exchange([], [(peer, total[slices[peer]]) for peer in peers], what)
    return total


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False) -> Work | None:
    """Fill `tensor_list` with the tensors of all ranks, in the order of the ranks; all have one shape and dtype."""
    mine = find(group, "all_gather")

    def check() -> str:
        check_tensors(tensor_list, "tensor_list")
        check_tensor(tensor, "tensor")
        check_list(tensor_list, tensor, mine, "all_gather: tensor_list")
        return kind(tensor)

    def act(what: str) -> list[Tensor]:
        for target, array in zip(tensor_list, mine.comm.all_gather(on_host(tensor), what), strict=True):
            fill(target, array)
        return tensor_list

    return mine.call("all_gather", check, act, async_op)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Fill `output_tensor` with the tensors of all ranks, joined (P n, ...) or stacked (P, n, ...)."""
    mine = find(group, "all_gather_into_tensor")

    def check() -> str:
        check_tensor(output_tensor, "output_tensor")
        check_tensor(input_tensor, "input_tensor")
        check_dtypes(output_tensor, input_tensor)
        if output_tensor.array.size != mine.size() * input_tensor.array.size:
            raise ArgumentError(
                "output tensor size must be equal to world_size times input tensor size: expected "
                f"{mine.size()} x {input_tensor.array.size} elements, got {output_tensor.array.size}"
            )
        return kind(input_tensor)

    def act(what: str) -> list[Tensor]:
        fill(output_tensor, np.concatenate(mine.comm.all_gather(on_host(input_tensor), what)))
        return [output_tensor]

    return mine.call("all_gather_into_tensor", check, act, async_op)


all_gather_single = all_gather_into_tensor
"""PyTorch 2.13's name."""


def gather(
    tensor: Tensor,
    gather_list: list[Tensor] | None = None,
    dst: int | None = None,
    group: Group = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """Fill `gather_list` of rank `dst` (by default 0) with the tensors of all ranks; the others give no list."""
    mine = find(group, "gather")
    dst = 0 if dst is None and group_dst is None else dst

    def check() -> str:
        check_tensor(tensor, "tensor")
        root = group_rank(mine, "gather", dst, group_dst)
        if mine.rank() == root:
            if not gather_list:
                raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
            check_tensors(gather_list, "gather_list")
            check_list(gather_list, tensor, mine, "gather: gather_list")
        elif gather_list:
            raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
        return f"{kind(tensor)} to rank {mine.comm.members[root]}"

    def act(what: str) -> list[Tensor]:
        root, array = group_rank(mine, "gather", dst, group_dst), on_host(tensor)
        if mine.rank() != root:
            mine.comm.exchange([(root, array)], [], what)
            return []
        assert gather_list is not None
        arrays = [array if peer == root else np.empty_like(array) for peer in range(mine.size())]
        mine.comm.exchange([], [(peer, a) for peer, a in enumerate(arrays) if peer != root], what)
        for target, came in zip(gather_list, arrays, strict=True):
            fill(target, came)
        return gather_list

    return mine.call("gather", check, act, async_op)


def barrier(
    group: Group = None, async_op: bool = False, device_ids: Any = None, timeout: timedelta | None = None
) -> Work | None:
    """Return when every rank has come here: the agreement itself is the meeting. `device_ids` means nothing."""
    patience = seconds(timeout)
    return find(group, "barrier").call("barrier", lambda: "", lambda what: [], async_op, patience)


# What the arguments must be


def _reducible(tensor: Tensor, op: ReduceOp) -> str:
    check_tensor(tensor, "tensor")
    reduction.check(op, tensor.array)
    return f"{kind(tensor)} {op.name}"


def _member(group: ProcessGroup, operation: str, rank: int | None, number: int | None) -> int:
    """A root by its number in the world."""
    return group.comm.members[group_rank(group, operation, rank, number)]


def check_dtypes(*tensors: Tensor) -> None:
    """ValueError for tensors of several dtypes."""
    for tensor in tensors[1:]:
        if tensor.array.dtype != tensors[0].array.dtype:
            raise ValueError(
                f"Invalid usage of tensors with different dtypes: found {tensors[0].dtype} and {tensor.dtype}"
            )


def check_list(tensors: list[Tensor], like: Tensor, group: ProcessGroup, name: str) -> None:
    """ArgumentError unless there is one tensor a rank, of the shape of `like`; ValueError for another dtype."""
    if len(tensors) != group.size():
        raise ArgumentError(f"{name}: expected a list of {group.size()} tensors, one a rank, got {len(tensors)}")
    check_dtypes(like, *tensors)
    for rank, tensor in enumerate(tensors):
        if tensor.array.shape != like.array.shape:
            raise ArgumentError(f"{name}[{rank}]: expected shape {like.array.shape}, got {tensor.array.shape}")
