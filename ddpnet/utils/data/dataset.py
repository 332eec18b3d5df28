"""Datasets: what has samples under the indices 0 to len - 1."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar, cast

import numpy as np

from ddpnet.random import Generator, default_generator
from ddpnet.tensor import Tensor

Sample = TypeVar("Sample", covariant=True)
_Sample = TypeVar("_Sample")


class Dataset(Generic[Sample]):
    """Samples by index; subclasses write `__getitem__` and `__len__`.

    Two optional methods let a `DataLoader` fetch a whole batch at once: `__getitems__(indices)`, PyTorch's,
    returns a list of samples; `collated(indices)`, ours, returns what `default_collate` would make of them,
    or None if it cannot.
    """

    def __getitem__(self, index: Any) -> Sample:
        raise NotImplementedError(f"{type(self).__name__}: a Dataset has to write __getitem__")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Sample], Iterable[Sample]):
    """Samples by iteration: a stream. Subclasses write `__iter__`, and in worker processes each begins its own.

    So that each sample comes once, `__iter__` takes its share according to `get_worker_info()`.
    """

    def __iter__(self) -> Iterator[Sample]:
        raise NotImplementedError(f"{type(self).__name__}: an IterableDataset has to write __iter__")

    def __add__(self, other: Dataset[Any]) -> Any:
        return ChainDataset([self, other])


class ChainDataset(IterableDataset[Sample]):
    """Several streams, one after the other; AssertionError for a dataset that is none."""

    def __init__(self, datasets: Iterable[Dataset[Sample]]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Sample]:
        for dataset in self.datasets:
            yield from self._checked(dataset)

    def __len__(self) -> int:
        return sum(length(self._checked(dataset)) for dataset in self.datasets)

    @staticmethod
    def _checked(dataset: Dataset[Sample]) -> IterableDataset[Sample]:
        if not isinstance(dataset, IterableDataset):
            raise AssertionError("ChainDataset only supports IterableDataset")
        return dataset


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is row i of each tensor; AssertionError if the tensors do not have equally many rows."""

    def __init__(self, *tensors: Tensor) -> None:
        rows = [tensor.size(0) for tensor in tensors]
        if len(set(rows)) != 1:
            raise AssertionError(f"TensorDataset: expected tensors with equally many rows, got {rows}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def collated(self, indices: Sequence[int]) -> list[Tensor] | None:
        """The rows of a batch, chosen once a tensor; None if a subclass makes its samples itself."""
        if type(self).__getitem__ is not TensorDataset.__getitem__:
            return None
        rows = np.asarray(indices, np.int64)
        return [tensor[rows] for tensor in self.tensors]

    def __len__(self) -> int:
        return len(self.tensors[0])


class ConcatDataset(Dataset[Sample]):
    """Several datasets, one after the other; AssertionError if there is none."""

    def __init__(self, datasets: Iterable[Dataset[Sample]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("ConcatDataset: expected at least one dataset, got none")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(accumulate(length(dataset) for dataset in self.datasets))

    def __getitem__(self, index: int) -> Sample:
        if index < -len(self):
            raise ValueError(f"index {index} is out of range: the datasets have {len(self)} samples")
        index = index + len(self) if index < 0 else index
        number = bisect_right(self.cumulative_sizes, index)
        if number == len(self.datasets):
            raise IndexError(f"index {index} is out of range: the datasets have {len(self)} samples")
        return self.datasets[number][index - (self.cumulative_sizes[number - 1] if number else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class StackDataset(Dataset[Any]):
    """Datasets side by side: sample i is a tuple of their samples i, or a dict for datasets given by name.

    ValueError for none, for both kinds, or for datasets of unequal length.
    """

    datasets: tuple[Dataset[Any], ...] | dict[str, Dataset[Any]]

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError("StackDataset: expected datasets either by position or by name, at least one")
        self.datasets = args or kwargs
        lengths = [length(dataset) for dataset in args or kwargs.values()]
        if len(set(lengths)) != 1:
            raise ValueError(f"StackDataset: Size mismatch between datasets: their lengths are {lengths}")
        self._length = lengths[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of a batch, fetched at once from the datasets that can."""
        if isinstance(self.datasets, dict):
            columns = [fetch(dataset, indices) for dataset in self.datasets.values()]
            return [dict(zip(self.datasets, row, strict=True)) for row in zip(*columns, strict=True)]
        return list(zip(*(fetch(dataset, indices) for dataset in self.datasets), strict=True))

    def __len__(self) -> int:
        return self._length


class Subset(Dataset[Sample]):
    """The samples of a dataset that `indices` names, in that order."""

    def __init__(self, dataset: Dataset[Sample], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Sample:
        if isinstance(index, list):
            return self.dataset[self._rows(index)]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """The samples of a batch, fetched at once if the dataset can."""
        if not self._is_plain():
            return [self[index] for index in indices]
        return fetch(self.dataset, self._rows(indices))

    def collated(self, indices: Sequence[int]) -> Any:
        """The batch, if the dataset can make it at once, else None."""
        return fetch_collated(self.dataset, self._rows(indices)) if self._is_plain() else None

    def _rows(self, indices: Sequence[int]) -> list[int]:
        return [self.indices[index] for index in indices]

    def _is_plain(self) -> bool:
        """Whether no subclass changes the samples."""
        return type(self).__getitem__ is Subset.__getitem__

    def __len__(self) -> int:
        return len(self.indices)


def fetch(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """The samples of a batch: by `__getitems__` if the dataset has it, else one by one."""
    together = getattr(dataset, "__getitems__", None)
    samples = [dataset[index] for index in indices] if together is None else list(together(indices))
    if len(samples) != len(indices):
        name = type(dataset).__name__
        raise ValueError(f"{name}.__getitems__: expected {len(indices)} samples, got {len(samples)}")
    return samples


def fetch_collated(dataset: Any, indices: Sequence[int]) -> Any:
    """The batch as `default_collate` would make it, if the dataset can make it at once, else None."""
    collated = getattr(dataset, "collated", None)
    return None if collated is None else collated(indices)


def length(dataset: Any) -> int:
    """`len(dataset)`, where types do not say that there is one."""
    return len(dataset)


def random_split(
    dataset: Dataset[_Sample], lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset[_Sample]]:
    """Split at random into subsets of the given lengths, or of fractions that add up to 1.

    Of the samples that rounded fractions leave over, each subset gets one in turn. The permutation is one
    draw from the generator. ValueError if the lengths do not add up to the dataset's.
    """
    count = length(dataset)
    total = sum(lengths)
    sizes = _sizes(count, lengths) if math.isclose(total, 1) and total <= 1 else cast(Sequence[int], lengths)
    if sum(sizes) != count:
        raise ValueError(f"random_split: expected lengths that add up to {count} samples, got {sum(sizes)}")
    order = (generator or default_generator()).draw().permutation(count).tolist()
    return [Subset(dataset, order[end - size : end]) for end, size in zip(accumulate(sizes), sizes, strict=True)]


def _sizes(count: int, fractions: Sequence[float]) -> list[int]:
    for number, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"random_split: expected fractions from 0 to 1, got {fraction} at index {number}")
    sizes = [math.floor(count * fraction) for fraction in fractions]
    for left_over in range(count - sum(sizes)):
        sizes[left_over % len(sizes)] += 1
    for number, size in enumerate(sizes):
        if size == 0:
            warnings.warn(f"random_split: the split at index {number} is empty", stacklevel=3)
    return sizes
