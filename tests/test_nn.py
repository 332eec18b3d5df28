"""Modules: registration, state, hooks, text, initial values; whole models against PyTorch's; bad input."""

from __future__ import annotations

import copy
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn
from ddpnet.nn import functional as F

RNG = np.random.default_rng(0)


def block(nn: Any) -> Any:
    """A model with modules in modules, in either library."""
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()),
            head=nn.Linear(2, 3, bias=False),
        )
    )


class Tied(nn.Module):
    """One layer under two names, a buffer that is not saved, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = self.a
        self.scale = nn.Parameter(ddpnet.ones(1))
        self.register_buffer("seen", ddpnet.zeros(1))
        self.register_buffer("scratch", ddpnet.zeros(1), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.b(self.a(x)) * self.scale


# Registration


def test_attributes_find_their_place() -> None:
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["scale", "a.weight", "a.bias"]
    assert [name for name, _ in model.named_parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in model.named_parameters(prefix="p")] == ["p.scale", "p.a.weight", "p.a.bias"]
    assert [name for name, _ in model.named_buffers()] == ["seen", "scratch"]
    assert [name for name, _ in model.named_modules()] == ["", "a"]
    assert [name for name, _ in model.named_children()] == ["a"]
    assert list(model.state_dict()) == ["scale", "seen", "a.weight", "a.bias", "b.weight", "b.bias"]
    assert len(list(model.parameters())) == len(list(model.modules())) + 1 == 3


def test_attributes_may_change_their_kind() -> None:
    model = Tied()
    model.scale = None
    assert "scale" not in dict(model.named_parameters())
    model.scale = nn.Parameter(ddpnet.zeros(2))
    model.seen = ddpnet.ones(3)
    assert dict(model.named_buffers())["seen"].shape == (3,)
    with pytest.raises(TypeError, match="cannot assign 'float' as parameter 'scale'"):
        model.scale = 1.0
    with pytest.raises(TypeError, match="cannot assign 'str' as buffer 'seen'"):
        model.seen = "no"
    model.plain = 3
    model.plain = nn.Linear(1, 1)
    assert "plain" not in model.__dict__
    assert "plain.weight" in dict(model.named_parameters())
    del model.plain, model.scale, model.seen
    assert [name for name, _ in model.named_parameters()] == ["a.weight", "a.bias"]


def test_missing_attributes() -> None:
    with pytest.raises(AttributeError, match="'Tied' object has no attribute 'wieght'"):
        _ = Tied().wieght
    with pytest.raises(AttributeError):
        del Tied().nothing
    assert "scale" in dir(Tied())


def test_assignment_before_init() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"before Module\.__init__"):
        Early()


def test_names_that_cannot_be() -> None:
    model = Tied()
    for name in ("a.b", ""):
        with pytest.raises(KeyError):
            model.register_buffer(name, None)
    with pytest.raises(KeyError, match="already exists"):
        model.register_parameter("forward", None)
    with pytest.raises(TypeError, match="not a Module"):
        model.add_module("c", 3)


def test_parameters_are_leaves_that_share_memory() -> None:
    data = ddpnet.ones(2)
    parameter = nn.Parameter(data)
    data[0] = 5
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert parameter.tolist() == [5, 1]
    assert isinstance(parameter, ddpnet.Tensor)


def test_submodules_by_name() -> None:
    model = block(nn)
    assert model.get_submodule("features.1") is model.features[1]
    assert model.get_submodule("") is model
    assert model.get_parameter("features.0.bias") is model.features[0].bias
    with pytest.raises(AttributeError):
        model.get_submodule("features.7")
    with pytest.raises(AttributeError):
        model.get_parameter("head.bias")


# State


def test_state_shares_memory_and_loads() -> None:
    a, b = block(nn), block(nn)
    state = a.state_dict()
    assert not any(tensor.requires_grad for tensor in state.values())
    a.head.weight.data.fill_(7)
    assert state["head.weight"].tolist()[0][0] == 7
    assert repr(b.load_state_dict(state)) == "<All keys matched successfully>"
    assert all(ddpnet.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert b.head.weight.requires_grad
    assert not np.shares_memory(a.head.weight.detach().numpy(), b.head.weight.detach().numpy())


def damaged(torch: Any, state: Any, damage: str) -> Any:
    state = OrderedDict(state)
    if damage in ("missing", "all"):
        del state["features.1.running_var"]
    if damage in ("unexpected", "all"):
        state["tail.weight"] = torch.zeros(1)
        state["tail.bias"] = torch.zeros(1)
    if damage in ("size", "all"):
        state["head.weight"] = torch.zeros(3, 4)
    return state


@pytest.mark.parametrize("damage", ["missing", "unexpected", "size", "all"])
@pytest.mark.parametrize("strict", [True, False])
def test_state_that_does_not_fit(damage: str, strict: bool) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library in (ddpnet, torch):
        model = block(library.nn)
        before = [p.detach().numpy().copy() for p in model.parameters()]
        try:
            results.append(repr(model.load_state_dict(damaged(library, model.state_dict(), damage), strict=strict)))
        except RuntimeError as error:
            results.append(str(error))
            if library is ddpnet:
                for p, value in zip(model.parameters(), before, strict=True):
                    assert np.array_equal(p.detach().numpy(), value), "changed before the error"
    assert results[0] == results[1].replace("_IncompatibleKeys", "IncompatibleKeys")


def test_weights_of_one_module_loaded_twice_from_a_tied_model() -> None:
    model = Tied()
    model.load_state_dict(Tied().state_dict())
    assert model.a is model.b


def test_conversion_of_a_module() -> None:
    model = block(nn)
    weight = model.head.weight
    assert model.double() is model
    assert model.head.weight is weight
    assert {p.dtype for p in model.parameters()} == {ddpnet.float64}
    assert model.features[1].running_mean.dtype is ddpnet.float64
    assert model.features[1].num_batches_tracked.dtype is ddpnet.int64
    model.head(ddpnet.ones(1, 2, dtype=ddpnet.float64)).sum().backward()
    model.to(ddpnet.float32)
    assert model.head.weight.grad.dtype is ddpnet.float32


def test_modes_and_gradients_reach_all_of_it() -> None:
    model = block(nn)
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())
    with pytest.raises(ValueError, match="boolean"):
        model.train("yes")
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())
    model.requires_grad_()
    model.head(ddpnet.ones(1, 2)).sum().backward()
    model.zero_grad(set_to_none=False)
    assert model.head.weight.grad.tolist() == [[0, 0]] * 3
    model.zero_grad()
    assert model.head.weight.grad is None
    seen: list[str] = []
    assert model.apply(lambda module: seen.append(type(module).__name__)) is model
    assert seen == ["Conv2d", "BatchNorm2d", "ReLU", "Sequential", "Linear", "Sequential"]


def test_deep_copy_is_independent() -> None:
    model = block(nn)
    model.features[0].register_forward_hook(lambda module, inputs, output: None)
    twin = copy.deepcopy(model)
    twin.head.weight.data.fill_(3)
    assert model.head.weight.tolist() != twin.head.weight.tolist()
    assert isinstance(twin.head.weight, nn.Parameter)
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in model.named_parameters()]


def test_module_hooks() -> None:
    layer, seen = nn.Linear(2, 2), []
    first = layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0,))
    second = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.tolist()) or output + 1)
    output = layer(ddpnet.ones(1, 2))
    assert seen == [[layer.bias.tolist()]]
    assert np.allclose(output.tolist(), (layer.bias + 1).tolist())
    first.remove()
    second.remove()
    layer(ddpnet.ones(1, 2))
    assert len(seen) == 1


def test_forward_that_is_missing() -> None:
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)


# Containers


def test_sequential() -> None:
    layers = [nn.Linear(2, 2) for _ in range(4)]
    model = nn.Sequential(*layers)
    assert (len(model), list(model), model[1], model[-1]) == (4, layers, layers[1], layers[3])
    part = model[1:3]
    assert isinstance(part, nn.Sequential)
    assert list(part) == layers[1:3]
    model[0] = nn.ReLU()
    assert repr(model[0]) == "ReLU()"
    assert model.append(nn.Tanh()) is model
    assert [name for name, _ in model.named_children()] == ["0", "1", "2", "3", "4"]
    for index in (5, -6):
        with pytest.raises(IndexError, match="out of range"):
            _ = model[index]
    del model[1]
    assert [name for name, _ in model.named_children()] == ["0", "1", "2", "3"]
    assert model[1] is layers[2]


def test_module_list() -> None:
    layers = [nn.Linear(2, 2) for _ in range(3)]
    modules = nn.ModuleList(layers)
    modules.insert(1, nn.ReLU())
    assert [type(m).__name__ for m in modules] == ["Linear", "ReLU", "Linear", "Linear"]
    assert isinstance(modules[1:], nn.ModuleList)
    assert modules.extend([nn.Tanh()])[-1] is list(modules)[4]
    assert len(list(modules.parameters())) == 6
    modules[0] = nn.Sigmoid()
    assert type(modules[0]).__name__ == "Sigmoid"
    del modules[1]
    assert [name for name, _ in modules.named_children()] == ["0", "1", "2", "3"]
    assert layers[1] in modules


# Text


def everything(nn: Any) -> Any:
    """Modules with options."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.Conv2d(6, 6, (3, 5), stride=2, padding=(0, 1), dilation=(1, 2), groups=3, bias=False),
        nn.Conv2d(6, 6, 3, padding="same"),
        nn.BatchNorm2d(6, eps=1e-3, momentum=None, affine=False, track_running_stats=False),
        nn.BatchNorm1d(6),
        nn.MaxPool2d(2),
        nn.MaxPool2d((2, 3), stride=(1, 2), padding=1, ceil_mode=True),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3, bias=False)]),
        nn.ModuleList(),
        nn.ModuleList([nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())]),
        nn.Sequential(),
        nn.Sequential(OrderedDict(name=nn.Flatten(0, 2))),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.2),
        nn.LeakyReLU(inplace=True),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Softmax(dim=1),
        nn.LogSoftmax(dim=-1),
        nn.Dropout(0.2),
        nn.Identity(),
        nn.MSELoss(),
        nn.L1Loss(),
        nn.CrossEntropyLoss(),
        nn.NLLLoss(),
    )


def test_text_of_everything() -> None:
    torch = pytest.importorskip("torch")
    assert repr(everything(nn)) == repr(everything(torch.nn))


def test_text_of_a_module_of_ones_own() -> None:
    assert repr(Tied()) == (
        "Tied(\n"
        "  (a): Linear(in_features=2, out_features=2, bias=True)\n"
        "  (b): Linear(in_features=2, out_features=2, bias=True)\n"
        ")"
    )


# Initial values


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Linear(100, 300), 100), (nn.Conv2d(4, 200, (5, 3)), 60), (nn.Conv2d(8, 200, 3, groups=2), 36)],
)
def test_initial_values_of_layers(layer: Any, fan_in: int) -> None:
    """Both even in ±1 / sqrt(fan in)."""
    bound = 1 / math.sqrt(fan_in)
    for parameter in layer.parameters():
        values = parameter.detach().numpy()
        assert abs(values).max() <= bound
        assert abs(values).max() > 0.97 * bound
        assert values.mean() == pytest.approx(0, abs=4 * bound / math.sqrt(3 * values.size))
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)


INITIAL: dict[str, tuple[Callable[..., Any], float, float]] = {
    "uniform_": (lambda init, w: init.uniform_(w, -2, 2), 4 / math.sqrt(12), 2),
    "normal_": (lambda init, w: init.normal_(w, 0.0, 3.0), 3, math.inf),
    "trunc_normal_": (lambda init, w: init.trunc_normal_(w, a=-2, b=2), 0.8796, 2),
    "xavier_uniform_": (lambda init, w: init.xavier_uniform_(w, 2), 2 * math.sqrt(2 / 700), 2 * math.sqrt(6 / 700)),
    "xavier_normal_": (lambda init, w: init.xavier_normal_(w), math.sqrt(2 / 700), math.inf),
    "kaiming_uniform_": (lambda init, w: init.kaiming_uniform_(w), math.sqrt(2 / 400), math.sqrt(6 / 400)),
    "kaiming_normal_": (
        lambda init, w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 300), math.inf,
    ),
    "ones_": (lambda init, w: init.ones_(w), 0, 1),
    "zeros_": (lambda init, w: init.zeros_(w), 0, 0),
    "constant_": (lambda init, w: init.constant_(w, 0.5), 0, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", INITIAL)
def test_distributions(name: str) -> None:
    fill, deviation, bound = INITIAL[name]
    weight = nn.Parameter(ddpnet.full((300, 400), 9.0))
    assert fill(nn.init, weight) is weight
    values = weight.detach().numpy()
    assert values.std() == pytest.approx(deviation, rel=0.01, abs=1e-7)
    assert abs(values).max() <= bound * (1 + 1e-6)
    assert weight.requires_grad
    assert weight.is_leaf


def test_initial_values_with_bad_arguments() -> None:
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(ddpnet.zeros(3))
    with pytest.raises(ValueError, match="Mode fan_max not supported"):
        nn.init.kaiming_uniform_(ddpnet.zeros(3, 3), mode="fan_max")
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("rleu")


def test_the_seed_decides() -> None:
    first, second = (ddpnet.manual_seed(3) and block(nn).state_dict() for _ in range(2))
    assert all(ddpnet.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))
    assert not ddpnet.equal(nn.Linear(3, 3).weight, nn.Linear(3, 3).weight)


def test_dropout() -> None:
    layer, x = nn.Dropout(0.25), ddpnet.ones(100, 100, requires_grad=True)
    y = layer(x)
    kept = y.detach().numpy() != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.02)
    assert np.allclose(y.detach().numpy()[kept], 1 / 0.75)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


# Whole models, over several steps


class LeNet:
    """The tutorial's, written for either library."""

    @staticmethod
    def build(torch: Any) -> Any:
        nn = torch.nn
        return nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip

    shape = (4, 1, 32, 32)


class Perceptron:
    @staticmethod
    def build(torch: Any) -> Any:
        nn = torch.nn
        return nn.Sequential(
            nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 16, bias=False), nn.Sigmoid(), nn.Linear(16, 10)
        )

    shape = (4, 20)


class Normalised:
    @staticmethod
    def build(torch: Any) -> Any:
        nn = torch.nn
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.BatchNorm2d(8, momentum=None), nn.LeakyReLU(), nn.Flatten(),
            nn.Linear(72, 10), nn.BatchNorm1d(10, affine=False),
        )  # fmt: skip

    shape = (4, 3, 16, 16)


@pytest.mark.parametrize("model", [LeNet, Perceptron, Normalised], ids=lambda model: model.__name__)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_model_trains_as_in_pytorch(model: Any, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = model.build(torch).to(getattr(torch, dtype))
    ours = model.build(ddpnet).to(getattr(ddpnet, dtype))
    ours.load_state_dict({name: ddpnet.tensor(value.numpy()) for name, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    both = ((ddpnet, ours), (torch, theirs))
    optimizers = [library.optim.SGD(net.parameters(), lr=0.05, momentum=0.9) for library, net in both]
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 2e-3, "atol": 2e-5}
    for step in range(4):
        x, y = RNG.standard_normal(model.shape), RNG.integers(0, 10, 4)
        losses = []
        for (library, net), optimizer in zip(both, optimizers, strict=True):
            optimizer.zero_grad()
            output = net(library.tensor(x, dtype=getattr(library, dtype)))
            loss = library.nn.functional.cross_entropy(output, library.tensor(y))
            loss.backward()
            losses.append((output.detach().numpy(), [p.grad.numpy().copy() for p in net.parameters()]))
            optimizer.step()
        np.testing.assert_allclose(losses[0][0], losses[1][0], **tolerance, err_msg=f"outputs of step {step}")
        for (name, _), a, b in zip(ours.named_parameters(), losses[0][1], losses[1][1], strict=True):
            np.testing.assert_allclose(a, b, **tolerance, err_msg=f"gradient of {name} in step {step}")
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), **tolerance, err_msg=name)
        assert repr(ours.state_dict()[name].dtype) == repr(value.dtype)
    x = RNG.standard_normal(model.shape)
    a, b = (net.eval()(library.tensor(x, dtype=getattr(library, dtype))) for library, net in both)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **tolerance, err_msg="evaluation")


def test_model_on_a_device(device: str) -> None:
    net = Normalised.build(ddpnet).to(device)
    x = ddpnet.randn(*Normalised.shape).to(device)
    F.cross_entropy(net(x), ddpnet.tensor([0, 1, 2, 3]).to(device)).backward()
    assert {p.grad.device.type for p in net.parameters()} == {device}


# Bad input: PyTorch's exception class, and the shapes in the message


def zeros(torch: Any, *shape: int, dtype: str = "float32") -> Any:
    return torch.zeros(shape, dtype=getattr(torch, dtype))


BAD: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "linear": (lambda torch, z: torch.nn.Linear(3, 2)(z(4, 5)), r"4x5 and 3x2"),
    "linear dtype": (lambda torch, z: torch.nn.Linear(3, 2)(z(4, 3, dtype="float64")), "dtype|float"),
    "linear of integers": (lambda torch, z: torch.nn.Linear(3, 2)(z(4, 3, dtype="int64")), "dtype|int64"),
    "matmul": (lambda torch, z: z(2, 3) @ z(4, 5), r"2x3 and 4x5"),
    "bmm": (lambda torch, z: torch.bmm(z(2, 3, 4), z(2, 5, 6)), r"\[2, 4\] but got: \[2, 5\]"),
    "mm of vectors": (lambda torch, z: torch.mm(z(3), z(3)), r"\[3\]|matri"),
    "dot": (lambda torch, z: torch.dot(z(3), z(4)), "3.*4"),
    "add": (lambda torch, z: z(2, 3) + z(2, 4), r"2,.?3.*2,.?4"),
    "mul": (lambda torch, z: z(5, 3) * z(4, 3), r"5,.?3.*4,.?3"),
    "add in place": (lambda torch, z: z(3).add_(z(2, 3)), r"\[3\].*\[2, 3\]"),
    "compare": (lambda torch, z: z(2) == z(3), "2.*3"),
    "where": (lambda torch, z: torch.where(z(2) > 0, z(3), z(3)), "2.*3"),
    "conv channels": (
        lambda torch, z: torch.nn.Conv2d(3, 4, 3)(z(1, 2, 8, 8)),
        r"\[1, 2, 8, 8\].*3 channels.*2 channels",
    ),
    "conv dimensions": (lambda torch, z: torch.nn.Conv2d(3, 4, 3)(z(8, 8)), r"\[8, 8\]"),
    "conv too small": (lambda torch, z: torch.nn.Conv2d(1, 4, 5)(z(1, 1, 4, 4)), r"\(4 x 4\).*\(5 x 5\)"),
    "conv dtype": (lambda torch, z: torch.nn.Conv2d(1, 4, 3)(z(1, 1, 4, 4, dtype="float64")), "type"),
    "conv stride": (lambda torch, z: torch.nn.functional.conv2d(z(1, 1, 4, 4), z(1, 1, 2, 2), stride=0), "stride"),
    "conv bias": (lambda torch, z: torch.nn.functional.conv2d(z(1, 1, 4, 4), z(2, 1, 2, 2), z(3)), r"2.*\[3\]"),
    "conv groups": (lambda torch, z: torch.nn.Conv2d(3, 4, 3, groups=2), "divisible"),
    "conv padding": (lambda torch, z: torch.nn.functional.conv2d(z(1, 1, 4, 4), z(1, 1, 2, 2), padding="full"), "full"),
    "pool too small": (lambda torch, z: torch.nn.functional.max_pool2d(z(1, 1, 2, 2), 3), "1.?x.?2.?x.?2|1, 2, 2"),
    "pool padding": (lambda torch, z: torch.nn.functional.max_pool2d(z(1, 1, 4, 4), 2, padding=2), "pad"),
    "pool dimensions": (lambda torch, z: torch.nn.functional.max_pool2d(z(4, 4), 2), r"4, 4"),
    "batch norm channels": (
        lambda torch, z: torch.nn.BatchNorm2d(3)(z(2, 4, 5, 5)),
        "running_mean should contain 4 elements not 3",
    ),
    "batch norm dimensions": (lambda torch, z: torch.nn.BatchNorm2d(3)(z(2, 3)), r"expected 4D input \(got 2D input\)"),
    "batch norm of one": (
        lambda torch, z: torch.nn.BatchNorm1d(3)(z(1, 3)),
        r"more than 1 value per channel.*\[1, 3\]",
    ),
    "cross entropy batch": (lambda torch, z: torch.nn.functional.cross_entropy(z(4, 3), z(5, dtype="int64")), r"4.*5"),
    "cross entropy class": (
        lambda torch, z: torch.nn.functional.cross_entropy(z(1, 3), torch.tensor([3])),
        "Target 3 is out of bounds",
    ),
    "cross entropy negative": (
        lambda torch, z: torch.nn.functional.cross_entropy(z(1, 3), torch.tensor([-1])),
        "Target -1 is out of bounds",
    ),
    "cross entropy dtype": (lambda torch, z: torch.nn.functional.cross_entropy(z(4, 3), z(4)), "Long"),
    "cross entropy reduction": (
        lambda torch, z: torch.nn.functional.cross_entropy(z(1, 3), torch.tensor([0]), reduction="avg"),
        "avg",
    ),
    "cross entropy weight": (
        lambda torch, z: torch.nn.functional.cross_entropy(z(1, 3), torch.tensor([0]), z(4)),
        r"4|3 classes",
    ),
    "nll class": (
        lambda torch, z: torch.nn.functional.nll_loss(z(1, 3), torch.tensor([7])),
        "Target 7 is out of bounds",
    ),
    "bits of floats": (lambda torch, z: z(2) & z(2), "float|Float"),
    "view": (lambda torch, z: z(2, 3).view(4), r"\[4\].*6"),
    "view of a transpose": (lambda torch, z: z(2, 3).t().view(6), "view size is not compatible"),
    "reshape": (lambda torch, z: z(2, 3).reshape(-1, 4), r"\[-1, 4\].*6"),
    "expand": (lambda torch, z: z(2, 3).expand(3, 3), r"\(3\).*\(2\)"),
    "expand to fewer": (lambda torch, z: z(2, 3).expand(3), "2|two"),
    "transpose": (lambda torch, z: z(2, 3).transpose(0, 2), "Dimension out of range.*2"),
    "permute": (lambda torch, z: z(2, 3).permute(0, 0), "permute"),
    "cat": (lambda torch, z: torch.cat([z(2, 3), z(2, 4)]), r"3.*4"),
    "cat dimensions": (lambda torch, z: torch.cat([z(2, 3), z(2)]), r"2.*1"),
    "cat of nothing": (lambda torch, z: torch.cat([]), "non-empty"),
    "stack": (lambda torch, z: torch.stack([z(2), z(3)]), r"\[2\].*\[3\]"),
    "split": (lambda torch, z: torch.split(z(4), [1, 2]), r"4.*\[1, 2\]"),
    "index": (lambda torch, z: z(2, 3)[2], r"2.*(0|size 2)"),
    "too many indices": (lambda torch, z: z(2)[0, 0], "too many indices"),
    "index of a tensor": (lambda torch, z: z(2, 3)[torch.tensor([5])], r"5.*size 2"),
    "put": (lambda torch, z: z(2, 3).__setitem__(0, z(4)), r"4.*3"),
    "gather": (lambda torch, z: torch.gather(z(2, 3), 1, torch.tensor([[3]])), r"3.*size 3"),
    "sum": (lambda torch, z: z(2, 3).sum(2), "Dimension out of range.*2"),
    "mean of integers": (lambda torch, z: z(2, dtype="int64").mean(), "Long|int64"),
    "max of nothing": (lambda torch, z: z(0).max(), "numel|elements|input.dim"),
    "argmax of nothing": (lambda torch, z: z(0).argmax(), "numel|elements|non-zero"),
    "argmax dimension": (lambda torch, z: z(2, 3).argmax(2), "Dimension out of range.*2"),
    "softmax dimension": (lambda torch, z: torch.softmax(z(2, 3), 2), "Dimension out of range.*2"),
    "softmax of integers": (lambda torch, z: torch.softmax(z(2, dtype="int64"), 0), "not implemented"),
    "item": (lambda torch, z: z(2).item(), "2 elements"),
    "truth": (lambda torch, z: bool(z(2)), "ambiguous"),
    "length": (lambda torch, z: len(z()), "0-d"),
    "iteration": (lambda torch, z: list(z()), "0-d"),
    "ragged": (lambda torch, z: torch.tensor([[1, 2], [3]]), "length|sequence"),
    "text": (lambda torch, z: torch.tensor("a"), "str"),
    "numpy with gradient": (lambda torch, z: z(2).requires_grad_().numpy(), "detach"),
    "strange numpy dtype": (lambda torch, z: torch.from_numpy(np.array(["a"])), "numpy"),
    "dropout": (lambda torch, z: torch.nn.functional.dropout(z(2), 1.5), "1.5"),
    "reduction": (lambda torch, z: torch.nn.functional.mse_loss(z(2), z(2), reduction="avg"), "avg"),
    "flatten": (lambda torch, z: z(2, 3).flatten(1, 0), "start_dim"),
    "negative size": (lambda torch, z: torch.zeros(-1), "-1|negative"),
    "relu of bools": (lambda torch, z: torch.relu(z(2, dtype="bool")), "bool|Bool"),
    "squeeze dimension": (lambda torch, z: z(2).squeeze(3), "Dimension out of range.*3"),
    "operand": (lambda torch, z: z(2) + "a", "str"),
    "operand list": (lambda torch, z: z(2) * [1, 2], "integer tensors"),
    "device": (lambda torch, z: z(2).to("gpu"), "gpu"),
}


def raised(call: Callable[[], Any]) -> type[Exception]:
    """The class of what a call raises, warnings aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except Exception as error:
            return type(error)
    raise AssertionError("PyTorch accepts this")


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    torch = pytest.importorskip("torch")
    call, message = BAD[name]
    theirs = raised(lambda: call(torch, lambda *shape, **options: zeros(torch, *shape, **options)))
    with pytest.raises(theirs, match=f"(?s){message}"):
        call(ddpnet, lambda *shape, **options: zeros(ddpnet, *shape, **options))


def test_target_that_is_broadcast() -> None:
    """A classic: (N, 1) against (N,) gives an (N, N) loss."""
    with pytest.warns(UserWarning, match=r"target size \(torch.Size\(\[4\]\)\) that is different to the input size"):
        F.mse_loss(ddpnet.zeros(4, 1), ddpnet.zeros(4))
    with pytest.warns(UserWarning, match="target size"), pytest.raises(RuntimeError, match=r"\(4,\) \(3,\)"):
        F.mse_loss(ddpnet.zeros(4), ddpnet.zeros(3))
