"""DataLoader: a dataset in batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic

from ddpnet.random import Generator
from ddpnet.utils.data.collate import default_collate, default_convert
from ddpnet.utils.data.dataset import Dataset, Sample, fetch, fetch_collated
from ddpnet.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[Sample]):
    """Iterates over a dataset in batches (`torch.utils.data.DataLoader`), in the calling process.

    With `batch_size=None` and no `batch_sampler` it gives single samples. `shuffle` orders each epoch by
    (seed, epoch), as `RandomSampler` says. ValueError for options that exclude each other. Worker processes
    are not supported: NotImplementedError for `num_workers` > 0.
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
        _check_workers(num_workers)
        _check_without_workers(
            timeout=timeout or None,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers or None,
            multiprocessing_context=multiprocessing_context,
        )
        _check_exclusive(batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        if pin_memory:
            warnings.warn("DataLoader(pin_memory=True) has no effect: batches stay in pageable memory", stacklevel=2)
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
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and name in self.__dict__:
            raise ValueError(f"{name}: cannot be changed in a {type(self).__name__} that exists; make a new one")
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is None:
            return (self.collate_fn(self.dataset[index]) for index in self.sampler)
        return map(self._batch, self.batch_sampler)

    def _batch(self, indices: Sequence[Any]) -> Any:
        if self.collate_fn is default_collate:
            batch = fetch_collated(self.dataset, indices)
            if batch is not None:
                return batch
        return self.collate_fn(fetch(self.dataset, indices))

    def __len__(self) -> int:
        indices: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(indices)


def _check_workers(num_workers: int) -> None:
    if num_workers < 0:
        raise ValueError(f"num_workers: expected 0, got {num_workers}")
    if num_workers > 0:
        raise NotImplementedError(
            f"num_workers={num_workers}: worker processes are not supported yet; "
            "use num_workers=0, which loads in this process"
        )


def _check_without_workers(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} needs worker processes (num_workers > 0); leave it out")


def _check_exclusive(
    batch_size: int | None, shuffle: bool, sampler: object, batch_sampler: object, drop_last: bool
) -> None:
    if sampler is not None and shuffle:
        raise ValueError("sampler and shuffle exclude each other: the sampler decides the order")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError("batch_sampler excludes batch_size, shuffle, sampler and drop_last: it decides all of them")
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None gives single samples and excludes drop_last")
