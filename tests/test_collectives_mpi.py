"""Every collective, and what goes wrong, on real ranks under MPI."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path

import pytest
from ranks import MPIEXEC, Result, run

OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""What Open MPI needs on machines with few cores, for any user; other MPIs do not look at it."""


def mpi(size: int, code: str, tmp_path: Path, timeout: float = 30, **env: str) -> Result:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    return run([MPIEXEC, "-n", str(size), sys.executable, script], timeout=timeout, env={**OPEN_MPI, **env})


EVERYTHING = """
    import time
    from datetime import timedelta
    import ddpnet as torch
    import ddpnet.distributed as dist
    from ddpnet.distributed.nn import all_reduce as through

    dist.init_process_group("mpi", timeout=timedelta(seconds=20))
    me, size = dist.get_rank(), dist.get_world_size()
    ranks = list(range(size))
    assert (dist.get_backend(), dist.get_node_local_rank()) == ("mpi", me)
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.uint8):
        x = torch.full((3, 2), me + 1).to(dtype)
        total, single, copy = x.clone(), x.clone(), x.clone()
        dist.all_reduce(total)
        assert total.tolist() == [[sum(ranks) + size] * 2] * 3, total
        dist.reduce(single, dst=size - 1, op=dist.ReduceOp.MAX)
        assert single[0, 0].item() == (size if me == size - 1 else me + 1)
        dist.broadcast(copy, src=1)
        assert copy.unique().tolist() == [2]
        parts = [torch.empty_like(x) for _ in ranks]
        dist.all_gather(parts, x)
        assert [part[0, 0].item() for part in parts] == [rank + 1 for rank in ranks]
        joined = torch.empty((3 * size, 2), dtype=dtype)
        dist.all_gather_into_tensor(joined, x)
        assert joined[::3, 0].tolist() == [rank + 1 for rank in ranks]
        gathered = [torch.zeros_like(x) for _ in ranks]
        dist.gather(x, gathered if me == 0 else None)
        assert [g[1, 1].item() for g in gathered] == [rank + 1 if me == 0 else 0 for rank in ranks]
        dist.scatter(copy, parts[::-1] if me == 0 else None)
        assert copy.unique().tolist() == [size - me]
        dist.reduce_scatter(copy, parts, dist.ReduceOp.MIN)
        assert copy.unique().tolist() == [me + 1]
        dist.reduce_scatter_tensor(copy, joined, dist.ReduceOp.PRODUCT)
        assert copy.unique().tolist() == [(me + 1) ** size]
        dist.all_to_all(parts, [x] * size)
        assert [part[2, 0].item() for part in parts] == [rank + 1 for rank in ranks]
        dist.all_to_all_single(joined, joined + 0)
        assert joined.unique().tolist() == [me + 1]
    truth = torch.tensor(me == 0)
    dist.all_reduce(truth, dist.ReduceOp.BOR)
    assert truth.item()
    for empty in (torch.zeros(0), torch.zeros(2, 0)):
        dist.all_reduce(empty)

    # Beside the program: large messages that are posted before a collective, and calls in their order
    big = torch.full((4_000_000,), float(me))
    left, right, came = (me - 1) % size, (me + 1) % size, torch.zeros(4_000_000)
    coming = dist.irecv(came, left)
    if me == 0:
        dist.send(big, right)  # goes only when rank 1 takes it, which is in a barrier by then
    dist.barrier()
    if me:
        dist.send(big, right)
    assert coming.wait()
    assert came[-1].item() == left
    works = [dist.all_reduce(big, async_op=True), dist.broadcast(came, 0, async_op=True), dist.barrier(async_op=True)]
    mean = torch.tensor(float(me))
    dist.all_reduce(mean, dist.ReduceOp.AVG)
    assert mean.item() == sum(ranks) / size
    assert all(work.is_completed() for work in works)
    assert big[5].item() == sum(ranks)
    tensor = torch.tensor(0)
    if me:
        dist.send(torch.tensor(me), 0, tag=3)
    else:
        assert sorted(dist.recv(tensor, tag=3) for _ in ranks[1:]) == ranks[1:]
    operations = [dist.P2POp(dist.isend, mean + me, right), dist.P2POp(dist.irecv, mean, left)]
    for work in dist.batch_isend_irecv(operations):
        work.wait()

    # Groups, objects, gradients
    last = dist.new_group([size - 1, 0])
    if me in (0, size - 1):
        pair = torch.tensor(float(me))
        dist.all_reduce(pair, group=last)
        assert pair.item() == size - 1
    objects = [None] * size
    dist.all_gather_object(objects, {"rank": me})
    assert objects == [{"rank": rank} for rank in ranks]
    copies = [None, None] if me else ["a", (1, 2)]
    dist.broadcast_object_list(copies)
    assert copies == ["a", (1, 2)]
    own = [None]
    dist.scatter_object_list(own, ranks if me == 0 else None)
    assert own == [me]
    dist.gather_object(me, objects if me == 1 else None, dst=1)
    if me < 2:
        (dist.recv_object_list if me else dist.send_object_list)(["x"], 1 - me)
    w = torch.tensor(float(me), requires_grad=True)
    (through(w) ** 2).backward()
    assert w.grad.item() == size * 2 * sum(ranks)
    dist.monitored_barrier()

    # Differences and wrong arguments end a call on every rank, at once; the next one is as usual
    begun = time.monotonic()
    for call, message in (
        (lambda: dist.all_reduce(torch.zeros(2 + (me == 1))), "rank 0 has float32 (2,) SUM, rank 1 has float32 (3,)"),
        (lambda: dist.barrier() if me else dist.all_reduce(w.detach()), "rank 1 called barrier where rank 0 called"),
        (lambda: dist.gather(w.detach(), [w] * 9 if me == 0 else None), f"a list of {size} tensors, one a rank, got 9"),
    ):
        try:
            call()
        except dist.DistError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)
    assert time.monotonic() - begun < 5
    dist.barrier()
    try:
        if me != 1:
            dist.barrier(timeout=timedelta(seconds=0.3))
    except dist.DistBackendError as error:
        assert "(call " in str(error) and "nothing came from rank 1 within 0.3 s" in str(error), error
    dist.destroy_process_group()
    try:
        dist.barrier()
    except ValueError as error:
        assert "please make sure to call init_process_group" in str(error)
        print("done", me)
"""


@pytest.mark.parametrize("size", [2, 3])
def test_everything(tmp_path: Path, size: int) -> None:
    done = mpi(size, EVERYTHING, tmp_path)
    assert (done.code, sorted(done.out.splitlines())) == (0, [f"done {rank}" for rank in range(size)]), done.err


def test_a_difference_ends_the_job(tmp_path: Path) -> None:
    """A script that catches nothing, under plain mpiexec."""
    begun = time.monotonic()
    done = mpi(
        3,
        """
        import ddpnet as torch
        import ddpnet.distributed as dist
        dist.init_process_group()
        dist.broadcast(torch.zeros(4 if dist.get_rank() == 2 else 5), src=0)
        """,
        tmp_path,
    )
    assert done.code != 0
    assert time.monotonic() - begun < 10
    assert "rank 0 has float32 (5,) from rank 0, rank 2 has float32 (4,) from rank 0" in done.err


def test_a_rank_that_hangs_is_named(tmp_path: Path) -> None:
    """The others give up at the deadline of the environment, and the job ends."""
    begun = time.monotonic()
    done = mpi(
        2,
        """
        import time
        import ddpnet as torch
        import ddpnet.distributed as dist
        dist.init_process_group()
        dist.barrier()
        if dist.get_rank() == 1:
            time.sleep(60)
        dist.all_reduce(torch.zeros(4))
        """,
        tmp_path,
        DDPNET_TIMEOUT="0.5",
    )
    assert done.code != 0
    assert time.monotonic() - begun < 10
    assert "rank 0 of 2: all_reduce (call 2 of the default group): nothing came from rank 1 within 0.5 s" in done.err


def test_joining_again(tmp_path: Path) -> None:
    """After destroy_process_group, another default group."""
    done = mpi(
        2,
        """
        import ddpnet as torch
        import ddpnet.distributed as dist
        for number in range(3):
            dist.init_process_group()
            total = torch.tensor(number)
            dist.all_reduce(total)
            assert total.item() == 2 * number
            dist.destroy_process_group()
        assert not dist.is_initialized()
        """,
        tmp_path,
    )
    assert (done.code, done.err) == (0, "")
