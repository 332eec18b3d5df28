"""`autograd.Function`: operations that users write, with PyTorch's protocol."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ddpnet.autograd.grad_mode import mode, no_grad
from ddpnet.autograd.graph import NOWHERE, Node, edge_to
from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category, from_numpy
from ddpnet.memory import Version
from ddpnet.tensor import Tensor


class FunctionCtx(Node):
    """What `forward` and `backward` of a Function share (`ctx`), and the node of the graph.

    `needs_input_grad` has a bool for each argument of `forward`.
    """

    fresh = False
    function: type[Function]
    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads = True
    _saved: tuple[Tensor | None, ...] | None = ()
    _versions: tuple[tuple[Version, int] | None, ...] = ()
    _without_gradient: tuple[Tensor, ...] = ()
    _dirty: tuple[Tensor, ...] = ()

    def name(self) -> str:
        """The user's class with `Backward` behind."""
        return f"{self.function.__name__}Backward"

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs, outputs or other tensors for `backward`, where `saved_tensors` gives them back."""
        self._saved = tensors
        self._versions = tuple(None if t is None else (t.version, t.version.value) for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` kept; RuntimeError if it was freed, or changed in place since."""
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they "
                "have already been freed). Specify retain_graph=True if you need to."
            )
        for number, version in enumerate(self._versions):
            if version is not None and version[0].value != version[1]:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"saved tensor {number} of {self.name()} is at version {version[0].value}; expected version "
                    f"{version[1]} instead."
                )
        return self._saved

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """No gradient flows through these outputs."""
        self._without_gradient = outputs

    def mark_dirty(self, *inputs: Tensor) -> None:
        """These inputs were changed in place, and are returned."""
        self._dirty = inputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros (or else None) for outputs that no gradient reached."""
        self.materialize_grads = value

    def propagate(self, gradients: list[Array | None]) -> Sequence[Array | None]:
        """Call the user's `backward` with Tensors, and check what it returns."""
        given = [None if gradient is None else Tensor(gradient) for gradient in gradients]
        return [None if g is None else g.array for g in self.propagate_recorded(given)]

    def propagate_recorded(self, gradients: list[Tensor | None]) -> Sequence[Tensor | None]:
        """As `propagate`; the user's `backward` is recorded, as far as it works on Tensors."""
        given = [self._zeros(number) if gradient is None else gradient for number, gradient in enumerate(gradients)]
        returned = self.function.backward(self, *given)
        results = returned if isinstance(returned, tuple | list) else (returned,)
        surplus = any(extra is not None for extra in results[len(self.edges) :])
        if len(results) < len(self.edges) or surplus:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {len(self.edges)}, got "
                f"{len(results)})"
            )
        return [self._checked(number, g) for number, g in enumerate(results[: len(self.edges)])]

    def _zeros(self, number: int) -> Tensor | None:
        """The gradient of an output that no gradient reached."""
        if not self.materialize_grads:
            return None
        xp, shape, dtype = self._outputs[number]
        return None if xp is None else Tensor(xp.zeros(shape, dtype))

    def _checked(self, number: int, gradient: Any) -> Tensor | None:
        meta = self._inputs[number]
        if gradient is None or meta is None:
            return None
        if not isinstance(gradient, Tensor):
            raise TypeError(
                f"function {self.name()} returned a {type(gradient).__name__} at index {number}; expected a Tensor or "
                "None"
            )
        shape, dtype = meta
        if gradient.array.shape != shape:
            lead = gradient.array.shape[gradient.ndim - len(shape) :]
            if gradient.ndim < len(shape) or any(b not in (1, a) for a, b in zip(lead, shape, strict=True)):
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {number} - got "
                    f"{list(gradient.array.shape)} but expected shape compatible with {list(shape)}"
                )
            gradient = gradient.sum_to_size(shape)
        return gradient if gradient.array.dtype == dtype else gradient.to(from_numpy(dtype))

    def release(self) -> None:
        """Forget the saved tensors."""
        if self._saved:
            self._saved = None

    def _record(self, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        needs = self.needs_input_grad
        self.edges = tuple(edge_to(x) if need else NOWHERE for x, need in zip(inputs, needs, strict=True))
        Node.__init__(self)
        self.outputs = len(outputs)
        self._inputs = [(x.array.shape, x.array.dtype) if need else None for x, need in zip(inputs, needs, strict=True)]
        self._outputs: list[Any] = [
            (array_module(y.array), y.array.shape, y.array.dtype) if isinstance(y, Tensor) else (None, (), None)
            for y in outputs
        ]


class Function:
    """Base of users' own operations: subclasses give the static methods `forward(ctx, ...)` and `backward(ctx, ...)`.

    `setup_context(ctx, inputs, output)` may be given as well; `forward` then has no `ctx`.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute on Tensors; nothing inside is recorded."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save what `backward` needs."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """One gradient (or None) for each argument of `forward`, from the gradients of its outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Run `forward` and record it if an argument requires a gradient."""
        ctx = FunctionCtx.__new__(FunctionCtx)
        ctx.function = cls
        enabled = mode.enabled
        ctx.needs_input_grad = tuple(enabled and isinstance(x, Tensor) and x.requires_grad for x in inputs)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                returned = cls.forward(*inputs)
                cls.setup_context(ctx, inputs, returned)
            else:
                returned = cls.forward(ctx, *inputs)
        outputs = returned if isinstance(returned, tuple) else (returned,)
        for tensor in ctx._dirty:
            tensor.changed()
        if any(ctx.needs_input_grad):
            outputs = _connect(ctx, inputs, outputs)
        return outputs if isinstance(returned, tuple) else outputs[0]


def _connect(ctx: FunctionCtx, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give the outputs their place in the graph; an input that is returned unchanged becomes a new tensor."""
    for tensor in ctx._dirty:
        _check_dirty(tensor)
    ctx._record(inputs, outputs)
    connected = []
    for number, output in enumerate(outputs):
        flows = isinstance(output, Tensor) and not any(output is t for t in ctx._without_gradient)
        flows = flows and category(output.array.dtype) == 2
        if flows and any(output is x for x in inputs) and not any(output is t for t in ctx._dirty):
            output = output.detach()
        if flows:
            output.grad_fn, output.output_nr, output._requires_grad = ctx, number, True
        connected.append(output)
    return tuple(connected)


def _check_dirty(tensor: Tensor) -> None:
    """RuntimeError where the new history of a changed input would leave out another tensor's."""
    if tensor._requires_grad and tensor.grad_fn is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if tensor._view is not None or tensor.version.views_of(tensor):
        raise RuntimeError("mark_dirty: the tensor shares its memory with a view; change a clone() of it")


class _NotTwice(Node):
    """Stands in a graph for a gradient that cannot be derived again."""

    def propagate(self, gradients: list[Any]) -> Any:
        """Refuse."""
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

    propagate_recorded = propagate


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a `backward` that does not work on Tensors alone: deriving its gradients again is a RuntimeError."""

    @functools.wraps(function)
    def backward(ctx: FunctionCtx, *gradients: Any) -> Any:
        with no_grad():
            returned = function(ctx, *gradients)
        if not mode.enabled or not any(isinstance(g, Tensor) and g.requires_grad for g in gradients):
            return returned
        results = returned if isinstance(returned, tuple) else (returned,)
        marked = [g.detach() if isinstance(g, Tensor) else g for g in results]
        for g in marked:
            if isinstance(g, Tensor):
                g.grad_fn, g._requires_grad = _NotTwice(), True
        return tuple(marked)

    return backward
