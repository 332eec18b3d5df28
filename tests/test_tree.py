"""The fixed tree: the same bits whoever adds what, shown with ranks that are threads."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ddpnet.distributed.step.tree import (
    additions,
    additions_at_once,
    are_siblings,
    halves,
    largest_nodes,
    nodes_within,
    share,
    tree_all_reduce,
    turns,
)
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.transport.threads import run_threads


def reduced(comm: Communicator, data: list[np.ndarray]) -> np.ndarray:
    """This rank's shards added in tree order, then everything."""
    shards = len(data)
    held = share(shards, comm.size, comm.rank)
    nodes, sums = nodes_within(held, (0, shards)), local_sums(held, data)
    return tree_all_reduce(comm, shards, [(node, [array]) for node, array in zip(nodes, sums, strict=True)])[0]


def local_sums(held: tuple[int, int], data: list[np.ndarray]) -> list[np.ndarray]:
    """The sums of the nodes in a range of shards, made as a rank makes them."""
    levels: dict[int, np.ndarray] = {}
    for shard, turn in zip(range(*held), turns(held, len(data)), strict=True):
        levels[turn.level] = levels[turn.level] + data[shard] if turn.adds else data[shard].copy()
        for into, source in turn.merges:
            levels[into] += levels[source]
    return [levels[level] for level in range(len(nodes_within(held, (0, len(data)))))]


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8, 12, 13])
@pytest.mark.parametrize("elements", [0, 1, 3, 1001])
def test_same_bits_on_any_number_of_ranks(shards: int, elements: int) -> None:
    rng = np.random.default_rng(shards)
    data = [rng.standard_normal(elements).astype(np.float32) * 10.0 ** rng.integers(-4, 5) for _ in range(shards)]
    alone = run_threads(1, lambda comm: reduced(comm, data))[0]
    np.testing.assert_allclose(alone, np.sum(data, axis=0, dtype=np.float64), rtol=1e-4, atol=1e-2)
    for size in range(2, min(shards, 8) + 1):
        for total in run_threads(size, lambda comm: reduced(comm, data)):
            assert total.tobytes() == alone.tobytes(), f"{size} ranks"


def test_a_plain_sum_would_have_other_bits() -> None:
    """The test above can fail: adding one after the other is a different number."""
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(1000).astype(np.float32) for _ in range(8)]
    tree = run_threads(3, lambda comm: reduced(comm, data))[0]
    plain = data[0].copy()
    for array in data[1:]:
        plain += array
    assert tree.tobytes() != plain.tobytes()


def test_nodes_cover_each_shard_once() -> None:
    for shards in range(1, 40):
        for size in range(1, shards + 1):
            nodes = [n for r in range(size) for n in nodes_within(share(shards, size, r), (0, shards))]
            assert [shard for start, stop in nodes for shard in range(start, stop)] == list(range(shards))


def test_siblings_are_the_halves_of_one_node() -> None:
    assert halves((2, 5)) == ((2, 3), (3, 5))
    assert are_siblings((0, 2), (2, 4), (0, 8))
    assert not are_siblings((2, 4), (4, 6), (0, 8))


@pytest.mark.parametrize(("shards", "ranks"), [(64, 1), (64, 4), (8, 1), (8, 2), (8, 3), (12, 3), (13, 4)])
def test_partial_sums_stay_few(shards: int, ranks: int) -> None:
    """log2 of a rank's shards and one more copies of the gradients are held, at most."""
    for rank in range(ranks):
        held = share(shards, ranks, rank)
        copies = 1 + max(turn.level for turn in turns(held, shards))
        assert copies <= np.log2(-(-shards // ranks)) + 1


def test_nodes_of_several_ranks_join() -> None:
    assert largest_nodes((0, 8), [(0, 2), (2, 4), (4, 5)]) == [(0, 4), (4, 5)]
    assert largest_nodes((0, 8), [(2, 4), (5, 6)]) == [(2, 4), (5, 6)]
    assert additions((0, 8), [(0, 4), (4, 6), (6, 7), (7, 8)]) == [(2, 3), (1, 4), (0, 5)]


def test_delays_do_not_change_the_bits() -> None:
    rng = np.random.default_rng(1)
    data = [rng.standard_normal(100).astype(np.float32) for _ in range(6)]

    def delay(sender: int, receiver: int) -> bool:
        time.sleep(0.01 * ((sender * 7 + receiver * 3) % 4))
        return True

    prompt = run_threads(3, lambda comm: reduced(comm, data))
    late = run_threads(3, lambda comm: reduced(comm, data), fault=delay)
    assert [total.tobytes() for total in prompt] == [total.tobytes() for total in late]


def test_a_lost_message_ends_with_the_name_of_the_rank() -> None:
    data = [np.ones(10, np.float32)] * 3
    with pytest.raises(TimeoutError, match="nothing came from rank 1"):
        run_threads(3, lambda comm: reduced(comm, data), timeout=0.3, fault=lambda sender, receiver: sender != 1)


def test_an_exception_of_one_rank_is_the_one_that_is_raised() -> None:
    def fail(comm: Communicator) -> None:
        if comm.rank == 1:
            raise KeyError("the cause")
        comm.barrier()

    with pytest.raises(KeyError, match="the cause"):
        run_threads(3, fail, timeout=5)


@pytest.mark.parametrize("shards", range(1, 20))
def test_additions_at_once_are_those_of_the_turns(shards):
    """For every rank of every number of ranks: the same arrays, levels and merges as shard after shard."""
    for ranks in range(1, shards + 1):
        for rank in range(ranks):
            held = share(shards, ranks, rank)
            values = np.random.default_rng(rank).random(shards)
            one, two = np.zeros(8), np.zeros(8)
            for turn, shard in zip(turns(held, shards), range(*held), strict=True):
                one[turn.level] = one[turn.level] + values[shard] if turn.adds else values[shard]
                for into, source in turn.merges:
                    one[into] += one[source]
            taken = []
            for addition in additions_at_once(held, shards):
                taken += addition.shards
                parts = [values[shard] for shard in addition.shards]
                if len(parts) == 1:
                    two[addition.level] = two[addition.level] + parts[0] if addition.adds else parts[0]
                else:
                    pairs = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
                    two[addition.level] = sum(pairs)
                for into, source in addition.merges:
                    two[into] += two[source]
            assert taken == list(range(*held))
            nodes = len(nodes_within(held, (0, shards)))
            assert np.array_equal(one[:nodes], two[:nodes])
