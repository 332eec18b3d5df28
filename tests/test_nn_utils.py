"""Clipping, vectors of parameters, weight and spectral norm, parametrisations, fusion, initial values."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet.nn import init

WEIGHT = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def linear(torch: Any) -> Any:
    layer = torch.nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(WEIGHT, dtype=torch.float64))
        layer.bias.zero_()
    return layer


def values(x: Any) -> list[float]:
    return [round(v, 5) for v in x.detach().reshape(-1).tolist()]


def one(torch: Any) -> Any:
    return torch.ones(1, 3, dtype=torch.float64)


def with_weight_norm(torch: Any) -> list[Any]:
    utils, layer = torch.nn.utils, torch.nn.utils.weight_norm(linear(torch))
    found = [list(layer.state_dict()), values(layer.weight_g), values(layer(one(torch)))]
    layer(one(torch)).sum().backward()
    return [*found, values(layer.weight_v.grad), list(utils.remove_weight_norm(layer).state_dict())]


def with_parametrized_weight_norm(torch: Any) -> list[Any]:
    layer = torch.nn.utils.parametrizations.weight_norm(linear(torch), dim=1)
    found = [list(layer.state_dict()), repr(layer), values(layer(one(torch))), values(layer.weight)]
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    return [*found, repr(layer), list(layer.state_dict())]


def with_spectral_norm(torch: Any) -> list[Any]:
    found: list[Any] = []
    for utils in (torch.nn.utils, torch.nn.utils.parametrizations):
        layer = utils.spectral_norm(linear(torch))
        found.append(sorted(layer.state_dict()))
        for _ in range(30):
            y = layer(one(torch))
        found.append(values(y))
        layer.eval()
        found.append(values(layer(one(torch))))
    return found


def with_a_parametrization(torch: Any) -> list[Any]:
    class Symmetric(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x: Any) -> Any:
            return x.triu()

    parametrize = torch.nn.utils.parametrize
    layer = torch.nn.Linear(2, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(WEIGHT, dtype=torch.float64)[:, :2])
    parametrize.register_parametrization(layer, "weight", Symmetric())
    found = [values(layer.weight), list(layer.state_dict()), parametrize.is_parametrized(layer, "weight")]
    layer.weight = torch.ones(2, 2, dtype=torch.float64)
    with parametrize.cached():
        found.append(layer.weight is layer.weight)
    return [*found, values(layer.weight), values(layer.parametrizations.weight.original), repr(layer)]


def with_fusion(torch: Any) -> list[Any]:
    utils, found = torch.nn.utils, []
    norm = torch.nn.BatchNorm1d(2, dtype=torch.float64).eval()
    norm.running_mean.fill_(2.0)
    found.append(values(utils.fuse_linear_bn_eval(linear(torch).eval(), norm)(one(torch))))
    return found


def with_vectors(torch: Any) -> list[Any]:
    layer, utils = linear(torch), torch.nn.utils
    vector = utils.parameters_to_vector(layer.parameters())
    utils.vector_to_parameters(vector.detach() + 1, layer.parameters())
    return [values(vector), values(layer.weight), values(layer.bias)]


def with_clipping(torch: Any) -> list[Any]:
    a, utils = torch.ones(2, requires_grad=True), torch.nn.utils
    found = []
    for norm_type in (2, 1, 3, 0, math.inf):
        a.grad = torch.tensor([3.0, -4.0])
        total = utils.clip_grad_norm_(a, 1.0, norm_type)
        found += [values(total), values(a.grad), tuple(total.shape)]
    a.grad = torch.tensor([3.0, -4.0])
    utils.clip_grad_value_([a], 3.5)
    return [*found, values(a.grad), values(utils.clip_grad_norm_([], 1.0))]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize(
    "found",
    [
        with_weight_norm,
        with_parametrized_weight_norm,
        with_spectral_norm,
        with_a_parametrization,
        with_fusion,
        with_vectors,
        with_clipping,
    ],
    ids=lambda f: f.__name__,
)
def test_utilities_are_pytorchs(found: Callable[[Any], list[Any]]) -> None:
    torch = pytest.importorskip("torch")
    assert found(ddpnet) == found(torch)


def test_norms_that_are_not_finite() -> None:
    a = ddpnet.ones(2, requires_grad=True)
    a.grad = ddpnet.tensor([math.inf, 1.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        ddpnet.nn.utils.clip_grad_norm_([a], 1.0, error_if_nonfinite=True)


def test_what_is_not_there_is_refused() -> None:
    utils, layer = ddpnet.nn.utils, linear(ddpnet)
    for remove in (utils.remove_weight_norm, utils.remove_spectral_norm):
        with pytest.raises(ValueError, match="not found"):
            remove(layer)
    with pytest.raises(ValueError, match="does not have a parametrization"):
        utils.parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(ValueError, match="does not have a parameter"):
        utils.parametrize.register_parametrization(layer, "nothing", ddpnet.nn.Identity())
    with pytest.raises(RuntimeError, match="device"):
        utils.skip_init(ddpnet.nn.ReLU)


def test_a_copy_of_a_parametrized_module_is_its_own() -> None:
    layer = ddpnet.nn.utils.parametrizations.weight_norm(linear(ddpnet))
    other = copy.deepcopy(layer)
    with ddpnet.no_grad():
        other.parametrizations.weight.original0.zero_()
    assert values(layer.weight) == [v for row in WEIGHT for v in row]
    assert values(other.weight) == [0.0] * 6


def test_initial_values_without_chance() -> None:
    torch = pytest.importorskip("torch")
    for name, shape, options in (
        ("eye_", (3, 4), {}),
        ("dirac_", (4, 2, 3), {}),
        ("dirac_", (4, 2, 3, 3), {"groups": 2}),
        ("constant_", (2, 3), {"val": 4.0}),
    ):
        ours = getattr(init, name)(ddpnet.zeros(shape), **options)
        theirs = getattr(torch.nn.init, name)(torch.zeros(shape), **options)
        assert ours.tolist() == theirs.tolist()
    for nonlinearity in ("linear", "conv_transpose2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(nonlinearity) == torch.nn.init.calculate_gain(nonlinearity)


def test_initial_values_by_chance() -> None:
    ddpnet.manual_seed(0)
    tall = init.orthogonal_(ddpnet.zeros(5, 3), gain=2).numpy()
    np.testing.assert_allclose(tall.T @ tall, 4 * np.eye(3), atol=1e-5)
    sparse = init.sparse_(ddpnet.zeros(10, 4), 0.25, std=1.0).numpy()
    assert (sparse == 0).sum(axis=0).tolist() == [3, 3, 3, 3]
    cut = init.trunc_normal_(ddpnet.zeros(10_000), 0.5, 1.0, -0.5, 1.0).numpy()
    assert (cut.min() >= -0.5, cut.max() <= 1) == (True, True)
    for draw, variance in (
        (init.xavier_uniform_, 2 / 500),
        (init.xavier_normal_, 2 / 500),
        (init.kaiming_uniform_, 2 / 300),
        (init.kaiming_normal_, 2 / 300),
    ):
        drawn = draw(ddpnet.zeros(200, 300)).numpy()
        assert drawn.var() == pytest.approx(variance, rel=0.05), draw.__name__


@pytest.mark.parametrize(
    "call",
    [
        lambda: init.calculate_gain("sine"),
        lambda: init.eye_(ddpnet.zeros(3)),
        lambda: init.dirac_(ddpnet.zeros(3, 3)),
        lambda: init.orthogonal_(ddpnet.zeros(3)),
        lambda: init.sparse_(ddpnet.zeros(3), 0.5),
        lambda: init.kaiming_normal_(ddpnet.zeros(3)),
        lambda: init.kaiming_uniform_(ddpnet.zeros(3, 3), mode="fan"),
    ],
)
def test_initial_values_that_cannot_be(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts are many
        call()
