"""Gradients of gradients: `create_graph`, `autograd.functional`, checkpoints and anomaly mode."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn
from ddpnet.autograd.function import once_differentiable
from ddpnet.nn import functional as F
from ddpnet.utils.checkpoint import checkpoint, checkpoint_sequential


def drawn(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [np.asarray(rng.standard_normal(shape)) for shape in shapes]


def both() -> tuple[Any, Any]:
    return ddpnet, pytest.importorskip("torch")


def test_derivatives_of_a_power() -> None:
    x = ddpnet.tensor(2.0, dtype=ddpnet.float64, requires_grad=True)
    y = x**4
    for expected in (32, 48, 48, 24):
        (y,) = ddpnet.autograd.grad(y, x, create_graph=True)
        assert y.item() == expected


def test_backward_with_a_graph() -> None:
    x = ddpnet.tensor(3.0, requires_grad=True)
    (x * x * x).backward(create_graph=True)
    assert x.grad.requires_grad
    assert x.grad.item() == 27
    x.grad.backward()
    assert x.grad.item() == 27 + 18


def test_gradient_penalty_as_pytorchs() -> None:
    """A critic's Wasserstein loss with the penalty of Gulrajani et al. (2017), through convolution and norms."""
    weights = drawn((4, 1, 3, 3), (4,), (1, 16))
    real, fake = drawn((3, 1, 4, 4), (3, 1, 4, 4))
    results = []
    for torch in both():
        w, b, v = (torch.tensor(a, requires_grad=True) for a in weights)

        def critic(x: Any, torch: Any = torch, w: Any = w, b: Any = b, v: Any = v) -> Any:
            h = torch.nn.functional.conv2d(x, w, b, stride=2, padding=1)
            h = torch.nn.functional.leaky_relu(h, 0.2)
            return torch.nn.functional.linear(torch.tanh(h).flatten(1), v)

        x, y = torch.tensor(real), torch.tensor(fake)
        mixed = (0.3 * x + 0.7 * y).requires_grad_()
        scores = critic(mixed)
        (g,) = torch.autograd.grad(scores, mixed, torch.ones_like(scores), True, True, True)
        penalty = ((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(y).mean() - critic(x).mean() + 10 * penalty
        loss.backward()
        results.append([loss.item(), *(t.grad.numpy() for t in (w, b, v))])
    for ours, theirs in zip(*results, strict=True):
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_physics_informed_network_as_pytorchs() -> None:
    """The residual of u'' + u = 0, with u a small network."""
    weights = drawn((8, 1), (8,), (1, 8))
    results = []
    for torch in both():
        w, b, v = (torch.tensor(a, requires_grad=True) for a in weights)
        t = torch.linspace(0, 1, 5, dtype=torch.float64).reshape(-1, 1).requires_grad_()
        u = torch.tanh(t @ w.t() + b) @ v.t()
        (first,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), t, create_graph=True)
        ((second + u) ** 2).mean().backward()
        results.append([p.grad.numpy() for p in (w, b, v)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


NETWORKS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cross entropy": lambda torch, x, w: torch.nn.functional.cross_entropy(x @ w, torch.tensor([0, 2, 1, 0])),
    "soft cross entropy": lambda torch, x, w: torch.nn.functional.cross_entropy(x @ w, torch.softmax(x @ w * 2, 1)),
    "mse": lambda torch, x, w: torch.nn.functional.mse_loss(torch.sigmoid(x @ w), torch.ones(4, 3, dtype=x.dtype)),
    "bce": lambda torch, x, w: torch.nn.functional.binary_cross_entropy_with_logits(
        x @ w, torch.ones(4, 3, dtype=x.dtype)
    ),
    "smooth l1": lambda torch, x, w: torch.nn.functional.smooth_l1_loss(x @ w, torch.zeros(4, 3, dtype=x.dtype)),
    "softmax": lambda torch, x, w: (torch.softmax(x @ w, -1) * x[:, :3]).sum(),
    "layer norm": lambda torch, x, w: (torch.nn.functional.layer_norm(x @ w, (3,)) ** 3).sum(),
    "batch norm": lambda torch, x, w: (torch.nn.functional.batch_norm(x @ w, None, None, w[0], w[1], True) ** 3).sum(),
    "group norm": lambda torch, x, w: (torch.nn.functional.group_norm((x @ w).reshape(2, 2, 3), 2) ** 3).sum(),
    "attention": lambda torch, x, w: torch.nn.functional.scaled_dot_product_attention(
        (x @ w)[None], x[None, :, :3], x[None, :, 1:4], is_causal=True
    ).sum(),
    "gelu": lambda torch, x, w: torch.nn.functional.gelu(x @ w).sum(),
    "reductions": lambda torch, x, w: (x @ w).std() * (x @ w).norm() + torch.logsumexp(x @ w, 1).sum(),
    "max pool": lambda torch, x, w: (torch.nn.functional.max_pool2d((x @ w).reshape(1, 1, 4, 3) ** 3, 2, 1)).sum(),
    "transposed convolution": lambda torch, x, w: (
        torch.nn.functional.conv_transpose2d(x.reshape(1, 1, 4, 5), w.reshape(1, 1, 5, 3)) ** 3
    ).sum(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_hessian_vector_products_are_pytorchs(name: str) -> None:
    values = drawn((4, 5), (5, 3), (4, 5), (5, 3))
    results = []
    for torch in both():
        x, w, v, u = (torch.tensor(a) for a in values)
        _, products = torch.autograd.functional.hvp(lambda a, b, t=torch: NETWORKS[name](t, a, b), (x, w), (v, u))
        results.append([p.numpy() for p in products])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["jacobian", "hessian", "vjp", "jvp", "hvp", "vhp"])
def test_functional(name: str) -> None:
    x, y = drawn((2, 3), (2,))
    results = []
    for torch in both():
        inputs = torch.tensor(x), torch.tensor(y)
        scalar = name in ("hessian", "hvp", "vhp")

        def f(a: Any, b: Any, scalar: bool = scalar) -> Any:
            rows = a.exp().sum(1) * b * b
            return rows.sum() if scalar else (rows, (a * a).sum())

        call = getattr(torch.autograd.functional, name)
        if name in ("jacobian", "hessian"):
            found = call(f, inputs)
        elif name == "vjp":
            found = call(f, inputs, (torch.ones(2, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)))
        else:
            found = call(f, inputs, inputs)
        results.append([np.asarray(t.detach().numpy()) for t in flat(found)])
    assert len(results[0]) == len(results[1])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def flat(value: Any) -> list[Any]:
    return [t for part in value for t in flat(part)] if isinstance(value, tuple) else [value]


def test_functional_of_one_tensor_and_errors() -> None:
    x = ddpnet.tensor([1.0, 2.0])
    jacobian = ddpnet.autograd.functional.jacobian(lambda a: a * a, x)
    assert jacobian.tolist() == [[2, 0], [0, 4]]
    assert not jacobian.requires_grad
    assert ddpnet.autograd.functional.jacobian(lambda a: a * a, x, create_graph=True).requires_grad
    with pytest.raises(RuntimeError, match="independent of input 1"):
        ddpnet.autograd.functional.jacobian(lambda a, b: a * 2, (x, x), strict=True)
    with pytest.raises(TypeError, match="index 0"):
        ddpnet.autograd.functional.jacobian(lambda a: a, 3.0)
    with pytest.raises(RuntimeError, match="single element"):
        ddpnet.autograd.functional.hessian(lambda a: a, x)


def test_gradgradcheck() -> None:
    x = ddpnet.tensor([0.5, 1.5], dtype=ddpnet.float64, requires_grad=True)
    assert ddpnet.autograd.gradgradcheck(lambda a: (a.exp() * a).sum(), (x,))

    class Wrong(ddpnet.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any) -> Any:
            ctx.save_for_backward(a)
            return a**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (a,) = ctx.saved_tensors
            return 3 * (a * a).detach() * g

    assert ddpnet.autograd.gradcheck(Wrong.apply, (x,))
    assert not ddpnet.autograd.gradgradcheck(Wrong.apply, (x,), raise_exception=False)


def test_users_function_twice() -> None:
    class Cube(ddpnet.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    x = ddpnet.tensor(2.0, requires_grad=True)
    (g,) = ddpnet.autograd.grad(Cube.apply(x), x, create_graph=True)
    assert ddpnet.autograd.grad(g, x)[0].item() == 12


def test_once_differentiable() -> None:
    class Once(ddpnet.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return ddpnet.tensor(g.numpy() * 2)

    x = ddpnet.tensor(2.0, requires_grad=True)
    y = Once.apply(x * x)
    (g,) = ddpnet.autograd.grad(y, x, retain_graph=True)
    assert g.item() == 8
    (g,) = ddpnet.autograd.grad(y, x, ddpnet.tensor(1.0, requires_grad=True), create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice a function that was marked with @once_differentiable"):
        g.backward()


def test_only_what_is_wanted_is_computed() -> None:
    """A gradient with respect to the input does not visit the weights' branch."""
    visited = []

    class Seen(ddpnet.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            visited.append(1)
            return g

    x, w = (ddpnet.tensor(2.0, requires_grad=True) for _ in range(2))
    y = x * Seen.apply(w)
    assert ddpnet.autograd.grad(y, x, retain_graph=True)[0].item() == 2
    assert visited == []
    y.backward()
    assert visited == [1]


def test_materialize_grads() -> None:
    x, z = (ddpnet.tensor(2.0, requires_grad=True) for _ in range(2))
    assert [g.item() for g in ddpnet.autograd.grad(x * 3, (x, z), materialize_grads=True)] == [3, 0]
    with pytest.raises(ValueError, match="allow_unused"):
        ddpnet.autograd.grad(x * 3, (x, z), materialize_grads=True, allow_unused=False)


# Checkpoints


def block() -> nn.Sequential:
    ddpnet.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 4))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoint_changes_nothing(use_reentrant: bool) -> None:
    model, x = block(), ddpnet.tensor(np.ones((3, 4), np.float32), requires_grad=True)
    found = []
    for call in (model, lambda x: checkpoint(model, x, use_reentrant=use_reentrant)):
        model.zero_grad()
        x.grad = None
        ddpnet.manual_seed(5)
        y = call(x * 2)
        after = ddpnet.rand(1).item()
        y.pow(2).sum().backward()
        found.append([after, ddpnet.rand(1).item(), x.grad.tolist(), *(p.grad.tolist() for p in model.parameters())])
    assert found[0] == found[1]


def test_checkpoint_keeps_nothing() -> None:
    model = block()
    made: list[weakref.ref[Any]] = []

    def watched(x: Any) -> Any:
        h = model[0](x).tanh()
        made.append(weakref.ref(h.array))
        return model[3](h)

    y = checkpoint(watched, ddpnet.ones(3, 4), use_reentrant=False)
    gc.collect()
    assert made[0]() is None
    y.sum().backward()
    assert len(made) == 2
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_checkpoint_of_what_changes() -> None:
    calls = []

    def changing(x: Any) -> Any:
        calls.append(1)
        return x.exp() if len(calls) == 1 else x.exp().exp()

    x = ddpnet.ones(2, requires_grad=True)
    y = checkpoint(changing, x, use_reentrant=False)
    with pytest.raises(RuntimeError, match="recorded other operations"):
        y.sum().backward()


def test_checkpoint_twice_derived_and_sequential() -> None:
    x = ddpnet.tensor([0.5, 1.0], dtype=ddpnet.float64, requires_grad=True)
    y = checkpoint(lambda a: (a**3).sum(), x, use_reentrant=False)
    (g,) = ddpnet.autograd.grad(y, x, create_graph=True)
    assert ddpnet.autograd.grad(g.sum(), x)[0].tolist() == [3, 6]
    model = block().eval()
    data = ddpnet.ones(2, 4, requires_grad=True)
    model(data).sum().backward()
    expected, data.grad = data.grad.tolist(), None
    checkpoint_sequential(model, 2, data, use_reentrant=False).sum().backward()
    assert data.grad.tolist() == expected


# Anomaly mode


def test_anomaly_mode_names_the_line() -> None:
    x = ddpnet.tensor([0.0, 1.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ddpnet.autograd.detect_anomaly():
            y = (x * 0).sqrt() * 0  # the line to find
            with pytest.raises(RuntimeError, match="returned nan values in its 0th output") as caught:
                y.sum().backward()
    assert "# the line to find" in str(caught.value)
    assert "SqrtBackward0" in str(caught.value)
    y = (x * 0).sqrt() * 0
    y.sum().backward()
    assert np.isnan(x.grad.numpy()).all()


def test_anomaly_mode_names_the_line_of_an_error() -> None:
    class Broken(ddpnet.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise ValueError("broken")

    x = ddpnet.ones(2, requires_grad=True)
    with ddpnet.autograd.set_detect_anomaly(True):
        assert ddpnet.is_anomaly_enabled()
        y = Broken.apply(x)  # where it was recorded
        with pytest.raises(ValueError, match="broken") as caught:
            y.sum().backward()
    assert not ddpnet.is_anomaly_enabled()
    assert "# where it was recorded" in "".join(caught.value.__notes__)


def test_module_with_a_gradient_of_a_gradient() -> None:
    ddpnet.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    x = ddpnet.randn(4, 3).requires_grad_()
    (g,) = ddpnet.autograd.grad(F.mse_loss(model(x), ddpnet.zeros(4, 1)), x, create_graph=True)
    g.pow(2).sum().backward()
    assert all(p.grad is not None for p in (model[0].weight, model[2].weight))
