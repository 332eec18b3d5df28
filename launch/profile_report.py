"""What `ddpnet profile` shows: milliseconds a step, by phase and by operation."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import click

from ddpnet.profiler import OPERATIONS, PHASES, Collector, Key, Row, forward_name

_MS = 1e-6
"""Milliseconds of a nanosecond."""


def report(
    script: str, collector: Collector, measured: list[float], plain: float | None, skipped: int
) -> dict[str, Any]:
    """All that was found, as JSON has it; `plain`: seconds of a step without the profile, if known."""
    scale = _MS / len(measured)
    return {
        "script": script,
        "steps": len(measured),
        "skipped": skipped,
        "step_ms": sum(measured) * 1e3 / len(measured),
        "step_unprofiled_ms": None if plain is None else plain * 1e3,
        "phases": {
            phase: {"ms": collector.phases[phase] * scale, "operations_ms": collector.in_operations[phase] * scale}
            for phase in PHASES
        },
        "operations": _operations(collector, scale),
        "others": [
            {"name": key.name, "calls": row.calls / len(measured), "ms": row.own * scale}
            for key, row in collector.rows.items()
            if key.kind not in OPERATIONS
        ],
    }


def _operations(collector: Collector, scale: float) -> list[dict[str, Any]]:
    """A row for each operation (and shape of its output), forward and backward beside each other; the longest first."""
    both: defaultdict[Key, tuple[Row, Row]] = defaultdict(lambda: (Row(), Row()))
    own_names = {key.name for key in collector.rows if key.kind == "forward"}
    for key, row in collector.rows.items():
        if key.kind not in OPERATIONS:
            continue
        name = key.name if key.kind == "forward" else _forward_of(key.name, own_names)
        sums = both[Key("", name.removeprefix("aten::"), key.shape)][OPERATIONS.index(key.kind)]
        sums.calls += row.calls
        sums.own += row.own
    whole, steps = sum(collector.phases.values()), _MS / scale
    rows = [
        {
            "name": key.name,
            "output": None if key.shape is None else list(key.shape),
            "calls": (forward.calls or backward.calls) / steps,
            "forward_ms": forward.own * scale,
            "backward_ms": backward.own * scale,
            "share": (forward.own + backward.own) / whole,
        }
        for key, (forward, backward) in both.items()
    ]
    return sorted(rows, key=lambda row: -row["share"])


def _forward_of(node: str, known: set[str]) -> str:
    """The operation whose node has a name; of `known`, a user's Function has its own."""
    function = node.removesuffix("Backward")
    return function if function in known or "::" in node else forward_name(node)


def show(found: dict[str, Any], limit: int) -> None:
    """Print the tables, with at most so many operations."""
    plain = found["step_unprofiled_ms"]
    without = "" if plain is None else f", {_ms(plain)} without the profile"
    steps = f"{found['steps']} steps after {found['skipped']}"
    click.echo(f"\n{found['script']}: {_ms(found['step_ms'])} a step{without}; {steps}\n")
    whole = sum(phase["ms"] for phase in found["phases"].values())
    click.echo(f"{'phase':<12}{'a step':>12}{'share':>9}{'in operations':>16}{'outside':>12}")
    for name, phase in found["phases"].items():
        line = f"{name:<12}{_ms(phase['ms']):>12}{phase['ms'] / whole:>9.1%}"
        if phase["operations_ms"] or name in OPERATIONS:
            line += f"{_ms(phase['operations_ms']):>16}{_ms(phase['ms'] - phase['operations_ms']):>12}"
        click.echo(line)
    rows = found["operations"]
    width = max(len(row["name"]) for row in [*rows, *found["others"], {"name": "operation"}]) + 2
    click.echo(f"\n{'operation':<{width}}{'calls':>8}{'forward':>12}{'backward':>12}{'share':>9}")
    for row in rows[:limit]:
        output = "" if row["output"] is None else f"  ({', '.join(map(str, row['output']))})"
        times = f"{_ms(row['forward_ms']):>12}{_ms(row['backward_ms']):>12}"
        click.echo(f"{row['name']:<{width}}{row['calls']:>8.4g}{times}{row['share']:>9.1%}{output}")
    if rest := rows[limit:]:
        click.echo(f"{f'{len(rest)} more':<{width + 32}}{sum(row['share'] for row in rest):>9.1%}")
    for row in found["others"]:
        click.echo(f"{row['name']:<{width}}{row['calls']:>8.4g}{_ms(row['ms']):>12}{'':>12}{row['ms'] / whole:>9.1%}")


def _ms(value: float) -> str:
    return f"{value:.3f} ms"
