"""`ddpnet profile`: where the steps of a script spend their time."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ddpnet.distributed.environment import launched_world
from ddpnet.errors import InputError
from ddpnet.profiler import Collector, engine_probes, loop_probes

from . import placement
from .profile_report import report, show
from .rank import run_as_rank
from .script import run_alone, run_script
from .supervisor import supervise

STEPS, SKIP = 20, 5


@dataclass(frozen=True)
class Options:
    """What is measured, and what is shown."""

    path: str
    arguments: tuple[str, ...]
    steps: int = STEPS
    skip: int = SKIP
    as_torch: bool = False
    shapes: bool = False
    rows: int = 20
    out: str | None = None


class _Enough(SystemExit):
    """Ends the script when all steps were measured."""


class StepProfile:
    """Measures the steps of this thread, from the end of one optimizer step to the end of the next.

    The first `skip` are not measured: nothing but a hook of the optimizer is there then, so that they show how long a
    step takes without a profile. Where a program has several optimizers, the first one's steps count.
    """

    def __init__(self, steps: int, skip: int, *, shapes: bool = False) -> None:
        self.collector = Collector()
        self.measured: list[float] = []
        """Seconds of each step."""
        self.unprofiled: list[float] = []
        """Seconds of the steps before that, but for the first."""
        self._steps, self._skip, self._shapes = steps, skip, shapes
        self.seen = 0
        """Steps that were made."""
        self._optimizer: Any = None
        self._undo = ExitStack()
        self._last = time.perf_counter()

    def __enter__(self) -> StepProfile:
        self._undo.enter_context(loop_probes(self.collector, self._after_step))
        if self._skip == 0:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.collector.stop()
        self._undo.close()

    @property
    def plain(self) -> float | None:
        """Seconds of a step without a profile; the first half of those may have waited for the compiler."""
        late = self.unprofiled[len(self.unprofiled) // 2 :]
        return statistics.median(late) if late else None

    def _begin(self) -> None:
        self._undo.enter_context(engine_probes(self.collector, shapes=self._shapes))
        self.collector.start()
        self._last = time.perf_counter()

    def _after_step(self, optimizer: Any) -> None:
        if self._optimizer is None:
            self._optimizer = optimizer
        if optimizer is not self._optimizer or len(self.measured) == self._steps:
            return
        seconds = time.perf_counter() - self._last
        self.seen += 1
        if self.seen > self._skip:
            self.collector.keep()
            self.measured.append(seconds)
            if len(self.measured) == self._steps:
                self.collector.stop()
                raise _Enough(0)
        elif self.seen > 1:
            self.unprofiled.append(seconds)
        self._last = time.perf_counter()
        if self.seen == self._skip:
            self._begin()


def profile(options: Options, ranks: int | None) -> int:
    """Run a script, on ranks of our own unless this is one, and show where its steps spend their time; the exit code.

    With several ranks, it is rank 0 that is shown.
    """
    if options.out is not None and not Path(options.out).absolute().parent.is_dir():
        raise InputError(f"{options.out}: cannot be written: there is no folder {Path(options.out).parent}")
    if placement.is_rank(ranks):
        return run_as_rank(lambda: _profile(options), script=True)
    placement.check_number(ranks)
    launcher = placement.launcher_for(ranks or 1)
    if launcher is None:
        return _profile(options)
    program = ["profile", json.dumps(asdict(options))]
    return supervise(launcher, program, ranks or 1, lambda: f"to run it alone: ddpnet run {options.path}")


def work(arguments: str) -> int:
    """What each rank of ours does."""
    given = json.loads(arguments)
    return _profile(Options(**{**given, "arguments": tuple(given["arguments"])}))


def _profile(options: Options) -> int:
    """Run the script in this process, and show what was found; the exit code, which is the script's own."""
    world = launched_world()
    found = StepProfile(options.steps, options.skip, shapes=options.shapes)
    code = 0
    with found:
        try:
            if world is None:
                code = run_alone(options.path, options.arguments, as_torch=options.as_torch)
            else:
                run_script(options.path, options.arguments, as_torch=options.as_torch)
        except _Enough:
            pass
        except SystemExit as leaving:
            if leaving.code and (world is not None or not found.measured):
                raise
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    sys.stdout.flush()
    if world is not None and world[0] != 0:
        return code
    return _told(options, found) or code


def _told(options: Options, found: StepProfile) -> int:
    """Show and write the report; 1 if there is none."""
    if not found.measured:
        click.echo(
            f"ddpnet: error: {options.path}: nothing to show: {found.seen} steps were made, and the first "
            f"{options.skip} are skipped (--skip); a step ends with optimizer.step()",
            err=True,
        )
        return 1
    found.collector.back_to_kept()
    content = report(os.path.basename(options.path), found.collector, found.measured, found.plain, options.skip)
    show(content, options.rows)
    if options.out is not None:
        Path(options.out).write_text(json.dumps(content, indent=2) + "\n")
    return 0
