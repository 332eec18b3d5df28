"""NumPy's names of arguments, which PyTorch's functions take as well: axis, keepdims, x."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NAMES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}


def numpy_names(function: _Function) -> _Function:
    """Decorator: the function also takes `axis` for `dim`, `keepdims` for `keepdim`, and so on."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        for name in _NAMES.keys() & kwargs.keys() if kwargs else ():
            kwargs.setdefault(_NAMES[name], kwargs.pop(name))
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]
