"""Overlap: exchanging full buckets on a thread of their own while the backward pass goes on, where that is faster.

Beside a backward pass that leaves the core idle (on a GPU) nearly all of the exchange is hidden. Where every core
computes nothing can be gained, since the exchange is work for the core, too. So it is tried, and measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from ddpnet.distributed.step.exchange_thread import ExchangeThread

PROBES = 12
"""Pairs of steps that are timed before the choice, one that exchanges early and one that does so late."""
_GAIN, _WINS = 0.98, 10
"""Of these pairs so many must be won, by so much in the median, for an early exchange to be chosen: times of steps
vary by a fifth on a machine that is shared (of 8 pairs 7 were once won by chance), and where every core computes an
early exchange takes half as long again.
"""


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
        self._thread: ExchangeThread | None = None

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
                ratios = [early / late for early, late in zip(self._times[True], self._times[False], strict=False)]
                self._wanted = statistics.median(ratios) < _GAIN and sum(ratio < 1 for ratio in ratios) >= _WINS
        self._timed = self._started > 0

    def start(self, exchange: Callable[[], None]) -> None:
        """Let the thread exchange something, after what it was given before."""
        if self._thread is None:
            self._thread = ExchangeThread()
        self._thread.start(exchange)

    def finish(self) -> None:
        """Wait for all that was started; an error of the thread is raised here."""
        if self._thread is None:
            return
        self.waiting = True
        try:
            self._thread.finish(rest=self._wanted is None)  # it would disturb the step to come, which is late
        finally:
            self.waiting = False

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None
