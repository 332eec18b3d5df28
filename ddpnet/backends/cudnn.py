"""Switches of cuDNN (`torch.backends.cudnn`), of which ddpnet uses deterministic algorithms only."""

from __future__ import annotations

from ddpnet import cuda

enabled = True
benchmark = False
benchmark_limit: int | None = 10
deterministic = True
allow_tf32 = False


def is_available() -> bool:
    """Whether there is a GPU."""
    return cuda.is_available()


def version() -> int | None:
    """cuDNN's version: not known."""
    return None
