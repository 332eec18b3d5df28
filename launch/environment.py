"""What must be set in a process before NumPy loads: the threads of libraries. `import ddpnet` sets the rest itself."""

from __future__ import annotations

import os

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def prepare(threads: int | None = None) -> None:
    """Set up this process: `threads` for each library, else one where the user's environment says nothing.

    One thread a rank: ranks are the parallelism, and the last bits of a matrix product depend on the threads.
    """
    for name in THREAD_VARIABLES:
        if threads is not None:
            os.environ[name] = str(threads)
        else:
            os.environ.setdefault(name, "1")
