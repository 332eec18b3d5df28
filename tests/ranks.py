"""Commands under test: real processes with a deadline, of which none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ddpnet_launch.leftovers import remove_shared_memory

MPIEXEC = Path(sys.executable).parent / "mpiexec"
DDPNET = (sys.executable, "-m", "ddpnet_launch")
_MARK = "DDPNET_TEST"
_LAUNCHERS = ("PMI", "HYD", "MPI_LOCAL", "OMPI_", "PRTE", "PMIX", "SLURM_", "DDPNET_", "PYTHONUNBUFFERED")
_MPIRUN = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_btl": "^ofi",  # whose start takes a second
}
"""What Open MPI's mpirun needs to start more ranks than cores, and that as root; MPICH's needs nothing."""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code (negative: the signal that killed it) and its output."""

    code: int
    out: str
    err: str


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    timeout: float = 60,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a command to its end; AssertionError, with what it wrote, if that takes longer than `timeout` seconds."""
    with started(command, cwd=cwd, env=env) as process:
        return finish(process, timeout)


def finish(process: subprocess.Popen[str], timeout: float = 60) -> Result:
    """Wait for the end of a command that was `started`."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)  # ranks print where they are
        time.sleep(0.5)
        kill(process)
        out, err = process.communicate()
        raise AssertionError(f"not done after {timeout} s: {process.args}\n{out}\n{err}") from None
    return Result(process.returncode, out, err)


@contextmanager
def started(
    command: Sequence[str | os.PathLike[str]], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own, as if no launcher had started us; at the end nothing of it runs any more."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHERS)}
    if Path(command[0]).name in ("mpirun", "mpiexec"):  # `ddpnet` has to see to it by itself
        clean |= _MPIRUN
    mark, begun = uuid.uuid4().hex, time.time()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**clean, **(env or {}), _MARK: mark},
        start_new_session=True,
    )
    process.mark = mark  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        kill(process)
        remove_shared_memory(begun)  # what mpirun leaves of a job that was aborted
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def running(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a command has started and that still run, without itself."""
    wanted = f"{_MARK}={process.mark}"  # type: ignore[attr-defined]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_text().split("\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != process.pid]


def rank_process(process: subprocess.Popen[str], rank: int) -> int:
    """The process of a rank of a command that has started it: not the watcher, which is its parent."""
    names = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
    found = {}
    for pid in running(process):
        with suppress(OSError):
            folder = Path("/proc", str(pid))
            variables = dict(line.partition("=")[::2] for line in (folder / "environ").read_text().split("\0"))
            if str(rank) in [variables.get(name) for name in names] and "python" in (folder / "cmdline").read_text():
                found[pid] = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
    (pid,) = [pid for pid in found if pid not in found.values()]
    return pid


def unmapped_shared_memory() -> set[str]:
    """MPICH's files that no process uses."""
    files = {str(path) for path in Path("/dev/shm").glob("mpich_shm_*")}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            text = maps.read_text()
            files = {path for path in files if path not in text}
    return files


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command and all that it has started."""
    process.kill()
    process.wait()
    while pids := running(process):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
