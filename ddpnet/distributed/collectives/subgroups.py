"""Several groups at once, of which each rank is in one at most (`new_subgroups`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ddpnet.backend import cuda_device_count
from ddpnet.distributed.collectives.groups import Group, ProcessGroup
from ddpnet.distributed.collectives.process_group import get_process_group_ranks, get_rank, new_group

Subgroups = tuple[ProcessGroup | int | None, list[ProcessGroup | int]]
"""The group that this rank is in, or None; and all of them, GroupMember.NON_GROUP_MEMBER for those it is not in."""


def new_subgroups(
    group_size: int | None = None,
    group: Group = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> Subgroups:
    """Cut a group into groups of `group_size` neighbouring ranks, by default as many as this machine has GPUs.

    All ranks of the world make the call. ValueError for a size that does not divide the ranks.
    """
    if group_size is None:
        group_size = cuda_device_count()
        if group_size == 0:
            raise ValueError(
                "Default group size only takes effect when CUDA is available. If your subgroup is of ranks on the CPU, "
                "please pass in 'group_size' correctly."
            )
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    ranks = get_process_group_ranks(group)
    if len(ranks) < group_size:
        raise ValueError(f"The arg 'group_size' ({group_size}) must not exceed the world size ({len(ranks)})")
    if len(ranks) % group_size != 0:
        raise ValueError(f"The world size ({len(ranks)}) must be divisible by '{group_size=}'")
    parts = [ranks[start : start + group_size] for start in range(0, len(ranks), group_size)]
    return new_subgroups_by_enumeration(parts, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]],
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> Subgroups:
    """A group for each list of ranks; all ranks of the world make the call. ValueError for a rank in two lists."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    owners: dict[int, Sequence[int]] = {}
    for ranks in ranks_per_subgroup_list:
        for rank in ranks:
            if rank in owners:
                raise ValueError(f"Rank {rank} has appeared in both subgroup {owners[rank]} and {ranks}")
            owners[rank] = ranks
    made = [new_group(ranks, timeout, backend, pg_options, group_desc=group_desc) for ranks in ranks_per_subgroup_list]
    me = get_rank()
    own = next((group for group, ranks in zip(made, ranks_per_subgroup_list, strict=True) if me in ranks), None)
    return own, made
