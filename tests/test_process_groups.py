"""Groups of ranks, the world of one, and what init_process_group takes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from test_collectives import on_ranks

import ddpnet as torch
import ddpnet.distributed as dist


def test_groups() -> None:
    """Ranks are numbers of the world, messages of groups do not meet, and other ranks are not in the way."""

    def rank(me: int) -> list[Any]:
        odd, even = dist.new_group([3, 1]), dist.new_group([0, 2], timeout=timedelta(seconds=7))
        mine, other = (odd, even) if me % 2 else (even, odd)
        assert other == dist.GroupMember.NON_GROUP_MEMBER
        assert (dist.get_rank(other), dist.get_world_size(other)) == (-1, -1)
        assert isinstance(mine, dist.ProcessGroup)
        assert mine.timeout == timedelta(seconds=30 if me % 2 else 7)
        both = torch.tensor(float(me))
        beside = dist.all_reduce(torch.tensor(1.0), async_op=True)
        dist.all_reduce(both, group=mine)
        copy = torch.tensor(me)
        dist.broadcast(copy, src=me % 2 + 2, group=mine)
        again = torch.tensor(me)
        dist.broadcast(again, group_src=0, group=mine)
        assert beside is not None
        assert beside.result()[0].item() == 4
        with pytest.raises(ValueError, match=r"all_reduce: rank \d of 4 does not belong to the given group"):
            dist.all_reduce(both, group=other)
        assert (dist.get_global_rank(mine, 1), dist.get_group_rank(mine, me)) == (me % 2 + 2, me // 2)
        assert dist.get_process_group_ranks(mine) == [me % 2, me % 2 + 2]
        assert dist.get_pg_count() == 2
        dist.destroy_process_group(mine)
        with pytest.raises(ValueError, match="has been destroyed"):
            dist.barrier(mine)
        dist.barrier()
        return [both.item(), copy.item(), again.item(), mine.rank(), mine.size()]

    assert on_ranks(4, rank) == [[2, 2, 0, 0, 2], [4, 3, 1, 0, 2], [2, 2, 0, 1, 2], [4, 3, 1, 1, 2]]


def test_groups_in_the_order_given() -> None:
    def rank(me: int) -> int:
        group = dist.new_group([2, 0, 1], sort_ranks=False)
        assert dist.get_process_group_ranks(group) == [2, 0, 1]
        return dist.get_rank(group)

    assert on_ranks(3, rank) == [1, 2, 0]


def test_the_default_group_has_a_name() -> None:
    def rank(me: int) -> None:
        assert isinstance(dist.group.WORLD, dist.ProcessGroup)
        assert dist.group.WORLD is dist.GroupMember.WORLD
        assert (dist.group.WORLD.rank(), dist.group.WORLD.size(), dist.group.WORLD.name()) == (me, 2, "threads")
        dist.barrier(dist.group.WORLD)

    on_ranks(2, rank)
    assert dist.group.WORLD is None


def test_a_world_of_one_needs_nobody() -> None:
    """Every collective, and an answer after `destroy_process_group`."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=5), rank=0, world_size=1)
    try:
        x = torch.tensor([1.0, 2.0])
        for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG, dist.ReduceOp.MAX):
            dist.all_reduce(x, op)
            dist.reduce(x, 0, op)
        out, group = torch.zeros(2), dist.new_group([0])
        dist.all_gather([out], x)
        assert out.tolist() == [1, 2]
        dist.all_to_all_single(out, x * 2, group=group)
        assert out.tolist() == [2, 4]
        dist.scatter(out, [x])
        dist.gather(x, [out])
        dist.reduce_scatter(out, [x])
        dist.monitored_barrier()
        objects = [None]
        dist.all_gather_object(objects, {"a": 1})
        assert objects == [{"a": 1}]
        assert dist.group.WORLD is not None
        assert dist.group.WORLD.timeout == timedelta(seconds=5)
        work = dist.isend(x + 1, 0)
        dist.irecv(out, 0).wait()
        assert work.wait()
        assert out.tolist() == [2, 3]
    finally:
        dist.destroy_process_group()
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        dist.all_reduce(x)
    with pytest.raises(ValueError, match="group 1 has been destroyed"):
        dist.all_reduce(x, group=group)


def test_arguments_of_init_process_group() -> None:
    with pytest.raises(TypeError, match=r"timeout argument to be of type datetime.timedelta, got 30"):
        dist.init_process_group(timeout=30)
    with pytest.raises(ValueError, match="world_size=4, but the launcher says 1"):
        dist.init_process_group(world_size=4)
    with pytest.raises(ValueError, match="Invalid backend: 'glo'"):
        dist.init_process_group("glo")
    assert not dist.is_initialized()


def test_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dist.is_available()
    assert dist.is_mpi_available()
    assert dist.is_gloo_available()
    assert not dist.is_nccl_available()
    assert not dist.is_torchelastic_launched()
    assert dist.is_backend_available("MPI")
    assert dist.Backend("NCCL") == dist.Backend.NCCL == "nccl"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert dist.get_node_local_rank() == 3
    monkeypatch.delenv("LOCAL_RANK")
    for name in ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    assert dist.get_node_local_rank(5) == 5
    with pytest.raises(RuntimeError, match="LOCAL_RANK is not in the environment"):
        dist.get_node_local_rank()
    assert on_ranks(3, lambda rank: dist.get_node_local_rank(), hosts=[[0, 2], [1]]) == [0, 0, 1]
