"""The plans of ranks: one small exchange where they agree, and their differences in words where they do not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ranks import run

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed import Communicator
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.distributed.trust.plan import Plan, PlanError, agree, versions
from ddpnet.errors import InputError

MPIRUN = Path(sys.executable).parent / "mpirun"


def lenet(kernel: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 6, kernel), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 10))


def reordered() -> nn.Sequential:
    net, other = lenet(), nn.Sequential()
    for name in ("0", "3", "1"):
        other.add_module(name, net[int(name)])
    return other


def frozen() -> nn.Sequential:
    net = lenet()
    net[3].bias.requires_grad_(False)
    return net


def plan(net: nn.Module | None = None, **facts: Any) -> Plan:
    return Plan.of(net or lenet(), **{"shards": 8, "settings": {"batch": 64, "model": "lenet"}, **facts})


def with_fact(name: str, value: str) -> Plan:
    usual = plan()
    return Plan({**usual.facts, name: value}, usual.tensors)


def optimized(kind: Any = torch.optim.SGD, turned: bool = False, **options: Any) -> Plan:
    net = lenet()
    parameters = list(net.parameters())
    return Plan.of(net, kind(parameters[::-1] if turned else parameters, **{"lr": 0.1, **options}))


def told(size: int, usual: Callable[[], Plan], others: dict[int, Callable[[], Plan]]) -> str:
    """What every rank raises, the same on each."""

    def rank(comm: Communicator) -> str:
        with pytest.raises(PlanError) as caught:
            agree(others.get(comm.rank, usual)(), comm)
        comm.barrier()  # nothing is left over on the way
        return str(caught.value)

    messages = run_threads(size, rank)
    assert messages == [messages[0]] * size
    return messages[0]


DIFFERENCES: list[tuple[Callable[[], Plan], Callable[[], Plan], list[str]]] = [
    (plan, lambda: plan(lenet(3)), ["0.weight: rank 2 has float32 (6, 1, 3, 3), rank 0 float32 (6, 1, 5, 5)"]),
    (
        plan,
        lambda: plan(lenet().to(torch.float64)),
        ["0.bias: rank 2 has float64 (6,), rank 0 float32 (6,)", "float64 (6,), a buffer, rank 0"],
    ),
    (
        plan,
        lambda: plan(nn.Sequential(nn.Conv2d(1, 6, 5, bias=False), *list(lenet())[1:])),
        ["0.bias: rank 2 has nothing, rank 0 float32 (6,)"],
    ),
    (
        plan,
        lambda: plan(nn.Sequential(*lenet(), nn.Linear(1, 1, bias=False))),
        ["4.weight: rank 2 has float32 (1, 1), rank 0 nothing"],
    ),
    (
        plan,
        lambda: plan(reordered()),
        ["order of parameters and buffers: rank 2 has 3.weight where rank 0 has 1.weight"],
    ),
    (plan, lambda: plan(frozen()), ["3.bias: rank 2 has float32 (10,), frozen, rank 0 float32 (10,)"]),
    (plan, lambda: plan(shards=4), ["shards: rank 2 has 4, rank 0 8"]),
    (
        plan,
        lambda: plan(settings={"batch": 32, "model": "lenet"}),
        ["settings.batch: rank 2 has 32, rank 0 64"],
    ),
    (plan, lambda: with_fact("numpy", "1.0"), [f"numpy: rank 2 has 1.0, rank 0 {versions()['numpy']}"]),
    (plan, lambda: with_fact("core type", "Prescott"), ["core type: rank 2 has Prescott", "OPENBLAS_CORETYPE=Haswell"]),
    (optimized, lambda: optimized(lr=0.2), ["optimizer group 0.lr: rank 2 has 0.2, rank 0 0.1"]),
    (
        optimized,
        lambda: optimized(torch.optim.Adam),
        ["optimizer: rank 2 has Adam, rank 0 SGD", "optimizer group 0.betas: rank 2 has [0.9, 0.999], rank 0 nothing"],
    ),
    (
        optimized,
        lambda: optimized(turned=True),
        ["optimizer group 0, parameter 0: rank 2 has 3.bias, rank 0 0.weight"],
    ),
    (plan, optimized, ["optimizer: rank 2 has SGD, rank 0 nothing", "shards: rank 2 has nothing, rank 0 8"]),
]


@pytest.mark.parametrize(("usual", "other", "expected"), DIFFERENCES)
def test_differences(usual: Callable[[], Plan], other: Callable[[], Plan], expected: list[str]) -> None:
    message = told(3, usual, {2: other})
    assert message.startswith("the ranks do not agree: ")
    for words in expected:
        assert words in message, message
    assert message.endswith("all ranks have to run the same script with the same arguments, packages and model")
    assert len(message.splitlines()) <= 12


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_agreement_is_one_small_exchange(size: int) -> None:
    """No more than a message of 32 bytes from each rank to each."""
    messages = []

    def count(sender: int, receiver: int) -> bool:
        messages.append((sender, receiver))
        return True

    run_threads(size, lambda comm: agree(optimized(), comm), fault=count)
    assert sorted(messages) == [(a, b) for a in range(size) for b in range(size) if a != b]


def test_equal_plans_whatever_the_order_of_the_facts() -> None:
    one, other = plan(a=1, b={"c": 2, "d": 3}), plan(b={"d": 3, "c": 2}, a=1)
    assert one.digest() == other.digest() != plan(a=1, b={"c": 2, "d": 4}).digest()
    assert len(one.digest()) == 32
    assert Plan.from_json(one.to_json()) == other


def test_the_plan_of_most_ranks_is_the_reference() -> None:
    """Also if it is not that of rank 0; of as many, rank 0's is."""
    message = told(4, lambda: plan(shards=4), {0: plan})
    assert "shards: rank 0 has 8, rank 1 4" in message
    message = told(4, plan, {1: lambda: plan(shards=4), 3: lambda: plan(shards=4)})
    assert "shards: ranks 1, 3 have 4, rank 0 8" in message
    message = told(5, plan, {1: lambda: plan(shards=4), 3: lambda: plan(lenet(3))})
    assert "shards: rank 1 has 4, rank 0 8" in message
    assert "0.weight: rank 3 has float32 (6, 1, 3, 3)" in message


def test_plans_of_any_size() -> None:
    """A model with three parameters, another one with thousands, and every rank with one of its own."""
    message = told(3, plan, {1: lambda: plan(nn.Sequential(*(nn.Linear(1, 1) for _ in range(3000))))})
    assert "more differences" in message
    assert len(message) < 2000
    message = told(8, plan, {rank: lambda rank=rank: plan(shards=rank) for rank in range(1, 8)})
    assert "shards: rank 7 has 7, rank 0 8" in message


def test_the_error_is_what_everybody_expects() -> None:
    """PyTorch's for library users, one line for users of the command line."""
    assert issubclass(PlanError, DistBackendError)
    assert issubclass(PlanError, RuntimeError)
    assert issubclass(PlanError, InputError)


SCRIPT = """
import os
import sys
import ddpnet as torch
from ddpnet import distributed as dist, nn
from ddpnet.distributed.trust.plan import Plan, PlanError, agree

comm = dist.connect()
agree(Plan.of(nn.Linear(3, 2), script=False), comm)
try:
    agree(Plan.of(nn.Linear(3, 2)), comm)
except PlanError as error:
    print(comm.rank, error, flush=True)
comm.barrier()
"""


def test_other_texts_of_the_script_on_real_ranks(tmp_path: Path) -> None:
    """Rank 1 runs a copy of the script from another folder that somebody has changed."""
    for folder, text in (("a", SCRIPT), ("b", SCRIPT + "# changed\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.py").write_text(text)
    same, other = ([sys.executable, str(tmp_path / folder / "train.py")] for folder in "ab")
    done = run([MPIRUN, "-n", "1", *same, ":", "-n", "1", *other, ":", "-n", "1", *same], cwd=tmp_path)
    assert done.code == 0, done.err
    first = [line for line in done.out.splitlines() if "the ranks do not agree" in line]
    assert len(first) == 3, done.out
    for line in first:
        assert "the ranks do not agree: text of train.py: rank 1 has sha256 " in line
