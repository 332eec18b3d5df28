"""The parent's side of worker processes: who fetches which batch, in which order they come, and how it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from ddpnet.utils.data.transfer import packed, receive
from ddpnet.utils.data.worker import Duty, Epoch, Failed, Fetched, Task, work

_FAREWELL_SECONDS = 3.0
"""How long a worker may take for the batch in its hands when it is told to stop."""


@dataclass(eq=False)
class Worker:
    """A worker process as its parent sees it; `owed` are the numbers of the batches that it has still to send."""

    number: int
    process: Any
    connection: Connection
    owed: deque[int]
    exhausted: bool = False

    def tell(self, message: Task | Epoch | None) -> None:
        """Say something to it; a worker that is gone is noticed when its batch is waited for."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(packed(message))


class Prefetching(Iterator[Any]):
    """The batches of an epoch, fetched ahead by workers that take turns; `restart` begins another epoch.

    Batches come in the order of the sampler, or with `in_order=False` as they get ready. What a worker raises is raised
    here; RuntimeError if a worker dies or takes longer than `timeout`, naming it.
    """

    def __init__(
        self, duty: Duty, context: Any, *, ahead: int, timeout: float, in_order: bool, persistent: bool
    ) -> None:
        self._ahead = ahead
        self._persistent = persistent
        self._timeout = timeout
        self._in_order = in_order
        self._workers: list[Worker] = []
        self._end = weakref.finalize(self, _dismiss, self._workers, os.getpid())
        for number in range(duty.workers):
            self._workers.append(_start(replace(duty, number=number), context or multiprocessing, self._workers))

    def restart(self, indices: Iterator[Any], base_seed: int | None = None) -> None:
        """Begin an epoch; with `base_seed` one after others, whose remaining batches are thrown away."""
        if base_seed is not None:
            self._throw_away()
            for worker in self._workers:
                worker.tell(Epoch(base_seed))
        self._indices = indices
        self._sent = 0
        self._turn = 0
        self._due: deque[tuple[int, Worker]] = deque()
        for _ in range(self._ahead * len(self._workers)):
            self._assign()

    @property
    def alive(self) -> bool:
        """Whether there are workers."""
        return bool(self._workers)

    def __next__(self) -> Any:
        while self._due and self._workers:
            number, worker = self._next_due()
            result = self._receive(worker)
            worker.owed.popleft()
            self._due.remove((number, worker))
            if result.exhausted:
                worker.exhausted = True
                worker.owed.clear()
                self._due = deque(due for due in self._due if due[1] is not worker)
            self._assign()
            if result.failed:
                raise _error(result.content)  # not from a variable: the cycle would keep the workers alive
            if not result.exhausted:
                return result.content
        if not self._persistent:
            self._end()
        raise StopIteration

    def _next_due(self) -> tuple[int, Worker]:
        if self._in_order:
            self._wait([self._due[0][1]])
            return self._due[0]
        worker = self._wait([worker for worker in self._workers if worker.owed])
        return worker.owed[0], worker

    def _assign(self) -> None:
        """Give the next batch to the next worker whose stream has not ended."""
        for _ in self._workers:
            worker = self._workers[self._turn]
            self._turn = (self._turn + 1) % len(self._workers)
            if not worker.exhausted:
                break
        else:
            return
        try:
            indices = next(self._indices)
        except StopIteration:
            return
        worker.owed.append(self._sent)
        self._due.append((self._sent, worker))
        self._sent += 1
        worker.tell(Task(worker.owed[-1], indices))

    def _wait(self, wanted: list[Worker]) -> Worker:
        """The first of these workers that has sent something; RuntimeError if one is lost, or after the timeout."""
        senders: dict[Any, Worker] = {worker.connection: worker for worker in wanted}
        ends: dict[Any, Worker] = {worker.process.sentinel: worker for worker in self._workers}
        ready = wait([*senders, *ends], self._timeout or None)
        for connection, worker in senders.items():
            if connection in ready:
                return worker
        for end in ready:
            self._lost(ends[end])
        names = ", ".join(f"{worker.number} (pid {worker.process.pid})" for worker in wanted)
        for worker in wanted:
            worker.process.kill()  # it hangs, and may be stopped
        self._end()
        raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds: no batch from worker {names}")

    def _receive(self, worker: Worker) -> Fetched:
        try:
            result: Fetched = receive(worker.connection)
        except (EOFError, ConnectionError):
            self._lost(worker)
        return result

    def _lost(self, worker: Worker) -> NoReturn:
        """RuntimeError that says how a worker ended."""
        worker.process.join(_FAREWELL_SECONDS)
        code, who = worker.process.exitcode, f"DataLoader worker {worker.number} (pid {worker.process.pid})"
        self._end()
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            cause = " (SIGKILL is often the system's, when memory runs out)" if -code == signal.SIGKILL else ""
            raise RuntimeError(f"{who} is killed by signal: {signal.strsignal(-code)}, {name}{cause}")
        raise RuntimeError(f"{who} exited unexpectedly with exit code {code}")

    def _throw_away(self) -> None:
        """Take from the workers what they still owe."""
        for worker in self._workers:
            while worker.owed:
                self._wait([worker])
                if self._receive(worker).exhausted:
                    worker.owed.clear()
                else:
                    worker.owed.popleft()
            worker.exhausted = False


def _start(duty: Duty, context: Any, started: list[Worker]) -> Worker:
    here, there = context.Pipe()
    forks = context.get_start_method() == "fork"
    others = [here, *(worker.connection for worker in started)] if forks else []
    process = context.Process(target=work, args=(there, duty if forks else packed(duty), others), daemon=True)
    with warnings.catch_warnings():  # BLAS has threads, but none of them is at work now
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        process.start()
    there.close()
    return Worker(duty.number, process, here, deque())


def _dismiss(workers: list[Worker], owner: int) -> None:
    """Let all workers end: when told to, or after a while, when killed."""
    if os.getpid() != owner:  # a fork of the owner has a copy of this, but the workers are not its children
        return
    for worker in workers:
        worker.tell(None)
    _listen_until_gone(workers, time.monotonic() + _FAREWELL_SECONDS)
    for end in ("terminate", "kill"):
        for worker in workers:
            if worker.process.is_alive():
                getattr(worker.process, end)()
                worker.process.join(1)
    for worker in workers:
        worker.connection.close()
        with suppress(ValueError):  # not even killed: it hangs in the kernel
            worker.process.close()
    workers.clear()


def _listen_until_gone(workers: list[Worker], until: float) -> None:
    """Take what workers still send, or they would wait for that."""
    talking: dict[Any, Worker] = {worker.connection: worker for worker in workers}
    living: dict[Any, Worker] = {worker.process.sentinel: worker for worker in workers}
    while living and (seconds := until - time.monotonic()) > 0:
        for ready in wait([*talking, *living], seconds):
            if ready in living:
                living.pop(ready).process.join()
                continue
            try:
                receive(talking[ready].connection)
            except (EOFError, OSError):
                del talking[ready]


def _error(failed: Failed) -> Exception:
    """What a worker raised: the same class, with the worker's traceback as its message."""
    if failed.kind is None:
        return RuntimeError(failed.text)
    try:
        return failed.kind(_Text(failed.text) if issubclass(failed.kind, KeyError) else failed.text)
    except Exception:  # its class wants other arguments
        return RuntimeError(failed.text)


class _Text(str):
    """A message of which KeyError, which shows the `repr` of its argument, keeps the lines."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
