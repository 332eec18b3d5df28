"""The commands and their options. What they do is imported after the environment of NumPy is set."""

from __future__ import annotations

import difflib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from . import environment


class Commands(click.Group):
    """A group that names the nearest command to one that it does not know."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.commands, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise click.UsageError(f"unknown command {name!r}: {hint}expected one of {', '.join(self.commands)}")
        return super().resolve_command(ctx, args)


_HELP = {"help_option_names": ["-h", "--help"]}
_AS_GIVEN = {**_HELP, "ignore_unknown_options": True, "allow_interspersed_args": False}
_ranks = click.option("--ranks", "-n", type=click.IntRange(min=1), help="Processes.")
_threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of NumPy and Numba in each rank [default: 1]; the last bits of the result depend on it.",
)
_device = click.option("--device", help="cpu, cuda or cuda:N [default: cpu].")


@click.group(cls=Commands, context_settings=_HELP)
@click.version_option(version("ddpnet"), prog_name="ddpnet", message="%(prog)s %(version)s")
def cli() -> None:
    """Data-parallel training on NumPy and CuPy arrays over MPI."""


@cli.command(context_settings=_HELP)
@click.option("--model", help="lenet, mlp or cnn [default: lenet].")
@click.option("--data", "--dataset", "data", help="mnist, or a folder of files in its format [default: mnist].")
@_ranks
@click.option("--shards", type=int, help="Parts of a global batch; the bits of the result depend on it [default: 8].")
@click.option("--accumulate", type=int, help="Parts of each shard, computed in turn: less memory [default: 1].")
@click.option("--batch", type=int, help="Samples of an optimizer step, over all ranks [default: 64].")
@click.option("--drop-last", is_flag=True, default=None, help="Leave out the smaller last batch of each epoch.")
@click.option("--epochs", type=int, help="Passes over the data [default: 3].")
@click.option("--steps", type=int, help="Optimizer steps, in place of epochs.")
@click.option("--optimizer", help="sgd, adam, adamw or rmsprop [default: sgd].")
@click.option("--lr", type=float, help="Learning rate [default: the optimizer's usual one].")
@click.option("--momentum", type=float, help="Of sgd and rmsprop [default: 0.9].")
@click.option("--weight-decay", type=float, help="[default: 0]")
@click.option("--clip-norm", type=float, help="Largest norm of all gradients together [default: none].")
@click.option("--sync-batchnorm", is_flag=True, default=None, help="Batch norm over the global batch.")
@click.option("--compress", help="Gradients: fp16, bf16 or powersgd [default: float32].")
@click.option(
    "--local-sgd",
    type=int,
    metavar="STEPS",
    help="Let each shard step with weights of its own, averaged after so many steps and at the end of each epoch; "
    "checkpoints and signals wait for that [default: gradients are averaged in every step].",
)
@click.option("--local-sgd-start", type=int, metavar="STEPS", help="Ordinary steps before it [default: 0].")
@click.option("--schedule", help="Of the learning rate: constant or cosine [default: constant].")
@click.option("--seed", type=int, help="Of weights, order and dropout [default: 0].")
@click.option("--checkpoint-every", type=int, metavar="STEPS", help="[default: at the end of each epoch]")
@click.option("--keep", type=int, help="Newest checkpoints to keep [default: all].")
@click.option("--resume", type=click.Path(path_type=Path), help="A checkpoint, or the folder of a run.")
@click.option("--out", type=click.Path(path_type=Path), help="A new folder for checkpoints [default: below runs].")
@click.option("--zero", is_flag=True, default=None, help="Cut the optimizer's state over the ranks (ZeRO-1).")
@click.option("--overlap", help="Exchange during backward: on, off or auto, by measurement [default: auto].")
@click.option("--bucket-mb", type=float, help="Size of gradient buckets in MiB [default: by measurement].")
@click.option("--fingerprint-every", type=int, metavar="STEPS", help="Compare ranks so often; 0: never [default: 1].")
@click.option("--on-desync", help="If ranks differ: stop, or heal those that do [default: stop].")
@click.option("--allow-drift", is_flag=True, default=None, help="Resume though NumPy, BLAS or processor are others.")
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), help="Write what ranks did when (Perfetto).")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long ranks wait for each other [default: 30].")
@_device
@_threads
def train(ranks: int | None, threads: int | None, **options: Any) -> int:
    """Train a model; ranks are one a core by default, and change no bit of the result."""
    environment.prepare(threads)
    from .train import train

    return train({name: value for name, value in options.items() if value is not None}, ranks)


@cli.command("eval", context_settings=_HELP)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", "--dataset", "data", help="Other data than the checkpoint's own.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples at once; changes no bit [default: 256].")
@_ranks
@_device
@_threads
def evaluate(
    checkpoint: Path, data: str | None, batch: int | None, ranks: int | None, device: str | None, threads: int | None
) -> int:
    """Loss and accuracy of a checkpoint (or of the newest in a run's folder) on the test images."""
    environment.prepare(threads)
    from .evaluate import evaluate

    return evaluate(checkpoint, data, device or "cpu", ranks, batch or 256)


@cli.command(context_settings=_AS_GIVEN)
@_ranks
@_threads
@click.option("--as-torch", is_flag=True, help="Let `import torch` in the script give ddpnet.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(script: str, arguments: tuple[str, ...], ranks: int | None, threads: int | None, as_torch: bool) -> int:
    """Run a Python script on N ranks; on one (the default) in this process, without MPI, for the debugger."""
    environment.prepare(threads)
    from .run import run

    return run(script, arguments, ranks, as_torch=as_torch)


@cli.command(context_settings=_AS_GIVEN)
@_ranks
@_threads
@click.option("--steps", type=click.IntRange(min=1), help="To measure; then the script is ended [default: 20].")
@click.option("--skip", type=click.IntRange(min=0), help="Steps before, in which kernels compile [default: 5].")
@click.option("--shapes", is_flag=True, help="A row for each shape of an operation's output.")
@click.option("--rows", type=click.IntRange(min=1), help="Operations to show [default: 20].")
@click.option("--json", "out", type=click.Path(dir_okay=False), help="Also write everything to this file.")
@click.option("--as-torch", is_flag=True, help="Let `import torch` in the script give ddpnet.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def profile(script: str, ranks: int | None, threads: int | None, **options: Any) -> int:
    """Where the steps of a Python script spend their time, by phase and by operation.

    The script is an ordinary training loop, and stays as it is: a step ends where optimizer.step() does.
    """
    environment.prepare(threads)
    from .profile import Options, profile

    return profile(Options(script, **{name: value for name, value in options.items() if value is not None}), ranks)


@cli.group(cls=Commands, context_settings=_HELP)
def bench() -> None:
    """Measure what this machine can do."""


@bench.command("comm", context_settings=_HELP)
@_ranks
@click.option("--shards", type=click.IntRange(min=1), help="Leaves of the tree of additions [default: the ranks].")
@click.option("--rounds", type=click.IntRange(min=1), help="Of measurements in turn [default: 15].")
@click.option("--max-mib", type=click.FloatRange(min=0, min_open=True), help="The largest all-reduce [default: 64].")
@click.option("--model-bytes", type=click.IntRange(min=4), help="Gradients of a step [default: 2,143,272].")
@click.option("--compute-ms", type=click.FloatRange(min=0, min_open=True), help="A rank's part of it [default: 7.5].")
@click.option("--latency-us", type=click.FloatRange(min=0), help="Between hosts, to predict [default: as measured].")
@click.option("--gbit", type=click.FloatRange(min=0, min_open=True), help="The bandwidth there, Gbit/s.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the numbers here.")
def bench_comm(ranks: int | None, out: Path | None, **options: Any) -> int:
    """Messages and all-reduce of this machine beside plain MPI's, and what that means for steps on more ranks."""
    environment.prepare()
    from .bench import bench_comm

    return bench_comm(ranks, out, **options)


@cli.command(context_settings=_HELP)
def doctor() -> int:
    """What is here, what is wrong, and what mends it."""
    environment.prepare()
    from .doctor import doctor

    return doctor()


def main() -> None:
    """The console script: exit code 2 for a command that cannot be understood, 1 for one that cannot be done."""
    sys.exit(_run())


def _run() -> int:
    try:
        return int(cli.main(prog_name="ddpnet", standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.ClickException as error:
        return _refuse(error.format_message(), error.exit_code)
    except Exception as error:
        from ddpnet.errors import InputError

        if not isinstance(error, InputError):
            raise
        return _refuse(str(error), 1)


def _refuse(message: str, code: int) -> int:
    """One line on standard error, from one rank."""
    if os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")) == "0":
        click.echo(f"ddpnet: error: {' '.join(message.split())}", err=True)
    return code
