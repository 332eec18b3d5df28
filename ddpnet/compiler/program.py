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
from ddpnet.compiler.recording import Recording
from ddpnet.compiler.steps import Step, steps_of
from ddpnet.memory import Version
from ddpnet.ops.op import FREED, Op
from ddpnet.tensor import Tensor, tensor_of

_new = object.__new__


class Program:
    """What a recorded call computes: `run` gives for other arguments what the call would give, with the same bits.

    `results` are the numbers of the values that the call has returned, one or, if `several`, a tuple.
    """

    def __init__(self, recording: Recording, results: tuple[int, ...], several: bool) -> None:
        self.results, self._several = results, several
        self.given = list(recording.given.items())
        tensors = dict(enumerate(recording.arguments)) | {n: x for n, x in self.given if isinstance(x, Tensor)}
        wanted = [target for operation in recording.operations for target in _targets(operation)]
        leaves = {number for number in wanted if number in tensors}
        self.steps = steps_of(recording.operations, results, leaves)
        self._backward = self.steps[::-1]
        self._leaves = [number for step in self._backward for number in step.completes]
        self._count = recording.count
        self._facts = [
            (x, x.array.shape, x.array.dtype, x._requires_grad) for _, x in self.given if isinstance(x, Tensor)
        ]
        made = {n for operation in recording.operations if True in operation.node.needs for n in operation.results}
        differentiable = {
            number
            for operation in recording.operations
            for number, flows in zip(operation.results, operation.node.differentiable, strict=True)
            if flows
        }
        self._in_graph = [number in made and number in differentiable for number in results]
        self.plans: dict[tuple[int, int], dict[int, Any]] = {}
        """What `Together` has found for so many groups of so many rows."""
        self._watched = sorted(_saved(recording) & {*tensors, *results})

    def fits(self) -> bool:
        """Whether parameters and others that were there before are what they were, but for their values."""
        for tensor, shape, dtype, need in self._facts:
            array = tensor.array
            if array.shape != shape or array.dtype is not dtype or tensor._requires_grad is not need:
                return False
        return True

    def run(self, arguments: Sequence[Tensor]) -> Any:
        """The results for arguments of the shapes, dtypes and needs of those that were recorded."""
        tensors: list[Any] = [*arguments, *[None] * (self._count - len(arguments))]
        for number, x in self.given:
            tensors[number] = x
        values = [x.array if isinstance(x, Tensor) else x for x in tensors]
        nodes = self._forward(values)
        outputs = tuple([tensor_of(values[number]) for number in self.results])
        if True in self._in_graph:
            whole = CompiledFunction(self, nodes, [edge_to(tensors[number]) for number in self._leaves])
            for place, output in enumerate(outputs):
                tensors[self.results[place]] = output
                if self._in_graph[place]:
                    output.grad_fn, output.output_nr, output._requires_grad = whole, place, True
            whole.versions = [(tensors[n].version, tensors[n].version.value) for n in self._watched]
        return outputs if self._several else outputs[0]

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

    def gradients(self, nodes: list[Any], given: Sequence[Gradient | None]) -> Iterator[Gradient | None]:
        """The gradients of the leaves, each as soon as it is final; nodes are let go as they are passed.

        Gradients of a value are added up as the walk through a graph does it: in the same order, in place where nobody
        else holds the array.
        """
        found: dict[int, Array] = {}
        own: set[int] = set()
        for number, gradient in zip(self.results, given, strict=True):
            if gradient is not None:
                found[number] = found[number] + gradient if number in found else gradient
        for step in self._backward:
            node = nodes.pop()
            arrived = [found.pop(number, None) for number in step.results]
            if step.inputs is not None and _has_any(arrived):
                for target, gradient in zip(step.targets, propagate(step, node, arrived), strict=True):
                    if target is None or gradient is None:
                        continue
                    before = found.get(target)
                    if before is None:
                        found[target] = gradient
                        if gradient.base is None and is_new(gradient, arrived):
                            own.add(target)
                    elif target in own and before.ndim:
                        before += gradient
                    else:
                        found[target] = as_array(before + gradient)
                        own.add(target)
            own.difference_update(step.results)
            del node, arrived
            for leaf in step.completes:
                total = found.pop(leaf, None)
                yield total if total is None or leaf in own else total.copy()


def as_array(value: Any) -> Array:
    """An array; NumPy gives scalars in place of those without dimensions."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def _has_any(gradients: list[Array | None]) -> bool:
    for gradient in gradients:  # noqa: SIM110 - a generator would take three times as long
        if gradient is not None:
            return True
    return False


def propagate(step: Step, node: Op, arrived: list[Array | None]) -> Sequence[Array | None]:
    """The gradients of the inputs of a step."""
    if step.joint is None:
        return node.propagate(arrived)
    gradients: Sequence[Array | None] = step.joint.gradients(node, node.joint, arrived)
    return gradients


def _targets(operation: Any) -> list[int]:
    needs = operation.node.needs
    return [number for number, need in zip(operation.sources, needs, strict=True) if need]


def _saved(recording: Recording) -> set[int]:
    """The numbers of the values that backward needs unchanged."""
    places = set()
    for operation in recording.operations:
        numbers = (*operation.sources, *operation.results)
        places |= {numbers[place] for _, place, _, _ in operation.node._kept}
    return places


class CompiledFunction(Node):
    """A run of a program, as one node of the graph."""

    versions: Sequence[tuple[Version, int]] = ()

    def __init__(self, program: Program, nodes: list[Op], edges: Sequence[tuple[Node | None, int]]) -> None:
        super().__init__()
        self.program, self.nodes, self.edges = program, nodes, tuple(edges)
        self.outputs = len(program.results)

    def name(self) -> str:
        """PyTorch's name of it."""
        return "CompiledFunctionBackward"

    def propagate(self, gradients: list[Array | None]) -> Any:
        """The gradients of the leaves, one after the other, as they become final."""
        if self.nodes is None:
            raise RuntimeError(f"{FREED} (node: {self.name()})")
        for version, value in self.versions:
            if version.value != value:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"an argument, a parameter or a result of a compiled function is at version {version.value}; "
                    f"expected version {value} instead. Change a copy (tensor.clone()), or change it after backward()."
                )
        return self.program.gradients(self.nodes.copy(), gradients)

    def propagate_recorded(self, gradients: list[Tensor | None]) -> Any:
        """RuntimeError, as with PyTorch."""
        raise RuntimeError(
            "torch.compile does not support double backward (create_graph=True): call the function or module without it"
        )

    def release(self) -> None:
        """Forget what was saved; a second backward raises."""
        self.nodes = None  # type: ignore[assignment]
