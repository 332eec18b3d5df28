"""A barrier that says who is missing (`torch.distributed.monitored_barrier`)."""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np

from ddpnet.distributed.collectives.groups import Group, ProcessGroup, find
from ddpnet.distributed.collectives.point_to_point import LARGEST_TAG
from ddpnet.distributed.collectives.work import seconds
from ddpnet.distributed.errors import DistBackendError

_TAG = LARGEST_TAG + 1
_NUMBER_BYTES = 8


def monitored_barrier(group: Group = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:
    """Return when every rank has come here: rank 0 hears of each other rank, and answers all.

    DistBackendError names the first rank that has not come within `timeout`, with `wait_all_ranks` all of them, on
    rank 0 and on every rank that has come.
    """
    mine = find(group, "monitored_barrier")
    limit = mine.comm.timeout if timeout is None else seconds(timeout)
    assert limit is not None
    mine.monitored += 1
    if mine.rank() == 0:
        problem = _problem(mine, limit, wait_all_ranks)
        for peer in range(1, mine.size()):
            _tell(mine, peer, problem)
    else:
        _tell(mine, 0, "")
        problem = _hear(mine, 0, time.monotonic() + 2 * limit)  # rank 0 may have begun to wait later
    if problem:
        raise DistBackendError(f"{mine.comm.place()}: {problem}")


def _problem(group: ProcessGroup, limit: float, all_of_them: bool) -> str:
    """Who has not come within `limit` seconds; an empty text if all have."""
    deadline = time.monotonic() + limit
    missing: list[int] = []
    for peer in range(1, group.size()):
        try:
            _hear(group, peer, deadline)
        except DistBackendError:
            missing.append(group.comm.members[peer])
            if not all_of_them:
                break
    if not missing:
        return ""
    names = f"Rank {missing[0]}" if len(missing) == 1 else f"Ranks {', '.join(map(str, missing))}"
    return (
        f"monitored_barrier: {names} failed to pass monitoredBarrier in {limit * 1000:g} ms: all ranks have to call "
        "it; look at what the missing ones are doing, or give a longer timeout"
    )


def _tell(group: ProcessGroup, peer: int, text: str) -> None:
    content = group.monitored.to_bytes(_NUMBER_BYTES, "little") + text.encode()
    group.letters.send(peer, np.frombuffer(content, np.uint8), _TAG, [])


def _hear(group: ProcessGroup, peer: int, deadline: float) -> str:
    """The text of a peer in this barrier; those of earlier ones, to which it came too late, are left."""
    while True:
        letter = group.letters.receive(peer, _TAG, lambda sender, content: [content.tobytes()])
        letter.wait(timedelta(seconds=max(deadline - time.monotonic(), 0)))
        (content,) = letter.result()
        if int.from_bytes(content[:_NUMBER_BYTES], "little") >= group.monitored:
            return str(content[_NUMBER_BYTES:].decode())
