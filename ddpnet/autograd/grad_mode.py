"""Whether operations are recorded: `no_grad`, `enable_grad`, `set_grad_enabled`; one switch a thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Mode(threading.local):
    enabled = True
    observer: Callable[[Any], None] | None = None
    """Called with each node that is recorded: anomaly mode and checkpoints look on."""
    tape: Any = None
    """What notes each operation that is computed, recorded or not: `compiler/recording.py`."""
    check_nan = True
    """Whether anomaly mode looks for gradients that are not numbers."""


mode = _state = _Mode()
"""What every operation looks at; the second name is for functions with an argument called `mode`."""


def is_grad_enabled() -> bool:
    """Whether operations are recorded now."""
    return mode.enabled


class _Switch:
    """A context manager and decorator that sets the mode and puts back what it found; it may be nested."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.enabled)
        mode.enabled = self._enabled

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode.enabled = self._before.pop()

    def __call__(self, function: _Function) -> _Function:
        enabled = self._enabled

        @functools.wraps(function)
        def switched(*args: Any, **kwargs: Any) -> Any:
            with _Switch(enabled):
                return function(*args, **kwargs)

        return switched  # type: ignore[return-value]


class no_grad(_Switch):
    """Operations inside are not recorded; as a context manager, or as the decorator `@no_grad()` or `@no_grad`."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        switch = super().__new__(cls)
        if function is None:
            return switch
        switch.__init__()  # type: ignore[misc]
        return switch(function)

    def __init__(self, function: None = None) -> None:
        super().__init__(False)


class inference_mode(_Switch):
    """As `no_grad`."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode)


class enable_grad(_Switch):
    """Operations inside are recorded, in a `no_grad` too; a context manager, or the decorator with or without `()`."""

    def __new__(cls, orig_func: Callable[..., Any] | None = None) -> Any:
        switch = super().__new__(cls)
        if orig_func is None:
            return switch
        switch.__init__()  # type: ignore[misc]
        return switch(orig_func)

    def __init__(self, orig_func: None = None) -> None:
        super().__init__(True)


class set_grad_enabled(_Switch):
    """Sets the mode at once; as a context manager it puts back the mode before."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._before.append(_state.enabled)
        _state.enabled = mode

    def __enter__(self) -> None:
        mode.enabled = self._enabled
