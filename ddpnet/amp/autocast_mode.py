"""`autocast`, and what lets users' own functions take part in it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.autograd import autocast_mode
from ddpnet.dtypes import DType
from ddpnet.tensor import Tensor


class autocast:
    """Operations inside run in the dtype that suits them: matrix products and convolutions in `dtype`, losses and the
    like in float32; as a context manager, or as a decorator. It may be nested, and switched off inside with
    `enabled=False`.

    `dtype` is float16 or bfloat16 (bfloat16 on the CPU if it is left out, float16 on a GPU).
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if not autocast_mode.is_autocast_available(device_type):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.device = device_type
        self.fast_dtype = autocast_mode.get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = autocast_mode.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        if enabled and device_type == "cuda" and not backend.cuda_device_count():
            warnings.warn("CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and self.fast_dtype not in (dtypes.bfloat16, dtypes.float16):
            name = device_type.upper()
            warnings.warn(
                f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n{name} Autocast "
                "only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[tuple[bool, bool, DType]] = []

    def __enter__(self) -> autocast:
        self._before.append(
            (
                autocast_mode.is_autocast_cache_enabled(),
                autocast_mode.is_autocast_enabled(self.device),
                autocast_mode.get_autocast_dtype(self.device),
            )
        )
        autocast_mode.set_autocast_enabled(self.device, self._enabled)
        autocast_mode.set_autocast_dtype(self.device, self.fast_dtype)
        autocast_mode.autocast_increment_nesting()
        autocast_mode.set_autocast_cache_enabled(self._cache_enabled)
        return self

    def __exit__(self, *error: object) -> None:
        if autocast_mode.autocast_decrement_nesting() == 0:
            autocast_mode.clear_autocast_cache()
        cache_enabled, enabled, dtype = self._before.pop()
        autocast_mode.set_autocast_enabled(self.device, enabled)
        autocast_mode.set_autocast_dtype(self.device, dtype)
        autocast_mode.set_autocast_cache_enabled(cache_enabled)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(function).__name__}. Did you mean to use "
                "autocast as a context manager, `with torch.autocast(device_type=...):`?"
            )

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return decorated


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: DType | None = None
) -> Callable[..., Any]:
    """Decorator of the `forward` of an `autograd.Function`: it runs as autocast stands; or, with `cast_inputs`, without
    autocast on tensors of that dtype."""
    _check_device(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = autocast_mode.is_autocast_enabled(device_type)
        ctx._dtype = autocast_mode.get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            args, kwargs = _cast(args, device_type, cast_inputs), _cast(kwargs, device_type, cast_inputs)
            return fwd(ctx, *args, **kwargs)

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorator of the `backward` of an `autograd.Function` whose forward has `custom_fwd`: autocast as there."""
    _check_device(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return backward


def _check_device(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def _cast(value: Any, device_type: str, dtype: DType) -> Any:
    """The floating-point tensors in `value`, but for float64, in another dtype."""
    if isinstance(value, Tensor):
        fits = value.is_floating_point() and value.device.type == device_type and value.dtype is not dtypes.float64
        return value.to(dtype) if fits else value
    if isinstance(value, str | bytes | np.ndarray):
        return value
    if isinstance(value, Mapping):
        return {_cast(key, device_type, dtype): _cast(entry, device_type, dtype) for key, entry in value.items()}
    if isinstance(value, Iterable):
        entries = (_cast(entry, device_type, dtype) for entry in value)
        return type(value)(entries) if isinstance(value, list | tuple) else entries
    return value
