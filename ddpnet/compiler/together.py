"""Together: a program for several groups of rows at once, with the bits of a run for each group.

Data-parallel training computes shards of a few samples, so that the number of ranks changes no bit. Where each row of
an operation is computed by itself (`Op.is_by_row`), the rows of all groups are given to it at once; the others are
called for each group. The gradients of leaves are those of each group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ddpnet import numpy_warnings
from ddpnet.backend import Array, array_module
from ddpnet.compiler.program import Program, as_array, propagate
from ddpnet.compiler.steps import Step
from ddpnet.ops.op import Op
from ddpnet.ops.shape import View
from ddpnet.tensor import Tensor

Parts = list[Any]
"""A value by group, where it is not an array of the rows of all groups."""

_Plan = tuple[int, dict[str, Any]] | None

_new = object.__new__


class Together:
    """One run of a `program` for `groups` groups, of as many rows of the arguments each."""

    def __init__(self, program: Program, arguments: Sequence[Array], groups: int) -> None:
        self._program, self._groups = program, groups
        self._rows = len(arguments[0]) // groups
        self._shared = {number: x.array if isinstance(x, Tensor) else x for number, x in program.given}
        self._values: dict[int, Any] = self._shared | dict(enumerate(arguments))
        self._nodes: list[Any] = []
        warned = numpy_warnings.off()
        try:
            plans = program.plans.setdefault((groups, self._rows), {})
            for place, step in enumerate(program.steps):
                if place not in plans:
                    plans[place] = self._plan(step)
                self._nodes.append(self._forward(step, plans[place]))
                for number in step.last:
                    del self._values[number]
        finally:
            numpy_warnings.restore(warned)

    def result(self, place: int) -> Parts:
        """What the program has returned there, for each group."""
        return self._parts(self._values[self._program.results[place]])

    def gradients(self, place: int) -> Iterator[tuple[Tensor, Parts]]:
        """The gradients of the leaves from the result at a place, a number: for each leaf, as soon as they are final,
        those of each group. What was saved is freed."""
        seeds: Any = [np.ones_like(value) for value in self.result(place)]
        found: dict[int, Any] = {self._program.results[place]: seeds}
        leaves = dict(self._program.given)
        warned = numpy_warnings.off()
        try:
            for step in reversed(self._program.steps):
                node = self._nodes.pop()
                arrived = [found.pop(number, None) for number in step.results]
                if step.inputs is not None and any(gradient is not None for gradient in arrived):
                    self._backward(step, node, arrived, found)
                del node, arrived
                for number in step.completes:
                    if number in leaves and number in found:
                        yield leaves[number], found.pop(number)
        finally:
            numpy_warnings.restore(warned)

    # The two forms of a value

    def _parts(self, value: Any) -> Parts:
        if isinstance(value, list):
            return value
        return [value[start : start + self._rows] for start in range(0, len(value), self._rows)]

    def _whole(self, value: Any) -> Any:
        return array_module(value[0]).concatenate(value) if isinstance(value, list) else value

    def _part(self, number: int) -> Parts:
        """An operand for each group."""
        return [self._shared[number]] * self._groups if number in self._shared else self._parts(self._values[number])

    # Steps

    def _forward(self, step: Step, plan: _Plan) -> Any:
        """Compute a step; returns its node, or those of the groups."""
        if plan is None:
            return self._forward_each(step)
        place, options = plan
        node, operands = _node(step), [self._shared.get(number) for number in step.sources]
        operands[place] = whole = self._whole(self._values[step.sources[place]])
        if step.inputs is not None and step.inputs[place] is not None:
            node._inputs = [*step.inputs]
            node._inputs[place] = whole.shape, whole.dtype
        self._keep(step, node, node.forward(*operands, **options))
        return node

    def _forward_each(self, step: Step) -> list[Any]:
        nodes = [_node(step) for _ in range(self._groups)]
        columns = [self._part(number) for number in step.sources]
        made = [node.forward(*operands, **step.options) for node, *operands in zip(nodes, *columns, strict=True)]
        for place, number in enumerate(step.results):
            self._values[number] = [as_array(each[place] if step.several else each) for each in made]
        if step.joint is not None:
            for node, maxima in zip(nodes, self._values[step.results[0]], strict=True):
                node.joint = maxima
        return nodes

    def _plan(self, step: Step) -> _Plan:
        """How a step takes the rows of all groups at once: the place of the operand that has them, and the options."""
        places = [place for place, number in enumerate(step.sources) if number not in self._shared]
        if len(places) != 1:
            return None
        value = self._values[step.sources[places[0]]]
        like = self._parts(value)[0]
        if not like.ndim or len(like) != self._rows:
            return None
        if step.kind is View:
            rows, *rest = step.options["shape"]
            fits = rows == self._rows and not isinstance(value, list)
            return (places[0], {"shape": (rows * self._groups, *rest)}) if fits else None
        operands = [self._shared.get(number) for number in step.sources]
        operands[places[0]] = like
        by_row = _node(step).is_by_row(self._rows * self._groups, *operands, **step.options)
        return (places[0], step.options) if by_row else None

    def _keep(self, step: Step, node: Op, made: Any) -> None:
        for number, array in zip(step.results, made if step.several else (made,), strict=True):
            self._values[number] = array
        if step.joint is not None:
            node.joint = self._values[step.results[0]]

    def _backward(self, step: Step, node: Any, arrived: list[Any], found: dict[int, Any]) -> None:
        """Take the gradients of a step's results to those of its inputs."""
        if isinstance(node, list):
            self._backward_each(step, node, arrived, found)
            return
        whole = [None if each is None else self._whole(each) for each in arrived]
        shared = [number is not None and number in self._shared for number in step.targets]
        if True in shared:
            self._backward_each(step, self._for_groups(node, step, shared), whole, found)
            node.needs = tuple(need and not apart for need, apart in zip(node.needs, shared, strict=True))
        if True in node.needs:
            for number, gradient in zip(step.targets, propagate(step, node, whole), strict=True):
                self._add(found, number, gradient)

    def _backward_each(self, step: Step, nodes: list[Any], arrived: list[Any], found: dict[int, Any]) -> None:
        columns = [[None] * self._groups if each is None else self._parts(each) for each in arrived]
        rows = [propagate(step, one, list(given)) for one, *given in zip(nodes, *columns, strict=True)]
        for number, parts in zip(step.targets, zip(*rows, strict=True), strict=True):
            self._add(found, number, None if parts[0] is None else list(parts))

    def _for_groups(self, node: Op, step: Step, shared: list[bool]) -> list[Op]:
        """Nodes as if each group had been computed by itself, for the gradients of `shared` operands alone."""
        nodes = []
        saved = [
            self._parts(kept) if kept is not None and not any(kept is x for x in self._shared.values()) else kept
            for kept in node.saved
        ]
        for group in range(self._groups):
            one = _new(step.kind)
            one.__dict__.update(node.__dict__)
            one.needs, one._inputs = tuple(shared), step.inputs
            one.saved = tuple([kept[group] if isinstance(kept, list) else kept for kept in saved])
            nodes.append(one)
        return nodes

    def _add(self, found: dict[int, Any], number: int | None, gradient: Any) -> None:
        """Add to what has arrived for a value, in new arrays."""
        if number is None or gradient is None:
            return
        before = found.get(number)
        if before is None:
            found[number] = gradient
        elif isinstance(before, list) or isinstance(gradient, list):
            pairs = zip(self._parts(before), self._parts(gradient), strict=True)
            found[number] = [as_array(one + two) for one, two in pairs]
        else:
            found[number] = before + gradient


def _node(step: Step) -> Any:
    node = _new(step.kind)
    node.needs, node._inputs, node._outputs = step.needs, step.inputs, step.outputs
    return node
