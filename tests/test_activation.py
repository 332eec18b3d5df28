"""Activation functions and dropout, as far as they are no row of a table: modules, kernels, random choices, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import kernels, nn
from ddpnet.nn import functional as F

MODULES: tuple[Callable[[Any], Any], ...] = (
    lambda nn: nn.ReLU(inplace=True),
    lambda nn: nn.ReLU6(inplace=True),
    lambda nn: nn.LeakyReLU(0.3, inplace=True),
    lambda nn: nn.PReLU(3, 0.1),
    lambda nn: nn.RReLU(0.1, 0.3, inplace=True),
    lambda nn: nn.ELU(0.5, inplace=True),
    lambda nn: nn.SELU(inplace=True),
    lambda nn: nn.CELU(0.5),
    lambda nn: nn.GELU(),
    lambda nn: nn.GELU("tanh"),
    lambda nn: nn.SiLU(inplace=True),
    lambda nn: nn.Mish(),
    lambda nn: nn.Sigmoid(),
    lambda nn: nn.LogSigmoid(),
    lambda nn: nn.Hardsigmoid(inplace=True),
    lambda nn: nn.Hardswish(inplace=True),
    lambda nn: nn.Hardtanh(-2, 2, inplace=True),
    lambda nn: nn.Hardshrink(),
    lambda nn: nn.Softshrink(0.3),
    lambda nn: nn.Tanhshrink(),
    lambda nn: nn.Softplus(2),
    lambda nn: nn.Softsign(),
    lambda nn: nn.Threshold(0.1, 20, inplace=True),
    lambda nn: nn.GLU(1),
    lambda nn: nn.Tanh(),
    lambda nn: nn.Softmax(1),
    lambda nn: nn.Softmin(1),
    lambda nn: nn.LogSoftmax(1),
    lambda nn: nn.Softmax2d(),
    lambda nn: nn.Dropout(0.3, inplace=True),
    lambda nn: nn.Dropout1d(),
    lambda nn: nn.Dropout2d(),
    lambda nn: nn.Dropout3d(),
    lambda nn: nn.AlphaDropout(),
    lambda nn: nn.FeatureAlphaDropout(0.2),
)


@pytest.mark.parametrize("make", MODULES)
def test_text_state_and_values_of_modules(make: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = make(nn).eval(), make(torch.nn).eval()
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)) if "2d" in repr(ours) else None
    x = np.random.default_rng(0).standard_normal((2, 3) if "PReLU" in repr(ours) else (3, 4)) if x is None else x
    if "Dropout" not in repr(ours):
        ours, theirs = ours.to(ddpnet.float64), theirs.to(torch.float64)
        np.testing.assert_allclose(
            ours(ddpnet.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-7
        )


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_dimension_left_out(name: str, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal(shape)
    with pytest.warns(UserWarning, match=f"Implicit dimension choice for {name}") as record:
        y = getattr(F, name)(ddpnet.tensor(x))
    assert record[0].filename == __file__
    with pytest.warns(UserWarning, match="Implicit"):
        expected = getattr(torch.nn.functional, name)(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), expected.numpy())


# Kernels: the float32 polynomials against the C library's functions of float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_of_smooth_functions(dtype: Any) -> None:
    x = np.concatenate([np.linspace(-20, 20, 4001), [-1e4, -700, -90, 90, 700, 1e4]]).astype(dtype)
    wide = x.astype(np.float64)
    cdf = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in wide])
    density = np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    with np.errstate(over="ignore"):
        s = 1 / (1 + np.exp(-wide))
    k = kernels.kernels_for(x)
    close = {"rtol": 1e-12 if dtype is np.float64 else 4e-6, "atol": 1e-12 if dtype is np.float64 else 1e-6}
    one = np.ones_like(x)
    np.testing.assert_allclose(k.sigmoid(x), s, **close)
    np.testing.assert_allclose(k.normal_cdf(x), cdf, **close)
    for lowest, precision in ((-3, 7e-7), (-12.8, 5e-6)):
        inside = wide > lowest
        np.testing.assert_allclose(k.normal_cdf(x)[inside], cdf[inside], rtol=precision)
    np.testing.assert_allclose(k.silu_forward(x), wide * s, **close)
    np.testing.assert_allclose(k.silu_backward(one, x), s * (1 + wide * (1 - s)), **close)
    np.testing.assert_allclose(k.gelu_forward(x, False), wide * cdf, **close)
    np.testing.assert_allclose(k.gelu_backward(one, x, False), cdf + wide * density, **close)
    inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
    t = np.tanh(inner)
    np.testing.assert_allclose(k.gelu_forward(x, True), 0.5 * wide * (1 + t), **close)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * wide**2)
    expected = 0.5 * (1 + t) + 0.5 * wide * (1 - t * t) * slope
    near = np.abs(wide) < 100
    np.testing.assert_allclose(k.gelu_backward(one, x, True)[near], expected[near], **close)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 8, 33, 1500])
def test_kernels_of_softmax(dtype: Any, width: int) -> None:
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((5, width)).astype(dtype) for _ in range(2))
    classes = rng.integers(0, width, 5)
    p = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    k = kernels.kernels_for(x)
    close = {"rtol": 1e-12 if dtype is np.float64 else 2e-6, "atol": 1e-12 if dtype is np.float64 else 2e-6}
    np.testing.assert_allclose(k.softmax_forward(x), p, **close)
    np.testing.assert_allclose(k.log_softmax_forward(x), np.log(p), **close)
    np.testing.assert_allclose(k.softmax_backward(g, p.astype(dtype)), p * (g - (g * p).sum(1, keepdims=True)), **close)
    expected = g - p * g.sum(1, keepdims=True)
    np.testing.assert_allclose(k.log_softmax_backward(g, np.log(p).astype(dtype)), expected, **close)
    shares = g[:, 0]
    losses, slopes = k.cross_entropy_with_slopes(x, classes, shares)
    np.testing.assert_allclose(losses, -np.log(p[np.arange(5), classes]), **close)
    np.testing.assert_array_equal(k.cross_entropy(x, classes), losses)
    expected = (p - np.eye(width)[classes]) * shares[:, None]
    np.testing.assert_allclose(slopes, expected, **close)
    np.testing.assert_allclose(k.scale_rows(slopes.copy(), np.asarray(dtype(0.3))), expected * 0.3, **close)
    np.testing.assert_allclose(k.scale_rows(slopes, shares), expected * shares[:, None], **close)


def test_not_a_number_stays_one() -> None:
    x = ddpnet.tensor([float("nan"), 1.0])
    for name in ("relu", "gelu", "silu", "mish", "elu", "softplus", "hardtanh", "softshrink", "hardshrink", "sigmoid"):
        assert math.isnan(getattr(F, name)(x)[0].item()), name
    for name in ("softmax", "log_softmax"):
        assert ddpnet.isnan(getattr(F, name)(x, dim=0)).all(), name


# Random choices


def test_same_seed_same_choices() -> None:
    x = ddpnet.ones(6, 8, 4)
    for name in ("dropout", "dropout1d", "alpha_dropout", "feature_alpha_dropout", "rrelu"):
        results = []
        for _ in range(2):
            ddpnet.manual_seed(3)
            results.append(getattr(F, name)(x if name != "rrelu" else -x, training=True).numpy())
        assert np.array_equal(*results), name
        assert len(np.unique(results[0])) > 1, name


def test_channels_are_dropped_whole() -> None:
    ddpnet.manual_seed(0)
    x = ddpnet.ones(50, 20, 3, 2, requires_grad=True)
    y = F.dropout2d(x, 0.25)
    values = y.detach().numpy().reshape(1000, 6)
    assert (values == values[:, :1]).all()
    assert set(np.unique(values)) == {0.0, np.float32(1 / 0.75)}
    assert np.mean(values == 0) == pytest.approx(0.25, abs=0.05)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())
    assert F.dropout3d(ddpnet.ones(4, 2, 2, 2)).shape == (4, 2, 2, 2)
    assert F.dropout1d(ddpnet.ones(4, 3)).shape == (4, 3)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    ddpnet.manual_seed(0)
    x = ddpnet.randn(200, 500)
    for function in (F.alpha_dropout, F.feature_alpha_dropout):
        y = function(x, 0.3, training=True).numpy()
        assert y.mean() == pytest.approx(0, abs=0.02)
        assert y.var() == pytest.approx(1, abs=0.03)


def test_dropout_in_place() -> None:
    x = ddpnet.ones(100)
    y = F.dropout(x, 0.5, inplace=True)
    assert y is x
    assert set(np.unique(x.numpy())) == {0.0, 2.0}
    assert F.dropout(x, 0.5, training=False) is x


def test_gumbel_softmax() -> None:
    ddpnet.manual_seed(0)
    logits = ddpnet.tensor(np.log([[0.1, 0.6, 0.3]]).repeat(4000, 0)).requires_grad_()
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.sum(1).detach().numpy(), 1)
    hard = F.gumbel_softmax(logits, hard=True, dim=1)
    assert set(np.unique(np.round(hard.detach().numpy(), 9))) == {0.0, 1.0}
    np.testing.assert_allclose(hard.mean(0).detach().numpy(), [0.1, 0.6, 0.3], atol=0.03)
    (hard * ddpnet.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.abs(logits.grad.numpy()).sum() > 0


# Errors

BAD: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "gelu": (lambda torch, x: torch.nn.functional.gelu(x, approximate="exact"), "approximate"),
    "celu": (lambda torch, x: torch.celu(x, 0.0), "alpha"),
    "softshrink": (lambda torch, x: torch.nn.functional.softshrink(x, -1.0), "lambda"),
    "glu": (lambda torch, x: torch.nn.functional.glu(x, 1), "Halving"),
    "glu 0-d": (lambda torch, x: torch.nn.functional.glu(x[0, 0]), "0-dim"),
    "hardtanh": (lambda torch, x: torch.nn.functional.hardtanh(x, 2.0, 1.0), "min_val"),
    "prelu": (lambda torch, x: torch.prelu(x, torch.ones(4)), "4"),
    "prelu matrix": (lambda torch, x: torch.prelu(x, torch.ones(3, 3)), "ndim"),
    "prelu dtype": (lambda torch, x: torch.prelu(x, torch.ones(3, dtype=torch.float64)), "promot"),
    "relu of bool": (lambda torch, x: torch.relu(x > 0), "relu"),
    "silu of integers": (lambda torch, x: torch.nn.functional.silu(x.long()), "silu"),
    "softmax of integers": (lambda torch, x: torch.softmax(x.long(), 0), "softmax"),
    "softmax dim": (lambda torch, x: torch.softmax(x, 2), "range"),
    "dropout": (lambda torch, x: torch.nn.functional.dropout(x, -0.1), "0.1"),
    "alpha dropout": (lambda torch, x: torch.nn.functional.alpha_dropout(x, 1.1), "1.1"),
    "dropout1d": (lambda torch, x: torch.nn.functional.dropout1d(x[0]), "1D"),
    "leaf": (lambda torch, x: torch.nn.functional.relu(x.requires_grad_(), inplace=True), "leaf"),
    "dropout module": (lambda torch, x: torch.nn.Dropout2d(2.0), "2.0"),
    "softmax2d": (lambda torch, x: torch.nn.Softmax2d()(x), "2D"),
    "hardtanh module": (lambda torch, x: torch.nn.Hardtanh(1, 0), "min_val"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    call, text = BAD[name]
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever PyTorch raises
        call(torch, torch.ones(2, 3))
    with pytest.raises(theirs.type, match=text):
        call(ddpnet, ddpnet.ones(2, 3))
