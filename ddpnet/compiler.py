"""Compilation, which ddpnet does not have: programs that ask for it run as they are (`torch.compiler`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["compile", "disable", "is_compiling"]


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Return the model or function unchanged: nothing is compiled. Without a model, a decorator that does the same."""
    return (lambda function: function) if model is None else model


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Return the function unchanged, which is not compiled anyway; without a function, such a decorator."""
    return (lambda function: function) if fn is None else fn


def is_compiling() -> bool:
    """Whether this code is being compiled: never."""
    return False
