"""Where compiled kernels are kept between runs: a file each, whole or not used."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
"""The environment names the folder by it."""

_DIGEST = hashlib.sha256().digest_size
_ENDING = ".kernel"
_PACKAGE = Path(__file__).parents[2]
_IMPORT = re.compile(r"^from ddpnet\.(kernels[\w.]*) import (\([^)]*\)|[^(\n]+)", re.MULTILINE)


@cache
def folder() -> Path | None:
    """The folder that the environment names, else the first that is ours and writable; None if there is none.

    These are the user's cache and one in the system's folder for temporary files. What lies there is executed: so
    nobody else may be able to write it.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named, "ddpnet").absolute()
    return next((place for place in _usual_folders() if _is_ours(place)), None)


def _usual_folders() -> list[Path]:
    home = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(home))
    temporary = Path(tempfile.gettempdir(), f"ddpnet-kernels-{os.getuid()}")
    return [place for place in (caches / "ddpnet" / "kernels", temporary) if place.is_absolute()]


def _is_ours(place: Path) -> bool:
    """Make the folder if it is missing; whether this user, and no other, can write there."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return ours and os.access(place, os.W_OK | os.X_OK)


def read(name: str) -> bytes | None:
    """What was kept under a name; None if nothing is there, or something cut short, changed or not this user's.

    What comes back is executed: so a file that another user, but for root, wrote or may write is not looked at.
    """
    place = folder()
    if place is None:
        return None
    try:
        with (place / f"{name}{_ENDING}").open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022:
                return None
            data = file.read()
    except OSError:
        return None
    digest, content = data[:_DIGEST], data[_DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(name: str, content: bytes) -> bool:
    """Keep `content` under a name; False where that cannot be done: a full disk, a folder that cannot be written."""
    place = folder()
    if place is None:
        return False
    part = place / f"{name}.part"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(content).digest() + content)
        part.chmod(0o644)
        part.replace(place / f"{name}{_ENDING}")
    except OSError:
        with suppress(OSError):
            part.unlink()
        return False
    return True


def is_writable() -> bool:
    """Whether kernels can be kept here; a folder that is missing is made."""
    place = folder()
    if place is None:
        return False
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK | os.X_OK)


def kept() -> tuple[int, int]:
    """How many kernels there are, of all versions and machines, and their bytes."""
    place = folder()
    sizes = [path.stat().st_size for path in place.glob(f"*{_ENDING}")] if place is not None else []
    return len(sizes), sum(sizes)


@cache
def sources(path: Path) -> bytes:
    """A digest of a file of kernels and of all files below ddpnet.kernels whose names it takes in."""
    digest, waiting, seen = hashlib.sha256(), [path], {path}
    while waiting:
        text = waiting.pop().read_text()
        digest.update(text.encode())
        for module, names in _IMPORT.findall(text):
            whole = _PACKAGE.joinpath(*module.split("."))
            for file in (whole.with_suffix(".py"), *(whole / f"{name}.py" for name in re.findall(r"\w+", names))):
                if file not in seen and file.is_file():
                    seen.add(file)
                    waiting.append(file)
    return digest.digest()
