"""ZeroRedundancyOptimizer: the bits of the optimizer that it wraps, with its state cut over the ranks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import MPIEXEC, run

import ddpnet as torch
from ddpnet import nn, optim
from ddpnet.distributed import Communicator
from ddpnet.distributed.algorithms.join import Join
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.distributed.transport.threads import run_threads

SHAPES = [(3, 7), (), (1,), (5, 1, 4), (0,), (61,), (2,), (33, 5)]
OPTIMIZERS: list[tuple[type[Any], dict[str, Any]]] = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.Adam, {"lr": 0.01, "amsgrad": True}),
    (optim.AdamW, {"lr": 0.01}),
    (optim.NAdam, {"lr": 0.01, "weight_decay": 0.01}),
    (optim.RAdam, {"lr": 0.01}),
    (optim.Adamax, {"lr": 0.01}),
    (optim.Adagrad, {"lr": 0.01, "initial_accumulator_value": 0.1}),
    (optim.Adadelta, {}),
    (optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True}),
    (optim.ASGD, {"lr": 0.01, "t0": 2}),
    (optim.Rprop, {}),
]
IDS = [f"{kind.__name__}{number}" for number, (kind, _) in enumerate(OPTIMIZERS)]
Make = Callable[[Any], Any]
"""Makes an optimizer of parameters or groups."""


def parameters(dtype: Any = torch.float32, shapes: list[Any] = SHAPES) -> list[torch.Tensor]:
    rng = np.random.default_rng(1)
    return [nn.Parameter(torch.tensor(rng.standard_normal(shape), dtype=dtype)) for shape in shapes]


def give_gradients(params: list[Any], step: int) -> None:
    """The same on every rank, as after a reduction; the third parameter is not always used."""
    rng = np.random.default_rng(100 + step)
    for number, p in enumerate(params):
        values = torch.tensor(rng.standard_normal(p.shape), dtype=p.dtype)
        p.grad = None if number == 2 and step % 2 else values


def train(params: list[Any], optimizer: Any, steps: range = range(4)) -> list[bytes]:
    """The bits of the parameters after the steps."""
    for step in steps:
        optimizer.zero_grad()
        give_gradients(params, step)
        optimizer.step()
    return [p.detach().array.tobytes() for p in params]


def facts(state_dict: dict[str, Any]) -> Any:
    """A state dict with bits, dtypes and shapes in place of tensors; the order of entries counts."""
    state = [
        (number, [(name, _fact(value)) for name, value in entry.items()])
        for number, entry in state_dict["state"].items()
    ]
    return state, [list(group.items()) for group in state_dict["param_groups"]]


def _fact(value: Any) -> Any:
    return (value.array.tobytes(), value.dtype, value.shape) if isinstance(value, torch.Tensor) else value


def cut(comm: Communicator, kind: type[Any], **options: Any) -> Make:
    return lambda params: ZeroRedundancyOptimizer(params, kind, process_group=comm, **options)


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=IDS)
@pytest.mark.parametrize("views", [False, True])
def test_same_bits_and_same_state_as_uncut(kind: type[Any], options: dict[str, Any], views: bool) -> None:
    """On 1 to 8 ranks: weights, and the state dict down to the order of its entries."""
    alone = parameters()
    whole = kind(alone, **options)
    expected = train(alone, whole)

    def rank(comm: Communicator) -> Any:
        params = parameters()
        optimizer = cut(comm, kind, parameters_as_bucket_view=views, **options)(params)
        return train(params, optimizer), facts(optimizer.consolidated())

    for ranks in (1, 2, 3, 5, 8):
        for bits, state in run_threads(ranks, rank):
            assert bits == expected, f"{ranks} ranks"
            assert state == facts(whole.state_dict()), f"{ranks} ranks"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_dtypes(dtype: Any) -> None:
    alone = parameters(dtype)
    expected = train(alone, optim.Adam(alone, 0.01))

    def rank(comm: Communicator) -> list[bytes]:
        params = parameters(dtype)
        return train(params, cut(comm, optim.Adam, lr=0.01)(params))

    assert run_threads(3, rank) == [expected] * 3


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=IDS)
def test_bits_do_not_depend_on_where_a_slice_begins(kind: type[Any], options: dict[str, Any]) -> None:
    """Every start and stop in 40 elements, so that loops over vectors and what they leave over fall everywhere."""
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(40).astype(np.float32), rng.standard_normal((2, 40)).astype(np.float32)

    def result(place: slice) -> np.ndarray:
        p = nn.Parameter(torch.tensor(start)[place])
        optimizer = kind([p], **options)
        for gradient in gradients:
            p.grad = torch.tensor(gradient)[place]
            optimizer.step()
        return p.detach().array

    whole = result(slice(0, 40))
    for first in range(20):
        for last in range(first + 1, 41, 3):
            assert result(slice(first, last)).tobytes() == whole[first:last].tobytes(), (first, last)


@pytest.mark.parametrize("shapes", [[(1000, 100), (3,)], [(7,)] * 300, [(100_000,)], [(13, 17)] * 40])
@pytest.mark.parametrize("kind", [optim.Adam, optim.SGD])
def test_memory_is_an_equal_part_whatever_the_sizes(shapes: list[Any], kind: type[Any]) -> None:
    """At most 1/P + 5 % of the uncut state on every rank, with groups added later."""
    options = {"lr": 0.1, **({"momentum": 0.9} if kind is optim.SGD else {})}

    def stepped(make: Make) -> Any:
        params, later = parameters(shapes=shapes), parameters(shapes=shapes)
        optimizer = make(params)
        for p in later:
            optimizer.add_param_group({"params": [p]})
        for p in (*params, *later):
            p.grad = torch.ones_like(p)
        optimizer.step()
        return optimizer

    whole = stepped(lambda params: kind(params, **options))
    total = sum(value.nbytes for state in whole.state.values() for value in state.values())
    for ranks in (2, 3, 8):
        kept = run_threads(ranks, lambda comm: stepped(cut(comm, kind, **options)).local_state_bytes())
        assert max(kept) <= total * (1 / ranks + 0.05), (ranks, kept, total)


def test_frozen_parameters_do_not_unbalance_the_ranks() -> None:
    """What is frozen has no state: it is cut by itself."""

    def rank(comm: Communicator) -> int:
        params = parameters(shapes=[(1000,)] * 4)
        for p in params[:2]:
            p.requires_grad_(False)
        optimizer = cut(comm, optim.Adam)(params)
        for p in params[2:]:
            p.grad = torch.ones_like(p)
        optimizer.step()
        return optimizer.local_state_bytes()

    for kept in run_threads(4, rank):
        assert kept == 500 * 8 + 4


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=IDS)
def test_checkpoints_go_both_ways_at_any_number_of_ranks(kind: type[Any], options: dict[str, Any]) -> None:
    """Uncut to 3 ranks, 3 ranks to 2, 2 ranks to uncut: the run that was never interrupted."""
    params = parameters()
    whole = kind(params, **options)
    expected = train(params, whole, range(8))

    def go_on(make: Make, weights: list[Any], state: Any, steps: range) -> Any:
        mine = parameters()
        for p, saved in zip(mine, weights, strict=True):
            p.data = saved.clone()
        optimizer = make(mine)
        if state is not None:
            optimizer.load_state_dict(state)
        bits = train(mine, optimizer, steps)
        full = optimizer.consolidated() if isinstance(optimizer, ZeroRedundancyOptimizer) else optimizer.state_dict()
        return [p.detach() for p in mine], full, bits

    def uncut(p: Any) -> Any:
        return kind(p, **options)

    def on(ranks: int, *saved: Any) -> Any:
        return run_threads(ranks, lambda comm: go_on(cut(comm, kind, **options), *saved))[-1]

    first = go_on(uncut, [p.detach() for p in parameters()], None, range(2))
    second = on(3, *first[:2], range(2, 4))
    third = on(2, *second[:2], range(4, 6))
    assert go_on(uncut, *third[:2], range(6, 8))[2] == expected


def test_groups_schedulers_and_groups_added_later() -> None:
    def run(make: Make) -> Any:
        params, later = parameters(), parameters(shapes=[(9,), (4, 3)])
        groups = [{"params": params[:3], "lr": 0.5}, {"params": params[3:], "weight_decay": 0.1}]
        optimizer = make(groups)
        schedule = optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        for step in range(6):
            if step == 3:
                optimizer.add_param_group({"params": later, "momentum": 0.0})
            optimizer.zero_grad()
            give_gradients([*params, *later], step)
            optimizer.step()
            schedule.step()
        full = optimizer.consolidated() if isinstance(optimizer, ZeroRedundancyOptimizer) else optimizer.state_dict()
        return [p.detach().array.tobytes() for p in (*params, *later)], facts(full), schedule.get_last_lr()

    expected = run(lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9))
    for ranks in (1, 3, 4):
        for result in run_threads(ranks, lambda comm: run(cut(comm, optim.SGD, lr=0.1, momentum=0.9))):
            assert result == expected


def test_named_parameters_keep_their_names() -> None:
    def run(make: Make) -> Any:
        model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        optimizer = make(model.named_parameters())
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        return facts(optimizer.consolidated() if hasattr(optimizer, "consolidated") else optimizer.state_dict())

    expected = run(lambda named: optim.Adam(named))
    assert run_threads(2, lambda comm: run(cut(comm, optim.Adam))) == [expected] * 2


def test_a_parameter_that_lies_otherwise_in_memory() -> None:
    """Transposed weights, and gradients in another order than the weights."""

    def run(make: Make) -> bytes:
        p = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
        optimizer = make([p])
        p.grad = torch.arange(12.0).reshape(3, 4).t()
        optimizer.step()
        return p.detach().array.tobytes()

    expected = run(lambda params: optim.Adam(params, 0.1))
    assert run_threads(3, lambda comm: run(cut(comm, optim.Adam, lr=0.1))) == [expected] * 3


def test_bucket_views_survive_weights_that_were_given_other_memory() -> None:
    def run(make: Make) -> list[bytes]:
        params = parameters()
        optimizer = make(params)
        train(params, optimizer)
        params[3].data = torch.zeros(params[3].shape)
        return train(params, optimizer)

    expected = run(lambda params: optim.Adam(params, 0.1))
    options = {"lr": 0.1, "parameters_as_bucket_view": True}
    assert run_threads(3, lambda comm: run(cut(comm, optim.Adam, **options))) == [expected] * 3


def test_consolidation_as_in_pytorch() -> None:
    """RuntimeError before it, and on the ranks to which nothing was gathered."""

    def rank(comm: Communicator) -> bool:
        params = parameters()
        optimizer = cut(comm, optim.Adam)(params)
        train(params, optimizer)
        with pytest.raises(RuntimeError, match="Optimizer state has not been consolidated on this rank"):
            optimizer.state_dict()
        optimizer.consolidate_state_dict(to=1)
        if comm.rank != 1:
            with pytest.raises(RuntimeError, match=rf"consolidate_state_dict\(to={comm.rank}\)"):
                optimizer.state_dict()
            return True
        return len(optimizer.state_dict()["state"]) == len(SHAPES)

    assert run_threads(3, rank) == [True] * 3


def test_hooks_closures_and_the_loss() -> None:
    def rank(comm: Communicator) -> Any:
        params = parameters(shapes=[(5,)])
        optimizer = cut(comm, optim.SGD, lr=0.1)(params)
        seen: list[str] = []
        optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
        optimizer.register_step_post_hook(lambda *_: seen.append("after"))
        optimizer.register_state_dict_post_hook(lambda _, state: {**state, "more": 1})

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (params[0] * params[0]).sum()
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        optimizer.consolidate_state_dict()
        return seen, loss.item() > 0, comm.rank or optimizer.state_dict()["more"]

    assert run_threads(2, rank) == [(["before", "after"], True, 1)] * 2


def test_what_cannot_be_cut_is_refused() -> None:
    def rank(comm: Communicator) -> None:
        params = parameters(shapes=[(3, 3)])
        for kind in (optim.LBFGS, optim.Muon, optim.Adafactor):
            with pytest.raises(NotImplementedError, match=f"{kind.__name__} cannot be cut over ranks"):
                cut(comm, kind)(params)
        with pytest.raises(NotImplementedError, match="overlap_with_ddp"):
            cut(comm, optim.SGD, overlap_with_ddp=True)(params)
        with pytest.raises(TypeError, match="expected a class of optimizers"):
            cut(comm, optim.SGD(params))(params)  # type: ignore[arg-type]
        optimizer = cut(comm, optim.Adam)(params)
        train(params, optimizer)
        state = optimizer.consolidated()
        state["state"][0]["exp_avg"] = torch.zeros(2)
        with pytest.raises(ValueError, match=r"'exp_avg': expected shape \[3, 3\], got \[2\]"):
            optimizer.load_state_dict(state)
        with pytest.raises(ValueError, match="doesn't match the size"):
            optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
        with pytest.raises(ValueError, match="expected a rank from 0 to 1, got 2"):
            optimizer.consolidate_state_dict(2)

    run_threads(2, rank)


def test_an_optimizer_of_ones_own_that_says_that_it_is_elementwise() -> None:
    class Sign(optim.Optimizer):
        elementwise = True

        def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
            p.array -= group["lr"] * np.sign(g.array)

    def run(make: Make) -> list[bytes]:
        params = parameters()
        return train(params, make(params))

    expected = run(lambda params: Sign(params, {"lr": 0.5}))
    assert run_threads(2, lambda comm: run(cut(comm, Sign, defaults={"lr": 0.5}))) == [expected] * 2


def test_with_distributed_data_parallel_and_uneven_inputs() -> None:
    """The weights of the uncut optimizer, in a Join too: ranks without data step along with the others."""

    def rank(comm: Communicator, whole: bool) -> list[bytes]:
        torch.manual_seed(0)
        rng = np.random.default_rng(comm.rank)
        with using(comm):
            model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2)))
            options = {"lr": 0.1, "momentum": 0.9}
            cut_up = ZeroRedundancyOptimizer(model.parameters(), optim.SGD, **options)
            optimizer = optim.SGD(model.parameters(), **options) if whole else cut_up
            with Join([model] if whole else [model, cut_up]):
                for _ in range(2 + comm.rank):
                    optimizer.zero_grad()
                    x = torch.tensor(rng.standard_normal((4, 5)).astype(np.float32))
                    (model(x) ** 2).mean().backward()
                    optimizer.step()
        return [p.detach().array.tobytes() for p in model.parameters()]

    (expected, *others) = run_threads(3, lambda comm: rank(comm, True))
    assert others == [expected] * 2
    assert run_threads(3, lambda comm: rank(comm, False)) == [expected] * 3


SCRIPT = """
import hashlib
import sys
import numpy as np
import ddpnet as torch
from ddpnet import distributed, nn, optim
from ddpnet.distributed.algorithms.join import Join
from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.distributed.collectives.process_group import using

distributed.init_process_group()
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(30, 50), nn.Linear(50, 3))
views = sys.argv[1] == "views"
optimizer = ZeroRedundancyOptimizer(model.parameters(), optim.AdamW, parameters_as_bucket_view=views, lr=0.01)
for step in range(3):
    rng = np.random.default_rng(step)
    for p in model.parameters():
        p.grad = torch.tensor(rng.standard_normal(p.shape).astype(np.float32))
    optimizer.step()
digest = hashlib.sha256()
state = optimizer.consolidated()["state"]
for p in model.parameters():
    digest.update(p.detach().numpy().tobytes())
for entry in state.values():
    for value in entry.values():
        digest.update(value.numpy().tobytes())
size = distributed.get_world_size()
assert optimizer.local_state_bytes() <= 8 * 1703 * (1 / size + 0.05), optimizer.local_state_bytes()
distributed.barrier()
print(digest.hexdigest())
"""


def test_real_ranks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    digests: list[str] = []
    for ranks, views in ((1, "no"), (2, "views"), (3, "no")):
        done = run([MPIEXEC, "-n", str(ranks), sys.executable, "script.py", views], timeout=30, cwd=tmp_path)
        assert done.code == 0, done.err
        digests += done.out.split()
    assert len(digests) == 6
    assert len(set(digests)) == 1
