"""A process that imports a library and makes a few steps: when it had done what, and the most memory that it had.

    fresh.py LIBRARY CASE BATCH STEPS [channels_last]

Prints JSON: seconds of the import, seconds of the import, the model and the first step, and bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time


def peak_bytes() -> int:
    """Of this process alone. On Linux `ru_maxrss` begins with what the parent had when it started this process."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


started = time.perf_counter()
library, case, batch, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if library == "torch":
    import torch

    imported = time.perf_counter()
    torch.set_num_threads(1)
else:
    import ddpnet as torch  # type: ignore[no-redef]

    imported = time.perf_counter()
from models import step_function  # noqa: E402 - the library is what is measured

step = step_function(torch, case, batch, channels_last="channels_last" in sys.argv)
step()
first = time.perf_counter()
for _ in range(steps - 1):
    step()
print(json.dumps({"import_s": imported - started, "first_step_s": first - started, "peak_bytes": peak_bytes()}))
