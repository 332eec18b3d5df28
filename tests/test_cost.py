"""The model of communication: formulas against numbers computed by hand, and against times that obey them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from ddpnet.distributed.step.cost import (
    ALGORITHMS,
    MIN_BUCKET_BYTES,
    Link,
    all_reduce_seconds,
    fit,
    ideal_bucket_bytes,
    link_of_all_reduce,
    measure,
    measure_messages,
    most_nodes,
    predicted_efficiency,
)
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.transport.solo import SoloCommunicator
from ddpnet.distributed.transport.threads import run_threads

LINK = Link(latency_s=10, seconds_per_byte=1, seconds_per_byte_added=0.1)


@pytest.mark.parametrize(
    ("algorithm", "ranks", "seconds"),
    [  # 120 bytes: alpha 10, n beta 120, n gamma 12
        ("ring", 2, 2 * 10 + 120 + 6),
        ("ring", 4, 6 * 10 + 1.5 * 120 + 9),
        ("direct", 4, 6 * 10 + 1.5 * 120 + 9),
        ("direct", 3, 4 * 10 + 4 / 3 * 120 + 8),
        ("tree", 4, 4 * 130 + 2 * 12),
        ("tree", 5, 6 * 130 + 3 * 12),
        ("recursive doubling", 4, 2 * 142),
        ("recursive doubling", 6, 2 * 142 + 2 * 130 + 12),
        ("rabenseifner", 4, 4 * 10 + 1.5 * 120 + 9),
        ("rabenseifner", 6, 6 * 10 + (10 / 6 + 2) * 120 + (1 + 5 / 6) * 12),
    ],
)
def test_formulas(algorithm: str, ranks: int, seconds: float) -> None:
    assert all_reduce_seconds(algorithm, 120, ranks, LINK) == pytest.approx(seconds)


def test_several_nodes_a_rank_are_sent_and_added() -> None:
    """Eight shards on three ranks: [0, 3) is (0, 1) and 2; so two nodes are sent at first, and one sum comes back."""
    assert [most_nodes(ranks, 8) for ranks in (1, 2, 3, 4, 8)] == [1, 1, 2, 1, 1]
    assert most_nodes(3, 3) == 1
    assert all_reduce_seconds("direct", 120, 3, LINK, nodes=2) == pytest.approx(40 + 3 * 2 / 3 * 120 + 5 / 3 * 12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_alone_costs_nothing(algorithm: str) -> None:
    assert all_reduce_seconds(algorithm, 10**9, 1, LINK) == 0


@pytest.mark.parametrize("ranks", [2, 3, 4, 7, 64, 1000])
def test_nothing_beats_the_lower_bound(ranks: int) -> None:
    """lg p alpha + 2 n (p - 1) / p beta, but for doubling, which sends whole arrays of few bytes."""
    for algorithm in ("direct", "ring", "tree", "rabenseifner"):
        bound = np.log2(ranks) * 10 + 2 * (ranks - 1) / ranks * 120
        assert all_reduce_seconds(algorithm, 120, ranks, Link(10, 1)) >= bound * (1 - 1e-12)


def test_ideal_bucket() -> None:
    """Gigabit Ethernet, 50 us, 16 ranks, 2.1 MB: sqrt(2.1e6 x 16 x 50e-6 x 125e6) bytes."""
    gigabit = Link(50e-6, 1 / 125e6)
    assert ideal_bucket_bytes(2_100_000, 16, gigabit) == 458_258
    assert ideal_bucket_bytes(2_100_000, 1024, gigabit) == 2_100_000  # one bucket
    assert ideal_bucket_bytes(2_100_000, 2, Link(1e-7, 1 / 5e9)) == MIN_BUCKET_BYTES
    assert ideal_bucket_bytes(100, 4, gigabit) == 100
    assert ideal_bucket_bytes(0, 4, gigabit) == 1
    assert ideal_bucket_bytes(10**6, 4, Link(1e-6, 0)) == 10**6


def test_ideal_bucket_is_where_the_exposed_time_is_least() -> None:
    total, ranks, link = 40_000_000, 8, Link(30e-6, 1e-9)

    def exposed(bucket: float) -> float:
        latency = total / bucket * 2 * (ranks - 1) * link.latency_s
        return latency + all_reduce_seconds("ring", bucket, ranks, Link(0, link.seconds_per_byte))

    best = ideal_bucket_bytes(total, ranks, link)
    assert exposed(best) < min(exposed(0.8 * best), exposed(1.25 * best))


def test_efficiency() -> None:
    """An all-reduce of 146 s: beside 146 s of computing half of the step, and with 100 s hidden 146 of 192."""
    assert predicted_efficiency(146, 120, 2, LINK) == pytest.approx(0.5)
    assert predicted_efficiency(146, 120, 2, LINK, hideable_s=100) == pytest.approx(146 / 192)
    assert predicted_efficiency(146, 120, 2, LINK, hideable_s=1000) == 1
    assert predicted_efficiency(1, 10**9, 1, LINK) == 1


def test_fit() -> None:
    sizes = [8, 1000, 10**6, 10**8]
    fixed, slope = fit(sizes, [3e-6 + 2e-10 * size for size in sizes])
    assert (fixed, slope) == (pytest.approx(3e-6), pytest.approx(2e-10))
    assert fit([1, 2], [2.0, 1.0])[1] == 0  # never faster with more bytes
    assert fit([10, 20], [1.0, 4.0])[0] == 0  # nor less than nothing for none


def test_a_link_that_is_fitted_gives_the_times_back() -> None:
    for ranks in (2, 3, 4):
        link = link_of_all_reduce(20e-6, 1e-10, ranks)
        assert all_reduce_seconds("direct", 10**6, ranks, link) == pytest.approx(20e-6 + 1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: all_reduce_seconds("star", 1, 2, LINK), "algorithm: expected one of direct, ring, .*, got 'star'"),
        (lambda: all_reduce_seconds("ring", 1, 0, LINK), "ranks: expected at least 1, got 0"),
        (lambda: Link(-1, 1), "expected latency_s to be 0 or more, got -1"),
        (lambda: Link(1, float("nan")), "expected seconds_per_byte to be 0 or more, got nan"),
        (lambda: predicted_efficiency(0, 1, 2, LINK), "compute_s: expected more than 0 seconds, got 0"),
        (lambda: fit([1, 1], [1, 1]), "two different sizes"),
        (lambda: ideal_bucket_bytes(-1, 2, LINK), "got -1 and 2"),
    ],
)
def test_nonsense_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_measured_on_every_rank_alike() -> None:
    for links in (run_threads(3, measure), run_threads(2, measure_messages), [measure(SoloCommunicator())]):
        assert all(link == links[0] for link in links)
    assert links[0] == Link(0, 0)


def test_measured_link_is_the_one_that_is_there() -> None:
    """Two hosts between which a message takes 2 ms, and 10 ms more a 512 KiB."""

    def delay(sender: int, receiver: int) -> bool:
        time.sleep(0.002)
        return True

    class Slow:
        """Messages of many bytes take their time."""

        def __init__(self, comm: Communicator) -> None:
            self._comm = comm

        def __getattr__(self, name: str) -> object:
            return getattr(self._comm, name)

        def exchange(self, sends: Sequence, receives: Sequence, what: str = "exchange") -> None:
            time.sleep(sum(array.nbytes for _, array in sends) / 2**19 * 0.010)
            self._comm.exchange(sends, receives, what)

    (link, _) = run_threads(2, lambda comm: measure(Slow(comm)), fault=delay, hosts=[[0], [1]])
    assert 0.002 < link.latency_s < 0.01
    assert 0.010 / 2**19 < link.seconds_per_byte < 0.020 / 2**19
