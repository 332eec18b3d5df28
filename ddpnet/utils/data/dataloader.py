"""DataLoader: a dataset in batches."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from multiprocessing.context import BaseContext
from typing import Any, Generic

from ddpnet import cuda
from ddpnet.random import Generator, default_generator
from ddpnet.utils.data.collate import default_collate, default_convert
from ddpnet.utils.data.dataset import Dataset, IterableDataset, Sample, length
from ddpnet.utils.data.fetching import Ended, Fetch, drawing_for, fetcher
from ddpnet.utils.data.pinning import pinned
from ddpnet.utils.data.prefetching import Prefetching
from ddpnet.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler
from ddpnet.utils.data.worker import Duty

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[Sample]):
    """Iterates over a dataset in batches (`torch.utils.data.DataLoader`).

    With `batch_size=None` and no `batch_sampler` it gives single samples. `shuffle` orders each epoch by
    (seed, epoch), as `RandomSampler` says. ValueError for options that exclude each other.

    `num_workers` processes fetch `prefetch_factor` batches ahead each; the batches and their order are the same for any
    number, and so is what a dataset draws from the default generator: a batch has a stream of its own, from a seed that
    each iteration draws from `generator`. An exception in a worker is raised here with the worker's traceback; a worker
    that dies, or is silent for `timeout` seconds, ends in a RuntimeError. Workers are forked where the system can
    (`multiprocessing_context` chooses); they may not use MPI or a GPU.

    `pin_memory` has batches in page-locked memory where there is a GPU.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        streams = isinstance(dataset, IterableDataset)
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        if streams:
            _check_stream(shuffle=shuffle or None, sampler=sampler, batch_sampler=batch_sampler)
        _check_exclusive(batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        if streams:
            sampler = _Endless()
        if sampler is None:
            source: Any = dataset
            sampler = RandomSampler(source, generator=generator) if shuffle else SequentialSampler(source)
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn: Callable[[Any], Any] = collate_fn or (
            default_convert if batch_sampler is None else default_collate
        )
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = _context(multiprocessing_context)
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._prefetching: Prefetching | None = None
        self._promised: int | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and name in self.__dict__:
            raise ValueError(f"{name}: cannot be changed in a {type(self).__name__} that exists; make a new one")
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        base_seed = int((self.generator or default_generator()).draw().integers(2**63))
        indices: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        pins = self._pins()
        batches = self._prefetched(iter(indices), base_seed) if self.num_workers else self._fetched(indices, base_seed)
        if pins:
            batches = map(pinned, batches)
        return batches if self._promised is None else self._counted(batches)

    def _fetched(self, indices: Iterable[Any], base_seed: int) -> Iterator[Any]:
        """The batches, fetched by this process."""
        fetch: Fetch | None = None
        for number, index in enumerate(indices):
            try:
                with drawing_for(base_seed, number):
                    fetch = fetch or fetcher(
                        self.dataset, self.collate_fn, self.batch_sampler is not None, self.drop_last
                    )
                    batch = fetch(index)
            except Ended:
                return
            yield batch

    def _prefetched(self, indices: Iterator[Any], base_seed: int) -> Iterator[Any]:
        """The batches, fetched by workers; those of an earlier epoch if they are persistent."""
        if self._prefetching is not None and self._prefetching.alive:
            self._prefetching.restart(indices, base_seed)
            return self._prefetching
        duty = Duty(
            number=0,
            workers=self.num_workers,
            base_seed=base_seed,
            dataset=self.dataset,
            collate=self.collate_fn,
            initialize=self.worker_init_fn,
            batched=self.batch_sampler is not None,
            drop_last=self.drop_last,
        )
        prefetching = Prefetching(
            duty,
            self.multiprocessing_context,
            ahead=self.prefetch_factor or 1,
            timeout=self.timeout,
            in_order=self.in_order,
            persistent=self.persistent_workers,
        )
        prefetching.restart(indices)
        self._prefetching = prefetching if self.persistent_workers else None
        return prefetching

    def _pins(self) -> bool:
        if self.pin_memory and not cuda.is_available():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used.",
                stacklevel=3,
            )
            return False
        return self.pin_memory

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of a stream whose length was asked; a warning if there are more."""
        for number, batch in enumerate(batches, 1):
            if self._promised is not None and number > self._promised:
                warnings.warn(
                    f"Length of IterableDataset {self.dataset} was reported to be {self._promised} (when accessing "
                    f"len(dataloader)), but {number} samples have been fetched. With several workers, each has to "
                    "take its share of the stream (get_worker_info).",
                    stacklevel=2,
                )
            yield batch

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            count = self._promised = length(self.dataset)
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        indices: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(indices)


class _Endless(Sampler[None]):
    """The indices of a stream, which takes none."""

    def __iter__(self) -> Iterator[None]:
        return repeat(None)


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool, context: Any
) -> None:
    if num_workers < 0:
        raise ValueError(f"num_workers: expected 0 or more, got {num_workers}")
    if timeout < 0:
        raise ValueError(f"timeout: expected seconds from 0 on, got {timeout}")
    if num_workers == 0:
        _check_without_workers(
            timeout=timeout or None,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers or None,
            multiprocessing_context=context,
        )
    elif prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor: expected at least 1, got {prefetch_factor}")


def _check_without_workers(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} needs worker processes (num_workers > 0); leave it out")


def _check_stream(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )


def _context(method: Any) -> Any:
    """The context that is meant by a start method's name, or itself; ValueError or TypeError if it is neither."""
    if method is None or isinstance(method, BaseContext):
        return method
    if not isinstance(method, str):
        raise TypeError(f"multiprocessing_context: expected a context or the name of a start method, got {method!r}")
    methods = multiprocessing.get_all_start_methods()
    if method not in methods:
        raise ValueError(f"multiprocessing_context: expected one of {', '.join(methods)}, got {method!r}")
    return multiprocessing.get_context(method)


def _check_exclusive(
    batch_size: int | None, shuffle: bool, sampler: object, batch_sampler: object, drop_last: bool
) -> None:
    if sampler is not None and shuffle:
        raise ValueError("sampler and shuffle exclude each other: the sampler decides the order")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError("batch_sampler excludes batch_size, shuffle, sampler and drop_last: it decides all of them")
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None gives single samples and excludes drop_last")
