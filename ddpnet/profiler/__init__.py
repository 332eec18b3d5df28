"""Where the time of a program goes (`torch.profiler`), for the thread that asks.

    with profile() as prof:
        for images, labels in loader:
            step(images, labels)
            prof.step()
    print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))

`ddpnet profile script.py` does so for a script as it is. While nothing is profiled, the engine runs as if this module
were not there.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable
from contextlib import ContextDecorator, ExitStack
from types import TracebackType
from typing import Any

from ddpnet.alias import missing
from ddpnet.profiler.averages import EventList, FunctionEventAvg, averages
from ddpnet.profiler.collector import OPERATIONS, PHASES, Collector, Key, Row
from ddpnet.profiler.probes import engine_probes, forward_name, loop_probes

__all__ = [
    "OPERATIONS",
    "PHASES",
    "Collector",
    "EventList",
    "FunctionEventAvg",
    "Key",
    "ProfilerActivity",
    "Row",
    "averages",
    "engine_probes",
    "forward_name",
    "loop_probes",
    "profile",
    "record_function",
]


class ProfilerActivity(enum.Enum):
    """What can be looked at: what the CPU does."""

    CPU = 0


_running: list[Collector] = []


class profile:
    """Context manager: the operations, backward passes, optimizer steps and batches of this thread, by name.

    While it runs an operation takes about 3 us more, and its way back 2. NotImplementedError for another activity than
    the CPU's, RuntimeError for a profile within another. `collector.phases` has nanoseconds by phase.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        record_shapes: bool = False,
        acc_events: bool = False,
    ) -> None:
        for activity in activities or ():
            if activity is not ProfilerActivity.CPU:
                raise NotImplementedError(f"profile: expected ProfilerActivity.CPU alone, got {activity!r}")
        self.collector = Collector()
        self.step_num = 0
        self._shapes = record_shapes
        self._undo = ExitStack()

    def start(self) -> None:
        """Begin, as `with` does."""
        if _running:
            raise RuntimeError("profile: another profile is running: only one can at a time")
        _running.append(self.collector)
        self._undo.callback(_running.clear)
        self._undo.enter_context(loop_probes(self.collector))
        self._undo.enter_context(engine_probes(self.collector, shapes=self._shapes))
        self.collector.start()

    def stop(self) -> None:
        """End, as `with` does."""
        self.collector.stop()
        self._undo.close()

    def step(self) -> None:
        """Count a step of the program."""
        self.step_num += 1

    def key_averages(self) -> EventList:
        """A row for each name."""
        return averages(self.collector.rows)

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class record_function(ContextDecorator):
    """Context manager and decorator: gives what happens inside a row of its own, if a profile is running."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._frames: list[tuple[Collector, int] | None] = []

    def __enter__(self) -> record_function:
        collector = _running[0] if _running and _running[0].watches() else None
        self._frames.append(None if collector is None else (collector, collector.open()))
        return self

    def __exit__(self, *_: Any) -> None:
        frame = self._frames.pop()
        if frame is not None:
            frame[0].close(frame[1], Key("user", self.name))


missing.explain(sys.modules[__name__], "torch.profiler")
