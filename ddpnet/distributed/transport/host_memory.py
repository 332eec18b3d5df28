"""Memory that the processes of one host share (Linux): without a name, so that nothing is left when they are killed.

An anonymous file in memory is made by its owner and opened by the others through `/proc`. Unlike a file in /dev/shm it
is not limited by the size of a mount (64 MB in a container), and goes with the last process that maps it.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import platform
from pathlib import Path

import numpy as np

AVAILABLE = hasattr(os, "memfd_create")


def machine() -> bytes:
    """32 bytes, equal for processes that can share memory: one host, one boot, one namespace of processes."""
    parts = [platform.node(), _text("/proc/sys/kernel/random/boot_id")]
    try:
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError as error:
        parts.append(type(error).__name__)
    return hashlib.sha256("\n".join(parts).encode()).digest()


def create(nbytes: int, ranks: int = 1) -> tuple[int, np.ndarray]:
    """A file descriptor and its memory, uint8 (nbytes,), zeros.

    OSError where there is not enough for as many `ranks`, each of which makes one: that is looked up beforehand, since
    Linux would end a process that takes the last of it.
    """
    free = available_bytes()
    if free is not None and nbytes * ranks > free:
        raise OSError(errno.ENOMEM, f"only {free} bytes are free")
    descriptor = os.memfd_create("ddpnet", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, max(nbytes, 1))  # here it can fail; later it would be a SIGBUS
        return descriptor, _map(descriptor, nbytes)
    except BaseException:
        os.close(descriptor)
        raise


def attach(process: int, descriptor: int, nbytes: int) -> np.ndarray:
    """The memory that another process has made; OSError if it cannot be seen from here."""
    mine = os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
    try:
        return _map(mine, nbytes)
    finally:
        os.close(mine)


def available_bytes() -> int | None:
    """What the host, or the container, can still give to processes; None if it does not say."""
    found = [int(line.split()[1]) * 1024 for line in _text("/proc/meminfo").splitlines() if "MemAvailable:" in line]
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        used = dict(line.split() for line in _text("/sys/fs/cgroup/memory.stat").splitlines() if line.count(" ") == 1)
        found.append(int(limit) - int(used.get("anon", 0)) - int(used.get("shmem", 0)))
    return min(found, default=None)


def _map(descriptor: int, nbytes: int) -> np.ndarray:
    memory = mmap.mmap(descriptor, max(nbytes, 1), flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    return np.frombuffer(memory, np.uint8)[:nbytes]


def _text(path: str) -> str:
    """A file of the kernel; its absence is a text, too."""
    try:
        return Path(path).read_text()
    except OSError as error:
        return type(error).__name__
