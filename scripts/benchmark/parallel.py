"""What data parallelism costs: figures of steps on several ranks, each beside its limit, measured in one run.

    parallel.py [CASE ...]

Each case starts ranks of its own, which do what `cases.py` says. `link` needs root: it builds hosts in network
namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cases import Figure

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
CASES = ("idle", "busy", "efficiency", "unbalanced", "fingerprint", "timeline", "zero", "link")
RANKS = {"unbalanced": 4, "zero": 4}
DEADLINE_S = 300


def measure(case: str) -> list[Figure]:
    """The figures of a case, measured on ranks of its own."""
    if case == "link":
        return measure_link()
    mpiexec = Path(sys.executable).parent / "mpiexec"
    command = [str(mpiexec), "-n", str(RANKS.get(case, 2)), sys.executable, str(HERE / "cases.py"), case]
    return _figures(command, {**os.environ, **ONE_THREAD})


def measure_link() -> list[Figure]:
    """Steps of two hosts behind a slow link."""
    from hosts import Hosts, missing

    if reason := missing():
        print(f"link: left out: {reason}")
        return []
    figures = []
    for case, megabits in (("compression", 50), ("wire", 200)):
        with Hosts(2, megabits=megabits) as hosts:
            command = hosts.command([sys.executable, str(HERE / "cases.py"), case], 1)
            figures += _figures(command, {**hosts.environment(), **ONE_THREAD})
    return figures


def _figures(command: Sequence[str], environment: dict[str, str]) -> list[Figure]:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}")
    figures: list[Figure] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Print the figures of the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: list[Figure] = []
    for case in options.case or CASES:
        for found in measure(case):
            figures.append(found)
            good = found["value"] >= found["limit"] if found["least"] else found["value"] <= found["limit"]
            sign = ">=" if found["least"] else "<="
            print(
                f"{found['name']:<52}{found['value']:>8.3f} {sign} {found['limit']:<7.3f}{'yes' if good else 'NO':<5}"
                f"{found['detail']}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
