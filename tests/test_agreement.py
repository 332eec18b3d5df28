"""What goes wrong between ranks ends on every rank with an error that says who, what, and what to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from test_collectives import on_ranks

import ddpnet as torch
import ddpnet.distributed as dist


def errors(size: int, function: Callable[[int], Any], **options: Any) -> list[str]:
    """What every rank raises."""

    def rank(me: int) -> str:
        begun = time.monotonic()
        try:
            function(me)
        except Exception as error:
            assert time.monotonic() - begun < 5
            return f"{type(error).__name__}: {error}"
        return "no error"

    return on_ranks(size, rank, **options)


one = torch.ones(1)
CALLS: dict[str, tuple[Callable[[int], Any], str]] = {
    "shape": (
        lambda me: dist.all_reduce(torch.zeros(4, 3) if me == 2 else torch.zeros(3, 4)),
        "all_reduce (call 1 of the default group): rank 0 has float32 (3, 4) SUM, rank 2 has float32 (4, 3) SUM",
    ),
    "dtype": (
        lambda me: dist.broadcast(torch.zeros(2, dtype=torch.int64 if me == 1 else torch.float32), 0),
        "(call 1 of the default group): rank 0 has float32 (2,) from rank 0, rank 1 has int64 (2,) from rank 0",
    ),
    "operation": (
        lambda me: dist.barrier() if me == 1 else dist.all_reduce(one),
        "(call 1 of the default group): rank 1 called barrier where rank 0 called all_reduce",
    ),
    "root": (
        lambda me: dist.reduce(one.clone(), dst=me),
        "rank 0 has float32 (1,) SUM to rank 0, rank 1 has float32 (1,) SUM to rank 1",
    ),
    "op": (
        lambda me: dist.all_reduce(one.clone(), dist.ReduceOp.MAX if me == 2 else dist.ReduceOp.SUM),
        "rank 0 has float32 (1,) SUM, rank 2 has float32 (1,) MAX",
    ),
    "long shapes": (
        lambda me: dist.reduce_scatter(
            torch.zeros(5), [torch.zeros(5) if r == me else torch.zeros(2 + (me == 1), 60, 60) for r in range(3)]
        ),
        "reduce_scatter (call 1 of the default group): rank 0 has float32 SUM [(5,)",
    ),
    "sizes": (
        lambda me: dist.all_to_all([torch.zeros(1 + (me == 2)) for _ in range(3)], [torch.zeros(1)] * 3),
        "rank 0 sends 1 elements to rank 2, which expects 2",
    ),
    "groups": (
        lambda me: dist.new_group([0, 1] if me else [0, 2]),
        "new_group (call 1 of the default group): rank 0 has ranks [0, 2], rank 1 has ranks [0, 1]",
    ),
    "objects": (
        lambda me: dist.broadcast_object_list([1] * (1 + me // 2)),
        "rank 0 has 1 objects from rank 0, rank 2 has 2 objects from rank 0",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_different_calls(name: str) -> None:
    call, message = CALLS[name]
    found = errors(3, call)
    for rank, error in enumerate(found):
        assert error.startswith("DistBackendError: ")
        assert f"rank {rank} of 3" in error
        assert message in error


def test_a_different_number_of_calls() -> None:
    """One rank makes the same call once more: the others are somewhere else."""

    def rank(me: int) -> None:
        dist.all_reduce(one.clone())
        if me == 1:
            dist.all_reduce(one.clone())
        dist.barrier()

    for error in errors(3, rank):
        assert "(call 2 of the default group)" in error
        assert "rank 1 called all_reduce where rank 0 called barrier" in error


def two(shape: int = 1, count: int = 2) -> list[torch.Tensor]:
    return [torch.zeros(shape) for _ in range(count)]


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "all_gather count": (
        lambda: dist.all_gather(two(count=3), one),
        RuntimeError,
        "a list of 2 tensors, one a rank, got 3",
    ),
    "all_gather shape": (
        lambda: dist.all_gather(two(4), one),
        RuntimeError,
        r"tensor_list\[0\]: expected shape \(1,\), got \(4,\)",
    ),
    "all_gather tuple": (lambda: dist.all_gather(tuple(two()), one), TypeError, "tensor_list` of type List"),
    "all_gather dtype": (lambda: dist.all_gather(two(), torch.zeros(1).double()), ValueError, "different dtypes"),
    "into_tensor": (lambda: dist.all_gather_into_tensor(torch.zeros(3), one), ValueError, "2 x 1 elements, got 3"),
    "no tensor": (lambda: dist.all_reduce([1.0]), TypeError, "parameter `tensor` of type torch.Tensor"),
    "no op": (lambda: dist.all_reduce(one, "sum"), TypeError, "expected a ReduceOp"),
    "source": (lambda: dist.broadcast(one, 7), ValueError, "Global rank 7 is not part of group"),
    "no source": (lambda: dist.broadcast(one), ValueError, "Must specify global_rank or group_rank"),
    "two sources": (lambda: dist.broadcast(one, 0, group_src=0), ValueError, "Can't specify both"),
    "scatter": (lambda: dist.scatter(one, two(3)), RuntimeError, r"scatter_list\[0\]: expected shape"),
    "gather": (lambda: dist.gather(one, None, 0), ValueError, "must be specified on destination rank"),
    "reduce_scatter": (lambda: dist.reduce_scatter(one, two(3)), RuntimeError, r"output: expected shape \(3,\)"),
    "reduce_scatter count": (lambda: dist.reduce_scatter(one, [one]), RuntimeError, "expected 2 tensors, one a rank"),
    "reduce_scatter_tensor": (lambda: dist.reduce_scatter_tensor(one, one), RuntimeError, "2 x 1 elements, got 1"),
    "all_to_all": (lambda: dist.all_to_all([one], two()), RuntimeError, "output_tensor_list: expected 2 tensors"),
    "rows": (lambda: dist.all_to_all_single(torch.zeros(3), torch.zeros(3)), RuntimeError, "divide equally"),
    "splits": (
        lambda: dist.all_to_all_single(torch.zeros(2), torch.zeros(2), [1, 2], [1, 1]),
        RuntimeError,
        "Split sizes doesn't match total dim 0 size",
    ),
    "split count": (
        lambda: dist.all_to_all_single(torch.zeros(2), torch.zeros(2), [2], [1, 1]),
        RuntimeError,
        "Number of tensor splits not equal to group size",
    ),
    "group ranks": (lambda: dist.new_group([0, 5]), ValueError, "Rank 5 is out of range. Valid ranks are 0 to 1"),
    "group twice": (lambda: dist.new_group([1, 1]), ValueError, "must not contain duplicate"),
    "group local": (lambda: dist.new_group([0], use_local_synchronization=True), ValueError, "use_local_synchro"),
    "object": (lambda: dist.all_gather_object([0, 0], one), TypeError, "obj: expected JSON-like data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_on_one_rank_end_the_call_on_all(name: str) -> None:
    """The rank that is wrong says why; the others hear of it instead of waiting; the next call is as usual."""
    call, kind, message = REFUSED[name]

    def rank(me: int) -> float:
        if me == 0:
            with pytest.raises(kind, match=message):
                call()
        else:
            with pytest.raises(dist.DistBackendError, match=r"rank 0 called .* with wrong arguments: "):
                dist.barrier()
        total = torch.tensor(1.0)
        dist.all_reduce(total)
        dist.all_reduce(total)
        return total.item()

    begun = time.monotonic()
    assert on_ranks(2, rank) == [4.0, 4.0]
    assert time.monotonic() - begun < 5


def test_a_rank_that_does_not_come() -> None:
    """The deadline of the group: every waiting rank names the one that is missing, the call, and what to do."""

    def rank(me: int) -> None:
        dist.barrier()
        if me != 2:
            dist.all_reduce(one.clone())

    found = errors(3, rank, timeout=0.3)
    assert found[2] == "no error"
    for me in (0, 1):
        assert found[me].startswith(
            f"PeerTimeoutError: rank {me} of 3: all_reduce (call 2 of the default group): nothing came from rank 2 "
            "within 0.3 s: all ranks have to make the same calls in the same order; look at what rank 2 is doing, or "
            "give init_process_group a longer timeout"
        )


def test_a_barrier_with_a_deadline_of_its_own() -> None:
    def rank(me: int) -> None:
        if me == 0:
            dist.barrier(timeout=timedelta(seconds=0.2))

    found = errors(2, rank)
    assert "nothing came from rank 1 within 0.2 s" in found[0]


def test_an_error_that_nobody_waits_for_is_told_in_the_end() -> None:
    def rank(me: int) -> None:
        for length in (1, 1 + me):
            dist.all_reduce(torch.ones(length), async_op=True)
        seen = dist.all_reduce(torch.ones(3 + me), async_op=True)
        assert seen is not None
        with pytest.raises(dist.DistBackendError, match=r"float32 \(4,\)"):
            seen.wait()

    with pytest.warns(RuntimeWarning) as warned:
        on_ranks(2, rank)
    told = sorted(str(warning.message) for warning in warned)
    for me, text in enumerate(told):
        assert text.startswith(f"rank {me} of 2: all_reduce (call 2 of the default group): rank 0 has float32 (1,) SUM")
        assert text.endswith("wait() for the Work of an async_op")
    assert len(told) == 2


def test_a_lost_message_in_a_subgroup_names_ranks_of_the_world() -> None:
    lost: list[bool] = []

    def rank(me: int) -> None:
        group = dist.new_group([1, 3])
        if me in (1, 3):
            lost.append(True)
            dist.all_reduce(one.clone(), group=group)

    found = errors(4, rank, timeout=0.3, fault=lambda sender, receiver: not lost or sender != 3)
    assert "rank 1 of 4: all_reduce (call 1 of group 1 of ranks [1, 3]): nothing came from rank 3" in found[1]


def test_an_async_call_raises_where_it_is_waited_for() -> None:
    def rank(me: int) -> str:
        work = dist.all_reduce(torch.zeros(me + 1), async_op=True)
        assert work is not None
        with pytest.raises(dist.DistBackendError, match=r"rank 0 has float32 \(1,\)"):
            work.wait()
        assert work.is_completed()
        assert not work.is_success()
        assert isinstance(work.exception(), dist.DistBackendError)
        dist.barrier()
        return "goes on"

    assert on_ranks(2, rank) == ["goes on"] * 2


def test_waiting_for_an_async_call_has_a_limit() -> None:
    def rank(me: int) -> None:
        if me == 0:
            work = dist.barrier(async_op=True)
            assert work is not None
            with pytest.raises(dist.DistBackendError, match=r"barrier: not done within 0.1 s"):
                work.wait(timedelta(seconds=0.1))
            assert not work.is_completed()
            dist.send(one, 1)
            work.wait()
        else:
            dist.recv(one.clone(), 0)
            dist.barrier()

    on_ranks(2, rank)


def test_monitored_barrier() -> None:
    """Rank 0 names those that are missing; those that came hear of it at once."""

    def rank(me: int) -> None:
        dist.monitored_barrier()
        if me not in (1, 3):
            begun = time.monotonic()
            try:
                dist.monitored_barrier(timeout=timedelta(seconds=0.3), wait_all_ranks=True)
            finally:
                assert time.monotonic() - begun < 1
        else:
            time.sleep(0.5)
            with pytest.raises(dist.DistBackendError, match="Ranks 1, 3 failed"):
                dist.monitored_barrier(timeout=timedelta(seconds=0.3))
            raise dist.DistBackendError("too late")

    found = errors(4, rank)
    for me in (0, 2):
        assert f"rank {me} of 4: monitored_barrier: Ranks 1, 3 failed to pass monitoredBarrier in 300 ms" in found[me]
    assert "too late" in found[1]

    def first(me: int) -> None:
        if me == 0:
            with pytest.raises(dist.DistBackendError, match="Rank 1 failed"):
                dist.monitored_barrier(timeout=timedelta(seconds=0.1))
        else:
            time.sleep(0.3)
            with pytest.raises(dist.DistBackendError, match="Rank 1 failed"):
                dist.monitored_barrier(timeout=timedelta(seconds=0.1))
        dist.monitored_barrier()

    on_ranks(3, first)
