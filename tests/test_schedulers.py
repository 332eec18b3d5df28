"""Schedules give PyTorch's rates, step by step, from the same options, and go on where a saved one was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn, optim

Make = Callable[[Any, Any], Any]

SCHEDULES: dict[str, Make] = {
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 20], 0.3),
    "constant": lambda s, o: s.ConstantLR(o, 0.4, 6),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, 12),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.95),
    "polynomial": lambda s, o: s.PolynomialLR(o, 20, 1.7),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 7, 0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.001),
    "restarts of one length": lambda s, o: s.CosineAnnealingWarmRestarts(o, 9),
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda epoch: 0.9**epoch, lambda epoch: 1 / (1 + epoch)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.97),
    "one cycle": lambda s, o: s.OneCycleLR(o, [0.5, 2.0], total_steps=61),
    "one cycle, linear": lambda s, o: s.OneCycleLR(o, 0.5, epochs=9, steps_per_epoch=7, anneal_strategy="linear"),
    "one cycle, three phases": lambda s, o: s.OneCycleLR(o, 0.5, 62, three_phase=True, cycle_momentum=False),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, [0.5, 0.7], 5, 8),
    "cyclic, halving": lambda s, o: s.CyclicLR(o, 0.01, 0.5, 5, mode="triangular2", cycle_momentum=False),
    "cyclic, decaying": lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.5, 4, mode="exp_range", gamma=0.99),
    "cyclic, scaled": lambda s, o: s.CyclicLR(o, 0.01, 0.5, 4, scale_fn=lambda x: 1 / (5 ** (x * 0.0001))),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9), s.StepLR(o, 5)], o),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 20), s.ExponentialLR(o, 0.9)], [5, 30]
    ),
    "a sequence in a chain": lambda s, o: s.ChainedScheduler(
        [s.SequentialLR(o, [s.ConstantLR(o, 0.1, 4), s.StepLR(o, 5)], [7]), s.ExponentialLR(o, 0.9)]
    ),
}  # fmt: skip


def make(library: Any, name: str = "SGD", **options: Any) -> Any:
    """An optimizer over two groups with rates of their own."""
    weights = [library.nn.Parameter(library.ones(2)) for _ in range(2)]
    options = options or ({"momentum": 0.9} if name == "SGD" else {})
    return getattr(library.optim, name)([{"params": weights[0]}, {"params": weights[1], "lr": 0.5}], lr=0.1, **options)


def rates(optimizer: Any) -> list[float]:
    """What a schedule moves: rates, momenta."""
    values = []
    for group in optimizer.param_groups:
        values += [float(group["lr"]), float(group["betas"][0] if "betas" in group else group["momentum"])]
    return values


def walk(schedule: Any, steps: int = 60) -> list[list[float]]:
    found = [rates(schedule.optimizer)]
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
        found.append(rates(schedule.optimizer))
        assert [float(lr) for lr in schedule.get_last_lr()] == [float(g["lr"]) for g in schedule.optimizer.param_groups]
    return found


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates(name: str, optimizer: str) -> None:
    torch = pytest.importorskip("torch")
    if optimizer == "Adam":
        mine, other = (make(library, "Adam") for library in (ddpnet, torch))
    else:
        mine, other = (make(library) for library in (ddpnet, torch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of schedules inside others
        found = [
            walk(SCHEDULES[name](library.optim.lr_scheduler, o)) for library, o in ((ddpnet, mine), (torch, other))
        ]
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_is_pytorchs(name: str) -> None:
    """The same keys; a schedule of each library goes on from the other's state."""
    torch = pytest.importorskip("torch")
    made = []
    for library in (ddpnet, torch):
        schedule = SCHEDULES[name](library.optim.lr_scheduler, make(library))
        walk(schedule, 9)
        made.append(schedule)
    mine, other = (schedule.state_dict() for schedule in made)
    assert set(mine) == set(other)
    for schedule, state, optimizer in zip(made, (other, mine), (made[1].optimizer, made[0].optimizer), strict=True):
        schedule.load_state_dict(copy.deepcopy(state))
        for group, values in zip(schedule.optimizer.param_groups, optimizer.state_dict()["param_groups"], strict=True):
            group.update({key: value for key, value in values.items() if key != "params"})
    np.testing.assert_allclose(*(walk(schedule, 20) for schedule in made), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_goes_on(name: str) -> None:
    """Five steps, saved, loaded into another, five more: the rates of ten."""
    whole, halves = make(ddpnet), [make(ddpnet), make(ddpnet)]
    schedule = SCHEDULES[name](optim.lr_scheduler, whole)
    expected = walk(schedule, 10)[-1]
    first = SCHEDULES[name](optim.lr_scheduler, halves[0])
    walk(first, 5)
    second = SCHEDULES[name](optim.lr_scheduler, halves[1])
    second.load_state_dict(first.state_dict())
    halves[1].load_state_dict(halves[0].state_dict())
    assert walk(second, 5)[-1] == expected


EPOCHS = ("step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine", "restarts", "lambda")


@pytest.mark.parametrize("name", EPOCHS)
def test_resuming_at_an_epoch(name: str) -> None:
    """`last_epoch` with the rates of the optimizer's state, and steps to a given epoch."""
    torch = pytest.importorskip("torch")
    found = []
    for library in (ddpnet, torch):
        optimizer = make(library)
        with pytest.raises(KeyError, match="initial_lr"):
            library.optim.lr_scheduler.StepLR(optimizer, 3, last_epoch=4)
        walk(SCHEDULES[name](library.optim.lr_scheduler, optimizer), 5)
        kind = type(SCHEDULES[name](library.optim.lr_scheduler, make(library)))
        options = {
            "StepLR": (3, 0.5), "MultiStepLR": ([2, 5, 5, 20], 0.3), "ConstantLR": (0.4, 6), "LinearLR": (0.2, 0.9, 12),
            "ExponentialLR": (0.95,), "PolynomialLR": (20, 1.7), "CosineAnnealingLR": (7, 0.01),
            "CosineAnnealingWarmRestarts": (4, 2, 0.001), "LambdaLR": (lambda epoch: 0.9**epoch,),
        }[kind.__name__]  # fmt: skip
        schedule = kind(optimizer, *options, last_epoch=5)
        values = walk(schedule, 6)
        for epoch in (3, 8, 11):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                schedule.step(epoch)
            values.append(rates(optimizer))
        found.append(values)
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)


PLATEAUS: dict[str, dict[str, Any]] = {
    "plain": {"patience": 2},
    "cooldown": {"patience": 1, "cooldown": 3, "factor": 0.5},
    "max": {"mode": "max", "patience": 3, "threshold": 0.1},
    "absolute": {"threshold_mode": "abs", "threshold": 0.2, "patience": 1, "min_lr": [0.01, 0.1]},
    "absolute max": {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 1, "min_lr": 0.003},
}


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau(name: str) -> None:
    torch = pytest.importorskip("torch")
    losses = np.random.default_rng(2).random(60) + np.linspace(1, 0, 60)
    found, states = [], []
    for library in (ddpnet, torch):
        optimizer = make(library)
        schedule = library.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **PLATEAUS[name])
        values = []
        for loss in losses:
            schedule.step(library.tensor(loss))
            values.append(rates(optimizer))
        found.append(values)
        states.append(schedule.state_dict())
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)
    assert {k: v for k, v in states[0].items() if k != "best"} == {k: v for k, v in states[1].items() if k != "best"}
    again = optim.lr_scheduler.ReduceLROnPlateau(make(ddpnet))
    again.load_state_dict(states[1])
    assert again.state_dict() == states[1]


def test_a_tensor_rate_keeps_its_place() -> None:
    lr = ddpnet.tensor(0.1)
    optimizer = optim.SGD([nn.Parameter(ddpnet.ones(2))], lr=lr)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert abs(lr.item() - 0.05) < 1e-7


INVALID: dict[str, Make] = {
    "not an optimizer": lambda s, o: s.StepLR(1, 3),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda epoch: 1.0]),
    "no function": lambda s, o: s.MultiplicativeLR(o, 0.5),
    "constant": lambda s, o: s.ConstantLR(o, 2.0),
    "linear start": lambda s, o: s.LinearLR(o, 0.0),
    "linear end": lambda s, o: s.LinearLR(o, 0.5, 2.0),
    "no schedulers": lambda s, o: s.ChainedScheduler([]),
    "sequence": lambda s, o: s.SequentialLR(o, [], []),
    "milestones": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [3]),
    "plateau in a chain": lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    "factor": lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    "mode": lambda s, o: s.ReduceLROnPlateau(o, mode="mid"),
    "threshold mode": lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="x"),
    "min_lr": lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    "T_0": lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    "T_mult": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0),
    "steps": lambda s, o: s.OneCycleLR(o, 0.1),
    "total_steps": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-1),
    "pct_start": lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=1.5),
    "anneal": lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="x"),
    "max_lr": lambda s, o: s.OneCycleLR(o, [0.1], 10),
    "cyclic mode": lambda s, o: s.CyclicLR(o, 0.1, 1, mode="x"),
}


@pytest.mark.parametrize("name", INVALID)
def test_errors(name: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises((ValueError, TypeError)) as theirs:
        INVALID[name](torch.optim.lr_scheduler, make(torch))
    with pytest.raises(theirs.type) as ours:
        INVALID[name](optim.lr_scheduler, make(ddpnet))
    assert str(ours.value)[:60] == str(theirs.value)[:60]


def test_order_of_steps() -> None:
    """A schedule that steps before its optimizer is told so."""
    optimizer = make(ddpnet)
    schedule = optim.lr_scheduler.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()
    optimizer = make(ddpnet)
    schedule = optim.lr_scheduler.StepLR(optimizer, 3)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden"):
        schedule.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(7)


def test_too_many_steps_of_one_cycle() -> None:
    optimizer = make(ddpnet)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
    walk(schedule, 3)
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        schedule.step()
