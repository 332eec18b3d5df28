"""`out=`: results written into tensors that the caller has."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from ddpnet import dtypes
from ddpnet.autograd.grad_mode import mode
from ddpnet.ops.inplace import overlaps
from ddpnet.tensor import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_out(function: _Function) -> _Function:
    """Decorator: the function takes `out=`, a tensor, or a tuple of as many as there are results, and returns it.

    Put it above `@method`, so that methods do without. RuntimeError where a gradient is recorded, a dtype does not fit,
    or an `out` is expanded.
    """

    @functools.wraps(function)
    def called(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if out is None:
            return result
        if isinstance(result, tuple) != isinstance(out, tuple | list):
            raise TypeError(f"{function.__name__}(): argument 'out' must be as many tensors as there are results")
        results, targets = (result, out) if isinstance(result, tuple) else ((result,), (out,))
        for source, target in zip(results, targets, strict=True):
            _write(source, target, function.__name__)
        return type(result)(*targets) if hasattr(result, "_fields") else out

    return called  # type: ignore[return-value]


def _write(source: Tensor, target: Tensor, name: str) -> None:
    if mode.enabled and (source.requires_grad or target.requires_grad):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    if dtypes.category(source.array.dtype) > dtypes.category(target.array.dtype):
        raise RuntimeError(
            f"result type {source.dtype.scalar_name} can't be cast to the desired output type "
            f"{target.dtype.scalar_name}"
        )
    if overlaps(target.array):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    if target.array.shape != source.array.shape:
        if target.array.size:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(target.shape)}, which does "
                f"not match the required output shape {list(source.shape)}.",
                stacklevel=3,
            )
        target.array = source.array.astype(target.array.dtype)
    else:
        target.array[...] = source.array
    target.changed()
