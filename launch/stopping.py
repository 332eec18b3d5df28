"""Which signals came while others handled them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def heard_signals() -> Iterator[list[int]]:
    """A list that holds, when the block has ended, the signals that came in it, whoever handled them."""
    heard: list[int] = []
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield heard
        finally:
            signal.set_wakeup_fd(before)
            with suppress(BlockingIOError):
                heard.extend(reader.recv(64))


def exit_code(heard: list[int]) -> int:
    """What a shell says of a process that a signal ended; 0 if none came that asks to stop."""
    stops = [number for number in heard if number in (signal.SIGINT, signal.SIGTERM)]
    return 128 + stops[0] if stops else 0
