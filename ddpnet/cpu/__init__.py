"""What scripts ask of the CPU as of any other device (`torch.cpu`)."""

from __future__ import annotations


def is_available() -> bool:
    """Always."""
    return True


def device_count() -> int:
    """One."""
    return 1


def current_device() -> str:
    """Its name."""
    return "cpu"


def synchronize(device: object = None) -> None:
    """Nothing to wait for: what was called is done."""
