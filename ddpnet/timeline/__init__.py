"""Timeline: what every rank did when, as one file for Perfetto (ui.perfetto.dev) or chrome://tracing.

    timeline.start()
    for batch in batches:
        with timeline.span("forward"):
            ...
    timeline.save("run.json")

In the file a process is a rank, and a thread of it a lane; times are those of rank 0's clock.
"""

from __future__ import annotations

from pathlib import Path

from ddpnet import spans
from ddpnet.distributed.collectives.process_group import current, is_initialized
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.distributed.transport.solo import SoloCommunicator
from ddpnet.spans import LANES, LIMIT, span
from ddpnet.timeline.recording import Recording, Summary
from ddpnet.timeline.trace_events import coverage

__all__ = ["LANES", "LIMIT", "Recording", "Summary", "coverage", "save", "span", "start", "stop"]

_recordings: list[Recording] = []


def start(comm: Communicator | None = None, limit: int = LIMIT) -> None:
    """Record the spans of this process from now on, the newest `limit` of them. All ranks call it together.

    `comm` is the default group's, or a world of one where there is none.
    """
    _recordings[:] = [Recording(comm or _default(), limit)]
    spans.record(_recordings[0])


def stop() -> None:
    """Record no more; `save` can follow. Nothing where nothing is recorded."""
    spans.record(None)
    for recording in _recordings:
        recording.stop()


def save(path: str | Path, comm: Communicator | None = None) -> Summary | None:
    """Stop, and let rank 0 write the file, as a whole or not at all; all ranks call it together.

    Rank 0 gets the summary. ValueError where nothing was started; InputError, on all ranks, for a path that cannot be
    written.
    """
    if not _recordings:
        raise ValueError("timeline.save: nothing was recorded: call timeline.start() before")
    stop()
    return _recordings.pop().save(path, comm or _default())


def _default() -> Communicator:
    return current() if is_initialized() else SoloCommunicator()
