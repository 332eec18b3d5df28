"""GradScaler moves its scale, and leaves out steps, as PyTorch's does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn, optim
from ddpnet.amp import GradScaler

OPTIONS = {"init_scale": 64.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}
FACTORS = [1.0, 2.0, np.inf, 1.0, -1.0, 3.0, np.nan, 1.0, 1.0, 1.0, 2.0, 1.0]


def start(library: Any) -> tuple[Any, Any]:
    weight = library.nn.Parameter(library.tensor([1.0, -2.0, 3.0]))
    return weight, library.optim.SGD([weight], lr=0.1, momentum=0.5)


@pytest.mark.parametrize("unscale", [False, True])
def test_steps(unscale: bool) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for library in (ddpnet, torch):
        weight, optimizer = start(library)
        scaler = library.amp.GradScaler("cpu", **OPTIONS)
        history = []
        for factor in FACTORS:
            optimizer.zero_grad()
            scaler.scale((weight * weight).sum() * factor).backward()
            if unscale:
                scaler.unscale_(optimizer)
                if np.isfinite(factor):
                    library.nn.utils.clip_grad_norm_([weight], 2.0)
            scaler.step(optimizer)
            scaler.update()
            history.append([scaler.get_scale(), *weight.detach().numpy().tolist()])
        found.append(history)
        found.append(scaler.state_dict())
    np.testing.assert_allclose(found[0], found[2], rtol=1e-6)
    assert found[1] == found[3]


def test_state_goes_round() -> None:
    scaler = GradScaler("cpu", **OPTIONS)
    weight, optimizer = start(ddpnet)
    for _ in range(2):
        scaler.scale((weight * weight).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    other = GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict() == {**scaler.state_dict(), "_growth_tracker": 2}
    scaler.update(8.0)
    assert scaler.get_scale() == 8.0


def test_scaling_of_several() -> None:
    scaler = GradScaler("cpu", init_scale=4.0)
    first, second = scaler.scale([ddpnet.ones(2), (ddpnet.ones(1),)])
    assert first.tolist() == [4.0, 4.0]
    assert second[0].tolist() == [4.0]
    with pytest.raises(ValueError, match="iterable of Tensors"):
        scaler.scale(3)


def test_switched_off() -> None:
    scaler = GradScaler("cpu", enabled=False)
    weight, optimizer = start(ddpnet)
    loss = scaler.scale((weight * weight).sum())
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert np.allclose(weight.tolist(), [0.8, -1.6, 2.4])
    assert (scaler.get_scale(), scaler.is_enabled(), scaler.state_dict()) == (1.0, False, {})


def test_wrong_order() -> None:
    scaler = GradScaler("cpu")
    weight, optimizer = start(ddpnet)
    with pytest.raises(AssertionError, match="_scale is None"):
        scaler.step(optimizer)
    scaler.scale((weight * weight).sum()).backward()
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: 0)
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        scaler.load_state_dict({})
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(AssertionError, match="factor must be"):
            GradScaler("cpu", **options)


def test_half_gradients_are_refused() -> None:
    weight = nn.Parameter(ddpnet.ones(2, dtype=ddpnet.float16))
    scaler = GradScaler("cpu")
    scaler.scale(weight.float().sum()).backward()
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        scaler.step(optim.SGD([weight], lr=0.1))


@pytest.mark.skipif(ddpnet.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu() -> None:
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not GradScaler().is_enabled()
