"""A thread that exchanges buckets beside the program."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

_PR_SET_TIMERSLACK = 29
_NICE = 10
_FIRST_NAP_US, _LONGEST_NAP_US = 20, 1000
_NAPS = 50
"""Naps of one length; if nothing came they get twice as long, and after the longest the thread sleeps until woken."""


class ExchangeThread:
    """Does what it is given, in order. Its first error is raised where the program waits; what follows is left out.

    To wake a thread costs the program 30 us, and a bucket of 4 MiB takes it 400 us to exchange. So the thread is woken
    once a step, and then looks for work by itself, without Python's lock, until none has come for a while.
    """

    def __init__(self) -> None:
        self._tasks: list[Callable[[], None]] = []
        self._counters = np.zeros(2, np.int64)
        self._given, self._done = (np.array([address], np.int64) for address in self._addresses())
        self._asleep, self._wake = True, threading.Semaphore(0)
        self._error: BaseException | None = None
        self._resting = self._ended = False
        threading.Thread(target=self._run, name="ddpnet exchange", daemon=True).start()

    def start(self, task: Callable[[], None]) -> None:
        """Let the thread do this after what it was given before."""
        from ddpnet.kernels.cpu.signals import raise_to  # compiled where a thread is used

        self._resting = False
        self._tasks.append(task)
        raise_to(self._given[0], self._counters[0] + 1)
        if self._asleep:
            self._asleep = False
            self._wake.release()

    def finish(self, rest: bool = False) -> None:
        """Wait for all that was started; raises the first error of it. To `rest` is to sleep then until woken."""
        from ddpnet.kernels.cpu.signals import wait_for

        self._resting = rest
        while wait_for(self._done, self._counters[0], 100, 100, _NAPS, _FIRST_NAP_US, _FIRST_NAP_US) >= 0:
            pass  # Python looks at signals
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread when it has done what it was given."""
        self._ended = True
        self._wake.release()

    def _addresses(self) -> tuple[int, int]:
        start = self._counters.ctypes.data
        return start, start + self._counters.itemsize

    def _run(self) -> None:
        from ddpnet.kernels.cpu.signals import raise_to

        _be_considerate()
        while True:
            while not self._tasks:
                if self._ended:
                    return
                self._look()
            task = self._tasks.pop(0)
            try:
                if self._error is None:
                    task()
            except BaseException as error:  # the program raises it
                self._error = error
            del task
            raise_to(self._done[0], self._counters[1] + 1)

    def _look(self) -> None:
        """Return when there may be something to do."""
        from ddpnet.kernels.cpu.signals import wait_for

        nap, expected = _FIRST_NAP_US, self._counters[1] + 1
        while nap <= _LONGEST_NAP_US and not (self._resting or self._ended):
            if wait_for(self._given, expected, 0, 0, _NAPS, nap, nap) < 0:
                return
            nap *= 2
        self._asleep = True
        if not self._tasks and not self._ended:  # given between the last look and the line before
            self._wake.acquire()


def _be_considerate() -> None:
    """Let this thread yield to others that have work, and sleep no longer than it asks for (Linux)."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1000))
