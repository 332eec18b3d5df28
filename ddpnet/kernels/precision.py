"""float16 and bfloat16: stored in two bytes, computed in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])


def is_half(array: Any) -> bool:
    """Whether an array is float16 or bfloat16, with which the kernels compute in float32."""
    return hasattr(array, "dtype") and array.dtype.itemsize == 2 and array.dtype.kind in "fV"


def through_float32(function: _Function) -> _Function:
    """Decorator: if the first array is of float16 or bfloat16, all such become float32, and the results go back."""

    @wraps(function)
    def converting(*arguments: Any) -> Any:
        if arguments[0].dtype.itemsize != 2 or not is_half(arguments[0]):  # 0.1 instead of 0.3 us
            return function(*arguments)
        half = arguments[0].dtype
        result = function(*(x.astype(np.float32) if is_half(x) else x for x in arguments))
        results = result if isinstance(result, tuple) else (result,)
        back = tuple(y.astype(half) if getattr(y, "dtype", None) == np.float32 else y for y in results)
        return back if isinstance(result, tuple) else back[0]

    return converting  # type: ignore[return-value]


def in_place_through_float32(function: _Function) -> _Function:
    """Decorator: as `through_float32`, for functions that write into their arrays."""

    @wraps(function)
    def converting(*arguments: Any) -> None:
        if arguments[0].dtype.itemsize != 2 or not is_half(arguments[0]):
            function(*arguments)
            return
        copies = [x.astype(np.float32) if is_half(x) else x for x in arguments]
        function(*copies)
        for original, copy in zip(arguments, copies, strict=True):
            if copy is not original:
                original[...] = copy

    return converting  # type: ignore[return-value]
