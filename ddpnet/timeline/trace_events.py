"""Files in Chrome's Trace Event Format, as JSON: https://ui.perfetto.dev and chrome://tracing show them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ddpnet.errors import InputError
from ddpnet.spans import LANES

Window = tuple[int, int]
"""When a recording began and when it ended, nanoseconds."""
Row = tuple[str, int]
"""A lane, and a number for each of its rows: in one row spans do not overlap, unless one lies in the other."""

_ROWS = 100
"""More than a lane has."""


class TraceFile:
    """A file in the making: beside its place until `finish`, which puts it there as a whole.

    An OSError is kept until then, so that the ranks that deliver their spans do so in any case.
    """

    def __init__(self, path: Path, zero: int) -> None:
        self._path, self._zero = path, zero
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file: TextIO | None = None
        self._error: OSError | None = None
        self._lanes, self._separator = list(LANES), "\n"
        self._ranks: list[dict[str, Any]] = []
        try:
            self._file = self._part.open("w", encoding="utf-8")
            self._file.write('{"displayTimeUnit":"ms","traceEvents":[')
        except OSError as error:
            self._fail(error)

    def add(self, rank: int, host: str, rows: Sequence[Row], words: np.ndarray, window: Window, full: bool) -> None:
        """The spans of a rank: words int64 (spans, 3) are number of the row, start and end in nanoseconds."""
        self._lanes += dict.fromkeys(lane for lane, _ in rows if lane not in self._lanes)
        threads = [self._lanes.index(lane) * _ROWS + row for lane, row in rows]
        start, end = (self._microseconds(time) for time in window)
        self._ranks.append({"rank": rank, "host": host, "start_us": start, "end_us": end, "oldest_spans_missing": full})
        if self._file is None:
            return
        try:
            self._write_names(rank, host, rows, threads)
            names = [json.dumps(lane) for lane, _ in rows]
            for row, begun, ended in words.tolist():
                self._file.write(
                    f',\n{{"ph":"X","pid":{rank},"tid":{threads[row]},"name":{names[row]},'
                    f'"ts":{self._microseconds(begun)},"dur":{(ended - begun) / 1000:.3f}}}'
                )
        except OSError as error:
            self._fail(error)

    def finish(self) -> None:
        """Put the file in its place; InputError if it could not be written."""
        if self._file is not None:
            try:
                self._file.write(f'\n],"otherData":{json.dumps({"ranks": self._ranks})}}}\n')
                self._file.close()
                self._part.replace(self._path)
            except OSError as error:
                self._fail(error)
        if self._error is not None:
            raise InputError(f"{self._path}: the timeline could not be written: {self._error.strerror or self._error}")

    def _write_names(self, rank: int, host: str, rows: Sequence[Row], threads: Sequence[int]) -> None:
        assert self._file is not None
        entries: list[tuple[str, int, dict[str, Any]]] = [
            ("process_name", 0, {"name": f"rank {rank} ({host})"}),
            ("process_sort_index", 0, {"sort_index": rank}),
        ]
        for (lane, row), thread in zip(rows, threads, strict=True):
            title = f"{lane} ({row + 1})" if row else lane
            entries += [("thread_name", thread, {"name": title}), ("thread_sort_index", thread, {"sort_index": thread})]
        for name, thread, arguments in entries:
            event = {"ph": "M", "pid": rank, "tid": thread, "name": name, "args": arguments}
            self._file.write(f"{self._separator}{json.dumps(event)}")
            self._separator = ",\n"

    def _microseconds(self, time: int) -> float:
        return round((time - self._zero) / 1000, 3)

    def _fail(self, error: OSError) -> None:
        self._error = self._error or error
        with suppress(OSError):  # it has said before what is wrong
            if self._file is not None:
                self._file.close()
            self._part.unlink(missing_ok=True)
        self._file = None


def coverage(path: str | Path) -> float:
    """The part of the time of a file that lies in spans: of the rank for which it is smallest, from 0 to 1."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    shares = []
    for entry in content["otherData"]["ranks"]:
        events = [e for e in content["traceEvents"] if e["ph"] == "X" and e["pid"] == entry["rank"]]
        times = np.array([(e["ts"], e["ts"] + e["dur"]) for e in events], np.float64).reshape(-1, 2)
        shares.append(covered(times, (entry["start_us"], entry["end_us"])))
    return min(shares)


def covered(times: np.ndarray, window: tuple[float, float]) -> float:
    """The part of a window that lies in at least one of the spans, of which `times` (spans, 2) has starts and ends."""
    start, end = window
    if end <= start:
        return 1.0
    times = np.clip(times[np.argsort(times[:, 0], kind="stable")], start, end)
    reached = np.maximum.accumulate(np.concatenate([[start], times[:, 1]]))
    new = times[:, 1] - np.maximum(times[:, 0], reached[:-1])
    return float(np.maximum(new, 0).sum() / (end - start))
