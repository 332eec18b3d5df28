"""`torch.compile`: replayed calls give the same bits as calls as written; what cannot be recorded runs as written."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.compiler.compiled import Compiled
from ddpnet.compiler.program import Program
from ddpnet.nn import functional as F
from ddpnet.training.models import LeNet

CALLS = 6
"""The first is as written, two are watched, the others replayed."""


def programs(compiled: Any) -> list[Program]:
    return [known for known in compiled._known.values() if type(known) is Program]


def bits(tensors: Any) -> list[bytes]:
    return [tensor.array.tobytes() for tensor in tensors]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.register_buffer("scale", torch.full((8,), 0.5))

    def forward(self, x: Any) -> Any:
        heads = self.qkv(self.norm(x)).reshape(x.shape[0], x.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
        q, k, v = heads[0], heads[1], heads[2]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        return x + F.gelu(self.out(mixed)) * self.scale


def vision() -> tuple[nn.Module, Callable[[int], list[Any]]]:
    return LeNet(), lambda n: [torch.randn(n, 1, 32, 32)]


def language() -> tuple[nn.Module, Callable[[int], list[Any]]]:
    model = nn.Sequential(nn.Embedding(11, 8), Attention(), Attention(), nn.Flatten(), nn.Linear(40, 10))
    return model, lambda n: [torch.randint(0, 11, (n, 5))]


def masked() -> tuple[nn.Module, Callable[[int], list[Any]]]:
    """Tensors that are made of numbers in each call: places, a triangle."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places, self.head = nn.Embedding(11, 8), nn.Embedding(5, 8), nn.Linear(40, 10)

        def forward(self, x: Any) -> Any:
            y = self.tokens(x) + self.places(torch.arange(x.shape[1], device=x.device))
            causal = torch.tril(torch.ones(5, 5))
            return self.head((causal @ y / torch.full((5, 1), 2.0)).flatten(1))

    return Net(), lambda n: [torch.randint(0, 11, (n, 5))]


def deep() -> tuple[nn.Module, Callable[[int], list[Any]]]:
    """Weights used twice, values with several users, a frozen parameter, and one that is not used."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.unused = nn.Linear(6, 6), nn.Linear(6, 10), nn.Linear(3, 3)
            self.one.bias.requires_grad_(False)

        def forward(self, x: Any) -> Any:
            y = torch.tanh(self.one(x))
            z = torch.relu(self.one(y)) + y * 2 - x
            left, right = torch.chunk(z, 2, dim=1)
            return self.two(torch.cat([right, left], 1)) / (1 + y.sum(1, keepdim=True).exp())

    return Net(), lambda n: [torch.randn(n, 6)]


@pytest.mark.parametrize("make", [vision, language, deep, masked])
def test_the_same_bits_as_written(make):
    torch.manual_seed(0)
    model, batch = make()
    twin = copy.deepcopy(model)
    compiled = torch.compile(lambda x, y: F.cross_entropy(twin(x), y))
    optimizers = [torch.optim.Adam(each.parameters()) for each in (model, twin)]
    for number in range(CALLS):
        for size in (4, 7):
            (x,), y = batch(size), torch.randint(0, 10, (size,))
            losses = [F.cross_entropy(model(x), y), compiled(x, y)]
            for loss, optimizer in zip(losses, optimizers, strict=True):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            assert bits(losses[:1]) == bits(losses[1:]), number
            assert [p.grad is None for p in model.parameters()] == [p.grad is None for p in twin.parameters()]
    assert bits(model.parameters()) == bits(twin.parameters())
    assert len(programs(compiled)) == 2
    assert not compiled.reasons


def test_gradients_of_arguments_and_several_results():
    @torch.compile
    def both(x: Any, y: Any) -> Any:
        with torch.no_grad():
            z = x - y
        return x * y, (x + y).sum(), z

    for _ in range(CALLS):
        x, y = (torch.randn(3, requires_grad=True) for _ in range(2))
        first, second, third = both(x * 1, y)
        (first.sum() + 2 * second).backward()
        assert np.array_equal(x.grad.array, y.array + 2)
        assert np.array_equal(y.grad.array, x.array + 2)
        assert not third.requires_grad
        assert np.array_equal(third.array, x.array - y.array)
    assert len(programs(both)) == 1
    assert first.grad_fn.name() == "CompiledFunctionBackward"


def test_modes_and_shapes_have_programs_of_their_own():
    model = torch.compile(nn.Linear(3, 2))
    assert isinstance(model, nn.Linear)
    for _ in range(CALLS):
        for rows in (1, 2):
            assert model(torch.ones(rows, 3)).requires_grad
            with torch.no_grad():
                assert not model(torch.ones(rows, 3)).requires_grad
    assert len(programs(model.forward)) == 4


def counted(action: Callable[[list[Any], Any], Any]) -> tuple[Compiled, list[Any]]:
    """A compiled function that does something beside, and a list in which that shows."""
    seen: list[Any] = []
    return torch.compile(lambda x: action(seen, x)), seen


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 2


class Keeping(nn.Module):
    def forward(self, x: Any) -> Any:
        self.last = x
        return x * 2


LONG = list(range(1000))
KEEPING, HOOKED, NORM = Keeping(), nn.ReLU(), nn.BatchNorm1d(3)
BESIDE = {
    "it calls print()": lambda seen, x: (print("seen", end=""), x * 2)[1],
    "it calls append()": lambda seen, x: (seen.append(1), x * 2)[1],
    "it reads the values of a tensor": lambda seen, x: x * 2 if x.sum() > 0 else x * 3,
    "it reads the values": lambda seen, x: x * float(x.sum().item()),
    "it changes a tensor in place": lambda seen, x: (x * 2).add_(1),
    "Keeping.forward sets last": lambda seen, x: KEEPING(x),
    "it uses an autograd.Function": lambda seen, x: Doubled.apply(x) + 1,
    "it takes a tensor out of the graph": lambda seen, x: x.detach() * x,
    "it uses hooks": lambda seen, x: HOOKED(x),
    "changes a tensor in place": lambda seen, x: NORM(x),
    "returns something else": lambda seen, x: x,
    "returns something": lambda seen, x: {"y": x * 2},
    "() of ddpnet.random": lambda seen, x: F.dropout(x, 0.5),
    "() of ddpnet.r": lambda seen, x: x + torch.rand(3),
    "not do the same each": lambda seen, x: x * (x > -100),
    "a list of more than 64": lambda seen, x: x * LONG[2],
    "it calls backward": lambda seen, x: ((x * x).sum().backward(), x * 2)[1],
}


@pytest.mark.parametrize("reason", BESIDE)
def test_what_does_more_than_compute_runs_as_written(reason, capsys):
    HOOKED._forward_hooks.clear()
    HOOKED.register_forward_hook(lambda module, inputs, output: output + 1)
    compiled, seen = counted(BESIDE[reason])
    torch.manual_seed(3)
    results = [compiled(torch.randn(2, 3, requires_grad=True)) for _ in range(CALLS)]
    torch.manual_seed(3)
    plain = [BESIDE[reason](seen, torch.randn(2, 3, requires_grad=True)) for _ in range(CALLS)]
    for one, two in zip(results, plain, strict=True):
        pairs = zip(one.values(), two.values(), strict=True) if isinstance(one, dict) else [(one, two)]
        assert all(np.array_equal(a.array, b.array) for a, b in pairs) or reason == "changes a tensor in place"
    (found,) = compiled.reasons.values()
    assert reason in found
    assert len(seen) in (0, 2 * CALLS)
    assert capsys.readouterr().out in ("", "seen" * 2 * CALLS)


def test_fullgraph_says_why():
    noisy = torch.compile(lambda x: (print("x"), x * 2)[1], fullgraph=True)
    noisy(torch.ones(2))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"cannot be recorded: it calls print\(\)"):
            noisy(torch.ones(2))
    for argument in ([torch.ones(2)], nn.Parameter(torch.ones(2))):
        with pytest.raises(RuntimeError, match="its arguments are not all numbers, words and tensors"):
            torch.compile(lambda x: x[0] * 2, fullgraph=True)(argument)


def test_modules_compile_themselves():
    model = nn.Linear(2, 2)
    model.compile()
    for _ in range(CALLS):
        model(torch.ones(1, 2))
    assert len(programs(model.forward)) == 1


def test_disabled_functions_and_backends():
    @torch.compiler.disable
    def outside(x: Any) -> Any:
        return x + 1

    compiled = torch.compile(lambda x: outside(x) * 2)
    for _ in range(CALLS):
        compiled(torch.ones(2))
    assert "disabled" in next(iter(compiled.reasons.values()))
    function = lambda x: x  # noqa: E731
    assert torch.compile(function, disable=True) is function is torch.compile(function, backend="eager")


def test_modules_that_change_are_recorded_anew():
    model = torch.compile(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    x = torch.randn(2, 3)

    def check(expected: Callable[[], Any]) -> None:
        for _ in range(CALLS):
            assert np.array_equal(model(x).array, expected().array)

    linear = model[0]
    check(lambda: F.relu(F.linear(x, linear.weight, linear.bias)))
    linear.weight = nn.Parameter(torch.randn(3, 3))
    check(lambda: F.relu(F.linear(x, linear.weight, linear.bias)))
    model[1] = nn.Tanh()
    check(lambda: torch.tanh(F.linear(x, linear.weight, linear.bias)))
    model.append(nn.LeakyReLU(0.5))
    check(lambda: F.leaky_relu(torch.tanh(F.linear(x, linear.weight, linear.bias)), 0.5))
    model[2].negative_slope = 0.25
    check(lambda: F.leaky_relu(torch.tanh(F.linear(x, linear.weight, linear.bias)), 0.25))
    handle = model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    check(lambda: F.leaky_relu(torch.tanh(F.linear(x, linear.weight, linear.bias)) * 2, 0.25))
    handle.remove()
    linear.bias = None
    check(lambda: F.leaky_relu(torch.tanh(F.linear(x, linear.weight)), 0.25))
    model.to(torch.float64)
    x = x.double()
    check(lambda: F.leaky_relu(torch.tanh(F.linear(x, linear.weight)), 0.25))


def test_a_running_mean_of_the_weights_ends_no_recording():
    """Its count of updates is a buffer that is added to in place, and set to itself by `+=`."""
    model = torch.compile(nn.Linear(2, 1))
    mean = torch.optim.swa_utils.AveragedModel(model)
    for step in range(CALLS):
        model(torch.ones(1, 2))
        mean.update_parameters(model)
        assert mean.n_averaged.item() == step + 1
    assert len(programs(model.forward)) == 1


def test_freezing_is_seen():
    model = torch.compile(nn.Linear(2, 1))
    for frozen in (False, True, False):
        model.weight.requires_grad_(not frozen)
        for _ in range(CALLS):
            model.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            assert (model.weight.grad is None) == frozen
            assert model.bias.grad is not None


def test_training_and_evaluation_alternate():
    model = torch.compile(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
    for _ in range(3):
        model.train()
        assert all((model(torch.ones(1, 4) * 100).array == 0).any() for _ in range(20)) in (True, False)
        model.eval()
        outputs = {model(torch.ones(1, 4)).array.tobytes() for _ in range(CALLS)}
        assert len(outputs) == 1


def replayed(function: Callable[..., Any], *arguments: Any) -> Any:
    compiled = torch.compile(function)
    for _ in range(3):
        compiled(*arguments)
    result = compiled(*arguments)
    assert len(programs(compiled)) == 1
    return result


def test_backward_twice_needs_retain_graph():
    w = torch.ones(3, requires_grad=True)
    loss = replayed(lambda x: (w * x).exp().sum(), torch.ones(3))
    loss.backward(retain_graph=True)
    first = w.grad.clone()
    loss.backward()
    assert np.array_equal(w.grad.array, 2 * first.array)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_changes_before_backward_are_noticed():
    w, x = torch.ones(3, requires_grad=True), torch.ones(3)
    loss = replayed(lambda x: (w * x).sum(), x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss = replayed(lambda x: (w * x).exp(), x)
    loss.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.sum().backward()


def test_double_backward_is_refused_as_by_pytorch():
    w = torch.ones(3, requires_grad=True)
    loss = replayed(lambda x: (w * x).exp().sum(), torch.ones(3))
    with pytest.raises(RuntimeError, match="does not support double backward"):
        torch.autograd.grad(loss, w, create_graph=True)


def test_grad_of_some_inputs_and_hooks_of_leaves():
    v, w = (torch.ones(3, requires_grad=True) for _ in range(2))
    loss = replayed(lambda x: (v * w * x).sum(), torch.full((3,), 2.0))
    (gradient,) = torch.autograd.grad(loss, w, retain_graph=True)
    assert gradient.tolist() == [2, 2, 2]
    assert w.grad is None
    order: list[str] = []
    v.register_hook(lambda g: (order.append("hook"), g * 10)[1])
    v.register_post_accumulate_grad_hook(lambda leaf: order.append("accumulated"))
    loss.backward()
    assert order == ["hook", "accumulated"]
    assert v.grad.tolist() == [20, 20, 20]


def test_two_results_at_once():
    """Runs of a program do not disturb each other."""
    w = torch.ones(2, requires_grad=True)
    compiled = torch.compile(lambda x: (w * x).exp())
    for _ in range(3):
        compiled(torch.ones(2))
    one, two = compiled(torch.ones(2)), compiled(torch.full((2,), 2.0))
    (one * two).sum().backward()
    assert np.allclose(w.grad.array, 3 * np.exp(3.0))


def test_copies_are_independent():
    model = torch.compile(nn.Linear(2, 2))
    for _ in range(CALLS):
        model(torch.ones(1, 2))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.weight.zero_(), twin.bias.zero_()
    for _ in range(CALLS):
        assert not twin(torch.ones(1, 2)).array.any()
    assert model(torch.ones(1, 2)).array.any()
    assert list(model.state_dict()) == ["weight", "bias"]


def test_what_distributed_data_parallel_wraps_is_compiled():
    torch.distributed.init_process_group()
    try:
        model = torch.compile(nn.parallel.DistributedDataParallel(nn.Linear(2, 1)))
        for _ in range(CALLS):
            model.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            assert model.module.weight.grad.tolist() == [[1, 1]]
        assert len(programs(model.module.forward)) == 1
        around = torch.compile(lambda x: model(x) * 2)
        for _ in range(CALLS):
            around(torch.ones(1, 2))
        assert "DistributedDataParallel" in next(iter(around.reasons.values()))
    finally:
        torch.distributed.destroy_process_group()


def test_is_compiling_while_recorded():
    seen = []
    model = torch.compile(lambda x: (seen.append(torch.compiler.is_compiling()), x * 2)[1])
    for _ in range(3):
        model(torch.ones(1))
    assert seen == [False, True, False]
    assert not torch.compiler.is_compiling()


def test_what_garbage_collection_calls_is_no_part_of_a_call():
    """Callbacks of the collector may come at any time; a thousand lists make one come in every call."""
    seen: list[int] = []

    def callback(phase: str, info: dict[str, int]) -> None:
        seen.append(1)

    gc.callbacks.append(callback)
    try:
        model = torch.compile(lambda x: (x * len([[] for _ in range(1000)])).exp())
        for _ in range(CALLS):
            model(torch.zeros(2))
    finally:
        gc.callbacks.remove(callback)
    assert seen
    assert gc.isenabled()
    assert len(programs(model)) == 1


def test_gradients_come_one_after_the_other():
    """What waits for a gradient, such as its exchange, gets it while backward goes on."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    compiled = torch.compile(lambda x: model(x).sum())
    missing: list[list[bool]] = []
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda _: missing.append([p.grad is None for p in model.parameters()]))
    for _ in range(CALLS):
        model.zero_grad()
        missing.clear()
        compiled(torch.ones(2, 4)).backward()
        assert [sum(each) for each in missing] == [3, 2, 1, 0]
    assert len(programs(compiled)) == 1


def test_a_parameter_as_an_argument_may_be_another_one_next_time():
    """What the function has from outside and what it is given are not confused."""
    own, other = (nn.Parameter(torch.full((2,), value)) for value in (2.0, 5.0))
    compiled = torch.compile(lambda w: w * own)
    for _ in range(CALLS):
        assert compiled(own).tolist() == [4, 4]
    assert compiled(other).tolist() == [10, 10]
