"""`ddpnet bench comm`: what communication costs here, beside plain MPI, and what that means for steps of training."""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ddpnet.distributed import connect
from ddpnet.distributed.step import cost
from ddpnet.distributed.step.cost import Link, all_reduce_seconds, predicted_efficiency
from ddpnet.errors import InputError

from . import machine, placement
from .communication import SIZES, Row, World, measure_world
from .rank import run_as_rank
from .supervisor import supervise

WORLDS = (2, 4)
"""Ranks of the worlds that are measured if the user names no number."""
MODEL_BYTES = 4 * 535_818
"""Of gradients: a 784-512-256-10 perceptron, about."""
COMPUTE_MS = 7.5
ROUNDS = 15
_PREDICTED = tuple(2**k for k in range(1, 11))


def bench_comm(ranks: int | None, out: Path | None, **options: Any) -> int:
    """Measure the present world, or one of `ranks`, or two; print tables, and write JSON to `out`. The exit code.

    Options: shards, rounds, max_mib, model_bytes, compute_ms, latency_us, gbit; None is the default.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if out is not None and not out.parent.is_dir():
        raise InputError(f"{out}: cannot be written: there is no folder {out.parent}")
    if placement.is_rank(ranks):
        return run_as_rank(lambda: _measure_here(given, out))
    placement.check_number(ranks)
    worlds: list[World] = []
    for number in (ranks,) if ranks else WORLDS:
        world = _start_world(number, given)
        if isinstance(world, int):
            return world
        worlds.append(world)
    _report(worlds, given, out)
    return 0


def work(arguments: str) -> int:
    """What each rank of ours does: rank 0 leaves the result in a file."""
    options, path = json.loads(arguments)
    world = _measure(options)
    if world is not None:
        Path(path).write_text(json.dumps(asdict(world)))
    return 0


def _start_world(ranks: int, options: dict[str, Any]) -> World | int:
    """What some ranks of ours have measured; an exit code if they failed."""
    launcher = placement.launcher_for(ranks)
    if launcher is None:
        raise click.UsageError("ranks: expected at least 2: one rank has nobody to communicate with")
    with tempfile.TemporaryDirectory(prefix="ddpnet-bench-") as folder:
        path = Path(folder) / "world.json"
        program = ["bench", json.dumps([options, str(path)])]
        code = supervise(launcher, program, ranks, lambda: "`ddpnet doctor` looks at what is here")
        return code or World.from_dict(json.loads(path.read_text()))


def _measure_here(options: dict[str, Any], out: Path | None) -> int:
    world = _measure(options)
    if world is not None:
        _report([world], options, out)
    return 0


def _measure(options: dict[str, Any]) -> World | None:
    """What the world of this rank can do; None on all ranks but 0."""
    comm = connect()
    if comm.size == 1:
        raise InputError("bench comm: a world of one rank has nothing to measure: start more")
    shards = options.get("shards", comm.size)
    if shards < comm.size:
        raise InputError(f"bench comm: {comm.size} ranks need at least as many shards, got {shards}")
    most = options.get("max_mib", SIZES[-1] / 2**20) * 2**20
    world = measure_world(
        comm,
        sizes=[size for size in SIZES if size <= max(most, SIZES[1])],  # a line needs two points
        shards=shards,
        rounds=options.get("rounds", ROUNDS),
        model_bytes=options.get("model_bytes", MODEL_BYTES),
        compute_s=options.get("compute_ms", COMPUTE_MS) / 1e3,
    )
    return world if comm.rank == 0 else None


# The report


def _report(worlds: list[World], options: dict[str, Any], out: Path | None) -> None:
    for world in worlds:
        _show_world(world)
    link = _link(worlds[0], options)
    predicted = _predictions(worlds[0], link, options)
    _show_predictions(worlds[0], link, predicted, options)
    if out is not None:
        content = {"worlds": [asdict(world) for world in worlds], "link": asdict(link), "predicted": predicted}
        try:
            out.write_text(json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"{out}: cannot be written: {error.strerror}") from error


def _show_world(world: World) -> None:
    where = "one host" if world.hosts == 1 else f"{world.hosts} hosts"
    link = world.link
    click.echo(f"{world.ranks} ranks on {where} with {machine.cores()} cores here, {world.library}")
    click.echo(f"messages: {_time(link.latency_s)} and {_rate(link)} while all ranks send")
    click.echo(f"all-reduce of float32, {world.shards} shards, medians of {world.rounds} rounds in turn:")
    click.echo(
        f"{'size':>10}{'ours':>11}{'MPI_Allreduce':>15}{'ratio':>8}{'limit':>7}{'':>6}"
        f"{'by messages':>13}{'predicted':>11}{'a message':>11}"
    )
    nodes = cost.most_nodes(world.ranks, world.shards)
    for row in world.rows:
        bound = limit(world, row)
        verdict = "" if bound is None else f"{bound:>7.2f}"
        predicted = all_reduce_seconds("direct", row.nbytes, world.ranks, link, nodes)
        mark = "above" if bound is not None and row.ratio > bound else ""
        click.echo(
            f"{_size(row.nbytes):>10}{_time(row.ours):>11}{_time(row.mpi):>15}{row.ratio:>8.2f}{verdict:>7}{mark:>6}"
            f"{_time(row.by_messages):>13}{_time(predicted):>11}{_time(row.message):>11}"
        )
    fixed, slope = cost.fit([row.nbytes for row in world.rows], [row.ours for row in world.rows])
    error = statistics.median(abs(fixed + slope * row.nbytes - row.ours) / row.ours for row in world.rows)
    click.echo(f"ours, fitted: {_time(fixed)} + {_time(slope * 2**20)} a MiB, off by {error:.0%} in the median")
    step, expected = world.step, fixed + slope * world.step.nbytes
    click.echo(
        f"a step that computes {_time(step.computing)} and then reduces {_size(step.nbytes)}: {_time(step.whole)}, "
        f"efficiency {step.computing / step.whole:.3f}; predicted {step.computing / (step.computing + expected):.3f}"
    )
    bucket = cost.ideal_bucket_bytes(step.nbytes, world.ranks, cost.link_of_all_reduce(fixed, slope, world.ranks))
    click.echo(f"ideal bucket for {_size(step.nbytes)} of gradients: {_size(bucket)}\n")


def limit(world: World, row: Row) -> float | None:
    """What the ratio should be at most; None where nothing was promised."""
    if world.hosts > 1:
        return None
    if world.ranks == 2 and 250_000 <= row.nbytes <= 25 * 2**20:
        return 0.6
    return 1.1 if world.ranks in (2, 3, 4) and 2**16 <= row.nbytes <= 2**26 else None


def _link(world: World, options: dict[str, Any]) -> Link:
    """Between hosts: as measured, unless the user names another."""
    latency_us, gbit = options.get("latency_us"), options.get("gbit")
    return Link(
        world.link.latency_s if latency_us is None else latency_us / 1e6,
        world.link.seconds_per_byte if gbit is None else 8 / (gbit * 1e9),
        world.link.seconds_per_byte_added,
    )


def _predictions(world: World, link: Link, options: dict[str, Any]) -> list[dict[str, float]]:
    """For each number of ranks the efficiency of a step; ours adds within a host in shared memory first."""
    compute = options.get("compute_ms", COMPUTE_MS) / 1e3
    nbytes = world.step.nbytes
    fixed, slope = cost.fit([row.nbytes for row in world.rows], [row.ours for row in world.rows])
    per_host = world.ranks // world.hosts
    inside = Link(0, 0) if world.hosts > 1 else cost.link_of_all_reduce(fixed, slope, world.ranks)
    rows = []
    for ranks in _PREDICTED:
        row: dict[str, float] = {"ranks": ranks}
        for algorithm in ("ring", "tree"):
            row[algorithm] = predicted_efficiency(compute, nbytes, ranks, link, algorithm=algorithm)
        within = all_reduce_seconds("direct", nbytes, min(ranks, per_host), inside)
        between = all_reduce_seconds("direct", nbytes, -(-ranks // per_host), link)
        row["ours"] = compute / (compute + within + between)
        rows.append(row)
    return rows


def _show_predictions(world: World, link: Link, rows: list[dict[str, float]], options: dict[str, Any]) -> None:
    compute, per_host = options.get("compute_ms", COMPUTE_MS), world.ranks // world.hosts
    click.echo(
        f"predicted efficiency of a step that computes {compute:g} ms on every rank and then reduces "
        f"{_size(world.step.nbytes)}, nothing hidden, over messages of {_time(link.latency_s)} and {_rate(link)}; "
        f"ours with {per_host} ranks a host:"
    )
    click.echo(f"{'ranks':>10}{'ring':>9}{'tree':>9}{'ours':>9}")
    for row in rows:
        click.echo(f"{row['ranks']:>10}{row['ring']:>9.3f}{row['tree']:>9.3f}{row['ours']:>9.3f}")


def _time(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.2f} {name}"
    return f"{seconds * 1e6:.1f} us"


def _size(nbytes: int) -> str:
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.4g} {name}"
    return f"{nbytes} B"


def _rate(link: Link) -> str:
    if link.seconds_per_byte == 0:
        return "no limit"
    rate = 1 / link.seconds_per_byte
    return f"{rate / 1e9:.3g} GB/s" if rate >= 1e9 else f"{rate / 1e6:.3g} MB/s"
