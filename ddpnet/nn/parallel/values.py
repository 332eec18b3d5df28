"""What goes into a module, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ddpnet.autograd.graph import AccumulateGrad, Node, edge_to
from ddpnet.tensor import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a value: in lists, tuples, the values of dicts, and the fields of dataclasses."""
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
    """The samples of a forward call: the first dimension of the first tensor that is not empty.

    0 if all are, 1 where there is no tensor with dimensions.
    """
    lengths = [len(tensor) for tensor in tensors_in(inputs) if tensor.ndim]
    return next(filter(None, lengths), 0 if lengths else 1)
