"""Program: the operations of a recorded call, computed again for other arguments, forward and backward.

Each operation is computed by the class that always computes it, on a node of its own; only the way between them is
known beforehand: no module is called, no argument checked, no graph built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ddpnet import numpy_warnings
from ddpnet.autograd.graph import Gradient, Node, edge_to
from ddpnet.autograd.walk import is_new
from ddpnet.backend import Array
from ddpnet.compiler.outside import Outside
from ddpnet.compiler.recording import Recording, kind_of
from ddpnet.compiler.steps import Step, Stretch, steps_of, stretches_of
from ddpnet.memory import Version
from ddpnet.ops.op import FREED, Op
from ddpnet.tensor import Tensor, tensor_of

_new = object.__new__


class Program:
    """What a recorded call computes: `run` gives for other arguments what the call would give, with the same bits.

    If `several`, that is a tuple.
    """

    def __init__(self, recording: Recording, outside: Outside, several: bool) -> None:
        self._outside = outside
        self.results, self._several = recording.results, several
        self.given = list(recording.given.items())
        tensors = dict(enumerate(recording.arguments)) | {n: x for n, x in self.given if isinstance(x, Tensor)}
        wanted = [target for operation in recording.operations for target in _targets(operation)]
        leaves = {number for number in wanted if number in tensors}
        self.steps = steps_of(recording, leaves)
        self._stretches = stretches_of(self.steps, recording.results)
        self._count = recording.count
        self._facts = [(x, x.array, x._requires_grad) for _, x in self.given if isinstance(x, Tensor)]
        self.plans: dict[tuple[int, int], dict[int, Any]] = {}
        """What `Together` has found for so many groups of so many rows."""
        self._watched = sorted({number for step in self.steps for number in step.saved})

    def fits(self) -> bool:
        """Whether what the call reads beside its arguments is what it was, but for the values of tensors."""
        for place, (tensor, before, need) in enumerate(self._facts):
            array = tensor.array
            if tensor._requires_grad is not need:
                return False
            if array is not before:
                if kind_of(array) != kind_of(before):
                    return False
                self._facts[place] = tensor, array, need
        return self._outside.is_unchanged()

    def run(self, arguments: Sequence[Tensor]) -> Any:
        """The results for arguments of the shapes, dtypes and needs of those that were recorded."""
        tensors: list[Any] = [*arguments, *[None] * (self._count - len(arguments))]
        for number, x in self.given:
            tensors[number] = x
        values = [x.array if isinstance(x, Tensor) else x for x in tensors]
        nodes = self._forward(values)
        outputs = tuple([tensor_of(values[number]) for number in self.results])
        if self._stretches:
            self._connect(nodes, tensors, outputs)
        return outputs if self._several else outputs[0]

    def _connect(self, nodes: list[Op], tensors: list[Any], outputs: Sequence[Tensor]) -> None:
        """Give the outputs their place in the graph."""
        for number, output in zip(self.results, outputs, strict=True):
            tensors[number] = output
        versions = {n: (tensors[n].version, tensors[n].version.value) for n in self._watched}
        made: dict[int, tuple[Node, int]] = {}
        for stretch in self._stretches:
            edges = [made[n] if n in made else edge_to(tensors[n]) for n in stretch.sources]
            edges = [edges[place] for place in stretch.backward_order]
            node = CompiledFunction(stretch, nodes[stretch.start : stretch.stop], edges, versions)
            for place, number in enumerate(stretch.results):
                made[number] = node, place
                output = tensors[number]
                if output is not None:
                    output.grad_fn, output.output_nr, output._requires_grad = node, place, True

    def _forward(self, values: list[Any]) -> list[Op]:
        """Compute every step from the values and to them; returns their nodes."""
        nodes = []
        warned = numpy_warnings.off()
        try:
            for step in self.steps:
                node = _new(step.kind)
                node.needs, node._inputs, node._outputs = step.needs, step.inputs, step.outputs
                made = node.forward(*[values[number] for number in step.sources], **step.options)
                for number, array in zip(step.results, made if step.several else (made,), strict=True):
                    values[number] = as_array(array)
                if step.joint is not None:
                    node.joint = values[step.results[0]]
                for number in step.last:
                    values[number] = None
                nodes.append(node)
        finally:
            numpy_warnings.restore(warned)
        return nodes


def as_array(value: Any) -> Array:
    """An array; NumPy gives scalars in place of those without dimensions."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def propagate(step: Step, node: Op, arrived: list[Array | None]) -> Sequence[Array | None]:
    """The gradients of the inputs of a step."""
    if step.joint is None:
        return node.propagate(arrived)
    gradients: Sequence[Array | None] = step.joint.gradients(node, node.joint, arrived)
    return gradients


def _targets(operation: Any) -> list[int]:
    needs = operation.node.needs
    return [number for number, need in zip(operation.sources, needs, strict=True) if need]


class CompiledFunction(Node):
    """A stretch of a run of a program, as one node of the graph; `versions` have to be what they were at backward."""

    def __init__(
        self,
        stretch: Stretch,
        nodes: list[Op],
        edges: Sequence[tuple[Node | None, int]],
        versions: dict[int, tuple[Version, int]],
    ) -> None:
        super().__init__()
        self.stretch, self.nodes, self.edges, self.versions = stretch, nodes, tuple(edges), versions
        self.outputs = len(stretch.results)

    def name(self) -> str:
        """PyTorch's name of it."""
        return "CompiledFunctionBackward"

    def propagate(self, gradients: list[Array | None]) -> Any:
        """The gradients of the inputs, one after the other, once for each use."""
        if self.nodes is None:
            raise RuntimeError(f"{FREED} (node: {self.name()})")
        return _gradients(self.stretch, self.nodes.copy(), self.versions, gradients)

    def propagate_recorded(self, gradients: list[Tensor | None]) -> Any:
        """RuntimeError, as with PyTorch."""
        raise RuntimeError(
            "torch.compile does not support double backward (create_graph=True): call the function or module without it"
        )

    def release(self) -> None:
        """Forget what was saved; a second backward raises."""
        self.nodes = None  # type: ignore[assignment]


def _gradients(
    stretch: Stretch, nodes: list[Any], versions: dict[int, tuple[Version, int]], given: Sequence[Gradient | None]
) -> Iterator[Gradient | None]:
    """The gradients of what a stretch takes, for each use as soon as it is known; nodes are let go as they are passed.

    Gradients of other values are added up as the walk through a graph does it: in the same order, in place where nobody
    else holds the array.
    """
    found = dict(zip(stretch.results, given, strict=True))
    own: set[int] = set()
    for step, taken in stretch.backward:
        node = nodes.pop()
        arrived = [found.pop(number, None) for number in step.results]
        ready: list[Array | None] = []
        if _has_any(arrived):
            if step.saved:
                _check(step, versions)
            for target, gradient in zip(step.targets, propagate(step, node, arrived), strict=True):
                if target is None:
                    continue
                fresh = gradient is not None and gradient.base is None and is_new(gradient, arrived)
                if target in taken:
                    ready.append(gradient if fresh or gradient is None else gradient.view())
                elif gradient is not None:
                    _add(found, own, target, gradient, fresh)
        elif taken:
            ready = [None for target in step.targets if target in taken]
        own.difference_update(step.results)
        del node, arrived
        yield from ready


def _check(step: Step, versions: dict[int, tuple[Version, int]]) -> None:
    """RuntimeError where what a step has saved was changed."""
    for number in step.saved:
        version, value = versions[number]
        if version.value != value:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: an "
                f"argument, a parameter or a result of a compiled function, saved by {step.kind.__name__}, is at "
                f"version {version.value}; expected version {value} instead. Change a copy (tensor.clone()), or change "
                "it after backward()."
            )


def _add(found: dict[int, Any], own: set[int], number: int, gradient: Array, fresh: bool) -> None:
    """Add to what has arrived for a value: in place to an array that is `own`; a `fresh` gradient is."""
    before = found.get(number)
    if before is None:
        found[number] = gradient
        if fresh:
            own.add(number)
    elif number in own and before.ndim:
        before += gradient
    else:
        found[number] = as_array(before + gradient)
        own.add(number)


def _has_any(gradients: list[Array | None]) -> bool:
    for gradient in gradients:  # noqa: SIM110 - a generator would take three times as long
        if gradient is not None:
            return True
    return False
