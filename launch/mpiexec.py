"""The program that starts ranks: which one belongs to this Python, and how it wants to be called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddpnet.errors import InputError

INSTALL = "pip install 'ddpnet[mpich]'"
_FAMILIES = {"hydra": "MPICH", "mpich": "MPICH", "intel": "Intel MPI", "open mpi": "Open MPI", "prrte": "Open MPI"}
_SECONDS = 20.0


@dataclass(frozen=True)
class Launcher:
    """An mpiexec; `family` is the MPI that it belongs to."""

    path: Path
    family: str
    version: str

    def command(self, ranks: int, program: Sequence[str]) -> list[str]:
        """The arguments that start `program` on `ranks` ranks of this host."""
        options: list[str] = []
        if self.family == "Open MPI":  # bound ranks of two jobs would share cores while others idle
            options = ["--oversubscribe", "--bind-to", "none"]
            if os.geteuid() == 0:
                options.append("--allow-run-as-root")
        return [str(self.path), *options, "-n", str(ranks), *program]

    def variables(self) -> dict[str, str]:
        """What the environment of the ranks should have besides."""
        if self.family == "Open MPI" and "OMPI_MCA_btl" not in os.environ:
            return {"OMPI_MCA_btl": "^ofi"}  # its probing costs a second at each start; 15 ms without
        return {}


def find() -> Launcher:
    """The mpiexec beside this Python, else that of the PATH; InputError if ranks cannot be started with it.

    A launcher of one MPI with the library of another starts each rank in a world of its own.
    """
    launcher = find_launcher()
    library = find_library()
    if "Open MPI" in (launcher.family, family(library)) and launcher.family != family(library):
        raise InputError(
            f"{launcher.path} belongs to {launcher.family}, but mpi4py loads {library}: put the mpiexec of that MPI "
            f"first in the PATH, or install one MPI into this environment: {INSTALL}"
        )
    return launcher


def find_launcher() -> Launcher:
    """The mpiexec beside this Python, else that of the PATH; InputError where there is none."""
    beside = Path(sys.executable).parent / "mpiexec"
    path = str(beside) if beside.exists() else shutil.which("mpiexec")
    if path is None:
        raise InputError(f"no MPI found (no mpiexec), which more than one rank needs: {INSTALL}")
    said = _output([path, "--version"])
    return Launcher(Path(path), family(said), version(said))


def find_library() -> str:
    """Name and version of the MPI library that mpi4py loads; InputError where it finds none.

    Asked of another process: MPI is never loaded in this one.
    """
    try:
        text = _output([sys.executable, "-m", "mpi4py", "--mpi-lib-version"])
        return " ".join(text.splitlines()[0].partition(",")[0].split())
    except (InputError, IndexError) as error:
        raise InputError(f"no MPI library found, which more than one rank needs: {INSTALL}") from error


def family(text: str) -> str:
    """Whose MPI a version text speaks of."""
    lower = text.lower()
    return next((name for word, name in _FAMILIES.items() if word in lower), "an unknown MPI")


def version(text: str) -> str:
    """The first thing in a version text that looks like one."""
    words = text.replace(",", " ").split()
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit() and "." in word), "unknown")


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise InputError(f"{' '.join(command)}: exit code {done.returncode}: {last}")
    return done.stdout
