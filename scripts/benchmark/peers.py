"""Processes that make steps when told to: started together, asked in turn, with a deadline, and none left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
DEADLINE_S = 180
"""For the start of a process, compilation included, and for any answer of it."""
_LAST_WORDS = 3000


class WorkerError(Exception):
    """A process of the benchmark failed, or did not answer; the text has its last words."""


@dataclass(frozen=True)
class Task:
    """What a process repeats. `kind` is ddpnet or torch for training steps; `products` for the matrix products of a
    step alone, `sgemm` for one large product: both by the matrix library that ddpnet uses."""

    kind: str
    case: str
    batch: int
    ranks: int = 1
    device: str = "cpu"
    channels_last: bool = False
    eager: bool = True
    """Whether steps run as they are written; else by `torch.compile`."""

    def __str__(self) -> str:
        layout = " channels_last" if self.channels_last else ""
        return f"{self.kind}{layout}, {self.case}, batch {self.batch}, {ranks_text(self.ranks)}"


def ranks_text(ranks: int) -> str:
    """A number of ranks in words."""
    return f"{ranks} rank{'s' * (ranks > 1)}"


class Peers:
    """The processes of several tasks, one a rank; a context manager, at whose end they are gone."""

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks = tasks
        self._groups: list[Group] = []

    def __enter__(self) -> list[Group]:
        self._folder = tempfile.TemporaryDirectory(prefix="ddpnet-bench-")
        try:
            for number, task in enumerate(self._tasks):
                self._groups.append(Group(task, Path(self._folder.name, str(number))))
            for group in self._groups:
                group.wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self._groups

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for group in self._groups:
            group.end()
        self._folder.cleanup()


class Group:
    """The ranks of one task."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task = task
        folder.mkdir()
        self._log = folder / "log"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "socket"))
        self._listener.listen(task.ranks)
        order = json.dumps({**asdict(task), "socket": str(folder / "socket")})
        self._processes = start([str(HERE / "worker.py"), order], task.kind, task.ranks, self._log)
        self._ranks: list[socket.socket] = []

    def wait_until_ready(self) -> None:
        """Until every rank has built its model."""
        give_up = time.monotonic() + DEADLINE_S
        self._listener.settimeout(0.2)
        while len(self._ranks) < self.task.ranks:
            with suppress(TimeoutError):
                self._ranks.append(self._listener.accept()[0])
                continue
            if any(process.poll() is not None for process in self._processes):
                raise self._error("ended before its first step")
            if time.monotonic() > give_up:
                raise self._error(f"was not ready within {DEADLINE_S} s")

    def round(self, steps: int) -> float:
        """Seconds a step, of the slowest rank."""
        try:
            for rank in self._ranks:
                rank.settimeout(DEADLINE_S)
                rank.sendall(f"{steps}\n".encode())
            answers = [rank.recv(64) for rank in self._ranks]
        except TimeoutError:
            raise self._error(f"gave no answer within {DEADLINE_S} s") from None
        except OSError:
            answers = [b""]
        if not all(answers):
            raise self._error("ended in a step")
        return max(float(answer) for answer in answers)

    def end(self) -> None:
        """Tell the ranks to leave, and kill those that do not."""
        for connection in (*self._ranks, self._listener):
            connection.close()
        end(self._processes, 10 if len(self._ranks) == self.task.ranks else 0)

    def _error(self, what: str) -> WorkerError:
        end(self._processes, 1)
        return WorkerError(f"{self.task}: {what}\n{last_words(self._log)}")


def start(program: list[str], kind: str, ranks: int, log: Path) -> list[subprocess.Popen[bytes]]:
    """Start a Python program on some ranks: ddpnet's under its launcher, PyTorch's one process a rank."""
    environment = {**os.environ, **ONE_THREAD}
    command = [sys.executable, *program]
    if ranks == 1:
        return [_start(command, environment, log)]
    if kind == "ddpnet":
        launcher = [sys.executable, "-m", "ddpnet_launch", "run", "-n", str(ranks)]
        return [_start([*launcher, *program], environment, log)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    return [_start(command, {**environment, **world, "RANK": str(rank)}, log) for rank in range(ranks)]


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )


def end(processes: list[subprocess.Popen[bytes]], patience: float) -> None:
    """Wait so many seconds for the processes to end; then kill them, and what they have started."""
    for seconds, number in ((patience, signal.SIGTERM), (3, signal.SIGTERM), (3, signal.SIGKILL), (3, None)):
        give_up = time.monotonic() + seconds
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, give_up - time.monotonic()))
        running = [process for process in processes if process.poll() is None]
        if not running or number is None:
            return
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def last_words(log: Path) -> str:
    """The end of what processes have written."""
    return log.read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip() or "(it wrote nothing)"


def finish(program: list[str], kind: str, ranks: int, deadline: float = DEADLINE_S) -> str:
    """Run a program to its end on some ranks, and return what it wrote; WorkerError if it failed or took too long."""
    with tempfile.TemporaryDirectory(prefix="ddpnet-bench-") as folder:
        log = Path(folder) / "log"
        processes = start(program, kind, ranks, log)
        give_up = time.monotonic() + deadline
        try:
            while any(process.poll() is None for process in processes):
                if any(process.poll() for process in processes):
                    break
                if time.monotonic() > give_up:
                    raise WorkerError(f"{' '.join(program)}: not done after {deadline} s\n{last_words(log)}")
                time.sleep(0.02)
        finally:
            end(processes, 0)
        codes = [process.returncode for process in processes]
        if any(codes):
            raise WorkerError(f"{' '.join(program)}: exit code {max(codes, key=abs)}\n{last_words(log)}")
        return log.read_text(errors="replace")
