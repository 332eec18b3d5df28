"""Values that will be there (`torch.futures`)."""

from __future__ import annotations

import threading
from typing import Any

from ddpnet.distributed.collectives.work import Future

__all__ = ["Future", "collect_all", "wait_all"]


def collect_all(futures: list[Future]) -> Future:
    """A Future of the list of `futures`, which is done when all of them are."""
    collected, lock, waiting = Future(), threading.Lock(), [len(futures)]

    def count(future: Future) -> None:
        with lock:
            waiting[0] -= 1
            last = waiting[0] == 0
        if last:
            collected.set_result(futures)

    for future in futures:
        future.add_done_callback(count)
    if not futures:
        collected.set_result(futures)
    return collected


def wait_all(futures: list[Future]) -> list[Any]:
    """The values when all are there; the first error is raised."""
    return [future.wait() for future in collect_all(futures).wait()]
