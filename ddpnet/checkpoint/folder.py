"""Checkpoints in the folder of a run: `step-00000030` and so on, each of them whole or absent.

A checkpoint is made under a temporary name and renamed when all of it is on disk. The temporary directory is
locked (`flock`) as long as its maker lives: what a killed run left is not locked, and the next save
removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ddpnet
from ddpnet.checkpoint import arrays, plain
from ddpnet.checkpoint.manifest import MANIFEST, describe, read, read_whole, regular_size
from ddpnet.errors import InputError

_NAME = re.compile(r"step-[0-9]{8,}")
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on, the same on any number of ranks.

    `model` and `optimizer` are state dicts with NumPy arrays in place of tensors, `schedule` is that of the
    learning rate, `step` the number of steps taken, `settings` the options of the run, and `fingerprint` what
    the bits depend on.
    """

    path: Path
    model: dict[str, np.ndarray]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    step: int
    settings: dict[str, Any]
    fingerprint: dict[str, str]


def save(
    run_folder: Path,
    *,
    model: dict[str, np.ndarray],
    optimizer: dict[str, Any],
    schedule: dict[str, Any] | None,
    step: int,
    settings: dict[str, Any],
    fingerprint: dict[str, str],
) -> Path:
    """Save a checkpoint in the folder of a run, which is made if there is none, and return the checkpoint's path.

    When it returns, the checkpoint is on disk; if it fails, at any point, nothing has changed. InputError if
    there is a checkpoint of this step (it stays as it is), or if the disk does not take it; TypeError, naming
    the place, for data that cannot be saved, and ValueError for a negative step.
    """
    if step < 0:
        raise ValueError(f"step: expected 0 or more, got {step}")
    final = Path(run_folder) / f"step-{step:08d}"
    optimizer_arrays: dict[str, np.ndarray] = {}
    state = {
        "step": step,
        "settings": plain.to_json(settings, name="settings"),
        "fingerprint": plain.to_json(fingerprint, name="fingerprint"),
        "schedule": plain.to_json(schedule, name="schedule"),
        "optimizer": plain.to_json(optimizer, optimizer_arrays),
        "model": list(model),
    }
    files = {
        "model.safetensors": arrays.to_bytes(model),
        "optimizer.safetensors": arrays.to_bytes(optimizer_arrays),
        "state.json": plain.encode(state),
    }
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _refuse_existing(final)
        _remove_unfinished(final.parent)
        _write(final, {**files, MANIFEST: describe(files, ddpnet.__version__)})
    except OSError as error:
        raise InputError(
            f"{final}: the checkpoint cannot be saved ({error.strerror or error}); nothing was changed: make room or "
            "choose another output folder"
        ) from error
    return final


def load(path: Path) -> Checkpoint:
    """Load a checkpoint after a check of every byte; InputError if it is damaged, not whole or too new."""
    path = Path(path)
    try:
        return _parse(path, read_whole(path))
    except InputError as error:
        others = (other for other in _candidates(path.parent) if other != path)
        whole = next(filter(_is_whole, others), None)
        remedy = f"; {whole} is whole: use that one" if whole else ""
        raise InputError(f"{error}{remedy}") from error


def newest(run_folder: Path) -> Path | None:
    """The checkpoint of the highest step that is whole, to its last byte; None if there is none."""
    return next((path for path in _candidates(Path(run_folder)) if _is_whole(path)), None)


def find(path: Path) -> Path:
    """The checkpoint that `path` is, or the newest whole one if it is the folder of a run; InputError if neither."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint or folder of a run")
    if not path.is_dir():
        raise InputError(f"{path}: expected a checkpoint, which is a folder, or the folder of a run; got a file")
    if _NAME.fullmatch(path.name) or os.path.lexists(path / MANIFEST):
        return path
    found = newest(path)
    if found is None:
        for unusable in _candidates(path):
            read_whole(unusable)  # raises, saying why
        raise InputError(f"{path}: holds no checkpoint")
    return found


def prune(run_folder: Path, keep: int) -> None:
    """Delete the whole checkpoints but the `keep` newest; the newest that is whole to its last byte always stays.

    Others than the newest count as whole by their manifest and the sizes of their files; what is not whole
    stays. ValueError for a `keep` below 1.
    """
    if keep < 1:
        raise ValueError(f"keep: expected at least 1 checkpoint, got {keep}")
    surplus = [path for path in _candidates(Path(run_folder)) if _is_complete(path)][keep:]
    last = newest(run_folder) if surplus else None
    for path in reversed(surplus):
        if path != last:
            doomed = _unfinished_name(path)
            path.rename(doomed)
            shutil.rmtree(doomed)


@contextmanager
def claimed(run_folder: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it; where the file system has no locks, go on without.

    If nothing was saved in it when the context ends, it goes again. InputError, before anything is computed, if it
    cannot be made or written to, or if another run has claimed it.
    """
    is_new = not run_folder.exists()
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{run_folder}: {error.strerror}: choose another output folder for checkpoints") from error
    try:
        if not os.access(run_folder, os.W_OK | os.X_OK):
            raise InputError(f"{run_folder}: cannot be written to: choose another output folder for checkpoints")
        with suppress(OSError):
            _lock(run_folder, descriptor)
        try:
            yield
        finally:
            if is_new:
                with suppress(OSError):  # it holds a checkpoint
                    run_folder.rmdir()
    finally:
        os.close(descriptor)


def _lock(run_folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{run_folder}: another run saves its checkpoints there: let it end, or choose another output folder"
        ) from error


# Writing


def _write(final: Path, files: dict[str, bytes]) -> None:
    """Write files, in their order, into a new directory `final`, which appears when all of them are on disk."""
    temporary = _unfinished_name(final)
    temporary.mkdir()
    try:
        with _locked(temporary):
            for name, data in files.items():
                _write_file(temporary / name, data)
            _sync(temporary)
            _refuse_existing(final)
            _rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(final.parent)


def _write_file(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            _refuse_existing(final)
        raise


def _refuse_existing(final: Path) -> None:
    if os.path.lexists(final):
        raise InputError(
            f"{final}: exists already and is not overwritten; move it away or choose another output folder"
        )


def _unfinished_name(path: Path) -> Path:
    return path.with_name(f"{_UNFINISHED}{path.name}-{uuid.uuid4().hex}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a directory; where the file system has no locks, go on without."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_unfinished(run_folder: Path) -> None:
    """Remove what killed runs left; what is locked, or on a file system without locks, stays."""
    for path in run_folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


# Reading


def _candidates(run_folder: Path) -> Iterator[Path]:
    """What is named like a checkpoint, the highest step first."""
    try:
        paths = [path for path in run_folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return iter(())
    return iter(sorted(paths, key=lambda path: int(path.name.removeprefix("step-")), reverse=True))


def _is_whole(path: Path) -> bool:
    """Whether every byte of a checkpoint is as its manifest says."""
    try:
        read_whole(path)
    except InputError:
        return False
    return True


def _is_complete(path: Path) -> bool:
    """Whether a checkpoint's manifest is sound and its files have their sizes."""
    try:
        return all(regular_size(path / name) == entry["size"] for name, entry in read(path).items())
    except InputError:
        return False


def _parse(path: Path, files: dict[str, bytes]) -> Checkpoint:
    try:
        model = arrays.from_bytes(files["model.safetensors"])
        optimizer_arrays = arrays.from_bytes(files["optimizer.safetensors"])
        state = plain.decode(files["state.json"])
        return Checkpoint(
            path=path,
            model={name: model[name] for name in state["model"]},
            optimizer=_expect(dict, plain.from_json(state["optimizer"], optimizer_arrays)),
            schedule=_expect(dict | None, plain.from_json(state["schedule"])),
            step=_expect(int, state["step"]),
            settings=_expect(dict, plain.from_json(state["settings"])),
            fingerprint=_expect(dict, plain.from_json(state["fingerprint"])),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: damaged checkpoint: its content cannot be read ({error})") from error


def _expect(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"expected {kind}, got {type(value).__name__}")
    return value
