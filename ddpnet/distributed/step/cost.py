"""What communication costs: the alpha-beta model of messages, measured, and what follows from it.

A message of n bytes takes alpha + n beta seconds, adding two arrays of n bytes n gamma. The formulas are those of
Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), section 4, and of
Chan et al., "Collective Communication: Theory, Practice, and Experience" (2007).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddpnet.distributed.step.exchange import AllReduce
from ddpnet.distributed.step.tree import nodes_within, share
from ddpnet.distributed.step.window import Window
from ddpnet.distributed.transport.communicator import Communicator

ALGORITHMS = ("direct", "ring", "tree", "recursive doubling", "rabenseifner")
"""`direct` is ours, `tree` a binomial reduction to one rank and a broadcast from there."""

MIN_BUCKET_BYTES = 64 * 1024
_SMALL_BYTES, _LARGE_BYTES = 8, 512 * 1024
_SMALL_ROUNDS, _LARGE_ROUNDS = 20, 4


@dataclass(frozen=True)
class Link:
    """How ranks are connected: alpha, beta and gamma of the model."""

    latency_s: float
    seconds_per_byte: float
    seconds_per_byte_added: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"Link: expected {name} to be 0 or more, got {value}")


def all_reduce_seconds(algorithm: str, nbytes: float, ranks: int, link: Link, nodes: float = 1) -> float:
    """How long the sum of `nbytes` on each of `ranks` takes with one of ALGORITHMS.

    `nodes` is for `direct`: how many nodes of the tree the rank with the most of them holds (`most_nodes`).
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    if ranks < 1:
        raise ValueError(f"ranks: expected at least 1, got {ranks}")
    if ranks == 1:
        return 0.0
    alpha, beta, gamma = link.latency_s, nbytes * link.seconds_per_byte, nbytes * link.seconds_per_byte_added
    down, up = math.floor(math.log2(ranks)), math.ceil(math.log2(ranks))
    part, odd = (ranks - 1) / ranks, down != up  # odd: not a power of two
    if algorithm == "direct":
        return 2 * (ranks - 1) * alpha + (nodes + 1) * part * beta + (nodes - 1 / ranks) * gamma
    if algorithm == "ring":
        return 2 * (ranks - 1) * alpha + 2 * part * beta + part * gamma
    if algorithm == "tree":
        return 2 * up * (alpha + beta) + up * gamma
    if algorithm == "recursive doubling":
        return down * (alpha + beta + gamma) + odd * (2 * (alpha + beta) + gamma)
    return 2 * (down + odd) * alpha + 2 * (part + odd) * beta + (part + odd) * gamma


def most_nodes(ranks: int, shards: int) -> int:
    """The most nodes of the tree over `shards` that one of `ranks` holds, and has to send at first."""
    return max(len(nodes_within(share(shards, ranks, rank), (0, shards))) for rank in range(ranks))


def ideal_bucket_bytes(total: int, ranks: int, link: Link) -> int:
    """The size of buckets for gradients of `total` bytes, from 64 KiB to `total`.

    In buckets of b bytes, n / b times 2 (p - 1) alpha is spent on latency, and the last bucket, 2 (p - 1) / p b beta,
    cannot be hidden behind the backward pass: the sum is least for b = sqrt(n p alpha / beta).
    """
    if total < 0 or ranks < 1:
        raise ValueError(f"expected at least 0 bytes and 1 rank, got {total} and {ranks}")
    if total <= MIN_BUCKET_BYTES or ranks == 1 or link.seconds_per_byte == 0:
        return max(1, total)
    best = math.sqrt(total * ranks * link.latency_s / link.seconds_per_byte)
    return round(min(max(best, MIN_BUCKET_BYTES), total))


def predicted_efficiency(
    compute_s: float,
    nbytes: float,
    ranks: int,
    link: Link,
    hideable_s: float = 0.0,
    algorithm: str = "direct",
    nodes: float = 1,
) -> float:
    """The part of a step in which a rank computes, if it computes for `compute_s` and then all gradients are reduced.

    `hideable_s` of the communication happens at the same time as the computing.
    """
    if compute_s <= 0:
        raise ValueError(f"compute_s: expected more than 0 seconds, got {compute_s}")
    exposed = max(0.0, all_reduce_seconds(algorithm, nbytes, ranks, link, nodes) - hideable_s)
    return compute_s / (compute_s + exposed)


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(seconds of nothing, seconds a byte) of a line through measured times, both 0 or more.

    Least squares of the relative errors, so that short times count as much as long ones. ValueError for fewer than two
    different sizes.
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(seconds, np.float64)
    if x.shape != y.shape or len(np.unique(x)) < 2 or not (y > 0).all():
        raise ValueError(f"fit: expected times above 0 for two different sizes or more, got {sizes} and {seconds}")
    (fixed, slope), *_ = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones(len(y)))
    if slope < 0:
        return float(1 / np.mean(1 / y)), 0.0
    if fixed < 0:
        return 0.0, float(np.mean(x / y) / np.mean((x / y) ** 2))
    return float(fixed), float(slope)


# Measurements: collective, some milliseconds, the same numbers on every rank


def measure(comm: Communicator) -> Link:
    """The link that decides how long an all-reduce takes: the memory of one host, or what lies between several.

    Formulas want it with the number of ranks, or of hosts where there are several.
    """
    if comm.size == 1:
        return Link(0.0, 0.0)
    return measure_memory(comm) if len(comm.hosts) == 1 else measure_messages(comm)


def measure_messages(comm: Communicator) -> Link:
    """Latency and bandwidth of messages, while every rank sends to the next one and receives from the one before."""
    small, large = _slowest(comm, _timed(comm, lambda nbytes: pass_on(comm, nbytes)))
    beta = max(0.0, large - small) / (_LARGE_BYTES - _SMALL_BYTES)
    numbers = np.zeros(_LARGE_BYTES // 4, np.float32)
    added = [_seconds(lambda: np.add(numbers, numbers, out=numbers)) for _ in range(_LARGE_ROUNDS)]
    (gamma,) = _slowest(comm, [statistics.median(added) / _LARGE_BYTES])
    return Link(small, beta, gamma)


def pass_on(comm: Communicator, nbytes: int) -> Callable[[], None]:
    """What sends a message to the next rank, and receives that of the one before, when it is called.

    What came is what is sent the next time: as in an all-reduce, it has just been written by the core that sends it.
    """
    ahead, behind = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    buffers = [np.zeros(nbytes, np.uint8), np.zeros(nbytes, np.uint8)]

    def call() -> None:
        buffers.reverse()
        comm.exchange([(ahead, buffers[0])], [(behind, buffers[1])], "measuring the link")

    return call


def measure_memory(comm: Communicator) -> Link:
    """The memory of one host: the link with which the formula of `direct` gives the times of an all-reduce there."""

    def reduce(nbytes: int) -> Callable[[], None]:
        everything = AllReduce(comm, comm.size, Window(comm, [nbytes // 4], [np.dtype(np.float32)], 1))
        return lambda: everything.run([0], [None], "measuring the memory")

    small, large = _slowest(comm, _timed(comm, reduce))
    return link_of_all_reduce(small, max(0.0, large - small) / (_LARGE_BYTES - _SMALL_BYTES), comm.size)


def link_of_all_reduce(fixed_s: float, seconds_per_byte: float, ranks: int) -> Link:
    """The link over which all-reduces by `direct` of `ranks` take as long as measured; adding is part of it."""
    return Link(fixed_s / (2 * (ranks - 1)), seconds_per_byte * ranks / (2 * (ranks - 1)))


def _timed(comm: Communicator, prepare: Callable[[int], Callable[[], None]]) -> list[float]:
    """Median seconds of an action with little and with much data."""
    medians = []
    for nbytes, rounds in ((_SMALL_BYTES, _SMALL_ROUNDS), (_LARGE_BYTES, _LARGE_ROUNDS)):
        action = prepare(nbytes)
        action()
        comm.barrier()
        medians.append(statistics.median(_seconds(action) for _ in range(rounds)))
    return medians


def _slowest(comm: Communicator, seconds: list[float]) -> list[float]:
    """For each of some times that of the rank where it was longest."""
    return [float(value) for value in np.max(comm.all_gather(np.array(seconds)), axis=0)]


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
