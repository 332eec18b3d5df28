"""Times training steps of ddpnet and of PyTorch side by side: rounds in turn, medians, ratios round by round."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
DEADLINE_S = 120


class Peer:
    """The processes of one library, waiting for orders."""

    def __init__(self, library: str, batch: int, ranks: int, folder: Path) -> None:
        self.library, self.ranks = library, ranks
        pipe, results = folder / f"{library}-orders", folder / f"{library}-times"
        pipes = [Path(f"{pipe}-{rank}") for rank in range(ranks)]
        reports = [Path(f"{results}-{rank}") for rank in range(ranks)]
        for fifo in (*pipes, *reports):
            os.mkfifo(fifo)
        command = [sys.executable, str(HERE / "worker.py"), library, str(batch // ranks), str(pipe), str(results)]
        self.processes = _start(library, [*command, str(ranks)], ranks)
        self.orders = [fifo.open("w") for fifo in pipes]  # waits until the worker listens
        self.times = [fifo.open() for fifo in reports]

    def round(self, steps: int) -> float:
        """Seconds a step, of the slowest rank."""
        for orders in self.orders:
            print(steps, file=orders, flush=True)
        return max(float(times.readline()) for times in self.times)

    def end(self) -> None:
        for orders in self.orders:
            orders.close()
        for process in self.processes:
            process.wait(DEADLINE_S)


def _start(library: str, command: list[str], ranks: int) -> list[subprocess.Popen[bytes]]:
    environment = {**os.environ, **ONE_THREAD}
    if ranks == 1:
        return [subprocess.Popen(command, env=environment)]
    if library == "ddpnet":
        mpiexec = Path(sys.executable).parent / "mpiexec"
        return [subprocess.Popen([str(mpiexec), "-n", str(ranks), *command], env=environment)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    return [subprocess.Popen(command, env={**environment, **world, "RANK": str(rank)}) for rank in range(ranks)]


def compare_steps(batch: int, ranks: int, rounds: int) -> dict[str, object]:
    """Times of a LeNet step of both libraries, in turn, on as many ranks each."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (Peer(library, batch, ranks, Path(folder)) for library in ("ddpnet", "torch"))
        ours.round(20)  # compiles kernels, fills pools
        theirs.round(20)
        steps = max(5, int(0.15 / theirs.round(20)))
        pairs = [(ours.round(steps), theirs.round(steps)) for _ in range(rounds)]
        ours.end()
        theirs.end()
    where = "1 rank" if ranks == 1 else f"{ranks} ranks, against DDP with gloo"
    return _row(f"LeNet step, batch {batch}, {where}", pairs)


def compare_imports(rounds: int) -> dict[str, object]:
    """Times of a Python process that imports the library, less those of one that imports nothing."""

    def seconds(statement: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - started

    seconds("import ddpnet"), seconds("import torch")
    pairs = []
    for _ in range(rounds):
        nothing = seconds("pass")
        pairs.append((seconds("import ddpnet") - nothing, seconds("import torch") - nothing))
    return _row("import", pairs)


def _row(name: str, pairs: list[tuple[float, float]]) -> dict[str, object]:
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    quarter = len(ratios) // 4
    return {
        "case": name,
        "ddpnet_ms": 1e3 * statistics.median(ours for ours, _ in pairs),
        "torch_ms": 1e3 * statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[quarter], ratios[-1 - quarter]],
        "rounds": len(pairs),
    }


def machine() -> dict[str, str]:
    """What the times were taken on."""
    sys.path.insert(0, str(HERE.parent.parent))
    from ddpnet import blas

    vendor, _, flags = blas.processor()
    library = blas.describe()
    return {
        "processor": f"{vendor or platform.processor()}, {os.cpu_count()} cores, "
        f"{'AVX-512' if 'avx512f' in flags else 'no AVX-512'}",
        "blas": f"{library['library']} {library['version']}, {library['core type']}",
        **{name: metadata.version(name) for name in ("ddpnet", "numpy", "numba", "mpi4py", "torch")},
        "python": platform.python_version(),
    }


def main() -> None:
    """Run the cases that were asked for, and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=("lenet", "import"), action="append", help="what to time (default: all)")
    parser.add_argument("--ranks", type=int, action="append", help="ranks of the step (default: 1 and 2)")
    parser.add_argument("--batch", type=int, default=64, help="global batch of the step (default: 64)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each library (default: 15)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        sys.exit("the peer is missing: .venv/bin/pip install torch (a build for the CPU will do)")
    cases = options.case or ["lenet", "import"]
    rows = []
    if "lenet" in cases:
        rows += [compare_steps(options.batch, ranks, options.rounds) for ranks in options.ranks or (1, 2)]
    if "import" in cases:
        rows.append(compare_imports(max(3, options.rounds // 3)))
    described = machine()
    print("one thread a rank; " + "; ".join(f"{name} {value}" for name, value in described.items()))
    print(f"{'case':<52}{'ddpnet':>10}{'torch':>10}{'ratio':>8}   quartiles")
    for row in rows:
        low, high = row["ratio_quartiles"]  # type: ignore[misc]
        print(
            f"{row['case']:<52}{row['ddpnet_ms']:>7.2f} ms{row['torch_ms']:>7.2f} ms{row['ratio']:>8.2f}   "
            f"{low:.2f} to {high:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": described, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
