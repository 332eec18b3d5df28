"""What a process does when: spans of time on named lanes, recorded only while somebody asked for it.

    with span("forward"):
        ...

`ddpnet.timeline` starts a recording, and makes one file of those of all ranks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

LANES = ("data", "forward", "backward", "exchange", "wait", "optimizer", "checkpoint", "evaluate", "report")
"""Those of a training loop, in the order in which they are shown; others may be used, too."""
LIMIT = 500_000
"""Spans that a recording keeps, the newest ones: about 70 MB."""

Span = tuple[str, int, int]
"""Lane, start and end in nanoseconds."""


class Recorder:
    """The newest `limit` spans of a process, by a clock that counts nanoseconds. Any thread may add to them."""

    def __init__(self, limit: int = LIMIT, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected at least 1 span, got {limit}")
        self.limit, self.clock = limit, clock
        self.spans: deque[Span] = deque(maxlen=limit)  # its append is atomic, and needs no look at the limit
        self.started = clock()
        self.stopped: int | None = None

    def span(self, lane: str) -> AbstractContextManager[Any]:
        """A context whose time is recorded on a lane, whether it ends well or not."""
        return _Running(self, lane)

    def stop(self) -> None:
        """What follows does not count; nothing for one that has stopped."""
        if self.stopped is None:
            self.stopped = self.clock()

    @property
    def is_full(self) -> bool:
        """Whether older spans may have been forgotten."""
        return len(self.spans) == self.limit


class _Running:
    """A span that has begun."""

    __slots__ = ("_lane", "_recorder", "_start")

    def __init__(self, recorder: Recorder, lane: str) -> None:
        self._recorder, self._lane = recorder, lane

    def __enter__(self) -> None:
        self._start = self._recorder.clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        recorder = self._recorder
        recorder.spans.append((self._lane, self._start, recorder.clock()))


class _Nothing:
    """A context that does nothing. Two methods of C cost 40 ns, two of Python 130; the empty text means: raise on."""

    __slots__ = ()
    __enter__ = "".lower
    __exit__ = "".format


_NOTHING: AbstractContextManager[Any] = _Nothing()  # type: ignore[assignment]
_recorder: Recorder | None = None


def span(lane: str) -> AbstractContextManager[Any]:
    """A context whose time is recorded on a lane, if anybody records."""
    return _NOTHING if _recorder is None else _recorder.span(lane)


def record(recorder: Recorder | None) -> None:
    """From now on all spans of this process go there; None: nowhere."""
    global _recorder
    _recorder = recorder


def recorder() -> Recorder | None:
    """Where spans go."""
    return _recorder
