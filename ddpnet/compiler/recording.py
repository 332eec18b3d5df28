"""Recording: the operations of a call, in order, and where the operands of each come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import Array
from ddpnet.dtypes import DType
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

_PLAIN = (type(None), bool, int, float, complex, str, np.dtype, DType)


@dataclass
class Operation:
    """One use of an operation: numbers of the values that it takes and gives, and its node as it was recorded."""

    kind: type[Op]
    options: dict[str, Any]
    sources: tuple[int, ...]
    results: tuple[int, ...]
    node: Op
    several: bool
    """Whether `forward` returns a tuple."""
    flows: tuple[int, ...]
    """The results through which gradients flow."""

    def is_like(self, other: Operation) -> bool:
        """Whether another recording has the same here."""
        same = (self.kind, self.sources, self.node.needs) == (other.kind, other.sources, other.node.needs)
        return same and repr(self.options) == repr(other.options)  # True, 1 and 1.0 are equal, and 0.0 and -0.0


class Recording:
    """What `Op.apply` notes while `mode.tape` is this: the values are the arguments, then all others as they come.

    `given` are tensors and numbers that operations take and none of them made: parameters, buffers, constants. `reason`
    says why the operations cannot be replayed.
    """

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        self.arguments = arguments
        self.operations: list[Operation] = []
        self.given: dict[int, Any] = {}
        self.count = len(arguments)
        self.reason: str | None = None
        self.constants: Sequence[Tensor] = ()
        self.returned: tuple[Tensor, ...] = ()
        self.results: tuple[int, ...] = ()
        self.memory: set[int] = set()
        """The results, and what they are views of."""
        self._numbers = {id(tensor): number for number, tensor in enumerate(arguments)}
        self._made: list[tuple[Tensor, Any]] = []  # which keeps them, so that no other has their id

    def note(
        self, node: Op, inputs: Sequence[Any], options: dict[str, Any], made: Any, outputs: Sequence[Tensor]
    ) -> None:
        """An operation was computed, and recorded in the graph if it `needs` to be."""
        if mode.observer is not None:
            self.reason = "a checkpoint or anomaly mode looks on"
        if not _is_constant(tuple(options.values())):
            self.reason = f"{node.name()} has an option that is no plain value"
        sources = tuple([self._number_of(x) for x in inputs])
        arrays = made if type(made) is tuple else (made,)
        for array, output in zip(arrays, outputs, strict=True):
            if output.array is not array and not isinstance(array, np.generic):
                self.reason = f"{node.name()} copies its result"
        results = tuple(range(self.count, self.count + len(outputs)))
        self.count += len(outputs)
        for number, output in zip(results, outputs, strict=True):
            self._numbers[id(output)] = number
            self._made.append((output, output.grad_fn))
        flows = tuple(number for number, output in zip(results, outputs, strict=True) if output.grad_fn is node)
        self.operations.append(Operation(type(node), options, sources, results, node, type(made) is tuple, flows))

    def _number_of(self, x: Any) -> int:
        number = self._numbers.get(id(x)) if isinstance(x, Tensor) else None
        if number is None:
            number, self.count = self.count, self.count + 1
            self.given[number] = x
            if isinstance(x, Tensor):
                self._numbers[id(x)] = number
            elif not is_plain(x):
                self.reason = f"an operation takes a {type(x).__name__} that none has made"
        return number

    def returns(self, returned: Any) -> None:
        """Note what the call has returned: a tensor or a tuple of tensors that it has made."""
        tensors = returned if type(returned) is tuple else (returned,)
        made = {id(tensor) for tensor, _ in self._made}
        if not tensors or not all(isinstance(tensor, Tensor) and id(tensor) in made for tensor in tensors):
            self.reason = self.reason or "it returns something else than tensors that it has computed"
            return
        bases = {id(tensor if tensor._view is None else tensor._view.base) for tensor in tensors}
        without = any(tensor.requires_grad is not tensor._requires_grad for tensor in tensors)  # views, by no_grad
        if len(bases) < len(tensors) or not bases <= made or without:  # a change of one is a change of the other
            self.reason = self.reason or "it returns tensors that share memory with each other or with what was there"
            return
        self.returned, self.results = tensors, tuple(self._numbers[id(tensor)] for tensor in tensors)
        self.memory = {*self.results, *(self._numbers[base] for base in bases)}

    def finish(self) -> None:
        """Look for what was changed behind the operations' backs."""
        for tensor, node in self._made:
            if tensor.grad_fn is not node:
                self.reason = "it gives a tensor another history"
        for operation in self.operations:
            node = operation.node
            if node.hooks or node.retained or node.node_hooks or node.restore is not None:
                self.reason = "it uses hooks"

    def differs_from(self, other: Recording) -> bool:
        """Whether a second call has done something else, or with other tensors."""
        if len(self.operations) != len(other.operations) or self.given.keys() != other.given.keys():
            return True
        if self.results != other.results:
            return True
        if any(not one.is_like(two) for one, two in zip(self.operations, other.operations, strict=True)):
            return True
        pairs = ((x, other.given[number]) for number, x in self.given.items())
        return any(not self._is_same(one, two, other) for one, two in pairs)

    def _is_same(self, one: Any, two: Any, other: Recording) -> bool:
        """Whether two given tensors or numbers are the same one, or constants that were made alike."""
        if not isinstance(one, Tensor) or not isinstance(two, Tensor):
            return repr(one) == repr(two)
        if one is two:
            return True
        made = any(one is x for x in self.constants) and any(two is x for x in other.constants)
        alike = made and not (one.requires_grad or two.requires_grad) and one.array.dtype == two.array.dtype
        return alike and one.array.shape == two.array.shape and one.array.tobytes() == two.array.tobytes()

    def shown(self, operation: Operation) -> tuple[int, ...]:
        """The numbers of arguments, given tensors and results with whose memory an operation saved something."""
        versions = {id(version) for _, _, version, _ in operation.node._kept}
        given = [(number, x) for number, x in self.given.items() if isinstance(x, Tensor)]
        seen = [*enumerate(self.arguments), *given, *zip(self.results, self.returned, strict=True)]
        return tuple([number for number, x in seen if x._version is not None and id(x._version) in versions])


def kind_of(array: Array) -> tuple[Any, ...]:
    """All of an array but its values."""
    return array.shape, array.dtype, array.strides, type(array)


def is_plain(value: Any) -> bool:
    """Whether a value is a constant without memory that could change."""
    return all(is_plain(entry) for entry in value) if type(value) is tuple else isinstance(value, _PLAIN)


def _is_constant(value: Any) -> bool:
    """Whether an option is a plain value, or an index or shape made of such."""
    if type(value) in (tuple, list):
        return all(_is_constant(entry) for entry in value)
    if type(value) is slice:
        return _is_constant((value.start, value.stop, value.step))
    return value is Ellipsis or isinstance(value, np.generic | type) or is_plain(value)
