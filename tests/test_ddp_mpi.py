"""DistributedDataParallel on real ranks under MPI."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from ranks import MPIEXEC, run

SCRIPT = """
    from datetime import timedelta

    import ddpnet as torch
    import ddpnet.distributed as dist
    from ddpnet import nn
    from ddpnet.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
    from ddpnet.nn.parallel import DistributedDataParallel as DDP

    dist.init_process_group("mpi", timeout=timedelta(seconds=20))
    me, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    DATA = torch.randn(40, 6)


    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 8)
            self.branches = nn.ModuleList([nn.Linear(8, 2) for _ in range(4)])

        def forward(self, x, branch):
            return self.branches[branch](torch.tanh(self.first(x)))


    def build():
        torch.manual_seed(1)
        return Branches()


    def agrees(model, alone, tolerance=1e-5):
        for p, q in zip(model.module.parameters(), alone.parameters()):
            assert (p.grad is None) == (q.grad is None)
            if q.grad is not None:
                assert torch.allclose(p.grad, q.grad, rtol=tolerance, atol=tolerance), (p.grad, q.grad)


    # Each rank uses another branch in each step; uneven parts of the batch; buckets of one parameter each.
    bounds = [40 * rank * rank // (size * size) for rank in range(size + 1)]
    for options in ({}, {"find_unused_parameters": True, "bucket_cap_mb": 1e-5, "gradient_as_bucket_view": True}):
        model, alone = DDP(build(), **options), build()
        for step in range(16):
            model.zero_grad(), alone.zero_grad()
            model(DATA[bounds[me] : bounds[me + 1]], (me + step) % 4).pow(2).mean().backward()
            parts = [alone(DATA[bounds[r] : bounds[r + 1]], (r + step) % 4).pow(2).sum(1) for r in range(size)]
            (torch.cat(parts).sum() / 80).backward()
            agrees(model, alone)

    # Hooks, whose messages pass beside ours.
    for hook, tolerance in ((default_hooks.allreduce_hook, 1e-5), (default_hooks.fp16_compress_hook, 5e-3)):
        model, alone = DDP(build(), bucket_cap_mb=1e-4), build()
        model.register_comm_hook(None, hook)
        for step in range(5):
            model.zero_grad(), alone.zero_grad()
            model(DATA[me::size][:10], 0).pow(2).mean().backward()
            sum(alone(DATA[r::size][:10], 0).pow(2).mean() / size for r in range(size)).backward()
            agrees(model, alone, tolerance)
    model = DDP(build())
    model.register_comm_hook(powerSGD_hook.PowerSGDState(None, 1, 2, 1), powerSGD_hook.powerSGD_hook)
    for step in range(5):
        model(DATA[me::size], 0).pow(2).mean().backward()

    # What changes in the wrapper in each step ends no recording of what is wrapped.
    model, alone = torch.compile(DDP(build())), build()
    for step in range(6):
        model.zero_grad(), alone.zero_grad()
        with model.no_sync():
            model(DATA[me::size][:10], 0).pow(2).mean().backward()
        model(DATA[me::size][:10], 0).pow(2).mean().backward()
        sum(alone(DATA[r::size][:10], 0).pow(2).mean() * 2 / size for r in range(size)).backward()
        agrees(model, alone)
    assert model.module.forward.has_programs, model.module.forward.reasons

    # Rank r has 3 + 2 r inputs.
    model = DDP(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with model.join():
        for step in range(3 + 2 * me):
            optimizer.zero_grad()
            model(DATA[step : step + 4], 0).pow(2).mean().backward()
            optimizer.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    every = [torch.empty_like(weights) for _ in range(size)]
    dist.all_gather(every, weights)
    assert all(torch.equal(weights, other) for other in every)
    dist.barrier()
    if me == 0:
        print("agrees on", size, "ranks")
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("ranks", [2, 3])
def test_unused_parameters_hooks_and_uneven_inputs(tmp_path: Path, ranks: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = run([MPIEXEC, "-n", str(ranks), sys.executable, script], cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"agrees on {ranks} ranks" in done.out
