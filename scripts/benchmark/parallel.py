"""What data parallelism costs: figures of steps on several ranks, each beside its limit, measured in one run.

    parallel.py [CASE ...]

Each case starts ranks of its own. `link` needs root: it builds hosts in network namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
CASES = ("idle", "busy", "efficiency", "unbalanced", "fingerprint", "timeline", "zero", "link")
RANKS = {"unbalanced": 4, "zero": 4}
DEADLINE_S = 300
Figure = dict[str, Any]


def figure(name: str, value: float, limit: float, *, least: bool = False, detail: str = "") -> Figure:
    """A measured value and the most, or the `least`, that it may be."""
    return {"name": name, "value": value, "limit": limit, "least": least, "detail": detail}


# Starting ranks


def measure(case: str) -> list[Figure]:
    """The figures of a case, measured on ranks of its own."""
    if case == "link":
        return measure_link()
    mpiexec = Path(sys.executable).parent / "mpiexec"
    command = [str(mpiexec), "-n", str(RANKS.get(case, 2)), sys.executable, __file__, "--rank", case]
    return _figures(command, {**os.environ, **ONE_THREAD})


def measure_link(megabits: float = 50) -> list[Figure]:
    """Steps with compressed gradients on two hosts behind a slow link."""
    from hosts import Hosts, missing

    if reason := missing():
        print(f"link: left out: {reason}")
        return []
    with Hosts(2, megabits=megabits) as hosts:
        command = hosts.command([sys.executable, __file__, "--rank", "link"], 1)
        return _figures(command, {**hosts.environment(), **ONE_THREAD})


def _figures(command: Sequence[str], environment: dict[str, str]) -> list[Figure]:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}")
    figures: list[Figure] = json.loads(done.stdout.splitlines()[-1])
    return figures


# What each rank does


def work(case: str) -> None:
    """Measure a case together with the other ranks; rank 0 prints the figures."""
    from ddpnet.distributed import connect

    comm = connect()
    figures = globals()[f"_{case}"](comm)
    if comm.rank == 0:
        print(json.dumps(figures))


def _mlp(torch: Any, width: int = 512) -> Any:
    """784-512-256-10: 535,818 parameters."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 10))


class Loop:
    """Steps of a model on this rank's shards of a global batch."""

    def __init__(self, comm: Any, batch: int, model: Any = None, shards: int = 8, **options: Any) -> None:
        import ddpnet as torch
        from ddpnet.distributed import Reducer

        torch.manual_seed(0)
        self.model = _mlp(torch) if model is None else model
        self.comm, self.batch, self.torch = comm, batch, torch
        self.reducer = Reducer(self.model, comm, shards, **options)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.images, self.labels = torch.randn(batch, 784), torch.randint(0, 10, (batch,))

    def compute(self, rows: slice) -> None:
        """Forward and backward of a shard."""
        self.torch.nn.functional.cross_entropy(self.model(self.images[rows]), self.labels[rows]).backward()

    def gradients(self) -> None:
        """A step but for the optimizer's part."""
        self.reducer.run(self.batch, self.compute)
        self.reducer.reduce()

    def step(self) -> None:
        """One optimizer step."""
        self.gradients()
        self.optimizer.step()


def _rounds(comm: Any, actions: Sequence[Callable[[], Any]], rounds: int = 15, steps: int = 4) -> list[list[float]]:
    """For each action its seconds in each round, of the slowest rank; the actions take turns."""
    import numpy as np

    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, seconds in zip(actions, times, strict=True):
            comm.barrier()
            started = time.perf_counter()
            for _ in range(steps):
                action()
            mine = np.array([(time.perf_counter() - started) / steps])
            seconds.append(float(np.max(comm.all_gather(mine))))
    return times


def _ratio(times: list[float], others: list[float]) -> float:
    """The median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def _exchange(comm: Any, elements: int) -> Callable[[], None]:
    """An all-reduce of so many float32 numbers, as a step makes it."""
    import numpy as np

    from ddpnet.distributed.exchange import AllReduce
    from ddpnet.distributed.window import Window

    everything = AllReduce(comm, comm.size, Window(comm, [elements], [np.dtype(np.float32)], 1))
    return lambda: everything.run([0], [None])


def _idle(comm: Any) -> list[Figure]:
    """How much of the exchange is hidden beside a backward pass that leaves the core idle, as on a GPU."""
    import ddpnet as torch

    class Sleep(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            time.sleep(1.5e-3)
            return g

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ParameterList([torch.zeros(512, 512) for _ in range(25)])

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = Sleep.apply(x) + layer[:1, :1] * x
            return x

    def loop(**options: Any) -> Loop:
        made = Loop(comm, 2, Net(), 2, bucket_bytes=2**20, **options)
        made.compute = lambda rows: made.model(torch.ones(1, 1)).sum().backward()  # type: ignore[method-assign]
        return made

    early, late = loop(overlap=True), loop(overlap=False)

    def alone() -> None:
        late.reducer.run(2, late.compute)

    for each in (early, late):
        each.gradients(), each.gradients(), each.gradients()
    times = _rounds(comm, [early.gradients, late.gradients, alone], 15, 2)
    beside, after, computing = (statistics.median(t) for t in times)
    hidden = 1 - (beside - computing) / (after - computing)
    detail = (
        f"computing {1e3 * computing:.2f} ms, and exchange after it {1e3 * after:.2f}, beside it {1e3 * beside:.2f}"
    )
    return [figure("part of an exchange hidden beside idle cores", hidden, 0.95, least=True, detail=detail)]


def _busy(comm: Any) -> list[Figure]:
    """The measured choice, beside an exchange after backward, where every core computes."""
    chosen, late = Loop(comm, 512), Loop(comm, 512, overlap=False)
    for _ in range(16):
        chosen.step(), late.step()
    times = _rounds(comm, [chosen.step, late.step])
    detail = f"exchange beside backward: {chosen.reducer.overlaps}"
    return [figure("step, overlap by measurement / after backward", _ratio(*times), 1.02, detail=detail)]


def _efficiency(comm: Any) -> list[Figure]:
    """Two ranks beside the machine's own limit: the same shards on one rank, halved, and what cannot be hidden."""
    from ddpnet.distributed.solo import SoloCommunicator

    together, alone = Loop(comm, 512), Loop(SoloCommunicator(), 512)
    exchange = _exchange(comm, sum(p.numel() for p in together.model.parameters()))
    for _ in range(16):
        together.step(), alone.step(), exchange()

    def one() -> None:
        if comm.rank == 0:
            alone.step()

    two, single, exchanged = _rounds(comm, [together.step, one, exchange])
    limits = [s / 2 + e for s, e in zip(single, exchanged, strict=True)]
    value = _ratio(limits, two)
    detail = (
        f"2 ranks {1e3 * statistics.median(two):.2f} ms, 1 rank {1e3 * statistics.median(single):.2f} ms, "
        f"exchange {1e3 * statistics.median(exchanged):.3f} ms"
    )
    return [figure("efficiency of 2 ranks, MLP, batch 512", value, 0.95, least=True, detail=detail)]


def _unbalanced(comm: Any) -> list[Figure]:
    """Four ranks on two cores, of which one computes three times as much: what those that wait cost."""
    import numpy as np

    exchange, matrix = _exchange(comm, 61_706), np.ones((300, 300), np.float32)
    times_as_much = 3 if comm.rank == 0 else 1

    def compute(units: int) -> None:
        for _ in range(20 * units):
            matrix @ matrix

    def unbalanced() -> None:
        compute(times_as_much)
        exchange()

    def alone() -> None:
        if comm.rank == 0:
            compute(3)

    for _ in range(3):
        unbalanced()
    whole, longest = _rounds(comm, [unbalanced, alone], 15, 4)
    return [figure("4 unbalanced ranks on 2 cores / longest rank", _ratio(whole, longest), 1.10)]


def _fingerprint(comm: Any) -> list[Figure]:
    """What it costs to compare the ranks in every step."""
    from ddpnet.distributed.watch import Watch
    from ddpnet.training.models import LeNet

    figures = []
    for name, model, batch in (("LeNet, batch 64", LeNet(), 64), ("MLP, batch 512", None, 512)):
        loop = Loop(comm, batch, model)
        if model is not None:
            loop.images = loop.torch.randn(batch, 1, 32, 32)
        watch = Watch(loop.model, loop.optimizer, comm)

        def watched(watch: Any = watch, step: Callable[..., None] = loop.step) -> None:
            watch.begin(0)
            watch.word()

        for _ in range(16):
            loop.step(), watched()
        both = _rounds(comm, [watched, loop.step], 15, 8)
        figures.append(figure(f"fingerprint / step, {name}", _ratio(*both), 0.02))
    return figures


def _timeline(comm: Any) -> list[Figure]:
    """A step that is recorded, beside one that is not."""
    from ddpnet import spans

    loop = Loop(comm, 512)

    def traced() -> None:
        spans.record(recorder)
        loop.step()
        spans.record(None)

    recorder = spans.Recorder()
    for _ in range(16):
        loop.step(), traced()
    times = _rounds(comm, [traced, loop.step], 25, 4)
    return [figure("step with a timeline / without", _ratio(*times), 1.01)]


def _zero(comm: Any) -> list[Figure]:
    """The optimizer's state on the rank that has most of it."""
    import numpy as np

    import ddpnet as torch
    from ddpnet.distributed.optim import ZeroRedundancyOptimizer

    model, whole = _mlp(torch), _mlp(torch)
    cut, plain = (
        ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, comm),
        torch.optim.Adam(whole.parameters()),
    )
    for each, optimizer in ((model, cut), (whole, plain)):
        each(torch.ones(8, 784)).sum().backward()
        optimizer.step()
    total = sum(v.nbytes for state in plain.state.values() for v in state.values())
    most = int(np.max(comm.all_gather(np.array([cut.local_state_bytes()]))))
    return [figure(f"optimizer state on one of {comm.size} ranks / whole", most / total, 1 / comm.size + 0.05)]


def _link(comm: Any) -> list[Figure]:
    """Steps with compressed gradients, beside plain ones."""
    kinds = {"fp16": 1.8, "bf16": 1.8, "powersgd": 5.0}
    plain = Loop(comm, 64, shards=2)
    loops = {kind: Loop(comm, 64, shards=2, compression=kind) for kind in kinds}
    for _ in range(16 if comm.size == 1 else 4):
        for loop in (plain, *loops.values()):
            loop.step()
    base, *others = _rounds(comm, [plain.step, *(loop.step for loop in loops.values())], 5, 2)
    return [
        figure(f"speed of a step with {kind}, 50 Mbit/s", _ratio(base, times), limit, least=True)
        for (kind, limit), times in zip(kinds.items(), others, strict=True)
    ]


def main() -> None:
    """Print the figures of the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        work(options.rank)
        return
    figures: list[Figure] = []
    for case in options.case or CASES:
        for found in measure(case):
            figures.append(found)
            good = found["value"] >= found["limit"] if found["least"] else found["value"] <= found["limit"]
            sign = ">=" if found["least"] else "<="
            print(
                f"{found['name']:<52}{found['value']:>8.3f} {sign} {found['limit']:<7.3f}{'yes' if good else 'NO':<5}"
                f"{found['detail']}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
