"""A deadline for a call that has none, and in which Python's threads rest: that in which MPI starts."""

from __future__ import annotations

import math
import os
import select
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LINGER_SECONDS = 0.5
"""For a launcher to pass on what is written, and for ranks that have waited as long to say so."""


@contextmanager
def ends_within(seconds: float, message: str) -> Iterator[None]:
    """If what is inside takes longer, a process that was forked for this writes `message`, and aborts this one."""
    reader, writer = os.pipe()
    caller = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: the child must not meet locks, and does not
        child = os.fork()
    if child == 0:
        try:
            os.close(writer)
            if not select.select([reader], [], [], None if math.isinf(seconds) else seconds)[0]:
                os.write(2, f"{message}\n".encode())
                if not select.select([reader], [], [], _LINGER_SECONDS)[0]:
                    os.kill(caller, signal.SIGABRT)
        finally:  # after a signal, too
            os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(child, 0)
