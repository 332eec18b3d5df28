"""What autocast does in this thread: for each kind of device, whether it is on, and the dtype of its fast operations.

The operations that take part wear `ddpnet.ops.autocasting.autocasts`; `ddpnet.amp` is what users call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ddpnet import dtypes
from ddpnet.dtypes import DType

DEVICE_TYPES = ("cpu", "cuda")


class _State(threading.local):
    active = False
    """Whether any kind of device autocasts: all that an operation looks at while none does."""
    cache_enabled = True
    nesting = 0

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(DEVICE_TYPES, False)
        self.fast = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
        self.cache: dict[Any, Any] = {}
        """Fast copies of parameters, until the outermost autocast ends."""


state = _State()

Snapshot = tuple[dict[str, bool], dict[str, DType]]
"""For each kind of device, whether autocast is on, and its dtype."""


def snapshot() -> Snapshot:
    """What autocast does now, for `restored`."""
    return dict(state.enabled), dict(state.fast)


@contextmanager
def restored(kept: Snapshot) -> Iterator[None]:
    """Autocast as it was, but without copies of parameters from before: inside, each conversion is recorded."""
    before, cache_enabled = snapshot(), state.cache_enabled
    _set(kept, False)
    try:
        yield
    finally:
        _set(before, cache_enabled)


def _set(kept: Snapshot, cache_enabled: bool) -> None:
    state.enabled, state.fast = dict(kept[0]), dict(kept[1])
    state.active = any(state.enabled.values())
    state.cache_enabled = cache_enabled


def _checked(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise TypeError(f"device_type: expected a str, got {type(device_type).__name__}")
    if device_type not in DEVICE_TYPES:
        raise RuntimeError(f"unsupported autocast device_type {device_type!r}: there are 'cpu' and 'cuda'")
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows this kind of device."""
    return device_type in DEVICE_TYPES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether operations on this kind of device autocast now."""
    return state.enabled[_checked(device_type)]


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Let operations on this kind of device autocast, or not; `set_autocast_enabled(True)` means 'cuda'."""
    kind, on = ("cuda", device_type) if isinstance(device_type, bool) else (device_type, bool(enabled))
    state.enabled[_checked(kind)] = on
    state.active = any(state.enabled.values())


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype of fast operations on this kind of device."""
    return state.fast[_checked(device_type)]


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    """Choose the dtype of fast operations on this kind of device."""
    state.fast[_checked(device_type)] = dtype


def is_autocast_cache_enabled() -> bool:
    """Whether fast copies of parameters are kept until the outermost autocast ends."""
    return state.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Keep fast copies of parameters, or not."""
    state.cache_enabled = enabled


def clear_autocast_cache() -> None:
    """Forget the fast copies of parameters."""
    state.cache.clear()


def autocast_increment_nesting() -> int:
    """Note that an autocast begins; returns how many there are inside each other."""
    state.nesting += 1
    return state.nesting


def autocast_decrement_nesting() -> int:
    """Note that an autocast ends."""
    state.nesting -= 1
    return state.nesting


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled("cpu")`, as older programs say it."""
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """`set_autocast_enabled("cpu", enabled)`, as older programs say it."""
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> DType:
    """`get_autocast_dtype("cpu")`, as older programs say it."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> DType:
    """`get_autocast_dtype("cuda")`, as older programs say it."""
    return get_autocast_dtype("cuda")


def set_autocast_cpu_dtype(dtype: DType) -> None:
    """`set_autocast_dtype("cpu", dtype)`, as older programs say it."""
    set_autocast_dtype("cpu", dtype)


def set_autocast_gpu_dtype(dtype: DType) -> None:
    """`set_autocast_dtype("cuda", dtype)`, as older programs say it."""
    set_autocast_dtype("cuda", dtype)
