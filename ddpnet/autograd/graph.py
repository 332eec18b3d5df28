"""The graph of recorded operations: nodes, and the edges from each to those that made its inputs.

A node's inputs are older than the node. `walk.py` goes back through it.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import Array
from ddpnet.tensor import Hooks, Tensor, tensor_of

_next_age = itertools.count().__next__

Gradient = Any
"""An array, or a Tensor where the walk is recorded."""


class Node:
    """A recorded operation: what `tensor.grad_fn` is. Subclasses give `propagate` and `propagate_recorded`."""

    edges: tuple[tuple[Node | None, int], ...] = ()
    """The nodes that made the inputs, each with the number of its output; (None, 0) where no gradient is wanted."""
    outputs = 1
    fresh = True
    """Whether `propagate` returns new arrays (or its argument, or views), so that they may be added to in place."""
    needs: tuple[bool, ...] = ()
    """For each input, whether a gradient is wanted."""
    hooks: dict[int, Hooks] | None = None
    """For each output, what to call with its gradient; it may return another."""
    node_hooks: dict[str, Hooks] | None = None
    """What to call with all gradients, "before" and "after" `propagate`; it may return others."""
    retained: dict[int, weakref.ref[Tensor]] | None = None
    joint: Any = None
    """What computes the gradients of this node and of the one that made its first input together: `ops/fusion.py`."""
    trace: str | None = None
    """Where the program recorded the node, in anomaly mode."""

    def __init__(self) -> None:
        self.age = _next_age()
        if mode.observer is not None:
            mode.observer(self)

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes that made the inputs, each with the number of its output."""
        return self.edges

    def name(self) -> str:
        """The operation's name, PyTorch's."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    def propagate(self, gradients: list[Array | None]) -> Sequence[Array | None]:
        """From the gradients of the outputs (None: nothing arrived) to the gradients of the inputs, one an edge."""
        raise NotImplementedError

    def propagate_recorded(self, gradients: list[Tensor | None]) -> Sequence[Tensor | None]:
        """As `propagate`, with Tensors, recording."""
        raise NotImplementedError(f"the gradient of {self.name()} cannot be derived again (create_graph=True)")

    def release(self) -> None:
        """Forget what was saved for `propagate`."""


NOWHERE: tuple[Node | None, int] = (None, 0)
"""The edge of an input for which no gradient is wanted."""


def is_only_edge(edge: tuple[Any, int]) -> bool:
    """Whether nothing else refers to the node that an edge leads to: no edge, no tensor, nobody who looks at it."""
    return _references(edge) == _ONE_REFERENCE


def _references(edge: tuple[Any, int]) -> int:
    return sys.getrefcount(edge[0])


_ONE_REFERENCE = _references((object(), 0))
"""As it is counted from here: what the interpreter itself holds for the call is not the same in all versions."""


class AccumulateGrad(Node):
    """The end of the graph: adds the gradient of a leaf to its `.grad`."""

    def __init__(self, variable: Tensor) -> None:
        Node.__init__(self)
        self.variable = variable

    @property
    def hooks(self) -> dict[int, Hooks] | None:  # type: ignore[override]
        """The leaf's, which outlive this node."""
        leaf_hooks = self.variable.hooks
        return None if leaf_hooks is None else {0: leaf_hooks["gradient"]}

    def accumulate(self, gradient: Gradient, own: bool) -> None:
        """Add the final gradient to `.grad` and run the hooks that follow; `own`: nobody else holds the array."""
        leaf = self.variable
        if isinstance(gradient, Tensor):
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        elif leaf.grad is None:
            leaf.grad = tensor_of(gradient if own and gradient.flags.c_contiguous else gradient.copy("C"))
        elif leaf.grad.requires_grad:  # it has a history, which an update in place would falsify
            leaf.grad = Tensor(leaf.grad.array + gradient)
        else:
            leaf.grad.array += gradient
            leaf.grad.changed()
        if leaf.hooks is not None:
            for hook in tuple(leaf.hooks["accumulated"].values()):
                hook(leaf)


def accumulator(leaf: Tensor) -> AccumulateGrad:
    """The node that stands for a leaf: one and the same as long as a graph holds it."""
    node = leaf.accumulator() if leaf.accumulator is not None else None
    if node is None:
        node = AccumulateGrad(leaf)
        leaf.accumulator = weakref.ref(node)
    return node


def edge_to(tensor: Tensor) -> tuple[Node, int]:
    """Where the gradient of `tensor` goes; RuntimeError for one of several views whose base was updated in place."""
    view = tensor._view
    if view is not None and view.stale:
        raise RuntimeError(
            f"Output {tensor.output_nr} of {view.maker} is a view and its base or another view of its base has "
            "been modified inplace. This view is the output of a function that returns multiple views. Such functions "
            "do not allow the output views to be modified inplace. You should replace the inplace operation by an "
            "out-of-place one."
        )
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    return accumulator(tensor), 0


def tensor_at(array: Array, edge: tuple[Node | None, int]) -> Tensor:
    """A Tensor of `array` whose gradient goes where `edge` leads."""
    node, number = edge
    if isinstance(node, AccumulateGrad) and node.variable.array is array:
        return node.variable
    result = Tensor(array)
    result._requires_grad = True
    if isinstance(node, AccumulateGrad):
        result.accumulator = weakref.ref(node)
    else:
        result.grad_fn, result.output_nr = node, number
    return result
