"""Samples to batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.ops.creation import as_tensor, tensor
from ddpnet.ops.joining import stack
from ddpnet.tensor import Tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of many samples (`torch.utils.data.default_collate`): tensors get a first dimension for them.

    The first sample decides. Tensors, NumPy arrays and NumPy scalars keep their dtype, floats become float64,
    ints int64, strings stay a sequence; mappings, named tuples and sequences are collated item by item, and
    tuples become lists. RuntimeError for sequences or tensors of unequal size, TypeError for anything else.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray | np.bool_ | np.number):
        if first.dtype.kind in "OSU":
            raise TypeError(_unsupported(first.dtype))
        return stack([as_tensor(np.asarray(sample)) for sample in batch], 0)
    if isinstance(first, float):
        return tensor(list(batch), dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _like_mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        return _collate_sequences(first, batch)
    raise TypeError(_unsupported(type(first)))


def _collate_sequences(first: Sequence[Any], batch: Sequence[Sequence[Any]]) -> Any:
    lengths = {len(sample) for sample in batch}
    if len(lengths) != 1:
        raise RuntimeError(f"default_collate: expected samples of equal length, got lengths {sorted(lengths)}")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    if isinstance(first, tuple):
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    return _like_sequence(first, columns)


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars as tensors, inside mappings and sequences, too; anything else as it is."""
    if isinstance(data, np.ndarray | np.bool_ | np.number):
        return data if data.dtype.kind in "OSU" else as_tensor(np.asarray(data))
    if isinstance(data, Tensor | str | bytes):
        return data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple):
        items = [default_convert(item) for item in data]
        return type(data)(*items) if hasattr(data, "_fields") else items
    if isinstance(data, Sequence):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data


def _like_mapping(original: Mapping[Any, Any], content: dict[Any, Any]) -> Any:
    """`content` in a mapping of the class of `original`, or as a dict if that class cannot be made so."""

    def filled() -> Any:
        if not isinstance(original, MutableMapping):
            return _made(type(original), content)
        clone = copy.copy(original)
        clone.update(content)
        return clone

    return _or_plain(filled, content)


def _like_sequence(original: Sequence[Any], content: list[Any]) -> Any:
    """`content` in a sequence of the class of `original`, or as a list if that class cannot be made so."""

    def filled() -> Any:
        if not isinstance(original, MutableSequence):
            return _made(type(original), content)
        clone = copy.copy(original)
        for place, item in enumerate(content):
            clone[place] = item
        return clone

    return _or_plain(filled, content)


def _made(kind: Callable[[Any], Any], content: Any) -> Any:
    return kind(content)


def _or_plain(filled: Callable[[], Any], content: Any) -> Any:
    try:
        return filled()
    except TypeError:
        return content


def _unsupported(kind: object) -> str:
    return f"default_collate: expected tensors, arrays, numbers, strings, mappings or sequences, got {kind}"
