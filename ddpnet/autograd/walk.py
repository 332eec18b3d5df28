"""The walk back through the graph of recorded operations.

Going from the youngest node to the oldest meets each one when all of its gradients have arrived, since a node's inputs
are older than the node: the order of age is a topological order.

The walk carries arrays. With `create_graph` it carries Tensors through the same nodes and records what they do, so that
gradients can be derived again.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ddpnet import numpy_warnings
from ddpnet.autograd.grad_mode import mode
from ddpnet.autograd.graph import AccumulateGrad, Gradient, Node, edge_to, is_only_edge
from ddpnet.tensor import Hooks, Tensor


class _Arrivals:
    """The gradients that have reached a node, summed for each of its outputs."""

    __slots__ = ("gradients", "own")

    def __init__(self, outputs: int, output: int, gradient: Gradient, own: bool) -> None:
        self.gradients: list[Gradient | None] = [None] * outputs
        self.own = [False] * outputs
        self.gradients[output], self.own[output] = gradient, own

    def add(self, output: int, gradient: Gradient, own: bool) -> None:
        """Add in place only to an array that the walk made itself."""
        before = self.gradients[output]
        if before is None:
            self.gradients[output], self.own[output] = gradient, own
        elif self.own[output] and before.ndim:
            before += gradient
        else:
            total = before + gradient
            self.gradients[output] = np.asarray(total) if isinstance(total, np.generic) else total
            self.own[output] = not isinstance(total, Tensor)


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
    roots: Sequence[tuple[Tensor, Gradient]],
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    wanted: Sequence[Tensor] | None = None,
) -> list[Gradient | None]:
    """Walk from `roots`, tensors with their gradients (Tensors with `create_graph`), to the leaves.

    Without `wanted` the gradients are added to the leaves' `.grad`. With it they are returned, one for each tensor
    (None where the graph does not lead), only what lies on the way to them is computed, and no `.grad` changes.
    """
    outer, _callbacks.running = _callbacks.running, []
    walk = _Walk(retain_graph, create_graph, None if wanted is None else [edge_to(tensor) for tensor in wanted])
    recording, mode.enabled = mode.enabled, create_graph
    warned = numpy_warnings.off()
    try:
        found = walk.run(roots)
        for callback in _callbacks.running:
            callback()
        return found
    finally:
        numpy_warnings.restore(warned)
        mode.enabled, _callbacks.running = recording, outer


class _Walk:
    """One pass from the roots to the leaves."""

    def __init__(self, retain_graph: bool, create_graph: bool, wanted: list[tuple[Node, int]] | None) -> None:
        self.retain_graph, self.create_graph, self.wanted = retain_graph, create_graph, wanted
        self.arrivals: dict[Node, _Arrivals] = {}
        self.youngest_first: list[tuple[int, Node]] = []
        self.on_the_way: set[Node] | None = None

    def run(self, roots: Sequence[tuple[Tensor, Gradient]]) -> list[Gradient | None]:
        starts = [(edge_to(tensor), gradient) for tensor, gradient in roots]
        if self.wanted is not None:
            self.on_the_way = _leading_to({node for node, _ in self.wanted}, [node for (node, _), _ in starts])
        for (node, output), gradient in starts:
            self.deliver(node, output, gradient, False)
        found: dict[tuple[Node, int], Gradient | None] = {}
        while self.youngest_first:
            node = heapq.heappop(self.youngest_first)[1]
            arrived = self.arrivals.pop(node)
            if node.hooks is not None or node.retained is not None:
                _run_hooks(node, arrived)
            if self.wanted is not None:
                found.update({(node, output): gradient for output, gradient in enumerate(arrived.gradients)})
            if not isinstance(node, AccumulateGrad):
                self.visit(node, arrived)
            elif self.wanted is None:
                node.accumulate(arrived.gradients[0], arrived.own[0])
        return [found.get(edge) for edge in self.wanted or ()]

    def deliver(self, node: Node, output: int, gradient: Gradient, own: bool) -> None:
        if self.on_the_way is not None and node not in self.on_the_way:
            return
        arrived = self.arrivals.get(node)
        if arrived is None:
            self.arrivals[node] = _Arrivals(node.outputs, output, gradient, own)
            heapq.heappush(self.youngest_first, (-node.age, node))
        else:
            arrived.add(output, gradient, own)

    def visit(self, node: Node, arrived: _Arrivals) -> None:
        """Take the gradients of a node's outputs to those of its inputs, and deliver them."""
        given, joint = arrived.gradients, node.joint
        if self.on_the_way is None and node.node_hooks is None and node.trace is None:
            if self.create_graph:
                gradients = node.propagate_recorded(given)
            elif joint is not None and joint.fits(node):
                gradients = joint.propagate(node, given)
                if not self.retain_graph:
                    node.release()
                node = joint.older(node)
            else:
                gradients = node.propagate(given)
        elif self.on_the_way is None or self._leads(node):
            gradients = self._watched(node, arrived)
        else:
            return
        if not self.retain_graph:
            node.release()
        fresh = node.fresh and not self.create_graph
        edges: Sequence[tuple[Any, int]] = node.edges
        for edge, gradient in zip(edges, gradients, strict=True):
            if gradient is None or edge[0] is None:
                continue
            own = fresh and gradient.base is None and is_new(gradient, given)
            if type(edge[0]) is AccumulateGrad and self._is_last(edge):
                edge[0].accumulate(gradient, own)
            else:
                self.deliver(*edge, gradient, own)

    def _is_last(self, edge: tuple[AccumulateGrad, int]) -> bool:
        """Whether a leaf gets no gradient but this one, which no hook wants to see first: it need not wait its turn."""
        hooks = edge[0].variable.hooks
        if self.on_the_way is not None or (hooks is not None and hooks["gradient"]):
            return False
        return is_only_edge(edge) and edge[0] not in self.arrivals

    def _watched(self, node: Node, arrived: _Arrivals) -> Sequence[Gradient | None]:
        """`propagate` of what is wanted alone, with the node's hooks, and with its place in the program in errors."""
        needs = node.needs
        if self.on_the_way is not None and needs:
            pairs = zip(node.edges, needs, strict=True)
            node.needs = tuple(need and source in self.on_the_way for (source, _), need in pairs)
        if node.node_hooks is not None:
            arrived.gradients = _run_node_hooks(node, "before", arrived.gradients)
        try:
            propagate = node.propagate_recorded if self.create_graph else node.propagate
            gradients = propagate(arrived.gradients)
        except Exception as error:
            if node.trace is not None:
                error.add_note(f"{node.name()} was recorded here:\n{node.trace}")
            raise
        finally:
            node.needs = needs
        if node.node_hooks is not None:
            gradients = _run_node_hooks(node, "after", list(gradients), arrived.gradients)
        if node.trace is not None:
            _check_finite(node, gradients)
        return gradients

    def _leads(self, node: Node) -> bool:
        """Whether an input of `node` is on the way to what is wanted."""
        return any(source in self.on_the_way for source, _ in node.edges)  # type: ignore[operator]


def is_new(gradient: Gradient, given: list[Gradient | None]) -> bool:
    """Whether a gradient is none of those that were given."""
    for one in given:  # noqa: SIM110 - a generator would take three times as long
        if one is gradient:
            return False
    return True


def _leading_to(targets: set[Node], roots: Iterable[Node]) -> set[Node]:
    """The nodes from `roots` on from which a way leads to one of `targets`."""
    reached: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += [source for source, _ in node.edges if source is not None]
    leading: set[Node] = set()
    for node in sorted(reached, key=lambda node: node.age):
        if node in targets or any(source in leading for source, _ in node.edges):
            leading.add(node)
    return leading


def _run_hooks(node: Node, arrived: _Arrivals) -> None:
    """Let hooks see, and replace, the final gradients of a node's outputs; keep those that were asked for."""
    for output, hooks in (node.hooks or {}).items():
        _replace(arrived, output, hooks)
    for output, reference in (node.retained or {}).items():
        tensor, gradient = reference(), arrived.gradients[output]
        if tensor is not None and gradient is not None:
            tensor.grad = gradient if isinstance(gradient, Tensor) else Tensor(gradient.copy())


def _replace(arrived: _Arrivals, output: int, hooks: Hooks) -> None:
    """Call hooks on one gradient; each may return another."""
    for hook in tuple(hooks.values()):
        gradient = arrived.gradients[output]
        if gradient is None:
            return
        recorded = isinstance(gradient, Tensor)
        changed = hook(gradient if recorded else Tensor(gradient))
        arrived.own[output] = False  # the hook may keep what it was given
        if changed is not None:
            if not isinstance(changed, Tensor):
                raise TypeError(f"hook must return None or a Tensor, but returned {type(changed).__name__}")
            arrived.gradients[output] = changed if recorded else changed.array


def _run_node_hooks(node: Node, when: str, gradients: list[Any], outputs: list[Any] | None = None) -> list[Any]:
    """Call a node's own hooks with its gradients as Tensors; what they return, if anything, replaces them."""
    for hook in tuple((node.node_hooks or {}).get(when, {}).values()):
        plain = not any(isinstance(g, Tensor) for g in gradients)
        tensors = [tuple(_as_tensor(g) for g in group) for group in (gradients, outputs) if group is not None]
        changed = hook(*tensors)
        if changed is not None:
            changed = changed if isinstance(changed, tuple) else (changed,)
            gradients = [t.array if plain and isinstance(t, Tensor) else t for t in changed]
    return gradients


def _as_tensor(gradient: Any) -> Tensor | None:
    return gradient if gradient is None or isinstance(gradient, Tensor) else Tensor(gradient)


def _check_finite(node: Node, gradients: Sequence[Gradient | None]) -> None:
    """RuntimeError for a gradient that is not a number, in anomaly mode."""
    for number, gradient in enumerate(gradients):
        array = gradient.array if isinstance(gradient, Tensor) else gradient
        if array is not None and mode.check_nan and bool((array != array).any()):
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {number}th output. It was recorded here:\n"
                f"{node.trace}"
            )
