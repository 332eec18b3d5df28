"""The parent of a rank: the only process that the system tells how the rank ended.

A launcher's own word does not do: in 4 of 7 trials hydra named a rank that it had killed itself, in place of
the one that had failed.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from types import FrameType

from .deck import Deck

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1  # Linux, sys/prctl.h


def fork_watched(deck: Deck, rank: int) -> None:
    """Go on as a child; the parent stays behind as the watcher, and ends as the child did.

    The watcher keeps the rank's connection to the launcher open, so that nobody learns of its end before it is
    written down. The child has a process group of its own: it receives a signal once, from the watcher.
    """
    die_with_parent(os.getppid())
    watcher = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        die_with_parent(watcher)
        return

    def forward(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    deck.sign_in(rank, child)
    _, status = os.waitpid(child, 0)
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(status)
    deck.end(rank, code)
    os._exit(code if code >= 0 else 128 - code)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (Linux; elsewhere nothing is done)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(128 + signal.SIGKILL)
