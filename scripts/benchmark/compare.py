"""Training with ddpnet beside the same with PyTorch, in one run: ratios with their spread, each beside its goal.

A ratio is the peer's figure over ours, the median of rounds that both take in turn, with the quartiles; above 1 ddpnet
is faster or smaller. One thread a rank, float32, the same model and batch. Our steps are recorded by `torch.compile`,
or run as they are written with `--eager`; PyTorch's run as they are written. Where a model has convolutions, the peer
is the faster of PyTorch's default and channels_last layouts (then a "c" is behind its figure); where there are several
ranks, DistributedDataParallel with gloo. "x its products" is our time over that of the step's matrix products alone at
this machine's speed for large ones: sgemm of 1024 x 1024 x 1024, measured in the same rounds. Operations are counted by
`products.py`; JSON has the time of the products themselves, too.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import epoch
import processes
import steps
from peers import WorkerError
from table import HEADER, Row, machine

CASES = (*steps.BATCHES, "memory", "import", "epoch")


def measure(options: argparse.Namespace, peer: str | None) -> Iterator[Row]:
    """The rows that were asked for, one after the other."""
    for case in dict.fromkeys(options.case or CASES):
        if case in steps.BATCHES:
            for ranks in options.ranks or steps.RANKS.get(case, (1,)):
                for batch in options.batch or steps.BATCHES[case]:
                    yield steps.compare(
                        case,
                        batch,
                        ranks,
                        peer=peer,
                        rounds=options.rounds,
                        device=options.device,
                        eager=options.eager,
                    )
        elif case == "import":
            yield from processes.compare_start(peer=peer, rounds=options.rounds)
        elif options.device != "cpu":
            print(f"{case}: left out: it is measured on the CPU only", flush=True)
        elif case == "memory":
            for model, batch in processes.MEMORY:
                yield processes.compare_memory(model, batch, peer=peer)
        else:
            for ranks in options.ranks or (2,):
                yield epoch.compare(ranks, peer=peer, rounds=options.rounds)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = _positive
    parser.add_argument(
        "--case", choices=CASES, action="append", help="what to measure; may be repeated (default: all)"
    )
    parser.add_argument(
        "--batch", type=number, action="append", help="global batch of steps (default: each case's own)"
    )
    parser.add_argument("--ranks", type=number, action="append", help="ranks (default: LeNet 1 and 2, epoch 2, else 1)")
    parser.add_argument(
        "--rounds", type=number, default=15, help="most rounds of a case (default: 15; slow ones: fewer)"
    )
    parser.add_argument("--peer", choices=("torch", "none"), help="default: torch where it is installed")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of the steps (default: cpu)")
    parser.add_argument("--eager", action="store_true", help="our steps as they are written, without torch.compile")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    for batch in options.batch or ():
        for ranks in options.ranks or ():
            if batch % ranks:
                parser.error(f"--batch {batch} cannot be cut for --ranks {ranks}")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.parent}")
    if options.device == "cuda" and (why := _without_gpu()):
        parser.error(f"--device cuda: {why}")
    return options


def _without_gpu() -> str | None:
    """What stands in the way of arrays on a GPU; asked in a process of its own: this one stays small."""
    array = "import ddpnet; ddpnet.zeros(1, device='cuda')"
    asked = subprocess.run([sys.executable, "-c", array], capture_output=True, text=True, check=False)
    return asked.stderr.strip().rpartition("\n")[2] if asked.returncode else None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _peer(wanted: str | None) -> str | None:
    """The library to compare with; SystemExit if it was asked for and is not there."""
    if wanted == "none":
        return None
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        how = "the peer is missing: .venv/bin/pip install torch (a build for the CPU will do)"
        if wanted is not None:
            sys.exit(how)
        print(f"only ddpnet: {how}")
        return None
    return "torch"


def main() -> int:
    """Measure, print a row as soon as it is there, and write the file; 1 if a process failed."""
    options = parse()
    peer = _peer(options.peer)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left behind
    began, rows, failure = time.perf_counter(), [], ""
    print(HEADER, flush=True)
    try:
        for row in measure(options, peer):
            rows.append(row)
            print(row, flush=True)
    except WorkerError as error:
        failure = str(error)
    except KeyboardInterrupt:
        return 130
    described = {**machine(peer), "seconds": f"{time.perf_counter() - began:.0f}"}
    print(
        "\none thread a rank; our steps as they are written"
        if options.eager
        else "\none thread a rank; our steps by torch.compile"
    )
    for name, value in described.items():
        print(f"{name:<18}{value}")
    if options.json is not None:
        content = {"machine": described, "failure": failure or None, "cases": [row.to_json() for row in rows]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    if failure:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
