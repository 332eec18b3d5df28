"""Several tensors of one dtype in one exchange (`all_reduce_coalesced`, `all_gather_coalesced`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddpnet.distributed.collectives import reduction
from ddpnet.distributed.collectives.combining import check_dtypes
from ddpnet.distributed.collectives.groups import Group, find
from ddpnet.distributed.collectives.memory import check_tensors, fill, kind, on_host
from ddpnet.distributed.collectives.reduction import ReduceOp
from ddpnet.distributed.collectives.work import Future, Work
from ddpnet.distributed.errors import ArgumentError
from ddpnet.distributed.step.tree import tree_all_reduce
from ddpnet.tensor import Tensor


def all_reduce_coalesced(
    tensors: Tensor | list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Future | None:
    """Combine each tensor with those of all ranks, in place, with the bits of `all_reduce`; a Future with `async_op`.

    As in PyTorch the tensors have one dtype; unlike there other shapes on another rank are an error.
    """
    mine = find(group, "all_reduce_coalesced")
    several = [tensors] if isinstance(tensors, Tensor) else tensors

    def check() -> str:
        details = _listed(several, "tensors")
        reduction.check(op, several[0].array)
        return f"{details} {op.name}"

    def act(what: str) -> list[Tensor]:
        comm = mine.comm
        leaf = (comm.rank, comm.rank + 1)
        totals = tree_all_reduce(comm, comm.size, [(leaf, [on_host(t) for t in several])], reduction.ufunc(op))
        for tensor, total in zip(several, totals, strict=True):
            fill(tensor, reduction.finish(op, total, comm.size))
        return several

    return _future(mine.call("all_reduce_coalesced", check, act, async_op))


def all_gather_coalesced(
    output_tensor_lists: list[list[Tensor]],
    input_tensor_list: list[Tensor],
    group: Group = None,
    async_op: bool = False,
) -> Future | None:
    """Fill `output_tensor_lists[rank]` with the `input_tensor_list` of each rank; a Future with `async_op`."""
    mine = find(group, "all_gather_coalesced")

    def check() -> str:
        details = _listed(input_tensor_list, "input_tensor_list")
        if not isinstance(output_tensor_lists, list):
            raise TypeError("Invalid function argument: output_tensor_lists should be a list")
        if len(output_tensor_lists) != mine.size():
            raise ArgumentError(
                f"all_gather_coalesced: output_tensor_lists: expected {mine.size()} lists, one a rank, got "
                f"{len(output_tensor_lists)}"
            )
        for rank, outputs in enumerate(output_tensor_lists):
            found = _listed(outputs, "output_tensor_lists")
            if found != details:
                raise ArgumentError(
                    f"all_gather_coalesced: output_tensor_lists[{rank}]: expected {details}, as in input_tensor_list, "
                    f"got {found}"
                )
        return details

    def act(what: str) -> list[Tensor]:
        arrays = [on_host(tensor) for tensor in input_tensor_list]
        ends = np.cumsum([array.size for array in arrays])
        filled = []
        for outputs, came in zip(output_tensor_lists, mine.comm.all_gather(np.concatenate(arrays), what), strict=True):
            for tensor, values in zip(outputs, np.split(came, ends[:-1]), strict=True):
                fill(tensor, values)
                filled.append(tensor)
        return filled

    return _future(mine.call("all_gather_coalesced", check, act, async_op))


def _listed(tensors: Sequence[Tensor], name: str) -> str:
    """Dtypes and shapes; TypeError for no list of tensors, ValueError for several dtypes, ArgumentError for none."""
    check_tensors(tensors, name)
    if not tensors:
        raise ArgumentError(f"{name}: expected at least one tensor, got an empty list")
    check_dtypes(*tensors)
    return ", ".join(kind(tensor) for tensor in tensors)


def _future(work: Work | None) -> Future | None:
    return None if work is None else work.get_future()
