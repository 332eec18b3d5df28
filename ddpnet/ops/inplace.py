"""In-place updates: values and history of a result move into an existing tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ddpnet import dtypes
from ddpnet.autograd.grad_mode import mode
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Tensor])

_AUGMENTED = {"add": "__iadd__", "sub": "__isub__", "mul": "__imul__", "div": "__itruediv__", "pow": "__ipow__"}


def inplace(function: _Function) -> _Function:
    """Decorator: `Tensor.NAME_` is this function, with its result written into the first argument."""

    def twin(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(self)
        return assign(self, function(self, *args, **kwargs))

    name = function.__name__
    twin.__name__, twin.__doc__ = f"{name}_", f"In-place `{name}`."
    for attribute in filter(None, (twin.__name__, _AUGMENTED.get(name))):
        setattr(Tensor, attribute, twin)
    return function


def check_writable(target: Tensor) -> None:
    """RuntimeError for a leaf whose gradient is recorded: its history would be lost."""
    if mode.enabled and target._requires_grad and target.grad_fn is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")


def assign(target: Tensor, result: Tensor) -> Tensor:
    """Let `target` take the values of `result` in its memory, and its place in the graph; returns `target`.

    RuntimeError where the shape or dtype does not fit, or where a view would keep the history of its old values.
    """
    if result.array.shape != target.array.shape:
        raise RuntimeError(
            f"output with shape {list(target.array.shape)} doesn't match the broadcast shape {list(result.array.shape)}"
        )
    if dtypes.category(result.array.dtype) > dtypes.category(target.array.dtype):
        raise RuntimeError(
            f"result type {result.dtype.name} can't be cast to the desired output type {target.dtype.name}"
        )
    if result._requires_grad and target.version.others(target):
        raise RuntimeError(
            "in-place update with gradients of a tensor that shares its memory with a view is not supported: update a "
            "clone() of it, or use the operation that is not in place"
        )
    if isinstance(result.grad_fn, Op):
        result.grad_fn.rescue(target.array)
    target.array[...] = result.array
    target.changed()
    if result._requires_grad:
        target.grad_fn, target.output_nr, target._requires_grad = result.grad_fn, result.output_nr, True
    return target
