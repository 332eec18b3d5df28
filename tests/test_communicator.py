"""Communicators carry messages, share memory within a host, make groups, and give up at a deadline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import run
from test_collectives_mpi import mpi

from ddpnet.distributed import Communicator, DistBackendError
from ddpnet.distributed.environment import default_timeout
from ddpnet.distributed.transport import host_memory
from ddpnet.distributed.transport.solo import SoloCommunicator
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.errors import InputError


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("elements", [0, 1, 7, 40_000])
def test_broadcast(size: int, elements: int) -> None:
    """A tree for small arrays, slices for large ones."""

    def rank(comm: Communicator) -> None:
        for root in range(size):
            array = np.full(elements, comm.rank, np.float64)
            comm.broadcast(array, root)
            assert (array == root).all()
        assert comm.broadcast_text(f"from {comm.rank}", size - 1) == f"from {size - 1}"

    run_threads(size, rank)


def test_hosts_and_shared_memory() -> None:
    """Ranks of one host see one memory; those of others another."""

    def rank(comm: Communicator) -> list[int]:
        assert comm.hosts == [[0, 2], [1, 3, 4]]
        arrays = comm.share(8)
        assert [array.tobytes() for array in arrays.values()] == [bytes(8)] * len(arrays)
        comm.barrier()
        arrays[comm.rank].view(np.int64)[0] = 10 + comm.rank
        comm.barrier()
        return [int(array.view(np.int64)[0]) for array in arrays.values()]

    found = run_threads(5, rank, hosts=[[0, 2], [1, 3, 4]])
    assert found == [[10, 12], [11, 13, 14], [10, 12], [11, 13, 14], [11, 13, 14]]
    with pytest.raises(ValueError, match=r"expected each rank from 0 to 2 once, got \[\[0, 1\]\]"):
        run_threads(3, rank, hosts=[[0, 1]])


def test_subgroups_of_subgroups() -> None:
    """Ranks, members and hosts follow; the messages of each do not meet."""

    def rank(comm: Communicator) -> Any:
        group = comm.subgroup([3, 0, 2])
        if group is None:
            return None
        inner = group.subgroup([1, 0])
        if group.rank == 0:
            group.exchange([(1, np.array([1])), (2, np.array([1]))], [])
        if inner is not None:
            other = np.zeros(1, np.int64)
            inner.exchange([(1 - inner.rank, np.array([inner.rank + 5]))], [(1 - inner.rank, other)])
            assert other[0] == 6 - inner.rank
        if group.rank:
            word = np.zeros(1, np.int64)
            group.exchange([], [(0, word)])
            assert word[0] == 1
        return group.rank, group.hosts, None if inner is None else (inner.rank, inner.members)

    found = run_threads(4, rank, hosts=[[0, 1], [2, 3]])
    assert found == [(1, [[0, 2], [1]], (0, [0, 3])), None, (2, [[0, 2], [1]], None), (0, [[0, 2], [1]], (1, [0, 3]))]


def test_ranks_that_pass_other_lists() -> None:
    def rank(comm: Communicator) -> str:
        with pytest.raises(DistBackendError, match="all ranks have to pass the same list") as caught:
            comm.subgroup([0, 1] if comm.rank else [0, 2])
        return str(caught.value)

    found = run_threads(3, rank)
    assert found[0].startswith("rank 0 of 3: subgroup: this rank passed the ranks [0, 2], rank 1 passed others")
    with pytest.raises(ValueError, match=r"expected different ranks from 0 to 1, got \[0, 2\]"):
        run_threads(2, lambda comm: comm.subgroup([0, 2]))


def test_all_missing_peers_are_named() -> None:
    def rank(comm: Communicator) -> Any:
        if comm.rank in (1, 3):
            return None
        with pytest.raises(DistBackendError, match=r"nothing came from ranks 1, 3 within 0.2 s") as caught:
            comm.all_gather(np.zeros(1), "all_gather (call 7 of a test)")
        assert isinstance(caught.value, TimeoutError)
        return str(caught.value)

    found = run_threads(4, rank, timeout=0.2)
    assert found[2].startswith("rank 2 of 4: all_gather (call 7 of a test): nothing came from ranks 1, 3")


def test_a_message_of_another_size() -> None:
    def rank(comm: Communicator) -> None:
        with pytest.raises(DistBackendError, match=r"expected (16|24) bytes: all ranks have to make the same calls"):
            comm.all_gather(np.zeros(2 + comm.rank), "a sum")

    run_threads(2, rank)


def test_letters() -> None:
    """Taken by sender and tag, out of the order of their arrival; no exchange sees them."""

    def rank(comm: Communicator) -> Any:
        if comm.rank:
            comm.post(0, np.array([comm.rank]), tag=comm.rank)
            comm.post(0, np.array([comm.rank + 10]), tag=7)
            comm.barrier()
            return None
        comm.barrier()
        assert comm.take(1, 2) is None
        found = [comm.take(2, 2), comm.take(1, 7), comm.take(None, 7), comm.take(None, 1)]
        assert comm.take(None, 7) is None
        return [(sender, content().view(np.int64)[0]) for sender, content in found if content() is not None]

    assert run_threads(3, rank)[0] == [(2, 2), (1, 11), (2, 12), (1, 1)]


def test_the_deadline_of_the_environment() -> None:
    assert default_timeout({}) == 30
    assert default_timeout({"DDPNET_TIMEOUT": "2.5"}) == 2.5
    for text in ("soon", "-1", "0", "nan", ""):
        with pytest.raises(InputError, match=f"DDPNET_TIMEOUT: expected a positive number of seconds, got '{text}'"):
            default_timeout({"DDPNET_TIMEOUT": text})


def test_a_world_of_one() -> None:
    comm = SoloCommunicator()
    assert comm.hosts == [[0]]
    assert comm.share(5)[0].tobytes() == bytes(5)
    copy = comm.duplicate()
    copy.barrier()
    assert (copy.rank, copy.size) == (0, 1)
    with pytest.raises(ValueError, match=r"a world of one has no peers"):
        comm.exchange([(0, np.zeros(1))], [])
    with pytest.raises(ValueError, match="expected a root from 0 to 0, got 1"):
        comm.broadcast(np.zeros(1), 1)


@pytest.mark.skipif(not host_memory.AVAILABLE, reason="needs Linux")
def test_memory_of_another_process() -> None:
    """Written there, seen here; it cannot be more than there is, and goes with its processes."""
    descriptor, array = host_memory.create(100_000)
    code = (
        "import sys; from ddpnet.distributed.transport import host_memory\n"
        "array = host_memory.attach(int(sys.argv[1]), int(sys.argv[2]), 100_000)\n"
        "assert not array.any(); array[:] = 7; print(host_memory.machine().hex())"
    )
    done = run([sys.executable, "-c", code, str(os.getpid()), str(descriptor)])
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == host_memory.machine().hex()
    assert (array == 7).all()
    os.close(descriptor)
    array[0] = 1
    available = host_memory.available_bytes()
    assert available is not None
    assert available > 2**20
    with pytest.raises(OSError, match=r"only [0-9]+ bytes are free"):
        host_memory.create(available // 2, ranks=3)


# Real ranks


def test_real_ranks(tmp_path: Path) -> None:
    """Hosts, shared memory, groups, large and empty messages, two threads at once, and a deadline."""
    done = mpi(
        3,
        """
        import threading, time
        import numpy as np
        from ddpnet.distributed import DistBackendError, connect

        comm = connect()
        assert comm.hosts == [[0, 1, 2]], comm.hosts
        assert comm.timeout == 20, comm.timeout
        peers = [peer for peer in range(3) if peer != comm.rank]
        memory = comm.share(100_000)
        memory[comm.rank][:] = comm.rank + 1
        comm.barrier()
        assert [int(memory[peer].sum()) for peer in range(3)] == [100_000, 200_000, 300_000]
        assert comm.share(0)[comm.rank].size == 0
        array = np.full(1_000_000, comm.rank)
        comm.broadcast(array, 1)
        assert (array == 1).all()
        empty = np.zeros((0, 3))
        comm.exchange([(peer, empty) for peer in peers], [(peer, empty.copy()) for peer in peers])

        copy, sums = comm.duplicate(), []
        def beside():
            for number in range(300):
                sums.append(sum(int(part[0]) for part in copy.all_gather(np.array([number + copy.rank]))))
        thread = threading.Thread(target=beside)
        thread.start()
        for number in range(300):
            parts = comm.all_gather(np.array([comm.rank - number]))
            assert [int(part[0]) + number for part in parts] == [0, 1, 2]
        thread.join()
        assert sums == [3 * number + 3 for number in range(300)]
        group = comm.subgroup([2, 0])
        if group is not None:
            assert (group.rank, group.members, group.hosts) == (comm.rank // 2 ^ 1, [2, 0], [[0, 1]])
            group.timeout = 0.3
            group.barrier()
            if comm.rank == 2:
                begun = time.monotonic()
                for what in ("all_reduce", "barrier"):
                    try:
                        group.all_gather(np.zeros(1), what)
                    except DistBackendError as error:
                        print(error)
                assert 0.3 <= time.monotonic() - begun < 2
        for _ in range(150):  # more than are kept
            comm.duplicate().close()
        other = comm.duplicate()
        try:
            other.all_gather(np.zeros(2 + (comm.rank == 1)), "a sum")
        except DistBackendError as error:
            told = "16 bytes came from rank 0" if comm.rank == 1 else "more came from rank 1, expected 16"
            assert str(error).startswith(f"rank {comm.rank} of 3: a sum: {told}"), error
        else:
            raise AssertionError("messages of another size passed")
        try:
            comm.share(2**45)
        except DistBackendError as error:
            assert "3 ranks of this host need 35184372088832 bytes each" in str(error), error
        comm.barrier()
        """,
        tmp_path,
        DDPNET_TIMEOUT="20",
    )
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("rank 2 of 3: all_reduce: nothing came from rank 0 within 0.3 s: all ranks have to make")
    assert lines[1] == "rank 2 of 3: barrier: an earlier call has not ended in time: nothing can be sent any more"


def test_without_shared_memory_every_rank_is_a_host(tmp_path: Path) -> None:
    code = """
        from ddpnet.distributed import connect
        comm = connect()
        print(comm.hosts, list(comm.share(3)) == [comm.rank])
        """
    done = mpi(2, code, tmp_path, DDPNET_SHARED_MEMORY="0")
    assert (done.code, sorted(done.out.splitlines())) == (0, ["[[0], [1]] True"] * 2), done.err
    done = mpi(2, code, tmp_path, DDPNET_SHARED_MEMORY="no")
    assert "DDPNET_SHARED_MEMORY: expected 0 or 1, got 'no'" in done.err


def test_ranks_that_wait_leave_the_cores_to_others(tmp_path: Path) -> None:
    """A second of waiting costs much less than a second of a core."""
    done = mpi(
        2,
        """
        import time
        from ddpnet.distributed import connect

        comm = connect()
        comm.barrier()
        begun = time.process_time()
        if comm.rank == 0:
            time.sleep(1)
        comm.barrier()
        if comm.rank == 1:
            print(time.process_time() - begun)
        """,
        tmp_path,
    )
    assert done.code == 0, done.err
    assert float(done.out) < 0.5
