"""Which ways of sending messages there are (`torch.distributed.is_*_available`)."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys
from pathlib import Path


class Backend(str):  # as PyTorch's: its values are the names in lower case
    """A name of `init_process_group`, in lower case: MPI carries the messages of all of them. ValueError for others."""

    MPI, GLOO, NCCL = "mpi", "gloo", "nccl"

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish: {name}")
        parts = [part.rpartition(":") for part in name.lower().split(",")]
        for device, _, backend in parts:
            if backend not in (cls.MPI, cls.GLOO, cls.NCCL) or device not in ("", "cpu", "cuda"):
                raise ValueError(f"Invalid backend: '{name}'; expected one of {cls.MPI}, {cls.GLOO}, {cls.NCCL}")
        return super().__new__(cls, name.lower())


def is_available() -> bool:
    """True."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py and a library of MPI are installed; nothing is started."""
    if importlib.util.find_spec("mpi4py") is None:
        return False
    places = [Path(sys.prefix, "lib"), *map(Path, os.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    names = ("libmpi.so*", "libmpi.dylib")
    return (
        "MPI4PY_LIBMPI" in os.environ
        or "mpi4py.MPI" in sys.modules
        or any(next(place.glob(name), None) for place in places for name in names)
        or ctypes.util.find_library("mpi") is not None
    )


def is_gloo_available() -> bool:
    """True: programs that ask for it are served by MPI, or need nothing in a world of one."""
    return True


def is_nccl_available() -> bool:
    """False: tensors on a GPU go through the host's memory."""
    return False


def is_ucc_available() -> bool:
    """False."""
    return False


def is_xccl_available() -> bool:
    """False."""
    return False


def is_backend_available(backend: str) -> bool:
    """Whether there is a library of this name, or something in its place."""
    known = {"mpi": is_mpi_available, "gloo": is_gloo_available, "nccl": is_nccl_available}
    return backend.lower() in known and known[backend.lower()]()


def is_torchelastic_launched() -> bool:
    """Whether `torchrun` has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ
