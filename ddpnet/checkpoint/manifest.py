"""The manifest of a checkpoint: what its files must be, to the last bit. It is written last.

It is canonical JSON with a digest of itself, so that a change of any byte of the checkpoint shows.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from ddpnet.checkpoint import plain
from ddpnet.errors import InputError

MANIFEST = "manifest.json"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
FORMAT = "ddpnet checkpoint"
VERSION = 1
"""The newest version of the format that this program reads, and the one that it writes."""

_MAX_BYTES = 2**16
"""More than any manifest has: it names three files."""


def describe(files: dict[str, bytes], program: str) -> bytes:
    """The manifest of files with these contents, written by this version of the program."""
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "program": program,
        "files": {name: {"size": len(data), "sha256": _sha256(data)} for name, data in files.items()},
    }
    return plain.encode({**manifest, "digest": _sha256(plain.encode(manifest))})


def read_whole(checkpoint: Path) -> dict[str, bytes]:
    """The contents of a checkpoint's files, each compared with the manifest: first its size, then its digest.

    InputError, naming the file, if the checkpoint is not whole, damaged, or newer than this program.
    """
    return {name: _read_checked(checkpoint / name, entry) for name, entry in read(checkpoint).items()}


def read(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Size and digest of each file, as the manifest says; InputError as `read_whole`."""
    path = checkpoint / MANIFEST
    if not os.path.lexists(path):
        raise InputError(f"{checkpoint}: not a whole checkpoint: it has no {MANIFEST}, which is written last")
    text = read_regular(path, limit=_MAX_BYTES)
    try:
        manifest = plain.decode(text)
    except ValueError as error:
        raise _damaged(path, f"it cannot be read ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path, f"expected format {FORMAT!r}")
    version = manifest.get("version")
    if type(version) is int and version > VERSION:
        raise InputError(
            f"{checkpoint}: written by a newer ddpnet (format {version}, this program reads up to {VERSION}): "
            "upgrade ddpnet"
        )
    return _entries(path, text, manifest)


def _entries(path: Path, text: bytes, manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of a manifest of this version, after the check of its digest and its form."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    try:
        sound = plain.encode(manifest) == text and manifest.get("digest") == _sha256(plain.encode(rest))
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise _damaged(path, "its digest does not match its content")
    files = manifest.get("files")
    if not isinstance(files, dict) or tuple(files) != FILES:
        names = ", ".join(files) if isinstance(files, dict) else files
        raise _damaged(path, f"expected the files {', '.join(FILES)}, got {names}")
    for entry in files.values():
        if not isinstance(entry, dict) or type(entry.get("size")) is not int or "sha256" not in entry:
            raise _damaged(path, f"expected size and sha256 of each file, got {entry}")
    return files


def _read_checked(path: Path, entry: dict[str, Any]) -> bytes:
    size = regular_size(path)
    if size != entry["size"]:
        raise _damaged(path, f"expected {entry['size']} bytes, got {size}")
    data = read_regular(path, limit=size)
    found = _sha256(data)
    if found != entry["sha256"]:
        raise _damaged(path, f"expected sha256 {str(entry['sha256'])[:12]}..., got {found[:12]}...")
    return data


def regular_size(path: Path) -> int:
    """The size of a file; InputError if it is missing, a link or no regular file."""
    try:
        status = path.lstat()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(path, "expected a regular file, not a link or a device")
    return status.st_size


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; InputError for anything else."""
    if regular_size(path) > limit:
        raise _damaged(path, f"expected at most {limit} bytes, got {regular_size(path)}")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path}: damaged checkpoint: {what}")
