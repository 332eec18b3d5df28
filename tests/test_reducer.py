"""Gradients, buffers and metrics of shards become those of the global batch, on any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import distributed, nn
from ddpnet.distributed import Communicator, Reducer
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.transport.threads import run_threads

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((26, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 26)


def build() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, 3),
    )


def run(comm: Communicator, shards: int, optimizer: str, samples: int = 26, **options: Any) -> Any:
    model = build()
    reducer = Reducer(model, comm, shards, ("loss",), **options)
    steps = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](model.parameters(), lr=0.01)
    losses = []
    for _ in range(4):
        for rows in reducer.shards(samples):
            loss = nn.functional.cross_entropy(model(torch.tensor(IMAGES[rows])), torch.tensor(LABELS[rows]))
            loss.backward()
            reducer.count(loss=loss.item() * (rows.stop - rows.start))
        sums = reducer.reduce()
        losses.append((sums["loss"], sums["samples"]))
        steps.step()
    return losses, {name: tensor.array.copy() for name, tensor in model.state_dict().items()}


def same(a: Any, b: Any) -> bool:
    return a[0] == b[0] and all(a[1][name].tobytes() == b[1][name].tobytes() for name in a[1])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("shards", "samples"), [(8, 26), (4, 26), (5, 26), (8, 9)])
def test_same_bits_on_any_number_of_ranks(optimizer: str, shards: int, samples: int) -> None:
    """Dropout, batch norm and uneven shards included."""
    (alone,) = run_threads(1, lambda comm: run(comm, shards, optimizer, samples))
    for size in range(2, shards + 1):
        for result in run_threads(size, lambda comm: run(comm, shards, optimizer, samples)):
            assert same(result, alone), f"{size} ranks"


OPTIONS = [
    {"bucket_bytes": 1},
    {"bucket_bytes": 100, "overlap": True},
    {"bucket_bytes": 2000, "overlap": False},
    {"overlap": True},
    {"shared_memory": False},
    {"shared_memory": False, "overlap": True, "bucket_bytes": 300},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [1, 3])
def test_how_it_is_exchanged_does_not_change_the_bits(options: dict[str, Any], size: int) -> None:
    (whole,) = run_threads(1, lambda comm: run(comm, 8, "adam"))
    results = run_threads(size, lambda comm: run(comm, 8, "adam", **options))
    assert all(same(result, whole) for result in results)


@pytest.mark.parametrize("hosts", [[[0, 1], [2]], [[0, 2], [1]], [[0], [1, 2, 3]], [[0, 3], [1, 4], [2]]])
@pytest.mark.parametrize("overlap", [False, True])
def test_neither_do_the_hosts(hosts: list[list[int]], overlap: bool) -> None:
    """In blocks and in turn, evenly and not."""
    size = sum(map(len, hosts))
    for shards in (5, 8):
        (alone,) = run_threads(1, lambda comm, shards=shards: run(comm, shards, "sgd"))
        results = run_threads(size, lambda comm, shards=shards: run(comm, shards, "sgd", overlap=overlap), hosts=hosts)
        assert all(same(result, alone) for result in results)


def run_synchronised(comm: Communicator, overlap: bool) -> Any:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(build())
    reducer = Reducer(model, comm, 8, ("loss",), overlap=overlap)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []

    def compute(rows: slice) -> None:
        loss = nn.functional.cross_entropy(model(torch.tensor(IMAGES[rows])), torch.tensor(LABELS[rows]))
        loss.backward()
        reducer.count(loss=loss.item() * (rows.stop - rows.start))

    for _ in range(3):
        reducer.run(26, compute)
        losses.append(reducer.reduce()["loss"])
        optimizer.step()
    return losses, {name: tensor.array.copy() for name, tensor in model.state_dict().items()}


def test_batch_norm_of_the_global_batch_has_the_same_bits() -> None:
    (alone,) = run_threads(1, lambda comm: run_synchronised(comm, False))
    for size in (2, 3, 8):
        for result in run_threads(size, lambda comm: run_synchronised(comm, True)):
            assert same(result, alone), f"{size} ranks"
    with pytest.raises(ValueError, match=r"call reducer\.run\(samples, compute\)"):
        next(Reducer(nn.SyncBatchNorm(3), run_threads(1, lambda comm: comm)[0], 2).shards(4))


def test_a_batch_that_leaves_shards_empty_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rank . of 2: step 0: a global batch of 5 samples leaves some of 8 shards"):
        run_threads(2, lambda comm: run(comm, 8, "sgd", samples=5))


def test_other_shards_are_other_bits() -> None:
    """The tests above can fail."""
    eight, four = (run_threads(1, lambda comm, n=n: run(comm, n, "sgd"))[0] for n in (8, 4))
    assert not same(eight, four)


def test_mean_gradient_of_the_global_batch() -> None:
    """Uneven shards give the gradient of the joined batch, not the mean of means."""
    model = nn.Linear(5, 2)
    x, y = RNG.standard_normal((11, 5)).astype(np.float32), RNG.integers(0, 2, 11)
    nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y)).backward()
    expected = model.weight.grad.array.copy()

    def rank(comm: Communicator) -> np.ndarray:
        copy = nn.Linear(5, 2)
        copy.load_state_dict(model.state_dict())
        reducer = Reducer(copy, comm, 4)
        for rows in reducer.shards(11):
            nn.functional.cross_entropy(copy(torch.tensor(x[rows])), torch.tensor(y[rows])).backward()
        reducer.reduce()
        return copy.weight.grad.array.copy()

    for gradient in run_threads(3, rank):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_constant_buffers_stay_as_they_are_to_the_bit() -> None:
    """A weighted mean of equal numbers would round: only changes are averaged."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 1)
            self.register_buffer("constant", torch.tensor([0.1, 0.7, 1 / 3]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x * self.constant)

    def rank(comm: Communicator) -> bytes:
        net = Net()
        reducer = Reducer(net, comm, 3)
        for _ in range(5):
            for rows in reducer.shards(21):
                net(torch.ones(rows.stop - rows.start, 3)).sum().backward()
            reducer.reduce()
        return net.constant.array.tobytes()

    assert set(run_threads(3, rank)) == {torch.tensor([0.1, 0.7, 1 / 3]).array.tobytes()}


def test_more_ranks_than_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="3 ranks need at least as many shards, got shards=2"):
        run_threads(3, lambda comm: Reducer(nn.Linear(1, 1), comm, 2))


# Loops that do not do what a step needs


def half_a_loop(reducer: Reducer, model: nn.Module) -> None:
    for rows in reducer.shards(26):
        nn.functional.cross_entropy(model(torch.tensor(IMAGES[rows])), torch.tensor(LABELS[rows])).backward()
        break
    reducer.reduce()


def a_second_reduce(reducer: Reducer, model: nn.Module) -> None:
    reducer.run(26, lambda rows: None)
    reducer.reduce()
    reducer.reduce()


def another_length(reducer: Reducer, model: nn.Module) -> None:
    reducer.run(26 - reducer.comm.rank, lambda rows: None)
    reducer.reduce()


def a_metric_outside(reducer: Reducer, model: nn.Module) -> None:
    reducer.count(loss=1.0)


def an_unknown_metric(reducer: Reducer, model: nn.Module) -> None:
    reducer.run(26, lambda rows: reducer.count(samples=1))


def an_unknown_flag(reducer: Reducer, model: nn.Module) -> None:
    reducer.run(26, lambda rows: None)
    reducer.reduce(stop=1)


def a_new_parameter(reducer: Reducer, model: nn.Module) -> None:
    model.add_module("new", nn.Linear(3, 3))
    reducer.run(26, lambda rows: None)


def no_longer_frozen(reducer: Reducer, model: nn.Module) -> None:
    model[0].bias.requires_grad_(True)
    reducer.run(26, lambda rows: None)


MISUSE = [
    (half_a_loop, RuntimeError, r"rank . of 2: step 0: reduce: 0 of this rank's 2 shards have been computed"),
    (a_second_reduce, RuntimeError, r"step 1: reduce: 0 of this rank's 2 shards .* let each reduce\(\) follow a loop"),
    (
        another_length,
        ValueError,
        r"rank 1 of 2: step 0: .* a global batch of 25 samples, but those of all .* 26",
    ),
    (a_metric_outside, RuntimeError, r"rank . of 2: step 0: count: no shard is being computed"),
    (an_unknown_metric, ValueError, r"rank . of 2: step 0: unknown metric 'samples': expected one of \['loss'\]"),
    (an_unknown_flag, ValueError, r"rank . of 2: step 0: unknown metric 'stop'"),
    (a_new_parameter, RuntimeError, r"parameter new\.weight was added after the module was wrapped"),
    (no_longer_frozen, RuntimeError, r"parameter 0\.bias was frozen when the module was wrapped"),
]


@pytest.mark.parametrize(("loop", "kind", "message"), MISUSE)
def test_misuse_says_what_is_wrong(loop: Any, kind: type[Exception], message: str) -> None:
    def rank(comm: Communicator) -> None:
        model = build()
        model[0].bias.requires_grad_(False)
        loop(Reducer(model, comm, 4, ["loss"]), model)

    with pytest.raises(kind, match=message):
        run_threads(2, rank, timeout=30)


def test_names_of_metrics() -> None:
    """Any but "samples", which is counted always."""
    for names in (["samples"], ["loss", "loss"], "loss"):
        with pytest.raises(ValueError, match="metrics: expected different names"):
            run_threads(1, lambda comm, names=names: Reducer(nn.Linear(1, 1), comm, 1, names))
    (reducer,) = run_threads(1, lambda comm: Reducer(nn.Linear(1, 1), comm, 2, ["seconds", "several"]))
    reducer.run(4, lambda rows: reducer.count(seconds=2.0, several=3.0))
    assert reducer.reduce() == {"samples": 4.0, "seconds": 4.0, "several": 6.0}


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no parameter that requires a gradient"):
        run_threads(1, lambda comm: Reducer(nn.ReLU(), comm, 1))


def ddp(comm: Communicator, function: Any) -> Any:
    with using(comm):
        return function(comm)


# Collectives on threads


@pytest.mark.parametrize(
    ("op", "expected"),
    [("SUM", 6.0), ("AVG", 2.0), ("PRODUCT", 6.0), ("MIN", 1.0), ("MAX", 3.0)],
)
def test_all_reduce(op: str, expected: float) -> None:
    def rank(comm: Communicator) -> float:
        tensor = torch.full((3, 2), float(comm.rank + 1))
        distributed.all_reduce(tensor, distributed.ReduceOp[op])
        return tensor[2, 1].item()

    assert run_threads(3, lambda comm: ddp(comm, rank)) == [expected] * 3


def test_broadcast_and_all_gather() -> None:
    def rank(comm: Communicator) -> tuple[list[int], list[int]]:
        tensor = torch.tensor([comm.rank, 10])
        parts = [torch.zeros(2, dtype=torch.int64) for _ in range(comm.size)]
        distributed.all_gather(parts, tensor)
        work = distributed.broadcast(tensor, src=1, async_op=True)
        assert work is not None
        assert work.wait()
        return tensor.tolist(), [part[0].item() for part in parts]

    assert run_threads(3, lambda comm: ddp(comm, rank)) == [([1, 10], [0, 1, 2])] * 3


def test_calls_before_init_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="init_process_group"):
        distributed.get_rank()


def test_world_of_one() -> None:
    distributed.init_process_group("gloo")
    try:
        assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
        tensor = torch.tensor([2.0])
        distributed.all_reduce(tensor)
        distributed.barrier()
        assert tensor.item() == 2
        with pytest.raises(RuntimeError, match="twice"):
            distributed.init_process_group()
    finally:
        distributed.destroy_process_group()
    with pytest.raises(ValueError, match="Invalid backend"):
        distributed.init_process_group("smoke-signals")
    assert not distributed.is_initialized()
