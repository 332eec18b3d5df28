"""`ddpnet doctor`: what is here, what is wrong, and what mends it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from ddpnet import allocator, backend, blas
from ddpnet.errors import InputError
from ddpnet.kernels.cpu import storage

from . import machine, mpiexec

_TRIAL_SECONDS = 20.0
_TRIAL = Path(__file__).with_name("trial.py")
_GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """A row: `trouble` says what is wrong and what mends it, `fatal` that several ranks cannot work."""

    name: str
    value: str
    trouble: str = ""
    fatal: bool = False


def doctor() -> int:
    """Print the findings as they are made; 1 if training on several ranks cannot work here, else 0."""
    fatal = False
    for examine in (_python, _numpy, _numba, _mpi, _ranks, _machine, _gpu):
        for finding in examine():
            mark = "WRONG" if finding.fatal else "note" if finding.trouble else "ok"
            click.echo(f"{mark:<6} {finding.name:<12} {finding.value}")
            if finding.trouble:
                click.echo(f"{'':<19} -> {finding.trouble}")
            fatal = fatal or finding.fatal
    click.echo("training on several ranks cannot work here: see above" if fatal else "training on several ranks works")
    return int(fatal)


def _python() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("ddpnet", version("ddpnet"))


def _numpy() -> Iterator[Finding]:
    library = blas.describe()
    core_type, trouble = library["core type"], ""
    best = blas.best_core_type(blas.processor())
    if best is not None and core_type != best:
        here = os.environ.get("OPENBLAS_CORETYPE")
        cause = f"OPENBLAS_CORETYPE is {here}" if here else "NumPy was loaded before ddpnet"
        trouble = f"{best} kernels are faster on this processor ({cause}): export OPENBLAS_CORETYPE={best}"
    yield Finding("NumPy", version("numpy"))
    text = f"{library['library']} {library['version']}, core type {core_type}, {library['threads']} thread(s) a rank"
    yield Finding("BLAS", text, trouble)
    yield Finding("memory use", allocator.describe())


def _numba() -> Iterator[Finding]:
    yield Finding("Numba", version("numba"))
    place = storage.folder()
    cure = f"they are compiled at every start: name a folder that can be written by {storage.VARIABLE}"
    number, size = storage.kept()
    text = f"{number} compiled ({size / (1 << 20):.1f} MiB) in {place}" if place is not None else "there is no folder"
    yield Finding("kernels", text, "" if storage.is_writable() else cure)


def _mpi() -> Iterator[Finding]:
    try:
        yield Finding("mpi4py", version("mpi4py"))
    except PackageNotFoundError:
        yield Finding("mpi4py", "not installed", "pip install mpi4py", fatal=True)
    for name, find in (("library", mpiexec.find_library), ("launcher", _launcher)):
        yield _found(f"MPI {name}", find)
    try:
        mpiexec.find()
    except InputError as error:
        if "belongs to" in str(error):
            yield Finding("MPI", "launcher and library differ", str(error), fatal=True)


def _launcher() -> str:
    launcher = mpiexec.find_launcher()
    return f"{launcher.path} of {launcher.family} {launcher.version}"


def _found(name: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(name, find())
    except InputError as error:
        return Finding(name, "not found", str(error), fatal=True)


def _ranks() -> Iterator[Finding]:
    """Really start two."""
    command = [sys.executable, "-m", "ddpnet_launch", "run", "-n", "2", str(_TRIAL)]
    trial = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = trial.communicate(timeout=_TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        trial.kill()  # its ranks die with it
        yield Finding("2 ranks", "no answer", f"they did not end within {_TRIAL_SECONDS:.0f} s", fatal=True)
        return
    last = (said.strip() or "no output").splitlines()[-1]
    yield Finding("2 ranks", last) if trial.returncode == 0 else Finding("2 ranks", "failed", last, fatal=True)


def _machine() -> Iterator[Finding]:
    cores, present = machine.cores(), os.cpu_count() or 1
    yield Finding("cores", f"{cores}" + (f" of {present}, as affinity or a quota allows" if cores < present else ""))
    memory = machine.memory()
    if memory is not None:
        yield Finding("memory", f"{memory[0] / _GIB:.1f} GiB free of {memory[1] / _GIB:.1f}")


def _gpu() -> Iterator[Finding]:
    count = backend.cuda_device_count()
    if count:
        yield Finding("GPU", f"{count} CUDA device(s), CuPy {backend.cupy().__version__}")
    elif machine.has_nvidia_driver():
        cure = "no usable CuPy: pip install 'ddpnet[cuda13]' (or 'ddpnet[cuda12]', as the driver needs)"
        yield Finding("GPU", "there is an NVIDIA driver", cure)
    else:
        yield Finding("GPU", "none")
