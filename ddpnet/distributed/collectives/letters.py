"""Messages from one rank to another: they are matched by sender and tag, in the order in which they were sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

from ddpnet.distributed.collectives.work import Work, seconds
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport.communicator import Communicator

_SPIN_SECONDS = 1e-3
_SLEEP_SECONDS = 1e-4
_LOOK_SECONDS = 0.05
"""After it a rank that waits sees, too, whether those it waits for have come to their end."""


class Letter(Work):
    """One that was sent, or that will come."""

    def __init__(
        self, box: Letterbox, what: str, peer: int | None, tag: int, read: Callable[..., list[Any]], happens: str
    ) -> None:
        super().__init__(what)
        self.peer, self.tag, self.read, self.happens = peer, tag, read, happens
        self.content: Callable[[], Any] | None = None
        self._box = box

    def wait(self, timeout: timedelta | None = None) -> bool:
        """True when it has come, or has gone; PeerTimeoutError when the deadline of the group is over."""
        self._box.wait(self, seconds(timeout))
        return super().wait()

    def is_completed(self) -> bool:
        """Whether it has come, or has gone."""
        self._box.advance()
        return super().is_completed()

    def end(self, content: Any) -> None:
        """Read what has come, or take over an error."""
        future = self.get_future()
        if future.done():
            return
        try:
            if isinstance(content, Exception):
                raise content
            tensors = self.read(self.peer, content)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(tensors)

    def _source_rank(self) -> int:
        """The sender."""
        assert self.peer is not None
        return self.peer


class Letterbox:
    """The letters of a group that are on their way. Whoever waits advances all of them; else a thread does."""

    def __init__(self, comm: Communicator, group: str) -> None:
        self._comm, self._group = comm, group
        self._lock = threading.Lock()
        self._going: list[tuple[Letter, Callable[[], bool]]] = []
        self._coming: list[Letter] = []
        self._thread: threading.Thread | None = None
        self._open = True

    def send(self, peer: int, content: np.ndarray, tag: int, tensors: list[Any]) -> Letter:
        """Start to send uint8 bytes, which must not change before they have gone."""
        what = f"send to rank {self._comm.members[peer]} with tag {tag} in {self._group}"
        letter = Letter(self, what, peer, tag, lambda *_: tensors, "was received by")
        with self._lock:
            self._going.append((letter, self._comm.post(peer, content, tag)))
        self.advance()
        return letter

    def receive(self, peer: int | None, tag: int, read: Callable[..., list[Any]]) -> Letter:
        """Wait for a letter from `peer`, or from any; `read(sender, content)` returns the tensors it has filled."""
        sender = "any rank" if peer is None else f"rank {self._comm.members[peer]}"
        what = f"recv from {sender} with tag {tag} in {self._group}"
        letter = Letter(self, what, peer, tag, read, "came from")
        with self._lock:
            self._coming.append(letter)
        self.advance()
        return letter

    def beside(self) -> None:
        """Let letters come while the program does something else: their senders may wait for that."""
        with self._lock:
            if self._coming and self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name=f"ddpnet letters of {self._group}", daemon=True
                )
                self._thread.start()

    def wait(self, letter: Letter, limit: float | None) -> None:
        """Advance until a letter has ended; its deadline is an end, too."""
        limit = self._comm.timeout if limit is None else limit
        begun = time.monotonic()
        while not letter.is_completed():
            waited = time.monotonic() - begun
            if waited > limit or (waited > _LOOK_SECONDS and self._is_lost(letter)):
                self._give_up(letter, limit)
            elif waited > _SPIN_SECONDS:
                time.sleep(_SLEEP_SECONDS)

    def advance(self) -> None:
        """See what has gone and what has come."""
        ended: list[tuple[Letter, Any]] = []
        with self._lock:
            for letter, gone in self._going:
                _step(letter, gone, ended)
            self._going = [pair for pair in self._going if not any(pair[0] is letter for letter, _ in ended)]
            waiting: list[Letter] = []  # a letter goes to the first that waits for it
            for letter in self._coming:
                if letter.content is None and not any(_overlap(letter, earlier) for earlier in waiting):
                    self._claim(letter)
                if letter.content is None:
                    waiting.append(letter)
                else:
                    _step(letter, letter.content, ended)
            self._coming = [one for one in self._coming if not any(one is letter for letter, _ in ended)]
        for letter, content in ended:  # without the lock: callbacks may send
            letter.end(content)

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._open = False
        if self._thread is not None:
            self._thread.join()

    def _claim(self, letter: Letter) -> None:
        try:
            found = self._comm.take(letter.peer, letter.tag)
        except DistBackendError as error:
            letter.content = _raising(error)
            return
        if found is not None:
            letter.peer, letter.content = found

    def _partners(self, letter: Letter) -> list[int]:
        """The ranks on which a letter waits."""
        return [peer for peer in range(self._comm.size) if peer != self._comm.rank and letter.peer in (None, peer)]

    def _is_lost(self, letter: Letter) -> bool:
        """Whether all of them have come to their end."""
        peers = self._partners(letter)
        return bool(peers) and self._comm.absent(peers) == peers

    def _give_up(self, letter: Letter, limit: float) -> None:
        with self._lock:
            if letter.content is None:  # else its memory may still be written to
                self._coming = [one for one in self._coming if one is not letter]
        letter.end(self._comm.missing(self._partners(letter), letter.what, limit, letter.happens))

    def _watch(self) -> None:
        pause = _SLEEP_SECONDS
        while self._open:
            self.advance()
            with self._lock:
                if not self._coming:
                    self._thread = None
                    return
            time.sleep(pause)
            pause = min(pause * 1.5, 2e-3)


def _overlap(a: Letter, b: Letter) -> bool:
    """Whether one and the same letter could be for both."""
    return a.tag == b.tag and (a.peer is None or b.peer is None or a.peer == b.peer)


def _step(letter: Letter, step: Callable[[], Any], ended: list[tuple[Letter, Any]]) -> None:
    """Make a step of a letter, and note it if that was the last."""
    try:
        content = step()
    except Exception as error:
        content = error
    if content is not None and content is not False:
        ended.append((letter, content))


def _raising(error: Exception) -> Callable[[], Any]:
    def step() -> Any:
        raise error

    return step
