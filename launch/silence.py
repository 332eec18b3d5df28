"""Ranks from which nothing came: which they are when several ranks report it, and what they are doing."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .deck import Deck, Failure, Presence

_SECONDS_TO_PRINT = 0.2


def waiting(failures: Mapping[int, Failure]) -> dict[int, list[int]]:
    """For each rank that gave up waiting, the ranks that it waited for."""
    return {rank: failure.waited_for for rank, failure in failures.items() if failure.waited_for}


def silent(failures: Mapping[int, Failure]) -> list[int]:
    """The ranks that were waited for and did not wait themselves."""
    waited = waiting(failures)
    return sorted({peer for peers in waited.values() for peer in peers} - {*waited})


def explanation(failures: Mapping[int, Failure], size: int) -> str:
    """What several reports of the same amount to, in one sentence."""
    waited, missing = waiting(failures), silent(failures)
    if not missing:
        return f"{_ranks([*waited])} of {size} waited for each other: the lines above say in which calls"
    return f"nothing came from {_ranks(missing)} of {size}, for which {_ranks([*waited])} waited"


def show(deck: Deck, rank: int, size: int) -> None:
    """Write to standard error what silent ranks of this host are doing; the first of the ranks that waited does it."""
    failures = deck.failures(size)
    if rank != min(waiting(failures), default=rank):
        return
    for peer in silent(failures):
        presence = deck.presence(peer)
        if presence is None:
            _say(f"rank {peer} of {size} has not started")
        elif presence.host == socket.gethostname():
            _show(presence, f"rank {peer} of {size}")


def _show(presence: Presence, who: str) -> None:
    """The stack of a process, which faulthandler prints for a signal; or that it is stopped, and prints nothing."""
    with suppress(OSError):
        if _state(presence.pid) in "tT":
            _say(f"{who} is stopped, by SIGSTOP or a debugger")
            return
        _say(f"{who} is here:")
        os.kill(presence.pid, signal.SIGUSR1)
        time.sleep(_SECONDS_TO_PRINT)


def _state(pid: int) -> str:
    """The letter that the system has for what a process does: R, S, T for stopped, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _ranks(ranks: list[int]) -> str:
    *first, last = map(str, ranks)
    return f"ranks {', '.join(first)} and {last}" if first else f"rank {last}"
