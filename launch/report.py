"""What rank 0 tells of a training run: a banner, progress, a line an epoch, the result."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpnet import allocator, training
from ddpnet.distributed import Communicator
from ddpnet.distributed.environment import launched_world
from ddpnet.training import Settings

from . import machine
from .supervisor import TERMINAL

if TYPE_CHECKING:
    from rich.progress import Progress

_LINES = 10
"""Progress lines in a run whose output is not a terminal."""
_REDRAW_SECONDS = 0.2


class TrainingReport(training.Report):
    """Plain lines, and a progress bar where there is a terminal."""

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm
        # Open MPI gives its ranks a terminal of their own, wherever the output goes in the end.
        terminal = TERMINAL in os.environ or (launched_world() is None and sys.stdout.isatty())
        self._screen: Lines = Bar() if terminal else Lines()

    def begin(
        self,
        settings: Settings,
        *,
        samples: int,
        test_samples: int,
        parameters: int,
        steps: int,
        start_step: int,
        ranks: int,
        fingerprint: dict[str, str],
    ) -> None:
        """Show the banner."""
        self._batch, self._steps = settings.batch, steps
        shards = f"{settings.parts} shards of a global batch of {settings.batch}"
        rows = {
            "ddpnet": fingerprint["ddpnet"],
            "model": f"{settings.model}, {parameters:,} parameters",
            "data": f"{settings.data}, {samples:,} training and {test_samples:,} test images",
            "ranks": f"{ranks} on {machine.cores()} cores; {shards}",
            "steps": f"{steps:,}" + (f", from step {start_step:,} on" if start_step else ""),
            "optimizer": _optimizer(settings),
            **({} if settings.local_sgd is None else {"local sgd": _local_sgd(settings)}),
            "seed": str(settings.seed),
            "numerics": f"numpy {fingerprint['numpy']}, {fingerprint['blas']} {fingerprint['core type']}, "
            f"{fingerprint['dtype']} on {fingerprint['device']}",
            "threads": f"{fingerprint['threads']} a rank",
            "allocator": allocator.describe(),
            "mpi": _mpi(self._comm),
            "output": _short(settings.out) if settings.out else "none",
        }
        for name, text in rows.items():
            self._screen.say(f"{name:<10} {text}")
        self._screen.begin(start_step, steps)
        self._mark(start_step)

    def note(self, text: str) -> None:
        """Show it."""
        self._screen.say(f"note: {text}")

    def step(self, step: int, loss: float) -> None:
        """Move the bar, or print a line now and then."""
        if self._screen.wants(step):
            rate = (step - self._marked_step) * self._batch / (time.perf_counter() - self._marked_time)
            self._screen.progress(step, f"loss {loss:.4f}, {rate:,.0f} images/s")
            self._mark(step)

    def epoch(
        self,
        epoch: int,
        loss: float,
        accuracy: float,
        test_loss: float,
        test_accuracy: float,
        images_per_second: float,
    ) -> None:
        """A line."""
        self._screen.say(
            f"epoch {epoch}: loss {loss:.4f}, accuracy {accuracy:.2%}, test loss {test_loss:.4f}, test accuracy "
            f"{test_accuracy:.2%}, {images_per_second:,.0f} images/s"
        )

    def checkpoint(self, path: Path) -> None:
        """A line."""
        self._screen.say(f"checkpoint {_short(path)}")

    def stopped(self, step: int, path: Path) -> None:
        """Where the run stands, and how it goes on."""
        self._screen.end()
        self._screen.say(
            f"stopped after step {step:,} of {self._steps:,}; to go on: ddpnet train --resume {_short(path.parent)}"
        )

    def end(self, digest: str, test_loss: float, test_accuracy: float, seconds: float) -> None:
        """The result."""
        self._screen.end()
        self._screen.say(f"trained in {seconds:.1f} s: test loss {test_loss:.4f}, test accuracy {test_accuracy:.2%}")
        self._screen.say(f"weights sha256 {digest}")

    def _mark(self, step: int) -> None:
        """Measure the speed from here on."""
        self._marked_step, self._marked_time = step, time.perf_counter()


class Lines:
    """Output that is read later: a line for each tenth of the run."""

    def begin(self, start: int, steps: int) -> None:
        """Steps `start` + 1 to `steps` will follow."""
        self._steps, self._shown = steps, start
        self._stride = max(1, round((steps - start) / _LINES))

    def say(self, text: str) -> None:
        """A line of its own."""
        click.echo(text)

    def wants(self, step: int) -> bool:
        """Whether the progress at this step should be shown."""
        return step // self._stride > self._shown // self._stride  # local SGD leaves out steps

    def progress(self, step: int, text: str) -> None:
        """Show how far the run is."""
        self._shown = step
        self.say(f"step {step:,} of {self._steps:,}: {text}")

    def end(self) -> None:
        """No more progress will come."""


class Bar(Lines):
    """A terminal: lines, and below them a bar that is redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console

        columns = os.environ.get(TERMINAL)  # set where the terminal is the supervisor's
        self._console = Console(force_terminal=True, width=int(columns) if columns else None, highlight=False)
        self._progress: Progress | None = None
        self._drawn = 0.0

    def begin(self, start: int, steps: int) -> None:
        """Draw the bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        ]
        # No thread that redraws: it would take the interpreter from the training.
        self._progress = Progress(
            *columns,
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
        )
        self._task = self._progress.add_task("", completed=start, total=steps)
        self._progress.start()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def wants(self, step: int) -> bool:
        """At most a few times a second."""
        return time.perf_counter() - self._drawn > _REDRAW_SECONDS

    def progress(self, step: int, text: str) -> None:
        """Redraw the bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=step, description=text, refresh=True)
        self._drawn = time.perf_counter()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()


def _optimizer(settings: Settings) -> str:
    momentum = f", momentum {settings.momentum:g}" if settings.optimizer in ("sgd", "rmsprop") else ""
    decay = f", weight decay {settings.weight_decay:g}" if settings.weight_decay else ""
    return f"{settings.optimizer}, lr {settings.rate:g} ({settings.schedule}){momentum}{decay}"


def _local_sgd(settings: Settings) -> str:
    start = f" from step {settings.local_sgd_start:,} on" if settings.local_sgd_start else ""
    return f"{settings.parts} replicas{start}, averaged every {settings.local_sgd} steps and at the end of each epoch"


def _mpi(comm: Communicator) -> str:

    return " ".join(comm.library().partition(",")[0].split())


def _short(path: Path) -> str:
    """The path from here, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
