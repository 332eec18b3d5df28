"""`backward`, `grad` and the hooks: what users call."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet import backend
from ddpnet.autograd.graph import run_backward
from ddpnet.backend import Array
from ddpnet.tensor import Hooks, Tensor, method

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves that they depend on.

    `grad_tensors` has the shapes of `tensors`; it may be left out for tensors of one element, and then is 1.
    RuntimeError where a shape does not fit, a tensor needs no gradient, or the graph was freed by an earlier call.
    """
    _first_order_only(create_graph)
    run_backward(_roots(tensors, grad_tensors), retain_graph=bool(retain_graph))


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `.grad` changes.

    An input that the outputs do not depend on is a RuntimeError, or None with `allow_unused`.
    """
    _first_order_only(create_graph)
    wanted = _listed(inputs)
    for position, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise RuntimeError(f"One of the differentiated Tensors does not require grad (inputs[{position}])")
    found = run_backward(_roots(outputs, grad_outputs), retain_graph=bool(retain_graph), wanted=wanted)
    if not allow_unused and any(array is None for array in found):
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if "
            "this is the desired behavior."
        )
    return tuple(None if array is None else Tensor(array.copy()) for array in found)


def _first_order_only(create_graph: bool) -> None:
    if create_graph:
        raise NotImplementedError("create_graph=True: gradients of gradients are not supported yet")


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _roots(tensors: Tensors, gradients: Any) -> list[tuple[Tensor, Array]]:
    outputs = _listed(tensors)
    given = [gradients] if gradients is None or isinstance(gradients, Tensor) else list(gradients)
    given = given * len(outputs) if given == [None] else given
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    pairs = zip(outputs, given, strict=True)
    return [(output, _root(number, output, gradient)) for number, (output, gradient) in enumerate(pairs)]


def _root(position: int, output: Tensor, gradient: Tensor | None) -> Array:
    """The gradient to start from at one output."""
    if not output.requires_grad:
        raise RuntimeError(f"element {position} of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if output.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return backend.array_module(output.array).ones_like(output.array)
    array = gradient.array if isinstance(gradient, Tensor) else np.asarray(gradient)
    if array.shape != output.array.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{position}] has a shape of {tuple(array.shape)} and output[{position}] "
            f"has a shape of {tuple(output.array.shape)}."
        )
    return array if array.dtype == output.array.dtype else array.astype(output.array.dtype)


class RemovableHandle:
    """Takes a hook out of where it was put: `handle.remove()`, or at the end of a `with`."""

    _next_id = itertools.count().__next__

    def __init__(self, hooks: Hooks, hook: Callable[..., Any]) -> None:
        self._hooks, self.id = hooks, self._next_id()
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of this tensor to the `.grad` of the leaves; see `autograd.backward`."""
    if inputs is None:
        backward(self, gradient, retain_graph, create_graph)
        return
    leaves = _listed(inputs)
    gradients = grad(self, leaves, gradient, retain_graph, create_graph, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            leaf.grad = gradient if leaf.grad is None else Tensor(leaf.grad.array + gradient.array)


setattr(Tensor, "backward", _tensor_backward)  # noqa: B010 - a method as `@method` makes them


@method
def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this tensor in `.grad`, though it is not a leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self.grad_fn is not None:
        self.grad_fn.retained = {**(self.grad_fn.retained or {}), self.output_nr: weakref.ref(self)}


@method
def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook(grad)` when this tensor's gradient is final; what it returns, if anything, replaces it."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self.grad_fn is None:
        return RemovableHandle(_leaf_hooks(self, "gradient"), hook)
    if self.grad_fn.hooks is None:
        self.grad_fn.hooks = {}
    return RemovableHandle(self.grad_fn.hooks.setdefault(self.output_nr, {}), hook)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook(leaf)` once in a backward pass, when the leaf's `.grad` is final."""
    if self.grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return RemovableHandle(_leaf_hooks(self, "accumulated"), hook)


def _leaf_hooks(leaf: Tensor, when: str) -> Hooks:
    if leaf.hooks is None:
        leaf.hooks = {"gradient": {}, "accumulated": {}}
    return leaf.hooks[when]
