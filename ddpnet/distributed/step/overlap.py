"""Overlap: exchanging full buckets on a thread of their own while the backward pass goes on, where that is faster.

Beside a backward pass that leaves the core idle (on a GPU) nearly all of the exchange is hidden. Where every core
computes nothing can be gained, since the exchange is work for the core, too. So it is tried, and measured.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

PROBES = 6
"""Steps of either kind that are timed before the choice."""
_GAIN = 0.98
"""What an early exchange must take of a late one's time to be chosen."""
_PR_SET_TIMERSLACK = 29
_NICE = 10


class Overlap:
    """Decides, step by step and the same on all ranks, whether buckets are exchanged early, and then does it.

    `wanted` True or False decides for good; None lets the first steps decide: they are early and late in turn.
    """

    def __init__(self, wanted: bool | None) -> None:
        self._wanted = wanted
        self._times: dict[bool, list[float]] = {True: [], False: []}
        self._early, self._timed = True, False
        self._started = 0.0
        self.seconds = 0.0
        """What the last step took on this rank."""
        self.waiting = False
        """Whether the program waits for the thread, which then need not be considerate."""
        self._executor: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []

    @property
    def decided(self) -> bool | None:
        """The choice; None while steps are timed."""
        return self._wanted

    def begin(self, step: int) -> bool:
        """A step starts, perhaps again: whether it exchanges buckets as soon as they are full."""
        self._started = time.perf_counter()
        self._early = step % 2 == 0 if self._wanted is None else self._wanted
        return self._early

    def end(self, seconds: float) -> None:
        """A step has ended; `seconds` is what the one before it took, summed over the ranks: the same on all."""
        self.seconds = time.perf_counter() - self._started
        if self._wanted is None and self._timed:
            self._times[not self._early].append(seconds)
            if min(map(len, self._times.values())) == PROBES:
                early, late = (statistics.median(self._times[kind]) for kind in (True, False))
                self._wanted = early < _GAIN * late
        self._timed = self._started > 0

    def start(self, exchange: Callable[[], None]) -> None:
        """Let the thread exchange something, after what it was given before."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "ddpnet exchange", _be_considerate)
        self._running.append(self._executor.submit(exchange))

    def finish(self) -> None:
        """Wait for all that was started; an error of the thread is raised here."""
        running, self._running = self._running, []
        self.waiting = True
        try:
            for future in running:
                future.result()
        finally:
            self.waiting = False

    def close(self) -> None:
        """End the thread."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _be_considerate() -> None:
    """Let this thread yield to others that have work, and sleep no longer than it asks for (Linux)."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1000))
