"""An epoch of MNIST, data loading included: `ddpnet train` beside the usual PyTorch program.

Both train LeNet on 32 x 32 images with SGD and momentum, 60,000 images an epoch. Only the epochs themselves count,
on both sides: neither the start of processes nor evaluation and checkpoints.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

from peers import HERE, WorkerError, finish, ranks_text
from table import Row, ratios

GOAL = 5.0
BATCH, IMAGES = 64, 60_000
_EPOCHS = {"ddpnet": 3, "torch": 2}
_DEADLINE_S = 300


def compare(ranks: int, *, peer: str | None, rounds: int) -> Row:
    """A row for an epoch on some ranks; the two programs run in turn."""
    times: dict[str, list[float]] = {"ddpnet": [], "torch": []}
    choice: dict[str, Any] = {"workers": None, "channels_last": None}
    turns = 2 if rounds >= 5 else 1
    for _ in range(turns):
        times["ddpnet"].append(statistics.median(_our_epochs(ranks)))
        if peer:
            choice = _their_epochs(ranks, choice)
            times["torch"].append(statistics.median(choice.pop("epochs_s")))
    row = Row(f"MNIST epoch, batch {BATCH}, {ranks_text(ranks)}", "s", statistics.median(times["ddpnet"]), goal=GOAL)
    if peer:
        ratios(row, times["ddpnet"], times["torch"])
        row.peer_name = f"{choice['workers']} workers" + ", channels_last" * choice["channels_last"]
    return row


def _our_epochs(ranks: int) -> list[float]:
    """Seconds of each epoch, from the images a second that the command prints."""
    with tempfile.TemporaryDirectory(prefix="ddpnet-bench-") as folder:
        options = {"--model": "lenet", "--data": "mnist", "--batch": BATCH, "--epochs": _EPOCHS["ddpnet"]}
        options |= {"--lr": 0.01, "--ranks": ranks, "--out": Path(folder, "run")}
        words = [str(word) for pair in options.items() for word in pair]
        written = finish(["-m", "ddpnet_launch", "train", *words], "ddpnet", 1, _DEADLINE_S)
    found = rates(written)
    if len(found) != _EPOCHS["ddpnet"]:
        raise WorkerError(f"ddpnet train: expected a line for each of {_EPOCHS['ddpnet']} epochs, got\n{written}")
    return [IMAGES / rate for rate in found]


def rates(written: str) -> list[float]:
    """Images a second of each epoch, from what `ddpnet train` has written."""
    return [float(rate.replace(",", "")) for rate in re.findall(r"^epoch .* ([\d,]+) images/s", written, re.MULTILINE)]


def _their_epochs(ranks: int, choice: dict[str, Any]) -> dict[str, Any]:
    """What the PyTorch program chose, and seconds of each of its epochs."""
    import ddpnet.datasets

    folder = Path(ddpnet.datasets.__file__).parent / "mnist"
    options = {"folder": str(folder), "batch": BATCH, "epochs": _EPOCHS["torch"], **choice}
    written = finish([str(HERE / "mnist_program.py"), json.dumps(options)], "torch", ranks, _DEADLINE_S)
    found: dict[str, Any] = json.loads(next(line for line in written.splitlines() if line.startswith("{")))
    return found
