"""What this machine gives to us: cores and memory, as far as affinity and the container allow."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_GPU_DRIVER = Path("/proc/driver/nvidia/version")


def cores() -> int:
    """The cores that this process may use, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _first_line(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        allowed = min(allowed, round(int(quota) / int(period)))
    return max(1, allowed)


def memory() -> tuple[int, int] | None:
    """(available, total) bytes; None where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        available, total = (int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return None
    limit, used = (_first_line(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        total = min(total, int(limit))
        available = min(available, total - int(used))
    return available, total


def has_nvidia_driver() -> bool:
    """Whether the kernel's driver for NVIDIA's GPUs is loaded."""
    return _GPU_DRIVER.exists()


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0]
    except OSError:
        return ""
