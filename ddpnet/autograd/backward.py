"""`backward`, `grad` and the hooks: what users call."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet import backend
from ddpnet.autograd.graph import AccumulateGrad, Node
from ddpnet.autograd.walk import run_backward
from ddpnet.tensor import Hooks, Tensor, method

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Tensor | Sequence[Tensor | None] | None = None,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves that they depend on, or of `inputs` alone.

    `grad_tensors` has the shapes of `tensors`; it may be left out for tensors of one element, and then is 1. With
    `create_graph` the gradients can be derived again. RuntimeError where a shape does not fit, a tensor needs no
    gradient, or the graph was freed by an earlier call.
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only "
                "use `grad_tensors`."
            )
        grad_tensors = grad_variables
    if inputs is not None and not isinstance(inputs, Tensor) and len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    roots = _roots(tensors, grad_tensors, create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        run_backward(roots, retain_graph=retain, create_graph=create_graph)
        return
    leaves = _listed(inputs)
    found = run_backward(roots, retain_graph=retain, create_graph=create_graph, wanted=leaves)
    for leaf, gradient in zip(leaves, found, strict=True):
        if gradient is not None:
            new = _result(gradient)
            leaf.grad = new if leaf.grad is None else leaf.grad + new


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `.grad` changes.

    An input that the outputs do not depend on is a RuntimeError, or None with `allow_unused`, or zeros with
    `materialize_grads`. With `create_graph` the gradients can be derived again.
    """
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for "
            "other parts of the graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    if is_grads_batched:
        raise NotImplementedError("grad: is_grads_batched=True is not supported; call grad once for each gradient")
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: False.")
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    wanted = _listed(inputs)
    for tensor in wanted:
        if not tensor.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    found = run_backward(
        _roots(outputs, grad_outputs, create_graph),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        wanted=wanted,
    )
    if not allow_unused and any(gradient is None for gradient in found):
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if "
            "this is the desired behavior."
        )
    results = (None if gradient is None else _result(gradient) for gradient in found)
    if materialize_grads:
        return tuple(_zeros(x) if g is None else g for g, x in zip(results, wanted, strict=True))
    return tuple(results)


def _result(gradient: Any) -> Tensor:
    """What the walk found, as a Tensor with memory of its own."""
    return gradient if isinstance(gradient, Tensor) else Tensor(gradient.copy())


def _zeros(like: Tensor) -> Tensor:
    return Tensor(backend.array_module(like.array).zeros_like(like.array))


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _roots(tensors: Tensors, gradients: Any, recorded: bool) -> list[tuple[Tensor, Any]]:
    """The outputs to start from with their gradients: Tensors if the walk is recorded, else arrays."""
    if gradients is None and isinstance(tensors, Tensor):
        return [(tensors, _root(0, tensors, None, recorded))]
    outputs = _listed(tensors)
    given = [gradients] if gradients is None or isinstance(gradients, Tensor) else list(gradients)
    given = given * len(outputs) if given == [None] else given
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    pairs = list(zip(outputs, given, strict=True))
    return [(output, _root(number, output, gradient, recorded)) for number, (output, gradient) in enumerate(pairs)]


def _root(position: int, output: Tensor, gradient: Tensor | None, recorded: bool) -> Any:
    """The gradient to start from at one output."""
    if not output.requires_grad:
        raise RuntimeError(f"element {position} of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        array = output.array
        if array.size != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        ones = backend.array_module(array).ones(array.shape, array.dtype)
        return Tensor(ones) if recorded else ones
    if not isinstance(gradient, Tensor):
        gradient = Tensor(np.asarray(gradient))
    if gradient.array.shape != output.array.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{position}] has a shape of {gradient.shape} and output[{position}] has a "
            f"shape of {output.shape}."
        )
    if recorded:
        return gradient if gradient.array.dtype == output.array.dtype else gradient.to(output.dtype)
    array = gradient.array
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
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


setattr(Tensor, "backward", _tensor_backward)  # noqa: B010 - a method as `@method` makes them


@method
def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this tensor in `.grad`, though it is not a leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self.grad_fn is not None:
        self.grad_fn.retained = {**(self.grad_fn.retained or {}), self.output_nr: weakref.ref(self)}


Tensor.retains_grad = property(  # type: ignore[attr-defined]
    lambda self: self.grad_fn is not None and self.output_nr in (self.grad_fn.retained or {})
)


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


def _register_node_hook(self: Node, fn: Callable[[Any, Any], Any]) -> RemovableHandle:
    """Call `fn(grad_inputs, grad_outputs)` after the node's backward; what it returns, if anything, are grad_inputs."""
    return _node_hook(self, "after", fn)


def _register_node_prehook(self: Node, fn: Callable[[Any], Any]) -> RemovableHandle:
    """Call `fn(grad_outputs)` before the node's backward; what it returns, if anything, replaces them."""
    return _node_hook(self, "before", fn)


def _node_hook(node: Node, when: str, hook: Callable[..., Any]) -> RemovableHandle:
    if isinstance(node, AccumulateGrad):
        raise NotImplementedError("AccumulateGrad: register hooks on the leaf (tensor.register_hook)")
    if node.node_hooks is None:
        node.node_hooks = {"before": {}, "after": {}}
    return RemovableHandle(node.node_hooks[when], hook)


setattr(Node, "register_hook", _register_node_hook)  # noqa: B010 - here, where handles are
setattr(Node, "register_prehook", _register_node_prehook)  # noqa: B010


def _leaf_hooks(leaf: Tensor, when: str) -> Hooks:
    if leaf.hooks is None:
        leaf.hooks = {"gradient": {}, "accumulated": {}}
    return leaf.hooks[when]
