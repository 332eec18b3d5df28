"""In-place updates: values and history of a result move into an existing tensor.

An update of a view is an update of a part of its base, too. So the base gets a node that takes the part's gradient to
the result and the rest to the base's old history, and the history of every view is written anew from its base.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ddpnet import dtypes
from ddpnet.autograd.grad_mode import enable_grad, mode
from ddpnet.backend import Array, array_module, shares_memory
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Tensor])

_AUGMENTED = {
    "add": "__iadd__",
    "sub": "__isub__",
    "mul": "__imul__",
    "div": "__itruediv__",
    "pow": "__ipow__",
    "floor_divide": "__ifloordiv__",
    "remainder": "__imod__",
    "bitwise_and": "__iand__",
    "bitwise_or": "__ior__",
    "bitwise_xor": "__ixor__",
    "bitwise_left_shift": "__ilshift__",
    "bitwise_right_shift": "__irshift__",
}


def inplace(function: _Function) -> _Function:
    """Decorator: `Tensor.NAME_` is this function, with its result written into the first argument."""

    def twin(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(self)
        for other in args:
            if isinstance(other, Tensor) and other._version is self._version is not None:
                check_apart(self.array, other.array)
        return assign(self, function(self, *args, **kwargs))

    name = function.__name__
    twin.__name__, twin.__doc__ = f"{name}_", f"In-place `{name}`."
    for attribute in filter(None, (twin.__name__, _AUGMENTED.get(name))):
        setattr(Tensor, attribute, twin)
    return function


def check_writable(target: Tensor, one_value: bool = False) -> None:
    """RuntimeError where an update would lose history, or would write a place in memory several times (which does no
    harm if all elements get `one_value`)."""
    if mode.enabled:
        view = target._view
        if target._requires_grad and target.grad_fn is None and view is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if view is not None and view.base._requires_grad and view.base.grad_fn is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
        if view is not None and view.kind and view.base._requires_grad:
            raise RuntimeError(_REFUSALS[view.kind].format(number=target.output_nr, name=view.maker))
    if not one_value and overlaps(target.array):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


def check_apart(target: Array, other: Array) -> None:
    """RuntimeError for an operand that lies partly where the target lies: what it would mean depends on the order."""
    first, second = (np.lib.array_utils.byte_bounds(array) for array in (target, other))
    dense = all(high - low == x.nbytes for x, (low, high) in ((target, first), (other, second)))
    apart = first[1] <= second[0] or second[1] <= first[0]
    if target.size and other.size and dense and not apart and (first, target.strides) != (second, other.strides):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
            "memory location. Please clone() the tensor before performing the operation."
        )


def overlaps(array: Array) -> bool:
    """Whether several elements of an expanded array lie in one place."""
    if 0 not in array.strides or not array.size:
        return False
    return any(step == 0 and extent > 1 for step, extent in zip(array.strides, array.shape, strict=True))


def assign(target: Tensor, result: Tensor) -> Tensor:
    """Let `target` take the values of `result` in its memory, and its place in the graph; returns `target`.

    `result` is made for this: no one else has it. RuntimeError where the shape or dtype does not fit.
    """
    if result.array.shape != target.array.shape:
        raise RuntimeError(
            f"output with shape {list(target.array.shape)} doesn't match the broadcast shape {list(result.array.shape)}"
        )
    if dtypes.category(result.array.dtype) > dtypes.category(target.array.dtype):
        raise RuntimeError(
            f"result type {result.dtype.scalar_name} can't be cast to the desired output type "
            f"{target.dtype.scalar_name}"
        )
    if mode.enabled and (result._requires_grad or target._requires_grad):
        _record(target, result)
    else:
        _write(target, result.array)
    return target


def _write(target: Tensor, values: Array) -> None:
    if target.array is not values:
        target.array[...] = values
    target.changed()


def _record(target: Tensor, result: Tensor) -> None:
    """Write, and give `target` and all that shares its memory their new histories."""
    view = target._view
    if view is not None and view.kind:
        raise RuntimeError(_REFUSALS[view.kind].format(number=target.output_nr, name=view.maker))
    if not result._requires_grad:
        result = Overwrite.apply(target, values=result.array)
    elif result.grad_fn is None or result.array.dtype != target.array.dtype:
        result = CopyBackwards.apply(result, dtype=target.array.dtype)
    if isinstance(result.grad_fn, Op):
        result.grad_fn.saves_over(target, result)
    _write(target, result.array)
    if view is None:
        base = target
        base.grad_fn, base.output_nr = result.grad_fn, result.output_nr
    else:
        base = view.base
        whole = CopySlices.apply(base, result, steps=view.steps)
        base.grad_fn, base.output_nr = whole.grad_fn, whole.output_nr
    base._requires_grad = True
    for other in base.version.views_of(base):
        _renew(other)


def _renew(view: Tensor) -> None:
    """Write the history of a view anew from its base."""
    way = view._view
    assert way is not None
    if way.kind:
        return
    renewed = way.base
    with enable_grad():
        for operation, options, number in way.steps:
            made = operation.apply(renewed, **options)
            renewed = made[number] if isinstance(made, tuple) else made
    view.grad_fn, view.output_nr, view._requires_grad = renewed.grad_fn, renewed.output_nr, True


_REFUSALS = {
    "several": (
        "Output {number} of {name} is a view and is being modified inplace. This view is the output of a function that "
        "returns multiple views. Such functions do not allow the output views to be modified inplace. You should "
        "replace the inplace operation by an out-of-place one."
    ),
    "no_grad": (
        "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that this use "
        "case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the "
        "inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both outside "
        "(if you want the inplace to be tracked)."
    ),
}


class Overwrite(Op):
    """All values are replaced by others: no gradient reaches the old ones."""

    graph_name = "FillBackward0"

    def forward(self, x, values):
        return values

    def backward(self, g):
        return array_module(g).zeros_like(g)


class CopyBackwards(Op):
    """The values of another tensor, in the dtype of the target."""

    graph_name = "CopyBackwards"

    def forward(self, x, dtype):
        return x.astype(dtype)

    def backward(self, g):
        return g


class CopySlices(Op):
    """A base, after the part that `steps` lead to was replaced by `value`."""

    graph_name = "CopySlices"

    def forward(self, x, value, steps):
        self.steps = steps
        self.order = np.argsort([-abs(step) for step in x.strides], kind="stable")
        return array_module(x).broadcast_to(x.dtype.type(0), x.shape)  # only its place in the graph is used

    def backward(self, g):
        back = np.argsort(self.order)
        rest = g.transpose(self.order).copy().transpose(back)  # as the base lies in memory, so that the part is a view
        part = _part(rest, self.steps)
        value = part.copy()
        part[...] = 0
        return rest, value

    def differentiable_backward(self, g):
        value = g
        for operation, options, number in self.steps:
            value = operation.apply(value, **options)
            value = value[number] if isinstance(value, tuple) else value
        kept = array_module(g.array).ones(g.array.shape, bool)
        kept = kept.transpose(self.order).copy().transpose(np.argsort(self.order))
        _part(kept, self.steps)[...] = False
        return g * Tensor(kept), value


def _part(array: Array, steps: tuple[tuple[Any, dict[str, Any], int], ...]) -> Array:
    """The view of `array` that the operations of a view lead to."""
    part = array
    for operation, options, number in steps:
        node = operation.__new__(operation)
        node.needs = (False,)
        part = node.forward(part, **options)
        part = part[number] if isinstance(part, tuple) else part
    if part.size and not shares_memory(array, part):
        raise RuntimeError(
            "in-place update: the gradient cannot be laid out as the updated view; update a clone() of the view instead"
        )
    return part
