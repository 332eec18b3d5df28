"""Where the time of one thread goes: by phase, without gap or overlap, and by name, with and without what is inside."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

PHASES = ("data", "forward", "backward", "exchange", "optimizer", "other")
"""What a step consists of, in the order in which it is shown."""
OPERATIONS = ("forward", "backward")
"""The kinds of rows that are operations of tensors."""


class Key(NamedTuple):
    """What a row is about: `kind` is forward or backward for an operation, or optimizer, data, user."""

    kind: str
    name: str
    shape: tuple[int, ...] | None = None
    """Of the (first) output; None where nobody asked for it."""


class Row:
    """Calls, and nanoseconds: of everything, and without the rows inside."""

    __slots__ = ("calls", "own", "total")

    def __init__(self, calls: int = 0, total: int = 0, own: int = 0) -> None:
        self.calls, self.total, self.own = calls, total, own


class Collector:
    """Phases and rows of the thread that called `start`, as long as it is `active`; other threads are not looked at.

    The time between `start` and `stop` is that of the phases together. A name within another counts for itself alone in
    `own`, and for both in `total`.
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self.active = False
        self.clear()

    def clear(self) -> None:
        """Forget what was found."""
        self.phases: defaultdict[str, int] = defaultdict(int)
        self.in_operations: defaultdict[str, int] = defaultdict(int)
        """Of each phase, what operations took."""
        self.rows: defaultdict[Key, Row] = defaultdict(Row)
        self._stack = ["other"]
        self._frames: list[list[int]] = []
        self._kept: tuple[dict[str, int], dict[str, int], dict[Key, Row]] = ({}, {}, {})

    def start(self) -> None:
        """Count from now on, the present thread's time."""
        self._thread = threading.get_ident()
        self._mark = self._clock()
        self.active = True

    def stop(self) -> None:
        """Count no more. Nothing for one that does not count."""
        if self.active:
            self._charge()
            self.active = False

    def keep(self) -> None:
        """Remember what was found up to now; the time that this takes counts for nothing."""
        if self.active:
            self._charge()
            rows = {key: Row(row.calls, row.total, row.own) for key, row in self.rows.items()}
            self._kept = dict(self.phases), dict(self.in_operations), rows
            self._mark = self._clock()

    def back_to_kept(self) -> None:
        """Forget what came after the last `keep`, or everything where there was none."""
        phases, in_operations, rows = self._kept
        self.clear()
        self.phases.update(phases)
        self.in_operations.update(in_operations)
        self.rows.update(rows)

    def watches(self) -> bool:
        """Whether what happens now in this thread counts."""
        return self.active and threading.get_ident() == self._thread

    @property
    def phase(self) -> str:
        """The present one."""
        return self._stack[-1]

    def enter(self, phase: str) -> int:
        """From now on time is that of a phase, until `leave` with the number that is returned."""
        self._charge()
        self._stack.append(phase)
        return len(self._stack) - 1

    def leave(self, depth: int) -> None:
        """End a phase, and those that were entered in it and, for an exception, not left."""
        if self.active and depth < len(self._stack):
            self._charge()
            del self._stack[depth:]

    def open(self) -> int:
        """Begin a row; `close` ends it."""
        self._frames.append([self._clock(), 0])
        return len(self._frames) - 1

    def close(self, depth: int, key: Key) -> None:
        """End a row, and those inside that an exception has left open."""
        if not self.active or depth >= len(self._frames):
            return
        begun, inside = self._frames[depth]
        del self._frames[depth:]
        took = self._clock() - begun
        row = self.rows[key]
        row.calls += 1
        row.total += took
        row.own += took - inside
        if self._frames:
            self._frames[-1][1] += took
        if key.kind in OPERATIONS:
            self.in_operations[self.phase] += took - inside

    def _charge(self) -> None:
        """Give the time since the last change to the present phase."""
        now = self._clock()
        self.phases[self._stack[-1]] += now - self._mark
        self._mark = now
