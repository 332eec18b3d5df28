"""The mean of parameters over the ranks of a group; PyTorch's name for the place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ddpnet.backend import array_module, host
from ddpnet.distributed.collectives.groups import GroupMember
from ddpnet.distributed.collectives.membership import communicator_of
from ddpnet.distributed.step.tree import tree_all_reduce
from ddpnet.kernels.precision import is_half
from ddpnet.tensor import Tensor

__all__ = ["average_parameters", "average_parameters_or_parameter_groups", "get_params_to_average"]


def average_parameters(params: Iterable[Tensor], process_group: Any = None) -> None:
    """Give each parameter the mean over the ranks of the group, in place: all ranks pass the same ones.

    The ranks are added in the order of the tree, each dtype in itself (float16 and bfloat16 in float32), and the sum is
    divided by their number. Nothing happens on ranks that are not in the group.
    """
    if process_group == GroupMember.NON_GROUP_MEMBER:
        return
    comm = communicator_of(process_group, "average_parameters")
    chosen = list(params)
    kinds: dict[np.dtype[Any], list[Tensor]] = {}
    for p in chosen:
        kinds.setdefault(p.array.dtype, []).append(p)
    flats = [np.concatenate([_wide(host(p.array)).reshape(-1) for p in kind]) for kind in kinds.values()]
    if comm.size == 1 or not flats:
        return
    leaf = comm.rank, comm.rank + 1
    totals = tree_all_reduce(comm, comm.size, [(leaf, flats)], what="average of the parameters")
    for kind, total in zip(kinds.values(), totals, strict=True):
        start = 0
        for p in kind:
            mean = total[start : start + p.numel()].reshape(p.array.shape) / total.dtype.type(comm.size)
            p.array[...] = array_module(p.array).asarray(mean.astype(p.array.dtype))
            p.changed()
            start += p.numel()


def get_params_to_average(params: Iterable[Any]) -> list[Tensor]:
    """Of parameters, or of the groups of an optimizer, those that have a gradient."""
    chosen: list[Tensor] = []
    for given in params:
        if isinstance(given, Tensor):
            chosen.append(given)
        elif isinstance(given, dict):
            chosen += given["params"]
        else:
            raise NotImplementedError(f"Parameter input of type {type(given)} is not supported")
    return [p for p in chosen if p.grad is not None]


def average_parameters_or_parameter_groups(params: Iterable[Any], process_group: Any = None) -> None:
    """Give each parameter that has a gradient the mean over the ranks of the group, in place."""
    average_parameters(get_params_to_average(params), process_group)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if is_half(array) else array
