"""The recording of a rank, its clock, and how the recordings of all ranks come together on rank 0."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.errors import InputError
from ddpnet.spans import LIMIT, Recorder, Span
from ddpnet.timeline.trace_events import Row, TraceFile, Window, covered

_PINGS, _PINGS_OF_MANY, _MANY_RANKS = 20, 5, 64
_SECONDS_A_SPAN = 1e-5
"""More than rank 0 needs to write one: so much longer than usual the others wait for it."""
_PROBLEM_BYTES = 1024

Clock = tuple[int, int]
"""A time of this rank's clock, and what has to be added there to have that of rank 0; nanoseconds."""


@dataclass(frozen=True)
class Summary:
    """What was saved: the spans of all ranks, and the part of the time that they cover, of the rank with the least."""

    path: Path
    spans: int
    coverage: float
    full: list[int]
    """Ranks that reached the limit: their oldest spans are not in the file."""

    def __str__(self) -> str:
        text = f"{self.path}: {self.spans:,} spans, which cover {self.coverage:.1%} of the time"
        if self.full:
            ranks = f"rank{'s' * (len(self.full) > 1)} {', '.join(map(str, self.full))}"
            text += f"; {ranks} reached the limit: only the newest spans are there"
        return text


class Recording(Recorder):
    """The spans of one rank, whose clock is compared with rank 0's at the beginning and at the end."""

    def __init__(self, comm: Communicator, limit: int = LIMIT, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._at_first = compare_clocks(comm, clock)
        super().__init__(limit, clock)

    def save(self, path: str | Path, comm: Communicator) -> Summary | None:
        """Stop, and write the spans of all ranks on rank 0: see `timeline.save`."""
        self.stop()
        rows, words, window = self._by_the_clock_of_rank_0(compare_clocks(comm, self.clock))
        about = json.dumps({"host": socket.gethostname(), "rows": rows}).encode()
        share = round(covered(words[:, 1:], window) * 1e9)
        mine = np.array([len(words), len(about), self.is_full, *window, share], np.int64)
        headers = comm.all_gather(mine, "timeline.save")
        patience = comm.timeout + _SECONDS_A_SPAN * sum(int(header[0]) for header in headers)
        letters = np.frombuffer(about, np.uint8)
        if comm.rank != 0:
            comm.exchange([(0, letters), (0, words)], [], "timeline.save", patience)
        problem = _write(Path(path), comm, headers, [letters, words], patience) if comm.rank == 0 else ""
        problem = _told_by_rank_0(problem, comm, patience)
        if problem:
            raise InputError(problem)
        if comm.rank != 0:
            return None
        full = [rank for rank, header in enumerate(headers) if header[2]]
        return Summary(Path(path), sum(int(h[0]) for h in headers), min(int(h[5]) for h in headers) / 1e9, full)

    def _by_the_clock_of_rank_0(self, last: Clock) -> tuple[list[Row], np.ndarray, Window]:
        """Rows, int64 (spans, 3) of number of the row, start and end, and the time of the recording."""
        assert self.stopped is not None
        numbers, words = _in_rows(list(self.spans))
        begun = int(words[:, 1].min()) if self.is_full else self.started
        window = _aligned(np.array([begun, self.stopped]), self._at_first, last)
        words[:, 1:] = _aligned(words[:, 1:], self._at_first, last)
        return numbers, words, (int(window[0]), int(window[1]))


def _in_rows(spans: list[Span]) -> tuple[list[Row], np.ndarray]:
    """Rows of spans that follow each other or lie in each other: a second one for a lane that two threads use at once.

    Returns the rows, and int64 (spans, 3) of number of the row, start and end.
    """
    numbers: dict[Row, int] = {}
    open_ends: dict[str, list[list[int]]] = {}  # for each row of a lane the ends of the spans that are not over
    words = np.empty((len(spans), 3), np.int64)
    for place, (lane, start, end) in enumerate(sorted(spans, key=lambda span: (span[1], -span[2]))):
        row = _free_row(open_ends.setdefault(lane, []), start, end)
        words[place] = numbers.setdefault((lane, row), len(numbers)), start, end
    return list(numbers), words


def _free_row(rows: list[list[int]], start: int, end: int) -> int:
    """The first row with place for a span, which is put there."""
    for row, ends in enumerate(rows):
        while ends and ends[-1] <= start:
            ends.pop()
        if not ends or end <= ends[-1]:
            ends.append(end)
            return row
    rows.append([end])
    return len(rows) - 1


def compare_clocks(comm: Communicator, clock: Callable[[], int] = time.perf_counter_ns) -> Clock:
    """This rank's clock beside that of rank 0, which all ranks ask in turn; collective.

    The fastest of several questions counts: rank 0 answered at half of its time, give or take as much. What is less
    than that is taken for none: on one host the clock is the same.
    """
    pings = _PINGS if comm.size <= _MANY_RANKS else _PINGS_OF_MANY
    if comm.rank == 0:
        for peer in range(1, comm.size):
            for _ in range(pings):
                comm.exchange([], [(peer, np.empty(1, np.int64))], "timeline")
                comm.exchange([(peer, np.array([clock()]))], [], "timeline")
        return clock(), 0
    questions = []
    for _ in range(pings):
        answer, asked = np.empty(1, np.int64), clock()
        comm.exchange([(0, np.zeros(1, np.int64))], [(0, answer)], "timeline")
        answered = clock()
        questions.append((answered - asked, answered, int(answer[0]) - (asked + answered) // 2))
    taken, now, offset = min(questions)
    return now, offset if abs(offset) > taken // 2 + 1 else 0


def _aligned(times: np.ndarray, first: Clock, last: Clock) -> np.ndarray:
    """Times of this rank's clock as rank 0's; between two comparisons a clock drifts evenly."""
    (begin, before), (end, after) = first, last
    drift = (after - before) / max(1, end - begin)
    return times + before + np.rint((times - begin) * drift).astype(np.int64)


def _write(path: Path, comm: Communicator, headers: list[np.ndarray], mine: list[np.ndarray], patience: float) -> str:
    """Rank 0: take the spans of one rank after the other; what went wrong, or an empty text."""
    file = TraceFile(path, min(int(header[3]) for header in headers))
    for rank, (count, length, full, start, end, _) in enumerate(header.tolist() for header in headers):
        letters, words = mine
        if rank != 0:
            letters, words = np.empty(length, np.uint8), np.empty((count, 3), np.int64)
            comm.exchange([], [(rank, letters), (rank, words)], "timeline.save", patience)
        about = json.loads(letters.tobytes())
        rows = [(str(lane), int(row)) for lane, row in about["rows"]]
        file.add(rank, about["host"], rows, words, (start, end), bool(full))
    try:
        file.finish()
    except InputError as error:
        return str(error)
    return ""


def _told_by_rank_0(text: str, comm: Communicator, patience: float) -> str:
    """A short text of rank 0, on every rank; the others may have to wait for it."""
    letters = np.zeros(_PROBLEM_BYTES, np.uint8)
    if comm.rank != 0:
        comm.exchange([], [(0, letters)], "timeline.save", patience)
    else:
        words = text.encode()[:_PROBLEM_BYTES]
        letters[: len(words)] = np.frombuffer(words, np.uint8)
        comm.exchange([(peer, letters) for peer in range(1, comm.size)], [], "timeline.save", patience)
    return letters.tobytes().rstrip(b"\0").decode(errors="replace")
