"""From indices to a batch, in the calling process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ddpnet.random import Purpose, default_generator
from ddpnet.utils.data.collate import default_collate
from ddpnet.utils.data.dataset import IterableDataset, fetch, fetch_collated

Fetch = Callable[[Any], Any]
"""Makes a batch of a list of indices, or a sample of an index; Ended where a stream has no more."""


class Ended(Exception):
    """A stream has no more samples."""


def fetcher(dataset: Any, collate: Callable[[Any], Any], batched: bool, drop_last: bool) -> Fetch:
    """How to fetch from `dataset`; a stream is begun."""
    if isinstance(dataset, IterableDataset):
        return _stream_fetcher(dataset, collate, batched, drop_last)
    if not batched:
        return lambda index: collate(dataset[index])

    def fetch_batch(indices: Any) -> Any:
        if collate is default_collate:
            batch = fetch_collated(dataset, indices)
            if batch is not None:
                return batch
        return collate(fetch(dataset, indices))

    return fetch_batch


def _stream_fetcher(dataset: Any, collate: Callable[[Any], Any], batched: bool, drop_last: bool) -> Fetch:
    samples = iter(dataset)
    ended = False

    def fetch_batch(indices: Any) -> Any:
        nonlocal ended
        wanted = len(indices) if batched else 1
        batch = [] if ended else list(islice(samples, wanted))
        ended = len(batch) < wanted
        if not batch or (ended and drop_last):
            raise Ended
        return collate(batch if batched else batch[0])

    return fetch_batch


@contextmanager
def drawing_for(seed: int, batch: int) -> Iterator[None]:
    """Let what is drawn from the default generator depend on the batch alone, whichever process makes it, and when."""
    generator = default_generator()
    before = generator.get_state()
    generator.set_state((seed, Purpose.DRAW, 1 + batch, 0, 0))
    try:
        yield
    finally:
        generator.set_state(before)
