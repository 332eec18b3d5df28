"""What a new process costs: the import, the first step, and the memory of a few steps."""

from __future__ import annotations

import json
import statistics

from peers import HERE, finish
from steps import CONVOLUTIONS, NAMES
from table import Row, ratios

IMPORT_GOAL, MEMORY_GOAL = 5.0, 1.3
MEMORY = (("lenet", 64), ("resnet18", 32))
_MEMORY_STEPS = 3
_MOST_ROUNDS = 5


def fresh(library: str, case: str, batch: int, steps: int, *, channels_last: bool = False) -> dict[str, float]:
    """The figures of one new process."""
    program = [str(HERE / "fresh.py"), library, case, str(batch), str(steps)]
    written = finish([*program, *["channels_last"] * channels_last], library, 1)
    figures: dict[str, float] = json.loads(written.splitlines()[-1])
    return figures


def compare_start(*, peer: str | None, rounds: int) -> list[Row]:
    """Rows for the import, and for the import up to the end of the first step, with kernels compiled before."""
    libraries = ["ddpnet", *([peer] if peer else [])]
    for library in libraries:
        fresh(library, "lenet", 64, 1)  # compiles, and brings the files to memory
    found = [{name: fresh(name, "lenet", 64, 1) for name in libraries} for _ in range(min(rounds, _MOST_ROUNDS))]
    rows = []
    for name, key, goal in (
        ("import", "import_s", None),
        ("import and first step of LeNet", "first_step_s", IMPORT_GOAL),
    ):
        ours = [figures["ddpnet"][key] for figures in found]
        row = Row(name, "s", statistics.median(ours), goal=goal, rounds=len(found))
        if peer:
            ratios(row, ours, [figures[peer][key] for figures in found])
        rows.append(row)
    return rows


def compare_memory(case: str, batch: int, *, peer: str | None) -> Row:
    """A row for the peak memory of a process that makes a few steps; the peer's layout is that which takes less."""

    def peak(library: str, channels_last: bool = False) -> float:
        return fresh(library, case, batch, _MEMORY_STEPS, channels_last=channels_last)["peak_bytes"] / 2**20

    ours = peak("ddpnet")
    row = Row(f"peak memory, {NAMES[case]}, batch {batch}", "MiB", ours, goal=MEMORY_GOAL)
    if peer:
        layouts = {"default": peak(peer)}
        if case in CONVOLUTIONS:
            layouts["channels_last"] = peak(peer, True)
        row.peer_name = min(layouts, key=lambda name: layouts[name])
        ratios(row, [ours], [layouts[row.peer_name]])
        row.details["peer_mib"] = layouts
    return row
