"""Structure: whether a module still has the parameters it was wrapped with; what goes into it, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ddpnet.autograd.graph import AccumulateGrad, Node, edge_to
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor


class Structure:
    """The parts of a module, for a quick look before each step; `ignored` parameters may change as they like."""

    def __init__(self, module: Module, ignored: list[str]) -> None:
        self._module, self._ignored = module, ignored
        self._known = {id(p): p for p in module.parameters()}
        self._frozen = [
            (name, p) for name, p in module.named_parameters() if not p.requires_grad and name not in ignored
        ]
        self._look()

    def check(self) -> None:
        """RuntimeError if there is a parameter, not frozen, that was added or frozen when the module was wrapped."""
        for name, parameter in self._frozen:
            if parameter.requires_grad:
                raise self._complaint(name, "was frozen when the module was wrapped and is not now")
        if all(len(place) == size for place, size in self._sizes) and all(
            place.get(name) is part for place, name, part in self._parts
        ):
            return
        for name, parameter in self._module.named_parameters():
            if id(parameter) not in self._known and parameter.requires_grad and name not in self._ignored:
                raise self._complaint(name, "was added after the module was wrapped")
        self._look()

    def _look(self) -> None:
        places = [place for m in self._module.modules() for place in (m._parameters, m._modules)]
        self._sizes = [(place, len(place)) for place in places]
        self._parts: list[tuple[Mapping[str, Any], str, Any]] = [
            (place, name, part) for place in places for name, part in place.items()
        ]

    def _complaint(self, name: str, what: str) -> RuntimeError:
        return RuntimeError(
            f"DistributedDataParallel: parameter {name} {what}, so that its gradient would not be averaged: wrap the "
            "module again, on all ranks, after such a change"
        )


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in an output: in lists, tuples, the values of dicts, and the fields of dataclasses."""
    if isinstance(value, Tensor):
        yield value
        return
    parts: Any = ()
    if isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in fields(value)]
    for part in parts:
        yield from tensors_in(part)


def leaves_below(value: Any) -> dict[int, Tensor]:
    """The leaves, by their ids, to which a backward pass from the tensors in `value` can lead."""
    waiting: list[Node] = [edge_to(tensor)[0] for tensor in tensors_in(value) if tensor.requires_grad]
    seen: set[Node] = set()
    leaves: dict[int, Tensor] = {}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, AccumulateGrad):
            leaves[id(node.variable)] = node.variable
        waiting += [source for source, _ in node.edges if source is not None]
    return leaves


def batch_size(inputs: tuple[Any, ...]) -> int:
    """The samples of a forward call: the first dimension of the first tensor, 1 where there is none."""
    for value in inputs:
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    return 1
