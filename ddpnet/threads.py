"""How many threads libraries compute with (`torch.set_num_threads`)."""

from __future__ import annotations

import threadpoolctl

__all__ = ["get_num_interop_threads", "get_num_threads", "set_num_interop_threads", "set_num_threads"]


def set_num_threads(int: int) -> None:
    """Let BLAS compute with so many threads; the last bits of matrix products depend on it. RuntimeError for none."""
    if int < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    threadpoolctl.threadpool_limits(int)


def get_num_threads() -> int:
    """How many threads BLAS computes with."""
    counts = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    return max(counts, default=1)


def set_num_interop_threads(int: int) -> None:
    """Operations are never run beside each other, so there is nothing to set. RuntimeError for none."""
    if int < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")


def get_num_interop_threads() -> int:
    """How many operations are run beside each other: one."""
    return 1
