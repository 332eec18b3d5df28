"""One process of a benchmark: makes steps when told to through a pipe, and writes down how long they took.

    worker.py LIBRARY BATCH PIPE RESULTS [RANKS]

Between rounds a worker blocks on its pipe and so takes no time from its peer.
"""

from __future__ import annotations

import os
import sys
import time

library, batch, pipe, results = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
ranks = int(sys.argv[5]) if len(sys.argv) > 5 else 1

if library == "torch":
    import torch

    torch.set_num_threads(1)
    import torch.distributed as distributed
else:
    import ddpnet as torch  # type: ignore[no-redef]
    from ddpnet import distributed  # type: ignore[no-redef]
from models import step_function  # noqa: E402 - after the library, whose settings come before NumPy

rank, wrap = 0, None
if ranks > 1:
    distributed.init_process_group("gloo")
    rank, wrap = distributed.get_rank(), torch.nn.parallel.DistributedDataParallel
step = step_function(torch, "lenet", batch, wrap=wrap)
with open(f"{pipe}-{rank}") as orders, open(f"{results}-{rank}", "w") as report:
    for order in orders:
        steps = int(order)
        if ranks > 1:
            distributed.barrier()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        if ranks > 1:
            distributed.barrier()
        print((time.perf_counter() - started) / steps, file=report, flush=True)
os._exit(0)
