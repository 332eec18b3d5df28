"""Samplers: in which order an epoch visits the samples.

Random orders are a function of (seed, epoch): the seed is that of the generator, or of the default generator
where none is given, and the epoch counts how often the sampler was iterated. Nothing is drawn from the
generator, so an order does not depend on what else was drawn, and every rank that was given the same seed has
the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from ddpnet.random import Generator, Purpose, default_generator, stream
from ddpnet.tensor import Tensor

Index = TypeVar("Index", covariant=True)


class Sampler(Generic[Index]):
    """Indices, or lists of them, by iteration; subclasses write `__iter__` and, if they can, `__len__`."""

    def __iter__(self) -> Iterator[Index]:
        raise NotImplementedError(f"{type(self).__name__}: a Sampler has to write __iter__")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class _Epochs:
    """Counts the iterations of a sampler and gives each its streams."""

    def __init__(self, generator: Generator | None) -> None:
        self.generator = generator
        self.epoch = 0

    def begin(self) -> tuple[int, int]:
        """(seed, epoch) of the iteration that begins."""
        key = ((self.generator or default_generator()).initial_seed(), self.epoch)
        self.epoch += 1
        return key


def _stream(key: tuple[int, int], call: int = 0) -> np.random.Generator:
    """The stream of an epoch; call 0 is the one that `ddpnet.random.permutation` uses."""
    seed, epoch = key
    return stream(seed, Purpose.ORDER, step=epoch, call=call)


class RandomSampler(Sampler[int]):
    """All samples in random order, or `num_samples` of them, or as many draws with `replacement`.

    More samples than there are, without replacement, go through several permutations. TypeError and
    ValueError for arguments that are no boolean and no positive integer.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement: expected a boolean, got {replacement!r}")
        self.data_source = data_source
        self.replacement = replacement
        self.generator = generator
        self._num_samples = num_samples
        self._epochs = _Epochs(generator)
        _check_positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many indices an iteration gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        key = self._epochs.begin()
        count, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            yield from _stream(key).integers(count, size=wanted).tolist()
            return
        for call in range(-(-wanted // count)):
            yield from _stream(key, call).permutation(count)[: wanted - call * count].tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator
        self._epochs = _Epochs(generator)

    def __iter__(self) -> Iterator[int]:
        order = _stream(self._epochs.begin()).permutation(len(self.indices))
        return (self.indices[i] for i in order.tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices, drawn with probabilities proportional to `weights` (N,).

    ValueError for arguments of the wrong kind; RuntimeError if the weights are no distribution: one is
    negative or not finite, all are zero, or fewer than `num_samples` are positive without `replacement`.
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        _check_positive("num_samples", num_samples)
        _check_bool("replacement", replacement)
        values = np.array(weights.tolist() if isinstance(weights, Tensor) else weights, np.float64)
        if values.ndim != 1:
            raise ValueError(f"weights: expected one dimension, got shape {values.shape}")
        if not np.all(np.isfinite(values) & (values >= 0)) or not values.any():
            raise RuntimeError("weights: expected finite numbers, none of them negative and not all zero")
        if not replacement and np.count_nonzero(values) < num_samples:
            raise RuntimeError(
                f"weights: {np.count_nonzero(values)} are positive, "
                f"too few for {num_samples} samples without replacement"
            )
        self.weights = Tensor(values)
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator
        self._epochs = _Epochs(generator)

    def __iter__(self) -> Iterator[int]:
        weights = self.weights.array
        rng = _stream(self._epochs.begin())
        probabilities = weights / weights.sum()
        chosen = rng.choice(len(weights), self.num_samples, replace=self.replacement, p=probabilities)
        return iter(chosen.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The indices of another sampler in lists of `batch_size`; the last may be shorter, or is dropped."""

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        _check_positive("batch_size", batch_size)
        _check_bool("drop_last", drop_last)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        samples: Any = self.sampler
        whole, rest = divmod(len(samples), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected a boolean, got {value!r}")
