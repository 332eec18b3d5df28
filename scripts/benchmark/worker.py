"""One process of a benchmark: repeats a task when told to through a socket, and answers how long it took.

    worker.py TASK

`TASK` is JSON: what `peers.Task` has, and the path of the socket. Between rounds the process waits for its socket, and
so takes no time from the others; it ends when the socket is closed.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

task = json.loads(sys.argv[1])
if task["kind"] == "torch":
    import torch

    torch.set_num_threads(1)
    import torch.distributed as distributed
else:
    import ddpnet as torch  # type: ignore[no-redef]
    from ddpnet import distributed  # type: ignore[no-redef]
import products  # noqa: E402 - after the library, whose settings come before NumPy
from models import step_function  # noqa: E402


def main() -> None:
    """Build the model, and answer orders."""
    parallel, on_gpu = task["ranks"] > 1, task["device"].startswith("cuda")
    if on_gpu and task["kind"] == "torch":
        torch.backends.cudnn.allow_tf32 = False  # float32, as everywhere
    if parallel:
        distributed.init_process_group("nccl" if on_gpu else "gloo")
        if on_gpu:
            torch.cuda.set_device(distributed.get_rank() % torch.cuda.device_count())
    step = _step()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(task["socket"])
        for order in connection.makefile():
            seconds = _timed(step, int(order), parallel)
            connection.sendall(repr(seconds).encode())
    if parallel:
        distributed.destroy_process_group()


def _step() -> Callable[[], None]:
    if task["kind"] == "sgemm":
        return products.repeated([products.LARGE], task["device"])
    if task["kind"] == "products":
        return products.repeated(products.of_step(torch, task["case"], task["batch"]), task["device"])
    wrap: Any = torch.nn.parallel.DistributedDataParallel if task["ranks"] > 1 else None
    return step_function(
        torch,
        task["case"],
        task["batch"] // task["ranks"],
        wrap=wrap,
        device=task["device"],
        channels_last=task["channels_last"],
        eager=task["eager"],
    )


def _timed(step: Callable[[], None], steps: int, parallel: bool) -> float:
    """Seconds a step."""
    on_gpu = task["device"].startswith("cuda")
    if parallel:
        distributed.barrier()
    if on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    if parallel:
        distributed.barrier()
    return (time.perf_counter() - started) / steps


if __name__ == "__main__":
    main()
