"""What ranks write, passed through as it comes, without the epitaphs of the launcher."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Epitaph:
    """A launcher's text about a failed job: how it opens, and all of it as far as it has come."""

    opening: bytes
    whole: re.Pattern[bytes]


# Each names a process that the launcher may have killed itself; the supervisor says which rank it was.
_EPITAPHS = (
    Epitaph(
        b"=" * 83 + b"\n=   BAD TERMINATION",
        re.compile(
            rb"={83}\n=   BAD TERMINATION.*?(?:\n={83}\n|\Z)"
            rb"(?:YOUR APPLICATION TERMINATED WITH .*\n)?(?:This typically refers .*\n)?(?:Please see the FAQ .*\n)?",
            re.DOTALL,
        ),
    ),
    Epitaph(b"-" * 74 + b"\nprterun ", re.compile(rb"-{74}\nprterun .*?(?:\n-{74}\n|\Z)", re.DOTALL)),
)


class Output:
    """One stream of the ranks, copied to a file descriptor at once: progress bars live."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._held = b""
        self.broken = False
        """Whether nobody reads it any more."""

    def feed(self, data: bytes) -> None:
        """Write what came, but for what may be the beginning of an epitaph."""
        self._held += data
        self._write(self._held[: self._first_doubt()])

    def close(self) -> None:
        """Write what is left."""
        for epitaph in _EPITAPHS:
            self._held = epitaph.whole.sub(b"", self._held)
        self._write(self._held)

    def _first_doubt(self) -> int:
        for start in (0, *(match.end() for match in re.finditer(rb"\n", self._held))):
            line = self._held[start:]
            for epitaph in _EPITAPHS:
                if line and epitaph.opening.startswith(line[: len(epitaph.opening)]):
                    return start
        return len(self._held)

    def _write(self, data: bytes) -> None:
        self._held = self._held[len(data) :]
        while data and not self.broken:
            try:
                data = data[os.write(self._target, data) :]
            except OSError:
                self.broken = True
