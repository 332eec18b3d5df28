"""Starts the ranks of a job, passes on what they write, and ends all of them when one fails."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from . import deck as decks
from . import leftovers, silence
from .deck import Deck, Ending
from .mpiexec import Launcher
from .output import Output
from .watcher import die_with_parent

TERMINAL = "DDPNET_TERMINAL"
"""Tells ranks, whose output is a pipe, how many columns the terminal at its end has."""
WORLD_SIZE = "DDPNET_WORLD_SIZE"
"""Tells ranks how many they are: the world that MPI shows them must have that size."""

_SHOW_CURSOR = "\x1b[?25h"
"""A progress bar hides it, and a rank that is killed does not bring it back."""
_TICK = 0.1
_STARTS = 2
"""Of a launcher, if it starts no rank: now and then Open MPI's cannot ("The PMIx server's listener thread failed")."""
_GRACE = 1.0
"""Seconds for the launcher to end a job, and for last words to arrive, before we kill what is left."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CODES_OF_THE_KILLED = (-signal.SIGKILL, signal.SIGKILL, 128 + signal.SIGKILL, 128 + signal.SIGTERM)
_LIKELY = {
    signal.SIGKILL: "by kill -9, or by the system for want of memory",
    signal.SIGSEGV: "a crash in compiled code",
    signal.SIGBUS: "often a full /dev/shm",
    signal.SIGABRT: "the reason is above",
}


def supervise(
    launcher: Launcher,
    program: Sequence[str],
    ranks: int,
    advice: Callable[[], str],
    resume: Callable[[], str] | None = None,
) -> int:
    """Run `python -m ddpnet_launch.rank *program` on several ranks, and return the exit code for this process.

    If a rank fails, the last line on standard error names it, and ends with `advice`; if the rank has told all there is
    to know, it is what `resume` says, if anything. The first SIGINT, SIGTERM or SIGHUP goes to the ranks, which may
    save their work; the second ends them.
    """
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="ddpnet-") as folder:
        deck = Deck(Path(folder))
        for left in reversed(range(_STARTS)):
            job = Job(_start(launcher, program, ranks, deck), ranks, deck)
            with job.receiving_signals():
                job.watch()
            if not left or not job.was_stillborn():
                break
            sys.stderr.write(f"ddpnet: {launcher.path} failed before it started a rank: once more\n")
        code = job.exit_code()
        if code != 0:
            leftovers.kill_processes(deck.folder)
            leftovers.remove_shared_memory(started)
            if sys.stdout.isatty():
                sys.stdout.write(_SHOW_CURSOR)
                sys.stdout.flush()
        explanation, told = job.explanation(), job.told()
    last = f"{explanation}; {advice()}" if explanation else resume() if told and resume is not None else ""
    if last:
        sys.stderr.write(f"ddpnet: {last}\n")
    return code


def _start(launcher: Launcher, program: Sequence[str], ranks: int, deck: Deck) -> subprocess.Popen[bytes]:
    variables = {**os.environ, **launcher.variables(), WORLD_SIZE: str(ranks), decks.VARIABLE: str(deck.folder)}
    variables.pop("PYTHONUNBUFFERED", None)  # it writes a line in pieces, which mix with those of other ranks
    variables.pop(TERMINAL, None)
    if sys.stdout.isatty():
        variables[TERMINAL] = str(shutil.get_terminal_size().columns)
    supervisor = os.getpid()
    return subprocess.Popen(
        launcher.command(ranks, [sys.executable, "-P", "-m", "ddpnet_launch.rank", *program]),
        # The launcher would take the keys typed at a terminal even in the background.
        stdin=subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
        start_new_session=True,  # a Ctrl-C comes to us, and we pass it on
        preexec_fn=lambda: die_with_parent(supervisor),
    )


class Job:
    """Several ranks, started by a launcher."""

    def __init__(self, process: subprocess.Popen[bytes], ranks: int, deck: Deck) -> None:
        self._process, self._ranks, self._deck = process, ranks, deck
        self._absent = list(range(ranks))
        self._unwatched: list[int] = []
        self._killed: list[tuple[float, int, int]] = []
        self._stop_signal: int | None = None
        self._end_at: float | None = None
        self._drained_at: float | None = None
        self._outputs: list[Output] = []
        self._selector = selectors.DefaultSelector()
        for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            target.flush()
            assert source is not None  # Popen was asked for pipes
            output = Output(target.fileno())
            self._outputs.append(output)
            self._selector.register(source, selectors.EVENT_READ, output)

    @contextmanager
    def receiving_signals(self) -> Iterator[None]:
        """Pass signals to the ranks."""
        before = {number: signal.getsignal(number) for number in (*_STOP_SIGNALS, signal.SIGUSR1)}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._pass_on if number == signal.SIGUSR1 else self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def watch(self) -> None:
        """Return when all ranks have ended, and what they wrote has been passed on."""
        while not self._is_over():
            self._look_for_ranks()
            self._handle_events(_TICK)
            if any(output.broken for output in self._outputs) and self._stop_signal is None:
                self._stop(signal.SIGTERM)
            if self._end_at is not None and time.monotonic() > self._end_at:
                self._process.kill()
                leftovers.kill_processes(self._deck.folder)
        self._look_for_ranks()
        self._handle_events(0)
        for output in self._outputs:
            output.close()
        self._selector.close()

    def exit_code(self) -> int:
        """What the supervisor's own exit code should be."""
        if self._stop_signal is not None:
            return 128 + self._stop_signal
        culprit = self._culprit()
        code = self._process.wait() if culprit is None else culprit[1]
        return code if code >= 0 else 128 - code

    def was_stillborn(self) -> bool:
        """Whether the launcher failed without having started anything, and nobody wanted it to end."""
        none = len(self._absent) == self._ranks
        return none and self._stop_signal is None and self._process.wait() != 0

    def explanation(self) -> str:
        """Why the job failed, in one sentence; empty if it did not, or if the user knows already."""
        if self._stop_signal is not None:
            return ""
        culprit = self._culprit()
        if culprit is None:
            code = self._process.wait()
            what = f"the job ended with exit code {code}: what MPI or the ranks said is above"
            return f"{what}{self._left()}" if code else ""
        rank, code = culprit
        who = f"rank {rank} of {self._ranks}"
        failure = self._deck.failure(rank)
        if failure is not None and failure.waited_for:
            return silence.explanation(self._deck.failures(self._ranks), self._ranks)
        if failure is not None:
            return "" if failure.told else f"{who} failed: {failure.summary.replace(f'{who}: ', '')} (see above)"
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        return f"{who} {how}{self._left() if code == -signal.SIGKILL else ''}"

    def _left(self) -> str:
        """The rank that was the first to end, if that was well: launchers may then end the others without a word."""
        endings = [
            (ending.time, rank, ending.code) for rank in range(self._ranks) if (ending := self._deck.ending(rank))
        ]
        _, rank, code = min(endings, default=(0.0, 0, 1))
        if code != 0:
            return ""
        return (
            f"; before, rank {rank} of {self._ranks} had ended with exit code 0, without the others: all ranks have "
            "to call init_process_group, and to come to the end of the script (os._exit leaves it out)"
        )

    def told(self) -> bool:
        """Whether the job failed for a reason that a rank has told in full."""
        culprit = self._culprit() if self._stop_signal is None else None
        failure = None if culprit is None else self._deck.failure(culprit[0])
        return failure is not None and failure.told

    def _culprit(self) -> tuple[int, int] | None:
        """The rank that failed first, and its code as in `Ending`; not those that were ended for its sake."""
        endings = [(self._deck.ending(rank), rank) for rank in range(self._ranks)]
        failed = [(ending.time, rank, ending.code) for ending, rank in endings if ending and ending.code]
        own = [entry for entry in failed if entry[2] != -signal.SIGTERM]  # with which Open MPI ends the others
        # A watcher is killed by somebody, or by the launcher after an abort, with the code of the abort.
        if not own and self._process.wait() in _CODES_OF_THE_KILLED:
            own = failed + self._killed
        _, rank, code = min(own, default=(0.0, 0, 0))
        return (rank, code) if own else None

    def _look_for_ranks(self) -> None:
        for rank in list(self._absent):
            presence = self._deck.presence(rank)
            if presence is None:
                continue
            self._absent.remove(rank)
            if presence.host == socket.gethostname():
                self._watch_rank(rank, presence.watcher)
        for rank in self._unwatched:
            if _is_failure(self._deck.ending(rank)):
                self._end_soon()

    def _watch_rank(self, rank: int, watcher: int) -> None:
        try:
            self._selector.register(os.pidfd_open(watcher), selectors.EVENT_READ, rank)
        except ProcessLookupError:
            self._rank_has_ended(rank)
        except (AttributeError, OSError):  # a system without them
            self._unwatched.append(rank)

    def _handle_events(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):  # of processes: in the order in which they ended
            if isinstance(key.data, Output):
                data = os.read(key.fd, 1 << 16)
                if data:
                    key.data.feed(data)
                else:
                    self._selector.unregister(key.fileobj)
            else:
                self._selector.unregister(key.fileobj)
                os.close(key.fd)
                self._rank_has_ended(key.data)

    def _rank_has_ended(self, rank: int) -> None:
        ending = self._deck.ending(rank)
        if ending is None:
            self._killed.append((time.monotonic(), rank, -signal.SIGKILL))
        if ending is None or _is_failure(ending):
            self._end_soon()

    def _end_soon(self) -> None:
        if self._end_at is None:
            self._end_at = time.monotonic() + _GRACE

    def _is_over(self) -> bool:
        """Whether the launcher has ended and its pipes are closed, or only held open by what it left behind."""
        if self._process.poll() is None:
            return False
        if self._drained_at is None:
            self._drained_at = time.monotonic() + _GRACE
        open_pipes = any(isinstance(key.data, Output) for key in self._selector.get_map().values())
        return not open_pipes or time.monotonic() > self._drained_at

    def _stop(self, number: int, frame: FrameType | None = None) -> None:
        if self._stop_signal is None:
            self._stop_signal = number
            # UCX takes SIGHUP as a wish for its debugging output.
            self._tell_ranks(signal.SIGTERM if number == signal.SIGHUP else number)
        else:
            self._end_at = 0.0

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._tell_ranks(number)

    def _tell_ranks(self, number: int) -> None:
        """Signal all ranks: by ourselves where we can, because Open MPI kills them a second after SIGTERM."""
        present = [self._deck.presence(rank) for rank in range(self._ranks)]
        watchers = [entry.watcher for entry in present if entry and entry.host == socket.gethostname()]
        if len(watchers) < self._ranks:
            self._process.send_signal(number)
            return
        for watcher in watchers:
            with suppress(ProcessLookupError):
                os.kill(watcher, number)


def _is_failure(ending: Ending | None) -> bool:
    return ending is not None and ending.code != 0


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{name.name} ({_LIKELY[name]})" if name in _LIKELY else name.name
