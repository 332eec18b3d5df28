"""What the environment says of this process: whether a launcher started it as one of several ranks, and deadlines."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from ddpnet.errors import InputError

TIMEOUT = "DDPNET_TIMEOUT"
"""Names the variable in which a launcher gives its ranks another deadline."""
TIMEOUT_SECONDS = 30.0
"""How long a rank waits for another one before it says so."""

# (rank, size) in the order of trust. SLURM sets its sizes in batch scripts, too: only a step has ranks.
_LAUNCHERS = (
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI (MPICH, Intel MPI, Cray)", "PMI_RANK", "PMI_SIZE"),
    ("MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)


def launched_world(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """(rank, size) of this process as its launcher announced them; None if none did."""
    for _, rank, size in _LAUNCHERS:
        if rank in environ and size in environ:
            return int(environ[rank]), int(environ[size])
    if "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
        return int(environ["SLURM_PROCID"]), int(environ.get("SLURM_STEP_NUM_TASKS", environ["SLURM_NTASKS"]))
    return None


def default_timeout(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds from DDPNET_TIMEOUT; InputError unless they are a positive number (inf: wait for ever)."""
    text = environ.get(TIMEOUT)
    if text is None:
        return TIMEOUT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InputError(f"{TIMEOUT}: expected a positive number of seconds, got {text!r}")
    return seconds


def memory_is_shared(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ranks of one host may use common memory: DDPNET_SHARED_MEMORY, 1 (the default) or 0."""
    text = environ.get("DDPNET_SHARED_MEMORY", "1")
    if text not in ("0", "1"):
        raise InputError(f"DDPNET_SHARED_MEMORY: expected 0 or 1, got {text!r}")
    return text == "1"
