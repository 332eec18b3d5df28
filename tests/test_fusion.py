"""What is computed together gives the same bits as one after the other, and nobody who looks in between is deceived."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet as torch
import ddpnet.nn.functional as F
from ddpnet import Tensor
from ddpnet.utils.checkpoint import checkpoint

RNG = np.random.default_rng(0)


def images(special: bool = False, dtype: Any = np.float32) -> Tensor:
    """(4, 3, 9, 8), with ties and zeros in windows of two, or with values that are not finite as well."""
    x = RNG.integers(-2, 3, (4, 3, 9, 8)).astype(dtype)
    if special:
        x.reshape(-1)[::7], x.reshape(-1)[1::11], x.reshape(-1)[2::13] = np.nan, np.inf, -0.0
    return torch.tensor(x, requires_grad=True)


def pooled(x: Tensor, kept: list[Tensor] | None = None, times: int = 1, **options: Any) -> Tensor:
    """Max-pooling of a ReLU, whose result goes to a list if there is one: then the two are not computed together."""
    y = x * 1
    h = F.relu(y)
    del y
    if kept is not None:
        kept.append(h)
    result = F.max_pool2d(h, **options)
    for _ in range(times - 1):
        result = result + F.max_pool2d(h, **options)
    return result


def together(result: Tensor) -> bool:
    node = result.grad_fn
    return bool(node.joint is not None and node.joint.fits(node))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (2, 3), "stride": 1, "dilation": 2},
        {"kernel_size": 2, "ceil_mode": True},
    ],
)
def test_same_bits(dtype: Any, special: bool, options: dict[str, Any]) -> None:
    x = images(special, dtype)
    found = []
    for kept in (None, []):
        result = pooled(x, kept, **options)
        assert together(result) == (kept is None)
        g = torch.tensor(np.random.default_rng(1).standard_normal(result.shape).astype(dtype))
        if special:
            g.numpy().reshape(-1)[::5] = np.inf
        x.grad = None
        result.backward(g)
        found.append((result.detach().numpy().tobytes(), x.grad.numpy().tobytes()))
    assert found[0] == found[1]


def test_the_graph_is_what_was_written() -> None:
    pool = pooled(images(), kernel_size=2).grad_fn
    relu = pool.next_functions[0][0]
    assert (pool.name(), relu.name()) == ("MaxPool2DWithIndicesBackward0", "ReluBackward0")
    assert relu.next_functions[0][0].name() == "MulBackward0"


def test_gradients_in_between_are_seen() -> None:
    x, kept = images(), []  # type: tuple[Tensor, list[Tensor]]
    result = pooled(x, kept, kernel_size=2)
    h, seen = kept[0], []  # type: tuple[Tensor, list[Tensor]]
    h.retain_grad()
    h.register_hook(seen.append)
    del kept[:]
    result.sum().backward()
    assert h.grad is not None
    assert len(seen) == 1
    assert (h.grad != 0).sum() == result.numel()  # also where a window has no positive element
    assert (h.grad == seen[0]).all()
    assert (x.grad != 0).sum() == (result > 0).sum()


def test_hooks_of_the_node_in_between_are_called() -> None:
    x = images()
    result = pooled(x, kernel_size=2)
    assert together(result)
    calls: list[Any] = []
    result.grad_fn.next_functions[0][0].register_hook(lambda *gradients: calls.append(gradients))
    assert not together(result)
    result.sum().backward()
    ((dx,), (dy,)) = calls[0]
    assert (dy != 0).sum() == result.numel()
    assert (dx == x.grad).all()


def test_two_uses() -> None:
    x = images()
    result = pooled(x, times=2, kernel_size=2)
    pools = [node for node, _ in result.grad_fn.next_functions]
    assert not any(pool.joint.fits(pool) for pool in pools)
    gradients = []
    for kept in (None, []):
        x.grad = None
        (pooled(x, kept, times=2, kernel_size=2) * 0.3).sum().backward()
        gradients.append(x.grad.numpy().tobytes())
    assert gradients[0] == gradients[1]


def test_maxima_that_changed() -> None:
    x = images()
    result = pooled(x, kernel_size=2)
    expected = torch.autograd.grad(result.sum(), x, retain_graph=True)[0]
    assert together(result)
    node = result.grad_fn
    result.mul_(-1)
    assert not node.joint.fits(node)
    (-result).sum().backward()
    assert (x.grad == expected).all()


def test_twice() -> None:
    x = images()
    result = pooled(x, kernel_size=2).sum()
    result.backward(retain_graph=True)
    once = x.grad.clone()
    result.backward()
    assert (x.grad == 2 * once).all()
    with pytest.raises(RuntimeError, match="a second time"):
        result.backward()


def test_second_order() -> None:
    x = torch.tensor(RNG.standard_normal((2, 1, 4, 4)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pooled(x, kernel_size=2) ** 3, x)
    assert torch.autograd.gradgradcheck(lambda x: pooled(x, kernel_size=2) ** 3, x)


def test_in_a_checkpoint_and_in_anomaly_mode() -> None:
    x = images()
    pooled(x, kernel_size=2).sum().backward()
    expected = x.grad
    x.grad = None
    checkpoint(lambda x: pooled(x, kernel_size=2), x, use_reentrant=False).sum().backward()
    assert (x.grad == expected).all()
    x.grad = None
    with torch.autograd.detect_anomaly():
        pooled(x, kernel_size=2).sum().backward()
    assert (x.grad == expected).all()


def test_modules() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    x = torch.randn(2, 1, 8, 8)
    result = model(x)
    assert together(result)
    result.sum().backward()
    expected = model[0].weight.grad.numpy().tobytes()
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.zero_grad()
    result = model(x)
    assert not together(result)
    result.sum().backward()
    assert model[0].weight.grad.numpy().tobytes() == expected
