"""What is computed together gives the same bits as one after the other, and nobody who looks in between is deceived."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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


# ReLU waits for max-pooling


def filtered(x: Tensor) -> Tensor:
    """As large as what a ReLU waits for, a result that nobody else has; with zeros, infinities and NaN."""
    weight = torch.ones(2, 1, 1, 1)
    weight[1] = -2
    return F.conv2d(x, weight)


def large(special: bool = False) -> Tensor:
    x = RNG.integers(-2, 3, (4, 1, 30, 31)).astype(np.float32)
    if special:
        x.reshape(-1)[::7], x.reshape(-1)[1::11], x.reshape(-1)[2::13] = np.nan, np.inf, -0.0
    return torch.tensor(x, requires_grad=True)


def waits(h: Tensor) -> bool:
    return h.pending is not None


LOOKS = {
    "nobody": lambda y, h: None,
    "the result": lambda y, h: h.sum(),
    "the input": lambda y, h: y.sum(),
    "printed": lambda y, h: repr(h),
    "in place": lambda y, h: y.detach().add_(5),
    "memory": lambda y, h: y.detach().numpy().fill(7),
    "data": lambda y, h: setattr(y, "data", torch.zeros_like(y)),
}


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2}, {"kernel_size": 2, "padding": 1}]
)
@pytest.mark.parametrize("who", LOOKS)
def test_a_relu_that_waits_gives_the_same_bits(who: str, options: dict[str, Any], special: bool) -> None:
    x = large(special)
    before = filtered(x).detach().numpy()
    y = filtered(x)
    h = F.relu(y)
    assert waits(h)
    LOOKS[who](y, h)
    result = F.max_pool2d(h, **options)
    expected, places = F.max_pool2d(torch.tensor(np.maximum(before, np.float32(0))), **options, return_indices=True)
    assert result.detach().numpy().tobytes() == expected.numpy().tobytes()
    del y, h
    g = np.random.default_rng(1).standard_normal(result.shape).astype(np.float32)
    result.backward(torch.tensor(g))
    scattered = np.zeros(before.shape, np.float32).reshape(4, 2, -1)
    masked = np.where(expected.numpy() <= 0, 0, g).reshape(4, 2, -1)
    for n in range(4):
        for c in range(2):
            np.add.at(scattered[n, c], places.numpy().reshape(4, 2, -1)[n, c], masked[n, c])
    total = scattered[:, 0] - 2 * scattered[:, 1]
    np.testing.assert_allclose(x.grad.numpy().reshape(4, -1), total, rtol=1e-5, atol=1e-6)


def test_what_waits_is_computed_when_somebody_looks() -> None:
    y = filtered(large())
    h = F.relu(y)
    pool = F.max_pool2d(h, 2)
    assert h.shape == y.shape == (4, 2, 30, 31)
    assert waits(h)
    assert waits(y)
    values = y.detach().numpy()
    assert not waits(h)
    assert not waits(y)
    np.testing.assert_array_equal(h.detach().numpy(), np.maximum(values, 0))
    assert (pool == F.max_pool2d(h, 2)).all()
    assert not hasattr(h, "no_such_name")


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: filtered(x)[1:],
        lambda x: filtered(x).double(),
        lambda x: filtered(x).transpose(2, 3),
        lambda x: filtered(x).reshape(8, -1),
        lambda x: filtered(x[:1, :, :9, :9]),
    ],
)
def test_what_others_have_or_is_small_does_not_wait(make: Any) -> None:
    assert not waits(F.relu(make(large())))


def test_memory_that_somebody_holds_does_not_wait() -> None:
    y = filtered(large())
    memory = y.detach().numpy()
    h = F.relu(y)
    assert not waits(h)
    expected = np.maximum(memory, 0)
    memory[...] = 1
    np.testing.assert_array_equal(h.detach().numpy(), expected)


def test_updates_of_what_waits() -> None:
    x = large()
    h = F.relu(filtered(x))
    expected = h.detach().clone() + 1
    h = F.relu(filtered(x))
    h += 1
    assert (h == expected).all()
    with pytest.raises(RuntimeError, match=r"the output .* saved by ReluBackward0 is at version 1"):
        h.sum().backward()
    h = F.relu(filtered(x), inplace=True)
    assert (h + 1 == expected).all()


def test_other_ways_back_from_what_waited() -> None:
    x = large()
    expected = torch.autograd.grad(F.max_pool2d(F.relu(filtered(x) + 0), 2, return_indices=True)[0].sum(), x)[0]
    result = F.max_pool2d(F.relu(filtered(x)), 2).sum()
    (found,) = torch.autograd.grad(result, x, retain_graph=True, create_graph=True)
    assert (found == expected).all()
    result.backward(retain_graph=True)
    result.backward()
    assert (x.grad == 2 * expected).all()
    with pytest.raises(RuntimeError, match="a second time"):
        result.backward()


def test_second_order_of_what_waited() -> None:
    x = large()
    gradients = []
    for look in (False, True):
        h = F.relu(filtered(x * x))
        assert waits(h)
        if look:
            h.sum()
        result = F.max_pool2d(h, 2)
        del h
        (first,) = torch.autograd.grad((result * result).sum(), x, create_graph=True)
        gradients.append(torch.autograd.grad((first * first).sum(), x)[0].numpy().tobytes())
    assert gradients[0] == gradients[1]


def test_hooks_see_what_waited() -> None:
    x = large()
    found = []
    for look in (False, True):
        h = F.relu(filtered(x))
        if look:
            h.sum()
        seen: list[Tensor] = []
        h.register_hook(seen.append)
        F.max_pool2d(h, 2).sum().backward()
        found.append(seen[0].numpy().tobytes())
    assert found[0] == found[1]


def test_waiting_without_gradients() -> None:
    x = large()
    with torch.no_grad():
        h = F.relu(filtered(x))
        assert waits(h)
        result = F.max_pool2d(h, 2)
        assert waits(h)
        assert (result == F.max_pool2d(h.clone(), 2)).all()
        assert h.grad_fn is None


def test_nothing_waits_in_a_checkpoint_or_in_anomaly_mode() -> None:
    x, seen = large(), []  # type: tuple[Tensor, list[bool]]

    def part(x: Tensor) -> Tensor:
        h = F.relu(filtered(x))
        seen.append(waits(h))
        return F.max_pool2d(h, 2)

    part(x).sum().backward()
    expected, x.grad = x.grad, None
    checkpoint(part, x, use_reentrant=False).sum().backward()
    assert (x.grad == expected).all()
    x.grad = None
    with torch.autograd.detect_anomaly():
        part(x).sum().backward()
    assert (x.grad == expected).all()
    assert seen[0]
    assert not any(seen[1:])


def test_threads_that_look_at_once_see_the_same() -> None:
    x = large()
    for _ in range(20):
        h = F.relu(filtered(x))
        with ThreadPoolExecutor(4) as threads:
            arrays = list(threads.map(lambda _, h=h: h.array, range(8)))  # type: ignore[misc]
        assert all(array is arrays[0] for array in arrays)


@pytest.mark.parametrize("replaced", [False, True])
def test_an_input_that_changes_after_its_relu_is_gone(replaced: bool) -> None:
    x = large()
    expected = torch.autograd.grad(F.max_pool2d(F.relu(filtered(x)), 2).sum(), x)[0]
    y = filtered(x)
    h = F.relu(y)
    result = F.max_pool2d(h, 2)
    if replaced:
        h.data = torch.zeros_like(h)
    del h
    y.mul_(-1)
    assert not result.grad_fn.joint.fits(result.grad_fn)
    result.sum().backward()
    assert (x.grad == expected).all()
