"""A row of the benchmark, how it is printed, and what the figures were taken on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

HEADER = (
    f"{'case':<34}{'ddpnet':>12}{'peer':>12}{'ratio':>10}  {'quartiles':<13}{'goal':>6}  {'':<4}"
    f"{'x its products':>16}{'goal':>6}"
)
CHANNELS_LAST = "c"
"""Behind a figure of PyTorch's with that layout."""


@dataclass
class Row:
    """A case: ours and the peer's figure in `unit`, and the peer's over ours, the median of as many rounds."""

    name: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    goal: float | None = None
    products: float | None = None
    """Our time over that of the step's matrix products at the speed of a large one."""
    products_goal: float | None = None
    rounds: int = 1
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it, and whether the goals are met."""
        return {**asdict(self), "met": self.met, "products_met": self.products_met}

    @property
    def met(self) -> bool | None:
        """Whether the ratio is as high as it should be."""
        return None if self.goal is None or self.ratio is None else self.ratio >= self.goal

    @property
    def products_met(self) -> bool | None:
        """Whether we are as near to the limit as we should be."""
        return None if self.products_goal is None or self.products is None else self.products <= self.products_goal

    def __str__(self) -> str:
        low_high = (
            "" if self.quartiles is None or self.rounds == 1 else f"{self.quartiles[0]:.2f} to {self.quartiles[1]:.2f}"
        )
        mark = CHANNELS_LAST if "channels_last" in self.peer_name else " "
        times = f"{self._figure(self.ours):>12}{self._figure(self.peer):>12} {mark}"
        return (
            f"{self.name:<34}{times}{_number(self.ratio):>8}  {low_high:<13}{_number(self.goal):>6}  "
            f"{_verdict(self.met):<4}{_number(self.products):>16}{_number(self.products_goal):>6}  "
            f"{_verdict(self.products_met)}"
        ).rstrip()

    def _figure(self, value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:.3f} {self.unit}" if value < 10 else f"{value:.1f} {self.unit}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _verdict(met: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[met]


def ratios(row: Row, ours: Sequence[float], peer: Sequence[float]) -> None:
    """Fill a row with the ratios of rounds that were taken in turn."""
    found = [b / a for a, b in zip(ours, peer, strict=True)]
    row.peer = statistics.median(peer) * (row.ours / statistics.median(ours))  # in the unit of the row
    row.ratio, row.rounds = statistics.median(found), len(found)
    row.quartiles = quartiles(found)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def machine(peer: str | None) -> dict[str, str]:
    """What the figures were taken on."""
    from ddpnet import blas

    cpu = blas.processor()
    library = blas.describe()
    names = ("ddpnet", "numpy", "numba", "mpi4py", *((peer,) if peer else ()))
    return {
        "processor": f"{_processor_name() or cpu.vendor or platform.processor()}, family {cpu.family}, "
        f"{os.cpu_count()} cores, {'AVX-512' if 'avx512f' in cpu.flags else 'no AVX-512'}",
        "system": f"{platform.system()} {platform.release()}",
        "BLAS of NumPy": f"{library['library']} {library['version']}, {library['core type']}",
        **({"BLAS of PyTorch": _blas_of_torch()} if peer == "torch" else {}),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return ""


def _blas_of_torch() -> str:
    from peers import finish

    found = finish(["-c", "import torch; print(torch.__config__.show())"], "torch", 1)
    lines = [line.strip("- ").strip() for line in found.splitlines()]
    return next((line.partition(" Product")[0] for line in lines if "Math Kernel" in line or "OpenBLAS" in line), "?")
