"""The graph of recorded operations, and the walk back through it.

A node's inputs are older than the node. So going from the youngest node to the oldest meets each one when all of its
gradients have arrived: the order of age is a topological order.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from ddpnet.autograd.grad_mode import no_grad
from ddpnet.backend import Array
from ddpnet.tensor import Hooks, Tensor

_next_age = itertools.count().__next__


class Node:
    """A recorded operation: what `tensor.grad_fn` is. Subclasses give `propagate`."""

    edges: tuple[tuple[Node | None, int], ...] = ()
    """The nodes that made the inputs, each with the number of its output; (None, 0) where no gradient is wanted."""
    outputs = 1
    fresh = True
    """Whether `propagate` returns new arrays (or its argument, or views), so that they may be added to in place."""
    hooks: dict[int, Hooks] | None = None
    """For each output, what to call with its gradient; it may return another."""
    retained: dict[int, weakref.ref[Tensor]] | None = None

    def __init__(self) -> None:
        self.age = _next_age()

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

    def release(self) -> None:
        """Forget what was saved for `propagate`."""


NOWHERE: tuple[Node | None, int] = (None, 0)
"""The edge of an input for which no gradient is wanted."""


class AccumulateGrad(Node):
    """The end of the graph: adds the gradient of a leaf to its `.grad`."""

    def __init__(self, variable: Tensor) -> None:
        super().__init__()
        self.variable = variable

    def accumulate(self, gradient: Array, own: bool) -> None:
        """Run the leaf's hooks on the final gradient and add it to `.grad`; `own`: nobody else holds the array."""
        leaf, hooks = self.variable, self.variable.hooks
        for hook in tuple(hooks["gradient"].values()) if hooks else ():
            changed, own = hook(Tensor(gradient)), False  # the hook may keep what it was given
            if changed is not None:
                gradient = changed.array
        if leaf.grad is None:
            leaf.grad = Tensor(gradient if own and gradient.flags.c_contiguous else gradient.copy("C"))
        else:
            leaf.grad.array += gradient
            leaf.grad.changed()
        for hook in tuple(hooks["accumulated"].values()) if hooks else ():
            hook(leaf)


def accumulator(leaf: Tensor) -> AccumulateGrad:
    """The node that stands for a leaf: one and the same as long as a graph holds it."""
    node = leaf.accumulator() if leaf.accumulator is not None else None
    if node is None:
        node = AccumulateGrad(leaf)
        leaf.accumulator = weakref.ref(node)
    return node


def edge_to(tensor: Tensor) -> tuple[Node, int]:
    """Where the gradient of `tensor` goes."""
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    return accumulator(tensor), 0


class _Arrivals:
    """The gradients that have reached a node, summed for each of its outputs."""

    __slots__ = ("arrays", "own")

    def __init__(self, outputs: int) -> None:
        self.arrays: list[Array | None] = [None] * outputs
        self.own = [False] * outputs

    def add(self, output: int, array: Array, own: bool) -> None:
        """Add in place only to an array that the walk made itself."""
        before = self.arrays[output]
        if before is None:
            self.arrays[output], self.own[output] = array, own
        elif self.own[output] and before.ndim:
            before += array
        else:
            total = before + array
            self.arrays[output] = np.asarray(total) if isinstance(total, np.generic) else total
            self.own[output] = True


class _Callbacks(threading.local):
    def __init__(self) -> None:
        self.running: list[Callable[[], None]] | None = None


_callbacks = _Callbacks()


def queue_callback(callback: Callable[[], None]) -> None:
    """Call `callback` when the backward pass that is running has ended; RuntimeError outside of one."""
    if _callbacks.running is None:
        raise RuntimeError("queue_callback: no backward pass is running in this thread")
    _callbacks.running.append(callback)


def run_backward(
    roots: Sequence[tuple[Tensor, Array]], *, retain_graph: bool = False, wanted: Sequence[Tensor] | None = None
) -> list[Array | None]:
    """Walk from `roots`, tensors with their gradients, to the leaves.

    Without `wanted` the gradients are added to the leaves' `.grad`. With it they are returned, one for each tensor
    (None where the graph does not lead), and nothing else changes.
    """
    outer, _callbacks.running = _callbacks.running, []
    try:
        with no_grad(), np.errstate(all="ignore"):
            found = _walk(roots, retain_graph, None if wanted is None else [edge_to(tensor) for tensor in wanted])
            for callback in _callbacks.running:
                callback()
        return found
    finally:
        _callbacks.running = outer


def _walk(
    roots: Sequence[tuple[Tensor, Array]], retain_graph: bool, wanted: list[tuple[Node, int]] | None
) -> list[Array | None]:
    arrivals: dict[Node, _Arrivals] = {}
    youngest_first: list[tuple[int, Node]] = []

    def deliver(node: Node, output: int, gradient: Array, own: bool) -> None:
        if node not in arrivals:
            arrivals[node] = _Arrivals(node.outputs)
            heapq.heappush(youngest_first, (-node.age, node))
        arrivals[node].add(output, gradient, own)

    for tensor, gradient in roots:
        deliver(*edge_to(tensor), gradient, False)
    found: dict[tuple[Node, int], Array | None] = {}
    while youngest_first:
        node = heapq.heappop(youngest_first)[1]
        arrived = arrivals.pop(node)
        if node.hooks or node.retained:
            _run_hooks(node, arrived)
        if wanted is not None:
            found.update({(node, output): array for output, array in enumerate(arrived.arrays)})
        if isinstance(node, AccumulateGrad):
            if wanted is None:
                node.accumulate(arrived.arrays[0], arrived.own[0])
            continue
        arrived_ids = [id(array) for array in arrived.arrays]
        gradients = node.propagate(arrived.arrays)
        if not retain_graph:
            node.release()
        for (source, output), gradient in zip(node.edges, gradients, strict=True):
            if source is not None and gradient is not None:
                own = node.fresh and gradient.base is None and id(gradient) not in arrived_ids
                deliver(source, output, gradient, own)
    return [found.get(edge) for edge in wanted or ()]


def _run_hooks(node: Node, arrived: _Arrivals) -> None:
    """Let hooks see, and replace, the final gradients of a node's outputs; keep those that were asked for."""
    for output, hooks in (node.hooks or {}).items():
        for hook in tuple(hooks.values()):
            gradient = arrived.arrays[output]
            changed = None if gradient is None else hook(Tensor(gradient))
            if changed is not None:
                arrived.arrays[output], arrived.own[output] = changed.array, False
    for output, reference in (node.retained or {}).items():
        tensor, gradient = reference(), arrived.arrays[output]
        if tensor is not None and gradient is not None:
            tensor.grad = Tensor(gradient.copy())
