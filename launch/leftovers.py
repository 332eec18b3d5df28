"""What a job that was killed leaves behind: processes, and files in shared memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import deck

_PROC = Path("/proc")
_SHARED_MEMORY = Path("/dev/shm")
_SETTLE = 0.05
"""Seconds in which a starting job of another supervisor has mapped the file that it made."""


def kill_processes(folder: Path, deadline: float = 5.0) -> None:
    """Kill every process that has the deck `folder` in its environment: ranks, watchers and their children."""
    until = time.monotonic() + deadline
    while (pids := list(_processes_with(f"{deck.VARIABLE}={folder}"))) and time.monotonic() < until:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_SETTLE)


def remove_shared_memory(since: float) -> None:
    """Remove the files of MPICH and Open MPI that are ours, newer than `since`, and mapped by no process.

    They are removed at a normal end only; those of MPICH have 1 MB a rank.
    """
    files = _unmapped(since)
    if files:
        time.sleep(_SETTLE)
        for path in files & _unmapped(since):
            path.unlink(missing_ok=True)


def _unmapped(since: float) -> set[Path]:
    mapped = "".join(_read(process / "maps") for process in _processes())
    found = set()
    for path in (*_SHARED_MEMORY.glob("mpich_shm_*"), *_SHARED_MEMORY.glob("sm_segment.*")):
        with suppress(FileNotFoundError):
            status = path.stat()
            if status.st_uid == os.getuid() and status.st_ctime >= since and str(path) not in mapped:
                found.add(path)
    return found


def _processes_with(variable: str) -> Iterator[int]:
    for process in _processes():
        if variable in _read(process / "environ").split("\0"):
            yield int(process.name)


def _processes() -> Iterator[Path]:
    return (path for path in _PROC.glob("[0-9]*"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended, or is somebody else's
        return ""
