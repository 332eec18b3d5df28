"""What a profile found, by name: rows and their table, as `torch.profiler` gives them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ddpnet.profiler.collector import Key, Row

_ORDERS = ("cpu_time_total", "self_cpu_time_total", "cpu_time", "count")
_WIDEST_NAME = 55


class FunctionEventAvg:
    """A name with its calls and microseconds: all of them, and without what other names took inside."""

    def __init__(self, key: str, count: int, cpu_time_total: float, self_cpu_time_total: float) -> None:
        self.key, self.count = key, count
        self.cpu_time_total, self.self_cpu_time_total = cpu_time_total, self_cpu_time_total

    @property
    def cpu_time(self) -> float:
        """Microseconds a call."""
        return self.cpu_time_total / self.count

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={microseconds(self.self_cpu_time_total)} "
            f"cpu_time={microseconds(self.cpu_time)}>"
        )


class EventList(list[FunctionEventAvg]):
    """Rows, and their table."""

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all rows together."""
        return sum(event.self_cpu_time_total for event in self)

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = _WIDEST_NAME) -> str:
        """The first `row_limit` rows (-1: all), the largest of `sort_by` first; ValueError for another order."""
        if sort_by is not None and sort_by not in _ORDERS:
            raise ValueError(f"sort_by: expected one of {', '.join(_ORDERS)}, got {sort_by!r}")
        events = sorted(self, key=lambda event: -getattr(event, sort_by)) if sort_by is not None else list(self)
        shown = events if row_limit < 0 else events[:row_limit]
        whole = self.self_cpu_time_total or 1.0
        lines = [("Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls")]
        for event in shown:
            lines.append(
                (
                    _cut(event.key, max_name_column_width),
                    f"{event.self_cpu_time_total / whole:.2%}",
                    microseconds(event.self_cpu_time_total),
                    f"{event.cpu_time_total / whole:.2%}",
                    microseconds(event.cpu_time_total),
                    microseconds(event.cpu_time),
                    str(event.count),
                )
            )
        widths = [max(len(line[0]) for line in lines), *[12] * 6]
        rule = "  ".join("-" * width for width in widths)
        text = ["  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in lines]
        total = f"Self CPU time total: {microseconds(self.self_cpu_time_total)}"
        return "\n".join([rule, text[0], rule, *text[1:], rule, total, ""])


def averages(rows: Mapping[Key, Row]) -> EventList:
    """Rows of a collector under PyTorch's names: aten::addmm forward, AddmmBackward0 backward."""
    sums: defaultdict[str, Row] = defaultdict(Row)
    for key, row in rows.items():
        together = sums[key.name]
        together.calls += row.calls
        together.total += row.total
        together.own += row.own
    return EventList(FunctionEventAvg(name, row.calls, row.total / 1e3, row.own / 1e3) for name, row in sums.items())


def microseconds(time: float) -> str:
    """A time in the unit that suits it."""
    for unit, name in ((1e6, "s"), (1e3, "ms")):
        if time >= unit:
            return f"{time / unit:.3f}{name}"
    return f"{time:.3f}us"


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 3] + "..."
