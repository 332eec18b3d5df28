"""Averages of weights agree with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn, optim

VALUES = np.random.default_rng(4).standard_normal((6, 3, 4)).astype(np.float32)
INPUTS = np.random.default_rng(5).standard_normal((4, 8, 4)).astype(np.float32)

MODELS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "mean": lambda s: {},
    "mean, by function": lambda s: {"avg_fn": s.get_swa_avg_fn()},
    "mean, by function of lists": lambda s: {"multi_avg_fn": s.get_swa_multi_avg_fn()},
    "exponential": lambda s: {"avg_fn": s.get_ema_avg_fn(0.9)},
    "exponential, of lists": lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.3)},
    "with buffers": lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "of users": lambda s: {"avg_fn": lambda average, value, number: 0.25 * average + 0.75 * value},
}


def model(library: Any) -> Any:
    return library.nn.Sequential(library.nn.Linear(4, 3), library.nn.BatchNorm1d(3))


def fill(library: Any, net: Any, number: int) -> None:
    with library.no_grad():
        net[0].weight.copy_(library.tensor(VALUES[number]))
        net[0].bias.copy_(library.tensor(VALUES[number, :, 0]))
        net[1].running_mean.copy_(library.tensor(VALUES[number, :, 1]))
        net[1].num_batches_tracked.fill_(number)


@pytest.mark.parametrize("name", MODELS)
def test_averages(name: str) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for library in (ddpnet, torch):
        net = model(library)
        fill(library, net, 0)
        averaged = library.optim.swa_utils.AveragedModel(net, **MODELS[name](library.optim.swa_utils))
        for number in range(6):
            fill(library, net, number)
            averaged.update_parameters(net)
        found.append({key: value.numpy() for key, value in averaged.state_dict().items()})
        averaged(library.tensor(INPUTS[0]))
    assert list(found[0]) == list(found[1])
    for key in found[0]:
        np.testing.assert_allclose(found[0][key], found[1][key], rtol=1e-5, atol=1e-6, strict=True, err_msg=key)


def test_statistics_are_computed_anew() -> None:
    torch = pytest.importorskip("torch")
    found = []
    for library in (ddpnet, torch):
        net = model(library)
        fill(library, net, 2)
        net.eval()
        library.optim.swa_utils.update_bn([[library.tensor(x), None] for x in INPUTS], net)
        assert (net.training, net[1].momentum) == (False, 0.1)
        found.append([net[1].running_mean.numpy(), net[1].running_var.numpy()])
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"anneal_strategy": "linear", "anneal_epochs": 5}, {"anneal_epochs": 0}])
def test_rates(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    found, states = [], []
    for library in (ddpnet, torch):
        weights = [library.nn.Parameter(library.ones(2)) for _ in range(2)]
        optimizer = library.optim.SGD([{"params": weights[0]}, {"params": weights[1], "lr": 0.5}], lr=0.1)
        before = library.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        schedule = library.optim.swa_utils.SWALR(optimizer, [0.05, 0.7], **options)
        rates = []
        for step in range(20):
            optimizer.step()
            (before if step < 4 else schedule).step()
            rates.append([group["lr"] for group in optimizer.param_groups])
        found.append(rates)
        states.append(schedule.state_dict())
    np.testing.assert_allclose(*found, rtol=1e-12)
    assert set(states[0]) == set(states[1])


def test_errors() -> None:
    utils = optim.swa_utils
    with pytest.raises(AssertionError, match="Only one"):
        utils.AveragedModel(nn.Linear(1, 1), avg_fn=utils.get_swa_avg_fn(), multi_avg_fn=utils.get_swa_multi_avg_fn())
    with pytest.raises(ValueError, match=r"Invalid decay value 1\.5"):
        utils.get_ema_avg_fn(1.5)
    optimizer = optim.SGD([nn.Parameter(ddpnet.ones(2))], lr=0.1)
    with pytest.raises(ValueError, match="anneal_strategy"):
        utils.SWALR(optimizer, 0.1, anneal_strategy="x")
    with pytest.raises(ValueError, match="anneal_epochs"):
        utils.SWALR(optimizer, 0.1, anneal_epochs=-1)
    with pytest.raises(ValueError, match="same length"):
        utils.SWALR(optimizer, [0.1, 0.2])
