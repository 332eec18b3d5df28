"""Turns between the processes of a machine: one does the work, the others wait for what comes of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PAUSE = 0.01
_PATIENCE = 60.0
"""Seconds to wait for another process: far more than a kernel takes, but one that was stopped never ends its turn."""


class Turns:
    """Locks on single bytes of one file, which the system takes back from a process that dies.

    They hold between processes, not between threads. Where a file system has none, everybody has a turn at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def wait(self, place: int, done: Callable[[], bool]) -> bool:
        """Wait until `done`, or until the turn at `place` is ours, which then has to be ended; whether it is."""
        deadline = time.monotonic() + _PATIENCE
        while (taken := self.take(place)) is False and not done() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return bool(taken)

    def take(self, place: int) -> bool | None:
        """Whether the turn at `place` is ours now; None where there are no locks."""
        try:
            if self._file is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # of a file without permission, too: then `wait` is in vain
            return False if self._file is not None else None
        except OSError:
            return None
        return True

    def end(self, place: int) -> None:
        """Leave the turn at `place` to others."""
        if self._file is not None:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
