"""What each rank of a benchmark does: `cases.py CASE`, started on several ranks; rank 0 prints the figures as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Listener
from typing import Any

Figure = dict[str, Any]


def figure(name: str, value: float, limit: float, *, least: bool = False, detail: str = "") -> Figure:
    """A measured value and the most, or the `least`, that it may be."""
    return {"name": name, "value": value, "limit": limit, "least": least, "detail": detail}


WARM_UP = 32
"""Steps after which it is decided when gradients are exchanged, and kernels are compiled."""


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
        self.due = 0.0

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
    """For each action its seconds in each round, of the slowest rank; the actions take turns, back and forth."""
    import numpy as np

    times: list[list[float]] = [[] for _ in actions]
    turns = list(zip(actions, times, strict=True))
    for _ in range(rounds):
        turns.reverse()
        for action, seconds in turns:
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

    from ddpnet.distributed.step.exchange import AllReduce
    from ddpnet.distributed.step.window import Window

    everything = AllReduce(comm, comm.size, Window(comm, [elements], [np.dtype(np.float32)], 1))
    return lambda: everything.run([0], [None])


def _sleeping(comm: Any, sizes: Sequence[int], seconds: float, **options: Any) -> Loop:
    """Layers of square weights whose backward sleeps, as if a GPU computed; the first ones are small, as they are.

    Each layer's gradient is due so many `seconds` after that before it, as a GPU would have it: a core that wakes up
    late, as idle ones do, makes up for it in the next layer.
    """
    import ddpnet as torch

    class Layer(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, gradient: Any) -> Any:
            ctx.gradient = gradient
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            loop.due += seconds
            time.sleep(max(0.0, loop.due - time.perf_counter()))
            return g, ctx.gradient, None

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ParameterList([torch.zeros(n, n) for n in sizes])
            self.gradients = [torch.ones(n, n) for n in sizes]

        def forward(self, x: Any) -> Any:
            for weight, gradient in zip(self.layers, self.gradients, strict=True):
                x = Layer.apply(x, weight, gradient)
            return x

    loop = Loop(comm, 2, Net(), 2, **options)
    start = torch.ones(1, 1, requires_grad=True)

    def compute(rows: slice) -> None:
        loss = loop.model(start).sum()
        loop.due = time.perf_counter()
        loss.backward()

    loop.compute = compute  # type: ignore[method-assign]
    return loop


def _hidden(comm: Any, sizes: Sequence[int], seconds: float, name: str, rounds: int) -> list[Figure]:
    """How much of the exchange is hidden beside a backward pass that leaves the core idle."""
    early, late = (_sleeping(comm, sizes, seconds, overlap=overlap) for overlap in (True, False))

    def alone() -> None:
        late.reducer.run(2, late.compute)
        comm.barrier()  # ranks wait for the slowest one, with an exchange or without

    for each in (early, late):
        each.gradients(), each.gradients(), each.gradients()
    times = _rounds(comm, [early.gradients, late.gradients, alone], rounds, 2)
    beside, after, computing = (statistics.median(each) for each in times)
    hidden = 1 - (beside - computing) / (after - computing)
    total = 4 * sum(n * n for n in sizes) / 2**20
    parts = {"computing": computing, "with the exchange after it": after, "beside it": beside}
    detail = f"{total:.0f} MiB; ms: " + ", ".join(f"{name} {1e3 * value:.1f}" for name, value in parts.items())
    return [figure(f"part of an exchange hidden beside idle cores{name}", hidden, 0.95, least=True, detail=detail)]


def idle(comm: Any) -> list[Figure]:
    """Overlap on one host."""
    return _hidden(comm, [128] * 4 + [512] * 64, 0.5e-3, "", 31)


def wire(comm: Any) -> list[Figure]:
    """Overlap between two hosts."""
    return _hidden(comm, [64] * 4 + [256] * 24, 12e-3, ", 200 Mbit/s", 5)


def busy(comm: Any) -> list[Figure]:
    """The measured choice, beside an exchange after backward, where every core computes."""
    chosen, late = Loop(comm, 512), Loop(comm, 512, overlap=False)
    for _ in range(WARM_UP):
        chosen.step(), late.step()
    times = _rounds(comm, [chosen.step, late.step], 25)
    detail = f"exchange beside backward: {chosen.reducer.overlaps}"
    return [figure("step, overlap by measurement / after backward", _ratio(*times), 1.02, detail=detail)]


def efficiency(comm: Any) -> list[Figure]:
    """Two ranks beside the machine's own limit: the same shards on one rank, halved, and what cannot be hidden.

    Ranks share the machine's memory. So the one rank is timed while the other computes as much, and also without it.
    """
    from ddpnet.distributed.transport.solo import SoloCommunicator

    together, alone = Loop(comm, 512), Loop(SoloCommunicator(), 512)
    exchange = _exchange(comm, sum(p.numel() for p in together.model.parameters()))
    for _ in range(WARM_UP):
        together.step(), alone.step(), exchange()

    def one() -> None:
        if comm.rank == 0:
            alone.step()

    two, busy, single, exchanged = _rounds(comm, [together.step, alone.step, one, exchange], 25)
    figures = []
    for name, times in (("the other core computing", busy), ("the other core idle", single)):
        limits = [s / 2 + e for s, e in zip(times, exchanged, strict=True)]
        milliseconds = [1e3 * statistics.median(each) for each in (two, times, exchanged)]
        detail = "2 ranks {:.2f} ms, 1 rank {:.2f} ms, exchange {:.3f} ms".format(*milliseconds)
        title = f"efficiency of 2 ranks, MLP 512, {name}"
        figures.append(figure(title, _ratio(limits, two), 0.95, least=True, detail=detail))
    return figures


def _blocking_barrier(comm: Any) -> Callable[[], None]:
    """A barrier in which nobody spins: those who wait are asleep in the kernel until the last one comes."""
    with Listener() as listener:
        address = comm.broadcast_text(str(listener.address), 0)
        here = comm.rank == 0
        others = [listener.accept() for _ in range(comm.size - 1)] if here else [Client(address)]

    def wait() -> None:
        if comm.rank > 0:
            others[0].send_bytes(b"here")
        for other in others:
            other.recv_bytes()
        if comm.rank == 0:
            for other in others:
                other.send_bytes(b"go on")

    return wait


def unbalanced(comm: Any) -> list[Figure]:
    """Four ranks on two cores, of which one computes three times as much: what it costs how the others wait.

    The rest of what is lost against the longest rank alone is the system's: it lets two that compute share a core.
    """
    import numpy as np

    exchange, matrix = _exchange(comm, 61_706), np.ones((300, 300), np.float32)
    block = _blocking_barrier(comm)
    times_as_much = 3 if comm.rank == 0 else 1

    def compute(units: int) -> None:
        for _ in range(20 * units):
            matrix @ matrix

    def ours() -> None:
        compute(times_as_much)
        exchange()

    def blocking() -> None:
        compute(times_as_much)
        block()

    def alone() -> None:
        if comm.rank == 0:
            compute(3)
        block()

    for _ in range(3):
        ours(), blocking()
    times = _rounds(comm, [ours, blocking, alone], 25, 4)
    whole, asleep, longest = (1e3 * statistics.median(each) for each in times)
    detail = f"ms: ours {whole:.1f}, asleep {asleep:.1f}, longest rank alone {longest:.1f}"
    return [figure("4 unbalanced ranks on 2 cores / waiting asleep", _ratio(*times[:2]), 1.10, detail=detail)]


def fingerprint(comm: Any) -> list[Figure]:
    """What it costs to compare the ranks in every step."""
    from ddpnet.distributed.trust.watch import Watch
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

        for _ in range(WARM_UP):
            loop.step(), watched()
        both = _rounds(comm, [watched, loop.step], 15, 8)
        figures.append(figure(f"fingerprint / step, {name}", _ratio(*both), 0.02))
    return figures


def timeline(comm: Any) -> list[Figure]:
    """A step that is recorded, beside one that is not."""
    from ddpnet import spans

    loop = Loop(comm, 512)

    def traced() -> None:
        spans.record(recorder)
        loop.step()
        spans.record(None)

    recorder = spans.Recorder()
    for _ in range(WARM_UP):
        loop.step(), traced()
    times = _rounds(comm, [traced, loop.step], 25, 4)
    return [figure("step with a timeline / without", _ratio(*times), 1.01)]


def zero(comm: Any) -> list[Figure]:
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


def compression(comm: Any) -> list[Figure]:
    """Steps with compressed gradients, beside plain ones."""
    kinds = {"fp16": 1.8, "bf16": 1.8, "powersgd": 5.0}
    plain = Loop(comm, 64, shards=2)
    loops = {kind: Loop(comm, 64, shards=2, compression=kind) for kind in kinds}
    for loop in (plain, *loops.values()):
        for _ in range(14):  # PowerSGD's first steps are whole
            loop.step()
    base, *others = _rounds(comm, [plain.step, *(loop.step for loop in loops.values())], 5, 2)
    return [
        figure(f"speed of a step with {kind}, 50 Mbit/s", _ratio(base, times), limit, least=True)
        for (kind, limit), times in zip(kinds.items(), others, strict=True)
    ]


if __name__ == "__main__":
    from ddpnet.distributed import connect

    world = connect()
    found = globals()[sys.argv[1]](world)
    if world.rank == 0:
        print(json.dumps(found))
