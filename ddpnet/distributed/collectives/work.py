"""What goes on beside the program: `Work`, `Future`, and the line in which the calls of a group wait their turn."""

from __future__ import annotations

import atexit
import queue
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ddpnet.distributed.errors import DistBackendError


class Future:
    """A value that will be there (`torch.futures.Future`)."""

    def __class_getitem__(cls, kind: Any) -> type[Future]:
        """The class: annotations may say of what, as in `Future[torch.Tensor]`."""
        return cls

    def __init__(self) -> None:
        self._ended = threading.Condition()
        self._done = self._seen = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], Any]] = []

    def done(self) -> bool:
        """Whether the value, or an error, is there."""
        return self._done

    def wait(self) -> Any:
        """The value when it is there; its error is raised."""
        with self._ended:
            self._ended.wait_for(lambda: self._done)
        return self.value()

    def value(self) -> Any:
        """The value; RuntimeError before it is there."""
        if not self._done:
            raise RuntimeError("the value of this Future is not there yet: wait() for it")
        error = self._exception()
        if error is not None:
            raise error
        return self._value

    def _exception(self) -> BaseException | None:
        """What it ended with instead of a value, of which somebody knows now."""
        self._seen = True
        return self._error

    def set_result(self, result: Any) -> None:
        """Give the value, once."""
        self._end(result, None)

    def set_exception(self, error: BaseException) -> None:
        """Give an error instead of the value."""
        self._end(None, error)

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Call `callback(self)` when the value is there, now if it is."""
        with self._ended:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A Future of what `callback(self)` will return."""
        following = Future()

        def run(ended: Future) -> None:
            try:
                following.set_result(callback(ended))
            except BaseException as error:
                following.set_exception(error)

        self.add_done_callback(run)
        return following

    def _end(self, value: Any, error: BaseException | None) -> None:
        with self._ended:
            if self._done:
                raise RuntimeError("this Future has its result already")
            self._done, self._value, self._error = True, value, error
            self._ended.notify_all()
        for callback in self._callbacks:
            callback(self)

    def _wait(self, seconds: float | None) -> bool:
        with self._ended:
            return self._ended.wait_for(lambda: self._done, seconds)


class Work:
    """A call that runs beside the program: what `async_op=True` returns (`torch.distributed.Work`)."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._future = Future()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """True when it has ended; its error is raised, and DistBackendError if it has not ended within `timeout`."""
        if not self._future._wait(seconds(timeout)):
            raise DistBackendError(f"{self.what}: not done within {seconds(timeout):g} s; wait() longer")
        self._future.value()
        return True

    def is_completed(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def is_success(self) -> bool:
        """Whether it has ended well."""
        return self.is_completed() and self.exception() is None

    def exception(self) -> BaseException | None:
        """The error it ended with."""
        return self._future._exception()

    def result(self) -> list[Any]:
        """The tensors with the result; waits for them."""
        tensors: list[Any] = self._future.wait()
        return tensors

    def get_future(self) -> Future:
        """A Future of the list of the tensors with the result."""
        return self._future


def seconds(timeout: timedelta | None) -> float | None:
    """The length of a timeout; TypeError for what is no timedelta."""
    if timeout is None:
        return None
    if not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    return timeout.total_seconds()


class Line:
    """Calls of one group, one after the other: in the calling thread, or beside it if one is to run there already."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: queue.SimpleQueue[tuple[Work, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Work | None = None
        self._failed: list[Future] = []
        self._turn = threading.RLock()

    def run(self, what: str, call: Callable[[], Any], beside: bool) -> Work | None:
        """Make the call when its turn comes; `call` returns the tensors with the result.

        With `beside` it runs in a thread; else here, after those that wait there.
        """
        free = self._last is None or self._last.is_completed()
        if not beside and (free or threading.current_thread() is self._thread):
            with self._turn:
                call()
            return None
        self._last = work = Work(what)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"ddpnet {self._name}", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._waiting.put((work, call))
        if beside:
            return work
        work.wait()
        return None

    def close(self) -> None:
        """After the calls that wait, there are no more; RuntimeWarning for errors of which nobody has learned."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
            atexit.unregister(self.close)
            for future in self._failed:
                if not future._seen:
                    warnings.warn(
                        f"{future._exception()}; wait() for the Work of an async_op", RuntimeWarning, stacklevel=2
                    )

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            work, call = item
            try:
                with self._turn:
                    result = call()
            except BaseException as error:
                self._failed.append(work.get_future())
                work.get_future().set_exception(error)
            else:
                work.get_future().set_result(result)
