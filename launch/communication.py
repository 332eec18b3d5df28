"""What a world of ranks can do: its messages, its all-reduce beside MPI's own, and a step with one in it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.distributed import Communicator
from ddpnet.distributed.step import cost
from ddpnet.distributed.step.cost import Link
from ddpnet.distributed.step.exchange import AllReduce
from ddpnet.distributed.step.tree import nodes_within, share
from ddpnet.distributed.step.window import Window
from ddpnet.distributed.transport.mpi import load

SIZES = (4096, 2**16, 250_000, 2**20, 2**22, 25 * 2**20, 2**26)
"""Bytes that are all-reduced."""
_SECONDS_A_ROUND = 4e-3
_MATRIX = 192

Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """Seconds, medians of rounds: of one all-reduce, and of one message that every rank sends to the next."""

    nbytes: int
    ours: float
    mpi: float
    by_messages: float
    """Ours without shared memory."""
    message: float
    ratio: float
    """Ours by MPI's, the median of the rounds' own ratios."""


@dataclass(frozen=True)
class Step:
    """Seconds of a step of computing alone, and of one with an all-reduce after it."""

    nbytes: int
    computing: float
    whole: float


@dataclass(frozen=True)
class World:
    """What was measured, the same on every rank."""

    ranks: int
    hosts: int
    shards: int
    rounds: int
    library: str
    link: Link
    """Of messages."""
    rows: list[Row]
    step: Step

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> World:
        """The inverse of `dataclasses.asdict`."""
        parts = {"link": Link(**values["link"]), "step": Step(**values["step"])}
        return cls(**{**values, **parts, "rows": [Row(**row) for row in values["rows"]]})


def measure_world(
    comm: Communicator, *, sizes: Sequence[int], shards: int, rounds: int, model_bytes: int, compute_s: float
) -> World:
    """Measure; collective. The gradients lie where those of a model do: in memory that the ranks of a host share."""
    rows = [_measure_row(comm, shards, nbytes, rounds) for nbytes in sizes]
    fixed, slope = cost.fit([row.nbytes for row in rows], [row.message for row in rows])
    link = Link(fixed, slope, cost.measure_messages(comm).seconds_per_byte_added)
    step = _measure_step(comm, shards, rounds, model_bytes, compute_s)
    library = " ".join(comm.library().partition(",")[0].split())
    return World(comm.size, len(comm.hosts), shards, rounds, library, link, rows, step)


def _measure_row(comm: Communicator, shards: int, nbytes: int, rounds: int) -> Row:
    ours, by_messages = (our_all_reduce(comm, shards, nbytes, shared=shared) for shared in (True, False))
    times = in_turn(comm, [ours, mpi_all_reduce(nbytes), by_messages, cost.pass_on(comm, nbytes)], rounds)
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    ratio = statistics.median(mine / theirs for mine, theirs, _, _ in times)
    return Row(nbytes, medians[0], medians[1], medians[2], medians[3], ratio)


def _measure_step(comm: Communicator, shards: int, rounds: int, nbytes: int, compute_s: float) -> Step:
    left = np.random.default_rng(0).standard_normal((_MATRIX, _MATRIX), np.float32)
    out = np.empty_like(left)
    products = max(1, round(compute_s / min(_seconds(lambda: np.matmul(left, left, out=out)) for _ in range(20))))
    products = int(comm.all_gather(np.array([products]))[0][0])
    reduce = our_all_reduce(comm, shards, nbytes)

    def compute() -> None:
        for _ in range(products):
            np.matmul(left, left, out=out)

    def step() -> None:
        compute()
        reduce()

    times = in_turn(comm, [compute, step], rounds)
    computing, whole = (statistics.median(column) for column in zip(*times, strict=True))
    return Step(nbytes, computing, whole)


def our_all_reduce(comm: Communicator, shards: int, nbytes: int, *, shared: bool = True) -> Action:
    """The all-reduce of gradients, of float32 in one bucket; RuntimeError if its sum is wrong."""
    held = [len(nodes_within(share(shards, comm.size, rank), (0, shards))) for rank in range(comm.size)]
    window = Window(comm, [nbytes // 4], [np.dtype(np.float32)], max(held), shared=shared)
    exchange = AllReduce(comm, shards, window)
    copies = window.arrays[0][comm.rank]
    for copy in copies[: held[comm.rank]]:
        copy[...] = 1
    exchange.run([0], [None])
    if not (copies[0] == sum(held)).all():
        raise RuntimeError(f"all-reduce of {nbytes} bytes on {comm.size} ranks: expected {sum(held)}, got {copies[0]}")
    for copy in copies:
        copy[...] = 0  # whatever is added, it stays 0
    return lambda: exchange.run([0], [None])


def mpi_all_reduce(nbytes: int) -> Action:
    """A plain MPI_Allreduce of float32 over all ranks."""
    world = load().COMM_WORLD
    mine, total = np.full(nbytes // 4, 0, np.float32), np.empty(nbytes // 4, np.float32)  # zeros() has no memory yet
    return lambda: world.Allreduce(mine, total)


def in_turn(comm: Communicator, actions: list[Action], rounds: int) -> list[list[float]]:
    """Seconds of each action, of the slowest rank, for each of some rounds in which all take their turn."""
    counts = [_repetitions(comm, action) for action in actions]
    mine = [[_mean(comm, *pair) for pair in zip(actions, counts, strict=True)] for _ in range(rounds)]
    slowest: list[list[float]] = np.max(comm.all_gather(np.array(mine)), axis=0).tolist()
    return slowest


def _repetitions(comm: Communicator, action: Action) -> int:
    """How often an action is done in a round, which should not be too short; the same on all ranks."""
    for times in (1, 3):  # the first one may open connections
        comm.barrier()
        taken = float(max(comm.all_gather(np.array([_seconds(action) for _ in range(times)])), key=min).min())
        if taken > _SECONDS_A_ROUND:
            return 1
    return max(1, round(_SECONDS_A_ROUND / taken))


def _mean(comm: Communicator, action: Action, count: int) -> float:
    comm.barrier()
    started = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - started) / count


def _seconds(action: Action) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
