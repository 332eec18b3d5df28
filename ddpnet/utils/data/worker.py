"""A worker of a DataLoader: a process that fetches batches for its parent.

A worker does not touch MPI, even if its parent is a rank: it was forked after MPI had started, and leaves without
its ceremonies. It computes with one thread, since there are many of its kind.
"""

from __future__ import annotations

import os
import queue
import random as python_random
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ddpnet.random import default_generator
from ddpnet.utils.data.fetching import Ended, Fetch, drawing_for, fetcher
from ddpnet.utils.data.transfer import packed, send, unpacked

_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows of itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


@dataclass(frozen=True)
class Duty:
    """What a worker is told at its start."""

    number: int
    workers: int
    base_seed: int
    dataset: Any
    collate: Callable[[Any], Any]
    initialize: Callable[[int], None] | None
    batched: bool
    drop_last: bool


@dataclass(frozen=True)
class Task:
    """A batch to be fetched; `number` counts the batches of an epoch."""

    number: int
    indices: Any


@dataclass(frozen=True)
class Epoch:
    """A new pass over the data begins."""

    base_seed: int


@dataclass(frozen=True)
class Failed:
    """An exception in a worker: its class if that can be pickled, and the text of its traceback."""

    kind: type[Exception] | None
    text: str


@dataclass(frozen=True)
class Fetched:
    """A batch; or what stands for it."""

    content: Any
    failed: bool = False
    exhausted: bool = False


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker its id, the number of workers, its seed and its copy of the dataset; None elsewhere.

    What is drawn from the default generator inside the dataset depends on the batch alone, not on the worker, unless
    `worker_init_fn` seeds that generator anew. `random` and `np.random` are seeded for each worker.
    """
    return _info


class Inbox:
    """What the parent has said. A thread listens, so that the parent never waits for this process to do so."""

    def __init__(self, connection: Connection) -> None:
        self.stopped = threading.Event()
        self._connection = connection
        self._tasks: queue.SimpleQueue[Task | Epoch | None] = queue.SimpleQueue()
        self._parent = os.getppid()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Task | Epoch | None:
        """The next message; None once the worker is told to stop, whatever else was said before."""
        task = self._tasks.get()
        return None if self.stopped.is_set() else task

    def _listen(self) -> None:
        while not self.stopped.is_set():
            try:
                if not self._connection.poll(_WATCH_SECONDS):
                    self._check_parent()
                    continue
                message = unpacked(self._connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(1)
            if message is None:
                self.stopped.set()
            self._tasks.put(message)

    def _check_parent(self) -> None:
        """End this process if its parent is gone: the pipe does not say so while other processes have copies of it."""
        starter = parent_process()
        if os.getppid() != self._parent or (starter is not None and not starter.is_alive()):
            os._exit(1)


def work(connection: Connection, duty: Duty | bytes, others: list[Connection]) -> None:
    """What a worker process does until it is told to stop; `others` are ends of pipes that it got by forking."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.close()
    inbox = Inbox(connection)
    with threadpool_limits(1), suppress(BrokenPipeError, ConnectionResetError):  # nobody is interested any more
        for result in _results(inbox, unpacked(duty) if isinstance(duty, bytes) else duty):
            _deliver(connection, result)


def _deliver(connection: Connection, result: Fetched) -> None:
    try:
        send(connection, result)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # it cannot be pickled
        send(connection, failure(error))


def _results(inbox: Inbox, duty: Duty) -> Iterator[Fetched]:
    """An answer to each task, but none after a stream has ended."""
    failed, own_seeds = _prepare(duty)
    fetch: Fetch | None = None
    base_seed, ended = duty.base_seed, False
    while (task := inbox.next()) is not None:
        if isinstance(task, Epoch):
            base_seed, fetch, ended = task.base_seed, None, False
        elif failed is not None:
            yield failed
            failed = None
        elif not ended:
            try:
                with nullcontext() if own_seeds else drawing_for(base_seed, task.number):
                    fetch = fetch or fetcher(duty.dataset, duty.collate, duty.batched, duty.drop_last)
                    result = Fetched(fetch(task.indices))
            except Ended:
                result, ended = Fetched(None, exhausted=True), True
            except Exception as error:
                result = failure(error)
            yield result
            del result  # its memory is wanted for the next


def _prepare(duty: Duty) -> tuple[Fetched | None, bool]:
    """Seed all generators and call the user's function; its failure, and whether it seeded the default generator."""
    global _info
    seed = (duty.base_seed + duty.number) % 2**64
    generator = default_generator().manual_seed(seed)
    python_random.seed(seed)
    np.random.seed(np.random.SeedSequence((duty.number, duty.base_seed)).generate_state(4))
    _info = WorkerInfo(duty.number, duty.workers, seed, duty.dataset)
    before = generator.get_state()
    try:
        if duty.initialize is not None:
            duty.initialize(duty.number)
    except Exception as error:
        return failure(error), False
    return None, generator.get_state() != before


def failure(error: Exception) -> Fetched:
    """What is sent in place of a batch that could not be made."""
    kind: type[Exception] | None = type(error)
    try:
        packed(kind)
    except Exception:  # a class of a function's own
        kind = None
    where = "" if _info is None else f" in DataLoader worker process {_info.id}"
    text = "".join(traceback.format_exception(error))
    return Fetched(Failed(kind, f"Caught {type(error).__name__}{where}.\nOriginal {text}"), failed=True)
