"""The deck: a folder of the supervisor in which ranks sign in, and in which is written how they ended.

Files, because they survive their writer: a rank that is killed says nothing more.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "DDPNET_DECK"
"""Names the folder in the environment of ranks."""


@dataclass(frozen=True)
class Presence:
    """A rank that has started: its process, and the watcher that is the parent of it."""

    pid: int
    watcher: int
    host: str


@dataclass(frozen=True)
class Ending:
    """How a rank ended, and when: its exit code, or with a minus sign the signal that killed it."""

    code: int
    time: float


@dataclass(frozen=True)
class Failure:
    """What a rank says of its own failure; `told` if the user has read all there is to know already.

    `waited_for` are the ranks from which nothing came, if that was the reason.
    """

    summary: str
    told: bool = False
    waited_for: list[int] = field(default_factory=list)


class Deck:
    """The folder; written by ranks and their watchers, read by the supervisor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def joined(cls) -> Deck | None:
        """The deck of the supervisor that started this process; None without one, or on another host."""
        folder = os.environ.get(VARIABLE)
        return cls(Path(folder)) if folder and Path(folder).is_dir() else None

    def sign_in(self, rank: int, pid: int) -> None:
        """Note that a rank has started; called by its watcher."""
        self._write(f"rank-{rank}.json", Presence(pid, os.getpid(), socket.gethostname()))

    def fail(self, rank: int, failure: Failure) -> None:
        """Note why a rank is about to end; called by the rank."""
        self._write(f"failure-{rank}.json", failure)

    def end(self, rank: int, code: int) -> None:
        """Note how a rank has ended; called by its watcher."""
        self._write(f"ending-{rank}.json", Ending(code, time.monotonic()))

    def presence(self, rank: int) -> Presence | None:
        """Where a rank runs, once it has started."""
        found = self._read(f"rank-{rank}.json")
        return None if found is None else Presence(**found)

    def failure(self, rank: int) -> Failure | None:
        """What a rank said of its failure, if it could."""
        found = self._read(f"failure-{rank}.json")
        return None if found is None else Failure(**found)

    def failures(self, ranks: int) -> dict[int, Failure]:
        """What the first `ranks` ranks have said of their failures."""
        found = {rank: self.failure(rank) for rank in range(ranks)}
        return {rank: failure for rank, failure in found.items() if failure is not None}

    def ending(self, rank: int) -> Ending | None:
        """How a rank ended; None while it runs, and if its watcher was killed, too."""
        found = self._read(f"ending-{rank}.json")
        return None if found is None else Ending(**found)

    def _write(self, name: str, entry: Presence | Failure | Ending) -> None:
        try:
            unfinished = self.folder / f".{name}"
            unfinished.write_text(json.dumps(asdict(entry)))
            unfinished.replace(self.folder / name)
        except FileNotFoundError:  # the supervisor was killed: nobody reads any more
            pass

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return None
        return found
