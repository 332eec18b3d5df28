"""The invariance matrix: `ddpnet train` in many ways, and one sha256 of the weights for each model and optimizer.

    python tests/matrix.py [--open-mpi PYTHON] [--steps 30]

`PYTHON` is the interpreter of an environment with Open MPI in place of MPICH; without it the cells of Open MPI are left
out, visibly. The exit code is 1 if a cell has another answer than the others of its kind.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from excerpt import write_excerpt
from ranks import run

KINDS = {
    "lenet sgd": ("--model", "lenet"),
    "mlp adam (dropout)": ("--model", "mlp", "--optimizer", "adam"),
    "cnn adamw (batch norm, dropout), clipped": ("--model", "cnn", "--optimizer", "adamw", "--clip-norm", "1"),
    "cnn sgd (batch norm of the global batch)": ("--model", "cnn", "--sync-batchnorm"),
    "lenet sgd, fp16 gradients": ("--model", "lenet", "--compress", "fp16"),
    "lenet rmsprop, bf16 gradients": ("--model", "lenet", "--optimizer", "rmsprop", "--compress", "bf16"),
    "mlp sgd, powersgd gradients": ("--model", "mlp", "--compress", "powersgd"),
    "cnn adam, local SGD": ("--model", "cnn", "--optimizer", "adam", "--local-sgd", "3", "--local-sgd-start", "6"),
}
WHOLE = ("cnn adam, local SGD",)
"""Kinds whose optimizers are not cut over the ranks, nor their shards further: each shard has weights of its own."""
RANKS = (1, 2, 3, 4, 5, 7, 8)
TRANSPORTS = {
    "shared memory": {},
    "messages": {"DDPNET_SHARED_MEMORY": "0"},
    "tcp": {
        "DDPNET_SHARED_MEMORY": "0",
        "UCX_TLS": "tcp,self",
        "OMPI_MCA_pml": "ob1",
        "OMPI_MCA_btl": "tcp,self",
        "OMPI_MCA_btl_tcp_if_include": "lo",
    },
}


LINE = "{:<41} {:<9}{:>5}  {:<8}{:<10}{:<15}{:<6}{:<8}"
HEAD = LINE.format("model and optimizer", "MPI", "ranks", "overlap", "buckets", "transport", "ZeRO", "shards")


@dataclass(frozen=True)
class Cell:
    """One way to run."""

    kind: str
    mpi: str
    ranks: int
    overlap: str
    bucket_mb: float | None
    transport: str
    zero: bool
    accumulate: int

    def options(self) -> list[str]:
        """Those of `ddpnet train`."""
        found = [*KINDS[self.kind], "--ranks", str(self.ranks), "--overlap", self.overlap]
        found += ["--shards", str(8 // self.accumulate), "--accumulate", str(self.accumulate)]
        found += ["--zero"] if self.zero else []
        return found + (["--bucket-mb", str(self.bucket_mb)] if self.bucket_mb else [])

    def __str__(self) -> str:
        bucket = f"{self.bucket_mb} MiB" if self.bucket_mb else "measured"
        zero, shards = "1" if self.zero else "-", f"{8 // self.accumulate} x {self.accumulate}"
        return LINE.format(self.kind, self.mpi, self.ranks, self.overlap, bucket, self.transport, zero, shards)


def cells(mpis: tuple[str, ...]) -> Iterator[Cell]:
    """For each kind and MPI every number of ranks, among which the values of the other axes go round."""
    overlaps, buckets = itertools.cycle(("on", "off", "auto")), itertools.cycle((None, 0.01, 0.1, 1.0))
    transports = itertools.cycle(TRANSPORTS)
    zeros, accumulations = itertools.cycle((False, True, True, False, True)), itertools.cycle((1, 2, 1, 1, 4))
    for kind, mpi in itertools.product(KINDS, mpis):
        for ranks in RANKS if mpi == mpis[0] else (2, 3, 4):
            for _ in range(2 if mpi == mpis[0] and ranks in (2, 3, 4) else 1):  # once more, in another way
                axes = next(overlaps), next(buckets), next(transports)
                cut = (False, 1) if kind in WHOLE else (next(zeros), next(accumulations))
                yield Cell(kind, mpi, ranks, *axes, *cut)


def answer(cell: Cell, python: str, steps: int, data: Path) -> str:
    """The sha256 of the weights after some steps with the images in a folder."""
    command = [python, "-m", "ddpnet_launch", "train", "--steps", str(steps), "--seed", "7", "--data", str(data)]
    with tempfile.TemporaryDirectory() as folder:
        environment = TRANSPORTS[cell.transport]
        done = run([*command, *cell.options()], timeout=180, cwd=Path(folder), env=environment)
    if done.code != 0:
        raise AssertionError(f"{cell}: exit code {done.code}\n{done.err}")
    (found,) = re.findall(r"^weights sha256 ([0-9a-f]{64})$", done.out, re.MULTILINE)
    return str(found)


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open-mpi", type=os.path.abspath, metavar="PYTHON", help="an environment with Open MPI")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    pythons = {"MPICH": sys.executable} | ({"Open MPI": options.open_mpi} if options.open_mpi else {})
    answers: dict[str, dict[str, list[Cell]]] = {}
    print(f"{HEAD}sha256")
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        data = write_excerpt(Path(folder, "mnist"))
        for cell in cells(tuple(pythons)):
            digest = answer(cell, pythons[cell.mpi], options.steps, data)
            answers.setdefault(cell.kind, {}).setdefault(digest, []).append(cell)
            count += 1
            print(f"{cell}{digest[:16]}", flush=True)
    print()
    for kind, found in answers.items():
        print(f"{kind:<41} {sum(map(len, found.values())):>3} cells  {' AND '.join(found)}")
    print(f"{count} cells" + ("" if options.open_mpi else "; those of Open MPI were left out: give --open-mpi PYTHON"))
    sys.exit(any(len(found) > 1 for found in answers.values()))


if __name__ == "__main__":
    main()
