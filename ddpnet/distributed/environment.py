"""Whether a launcher started this process as one of several ranks: read from its variables, without MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping

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
