"""What autocast does to the arguments of an operation: to the fast dtype, to float32, or to the widest of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from ddpnet.autograd.autocast_mode import DEVICE_TYPES, state
from ddpnet.autograd.grad_mode import mode
from ddpnet.dtypes import category
from ddpnet.ops.conversion import cast
from ddpnet.tensor import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)

Choice = Callable[..., "np.dtype[Any] | None"]
POLICIES = ("lower", "float32", "widest", "given")


def autocasts(policy: str | Choice, *device_types: str) -> Callable[[_Function], _Function]:
    """Decorator of a public function: inside an autocast its floating-point tensors, but for float64, are converted.

    `policy` is "lower" (to autocast's dtype), "float32", "widest" (float32 if any of them is), "given" (none is
    converted), or a function of autocast's dtype and the arguments that gives the dtype or None. It holds for tensors
    on the kinds of device named, or on all. What the function calls does not autocast again. Put it next to the `def`,
    so that methods and `out=` get it, too.
    """
    if policy not in POLICIES and not callable(policy):
        raise ValueError(f"policy: expected one of {POLICIES} or a function, got {policy!r}")
    kinds = device_types or DEVICE_TYPES

    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if not state.active:
                return function(*args, **kwargs)
            return _call(function, policy, kinds, args, kwargs)

        return called  # type: ignore[return-value]

    return decorate


def _call(
    function: Callable[..., Any],
    policy: str | Choice,
    kinds: tuple[str, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    kind = next((_kind(x) for x in _tensors((args, kwargs))), None)
    if kind is None or kind not in kinds or not state.enabled[kind]:
        return function(*args, **kwargs)
    fast = state.fast[kind].numpy
    dtype: np.dtype[Any] | None
    if callable(policy):
        dtype = policy(fast, *args, **kwargs)
    elif policy in ("lower", "given"):
        dtype = fast if policy == "lower" else None
    elif policy == "float32":
        dtype = _FLOAT32
    else:
        found = [x.array.dtype for x in _tensors((args, kwargs)) if _eligible(x)]
        dtype = _FLOAT32 if _FLOAT32 in found else fast
    if dtype is not None:
        args, kwargs = _converted(args, dtype), _converted(kwargs, dtype)
    state.active = False
    try:
        return function(*args, **kwargs)
    finally:
        state.active = True


def _kind(x: Tensor) -> str:
    return "cpu" if isinstance(x.array, np.ndarray) else "cuda"


def _eligible(x: Tensor) -> bool:
    return category(x.array.dtype) == 2 and x.array.dtype != _FLOAT64


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _converted(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, Tensor):
        return _cast(value, dtype) if _eligible(value) else value
    if isinstance(value, dict):
        return {key: _converted(entry, dtype) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_converted(entry, dtype) for entry in value)
    return value


def _cast(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """`x` in another dtype; that of a parameter is kept until the outermost autocast ends."""
    lasting = x._requires_grad and x.grad_fn is None and x.array.dtype == _FLOAT32 and state.cache_enabled
    if not lasting or dtype == _FLOAT32 or not state.nesting:
        return cast(x, dtype)
    key = id(x), dtype, mode.enabled
    kept = state.cache.get(key)
    if kept is None or kept[0] is not x or kept[1] != x.version.value:
        kept = state.cache[key] = x, x.version.value, cast(x, dtype)
    result: Tensor = kept[2]
    return result
