"""Collectives that give each rank its own part: scatter, reduce_scatter, all_to_all (`torch.distributed`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddpnet.distributed.collectives import reduction
from ddpnet.distributed.collectives.combining import check_dtypes, check_list
from ddpnet.distributed.collectives.groups import Group, ProcessGroup, find, group_rank
from ddpnet.distributed.collectives.memory import check_tensor, check_tensors, fill, kind, on_host
from ddpnet.distributed.collectives.reduction import ReduceOp
from ddpnet.distributed.collectives.work import Work
from ddpnet.distributed.errors import ArgumentError, DistBackendError
from ddpnet.tensor import Tensor


def scatter(
    tensor: Tensor,
    scatter_list: list[Tensor] | None = None,
    src: int | None = None,
    group: Group = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Fill the tensor of each rank with its one of the list that rank `src` (by default 0) gives."""
    mine = find(group, "scatter")
    src = 0 if src is None and group_src is None else src

    def check() -> str:
        check_tensor(tensor, "tensor")
        root = group_rank(mine, "scatter", src, group_src)
        if mine.rank() == root:
            if not scatter_list:
                raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
            check_tensors(scatter_list, "scatter_list")
            check_list(scatter_list, tensor, mine, "scatter: scatter_list")
        elif scatter_list:
            raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
        return f"{kind(tensor)} from rank {mine.comm.members[root]}"

    def act(what: str) -> list[Tensor]:
        root = group_rank(mine, "scatter", src, group_src)
        if mine.rank() == root:
            arrays = [on_host(part) for part in scatter_list or []]
            mine.comm.exchange([(peer, array) for peer, array in enumerate(arrays) if peer != root], [], what)
            fill(tensor, arrays[root])
        else:
            array = np.empty(tensor.array.size, tensor.array.dtype)
            mine.comm.exchange([], [(root, array)], what)
            fill(tensor, array)
        return [tensor]

    return mine.call("scatter", check, act, async_op)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Combine the lists of all ranks; `output` gets the one with the number of this rank.

    The tensors of a list may have different shapes, the same ones on every rank.
    """
    mine = find(group, "reduce_scatter")

    def check() -> str:
        check_tensor(output, "output")
        check_tensors(input_list, "input_list")
        if len(input_list) != mine.size():
            raise ArgumentError(
                f"reduce_scatter: input_list: expected {mine.size()} tensors, one a rank, got {len(input_list)}"
            )
        check_dtypes(output, *input_list)
        shape = input_list[mine.rank()].array.shape
        if output.array.shape != shape:
            raise ArgumentError(
                f"reduce_scatter: output: expected shape {shape}, that of input_list[{mine.rank()}], got "
                f"{output.array.shape}"
            )
        reduction.check(op, output.array)
        return f"{output.array.dtype} {op.name} {[tuple(part.array.shape) for part in input_list]}"

    def act(what: str) -> list[Tensor]:
        _combine_mine(mine, output, [on_host(part) for part in input_list], op, what)
        return [output]

    return mine.call("reduce_scatter", check, act, async_op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Combine the inputs of all ranks, cut into one part a rank along the first dimension; `output` gets its part."""
    mine = find(group, "reduce_scatter_tensor")

    def check() -> str:
        check_tensor(output, "output")
        check_tensor(input, "input")
        check_dtypes(output, input)
        if input.array.size != mine.size() * output.array.size:
            raise ArgumentError(
                "input tensor must be the same size as output size times world size: expected "
                f"{mine.size()} x {output.array.size} elements, got {input.array.size}"
            )
        reduction.check(op, input.array)
        return f"{kind(input)} {op.name}"

    def act(what: str) -> list[Tensor]:
        _combine_mine(mine, output, list(on_host(input).reshape(mine.size(), -1)), op, what)
        return [output]

    return mine.call("reduce_scatter_tensor", check, act, async_op)


reduce_scatter_single = reduce_scatter_tensor
"""PyTorch 2.13's name."""


def _combine_mine(group: ProcessGroup, output: Tensor, parts: list[np.ndarray], op: ReduceOp, what: str) -> None:
    """Send each rank its part, and combine what came for this one in the order of the tree."""
    comm, own = group.comm, parts[group.rank()]
    came = [own if rank == comm.rank else np.empty_like(own) for rank in range(comm.size)]
    peers = [peer for peer in range(comm.size) if peer != comm.rank]
    comm.exchange([(peer, parts[peer]) for peer in peers], [(peer, came[peer]) for peer in peers], what)
    fill(output, reduction.combine(op, came))


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None, async_op: bool = False
) -> Work | None:
    """Send `input_tensor_list[r]` to rank r, and fill `output_tensor_list[r]` with what comes from there."""
    mine = find(group, "all_to_all")

    def check() -> str:
        for name, tensors in (("output_tensor_list", output_tensor_list), ("input_tensor_list", input_tensor_list)):
            check_tensors(tensors, name)
            if len(tensors) != mine.size():
                raise ArgumentError(
                    f"all_to_all: {name}: expected {mine.size()} tensors, one a rank, got {len(tensors)}"
                )
        check_dtypes(*output_tensor_list, *input_tensor_list)
        return str(output_tensor_list[0].array.dtype)

    def act(what: str) -> list[Tensor]:
        arrays = [np.empty(tensor.array.size, tensor.array.dtype) for tensor in output_tensor_list]
        _swap(mine, [on_host(tensor) for tensor in input_tensor_list], arrays, what)
        for tensor, array in zip(output_tensor_list, arrays, strict=True):
            fill(tensor, array)
        return output_tensor_list

    return mine.call("all_to_all", check, act, async_op)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
    group: Group = None,
    async_op: bool = False,
) -> Work | None:
    """Cut `input` along its first dimension into a part for each rank; `output` gets what comes, joined likewise.

    The sizes are numbers of rows; without them all parts are equal.
    """
    mine = find(group, "all_to_all_single")

    def check() -> str:
        check_tensor(output, "output")
        check_tensor(input, "input")
        check_dtypes(output, input)
        if output.array.shape[1:] != input.array.shape[1:]:
            raise ArgumentError(
                f"all_to_all_single: output: expected rows of shape {input.array.shape[1:]}, those of the input, got "
                f"{output.array.shape[1:]}"
            )
        _cuts(output, output_split_sizes, mine, "output")
        _cuts(input, input_split_sizes, mine, "input")
        return f"{input.array.dtype} rows of {tuple(input.array.shape[1:])}"

    def act(what: str) -> list[Tensor]:
        flat = np.empty(output.array.size, output.array.dtype)
        receives = np.split(flat, _cuts(output, output_split_sizes, mine, "output"))
        _swap(mine, np.split(on_host(input), _cuts(input, input_split_sizes, mine, "input")), receives, what)
        fill(output, flat)
        return [output]

    return mine.call("all_to_all_single", check, act, async_op)


def _cuts(tensor: Tensor, sizes: Sequence[int] | None, group: ProcessGroup, name: str) -> list[int]:
    """Where the elements of a tensor are cut; RuntimeError, as PyTorch's, for sizes that do not fit."""
    if tensor.ndim == 0:
        raise ArgumentError(f"all_to_all_single: {name}: expected at least one dimension, got a tensor without")
    rows = tensor.array.shape[0]
    if not sizes:
        if rows % group.size():
            raise RuntimeError(
                f"all_to_all_single: {name}: Tensor's dim 0 does not divide equally across group size: {rows} rows, "
                f"{group.size()} ranks"
            )
        sizes = [rows // group.size()] * group.size()
    if len(sizes) != group.size():
        raise RuntimeError(
            f"all_to_all_single: {name}: Number of tensor splits not equal to group size: {len(sizes)} splits, "
            f"{group.size()} ranks"
        )
    if sum(sizes) != rows or min(sizes) < 0:
        raise RuntimeError(
            f"all_to_all_single: {name}: Split sizes doesn't match total dim 0 size: {list(sizes)}, {rows} rows"
        )
    width = tensor.array.size // rows if rows else 0
    return [int(cut) * width for cut in np.cumsum(sizes)[:-1]]


def _swap(group: ProcessGroup, sends: Sequence[np.ndarray], receives: Sequence[np.ndarray], what: str) -> None:
    """Exchange arrays with all ranks; every rank sees first whether each gets as many elements as it expects."""
    comm = group.comm
    sizes = comm.all_gather(np.array([[a.size for a in sends], [a.size for a in receives]]), what)
    for sender in range(comm.size):
        for receiver in range(comm.size):
            sent, expected = sizes[sender][0, receiver], sizes[receiver][1, sender]
            if sent != expected:
                raise DistBackendError(
                    f"{comm.place()}: {what}: rank {comm.members[sender]} sends {sent} elements to rank "
                    f"{comm.members[receiver]}, which expects {expected}: each rank needs an output for what comes "
                    "from every other"
                )
    peers = [peer for peer in range(comm.size) if peer != comm.rank]
    receives[comm.rank][...] = sends[comm.rank]
    comm.exchange([(peer, sends[peer]) for peer in peers], [(peer, receives[peer]) for peer in peers], what)
