"""Switches between fast and reproducible, of which ddpnet knows only the latter."""

from __future__ import annotations

__all__ = [
    "are_deterministic_algorithms_enabled",
    "get_float32_matmul_precision",
    "is_deterministic_algorithms_warn_only_enabled",
    "set_float32_matmul_precision",
    "use_deterministic_algorithms",
]

_PRECISIONS = ("highest", "high", "medium")
_deterministic = {"enabled": False, "warn_only": False}
_precision = "highest"


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remember the wish: the same bits for a seed are what ddpnet gives without being asked."""
    _deterministic.update(enabled=bool(mode), warn_only=bool(warn_only))


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was last told."""
    return _deterministic["enabled"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was last told."""
    return _deterministic["warn_only"]


def set_float32_matmul_precision(precision: str) -> None:
    """Remember how much precision float32 products may lose; they lose none on the CPU. ValueError for other words."""
    global _precision
    if precision not in _PRECISIONS:
        raise ValueError(f"Float32 matmul precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}")
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was last told."""
    return _precision
