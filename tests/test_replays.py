"""`torch.compile`: a call gives what it gives as written, however a program uses it; each case is run both ways."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.compiler.compiled import Compiled
from ddpnet.nn import functional as F

CALLS = 7
"""The first is as written, two are watched, the others replayed, unless something prevents it."""

Wrap = Callable[[Any], Any]
Case = Callable[[Wrap], Iterator[Any]]
REPLAYED: dict[str, Case] = {}
EITHER: dict[str, Case] = {}


def replayed(case: Case) -> Case:
    """What can be recorded, and has to be."""
    return REPLAYED.setdefault(case.__name__, case)


def either(case: Case) -> Case:
    """What may be recorded or not."""
    return EITHER.setdefault(case.__name__, case)


def bits(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.array.shape, str(value.array.dtype), value.array.tobytes(), value.requires_grad


def outcomes(case: Case, wrap: Wrap) -> list[Any]:
    torch.manual_seed(4)
    return [bits(value) for value in case(wrap)]


def weights(*shape: int) -> Any:
    return torch.randn(*shape, requires_grad=True)


# The order in which gradients are added


@replayed
def a_weight_used_inside_and_outside(wrap):
    w = weights(50)
    f = wrap(lambda x: (x * w).exp().sum() + (x / 3 * w).sum() + (w * w * x).sin().sum())
    for _ in range(CALLS):
        w.grad = None
        (f(torch.randn(50)) + (w * 0.377).sin().sum()).backward()
        yield w.grad


@replayed
def a_residual_around(wrap):
    w = weights(50)
    f = wrap(lambda x: (x * 0.77).exp() + (x / 3).sin())
    for _ in range(CALLS):
        w.grad = None
        x = w * torch.randn(50)
        ((x + f(x)) * torch.randn(50)).sum().backward()
        yield w.grad


@replayed
def a_recurrence(wrap):
    one, two = nn.Linear(8, 8), nn.Linear(8, 8)
    f = wrap(lambda x, h: torch.tanh(one(x) + two(h) * torch.sigmoid(one(h))))
    for _ in range(CALLS):
        one.zero_grad()
        h = torch.zeros(4, 8)
        for _ in range(5):
            h = f(torch.randn(4, 8), h)
        h.square().sum().backward()
        yield from (one.weight.grad, one.bias.grad)


@replayed
def a_pooling_of_a_relu_beside_others(wrap):
    w = weights(1, 1, 8, 8)

    def function(x: Any) -> Any:
        y = w * x
        r, a, b = F.relu(y), (y * 3.3).sin(), (y * 0.7).exp()
        return F.max_pool2d(r, 2).sum() + (a + b).sum()

    f = wrap(function)
    for _ in range(CALLS):
        w.grad = None
        f(torch.randn(1, 1, 8, 8)).backward()
        yield w.grad


# Results: their gradients, hooks, memory


@replayed
def results_made_from_each_other(wrap):
    model = nn.Linear(3, 3)

    def function(x: Any) -> Any:
        a = model(x)
        b = torch.tanh(a) * model(a)
        return a, b, (b + a).exp()

    f = wrap(function)
    for _ in range(CALLS):
        model.zero_grad()
        x = weights(2, 3)
        a, b, c = f(x)
        yield from torch.autograd.grad(c.sum(), (a, model.weight), retain_graph=True)
        a.retain_grad()
        b.register_hook(lambda g: g * 2)
        c.sum().backward(retain_graph=True)
        (a * b).sum().backward()
        yield from (a.grad, x.grad, model.weight.grad)


@either
def a_result_twice(wrap):
    f = wrap(lambda x: (x * 2,) * 2)
    for _ in range(CALLS):
        a, b = f(torch.ones(2))
        yield a is b


@either
def a_view_of_a_result(wrap):
    w = weights(3)

    def function(x: Any) -> Any:
        y = x * w
        return y, y[0]

    f = wrap(function)
    for _ in range(CALLS):
        w.grad = None
        a, b = f(torch.ones(3))
        b.mul_(3.0)
        a.sum().backward()
        yield from (a, w.grad)


@either
def a_view_of_an_argument(wrap):
    f = wrap(lambda x: x.view(4))
    for _ in range(CALLS):
        w = weights(2, 2)
        x = w * 2
        f(x).mul_(3)
        x.sum().backward()
        yield w.grad


@either
def a_view_of_a_constant(wrap):
    f = wrap(lambda x: (torch.ones(4).view(2, 2), x * 2))
    for _ in range(CALLS):
        yield f(torch.ones(2))[0].add_(1)


def raises_when_changed(wrap: Wrap, function: Callable[..., Any], change: Callable[..., Any]) -> Iterator[Any]:
    f = wrap(function)
    for _ in range(CALLS):
        x = weights(2, 2) * 1
        y = f(x)
        with torch.no_grad():
            change(x, y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
        yield True


@replayed
def a_saved_view_of_a_weight_is_changed(wrap):
    w = weights(3, 2)
    yield from raises_when_changed(wrap, lambda x: (x @ w.t()).exp(), lambda x, y: w.mul_(2))


@replayed
def a_saved_view_of_an_argument_is_changed(wrap):
    w = weights(2)
    yield from raises_when_changed(wrap, lambda x: x[0] * w, lambda x, y: x.add_(1))


@replayed
def what_a_result_is_a_view_of_is_changed(wrap):
    yield from raises_when_changed(wrap, lambda x: x.exp().view(4), lambda x, y: y.mul_(2))


@replayed
def maxima_of_a_relu_are_changed(wrap):
    w = weights(1, 1, 4, 4)
    f = wrap(lambda x: F.max_pool2d(F.relu(x * w), 2).flatten(1))
    for _ in range(CALLS):
        w.grad = None
        f(torch.randn(1, 1, 4, 4)).mul_(-1).sum().backward()
        yield w.grad


# What is read beside the arguments


def with_changes(f: Callable[..., Any], change: Callable[[float], Any]) -> Iterator[Any]:
    """Results while something changes now and then; between, there is time for a recording."""
    for number in range(14):
        if number in (5, 6, 9):
            change(float(number))
        yield f(torch.ones(2))


SCALE = 2.0


@replayed
def a_global_number(wrap):
    yield from with_changes(wrap(lambda x: x * SCALE), lambda value: globals().update(SCALE=value))
    globals().update(SCALE=2.0)


@replayed
def a_number_of_the_function_around(wrap):
    scale = 2.0

    def change(value: float) -> None:
        nonlocal scale
        scale = value

    def scaled(x: Any) -> Any:
        return sum(x * scale * number for number in (1, 2))

    yield from with_changes(wrap(lambda x: scaled(x) / 2), change)


@replayed
def elements_and_attributes(wrap):
    numbers, options, config = [2.0, 3.0], {"scale": 2.0}, SimpleNamespace(scale=2.0)
    f = wrap(lambda x, factor=[1.5]: x * numbers[0] * options["scale"] * config.scale * factor[0])

    def change(value: float) -> None:
        numbers[0] = options["scale"] = config.scale = value

    yield from with_changes(f, change)


@replayed
def attributes_of_an_object_that_the_method_has(wrap):
    class Trainer:
        scale = 2.0

        def loss(self, x: Any) -> Any:
            return x * self.scale

    trainer = Trainer()
    yield from with_changes(wrap(trainer.loss), lambda value: setattr(trainer, "scale", value))
    by_name = wrap(lambda x: x * getattr(trainer, "scale", 1.0))
    yield from with_changes(by_name, lambda value: setattr(trainer, "scale", value))


@replayed
def a_list_that_a_module_has(wrap):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = [2.0]

        def forward(self, x: Any) -> Any:
            return x * self.scales[0]

    model = Scaled()
    compiled = wrap(model)
    yield from with_changes(compiled, lambda value: model.scales.__setitem__(0, value))
    yield compiled is model


@replayed
def a_tensor_or_module_that_is_another_one_now(wrap):
    at: dict[str, Any] = {"tensor": torch.ones(2), "model": nn.Linear(2, 2)}
    models = [nn.Linear(2, 2) for _ in range(12)]
    f = wrap(lambda x: at["model"](x) * at["tensor"])
    yield from with_changes(f, lambda n: at.update(tensor=torch.full((2,), n), model=models[int(n)]))


@either
def a_tensor_that_is_an_argument_too(wrap):
    own = torch.full((2,), 2.0)
    norm = nn.BatchNorm1d(2).eval()
    for inside, f in ((own, wrap(lambda x: x * own)), (norm.running_var, wrap(lambda x: x * norm.running_var))):
        for _ in range(CALLS):
            yield f(inside)
        yield f(torch.full((2,), 5.0))


@either
def iterators_and_random_numbers(wrap):
    places = iter([1, 1, 1, 1, 2, 2, 2, 2])
    generator = np.random.default_rng(3)
    random = np.random.RandomState(2)

    def following(x: Any) -> Any:
        for place in places:
            return x * place

    for f in (wrap(following), wrap(lambda x: x * int(generator.integers(0, 2))), wrap(lambda x: x * random.rand())):
        for _ in range(CALLS):
            yield f(torch.ones(1))


@either
def state_of_tensors(wrap):
    w, x = weights(1), torch.ones(1)
    functions: list[Callable[..., Any]] = [
        lambda x: x * 2 if x.array[0] > 0 else x * 3,
        lambda x: x * w if w.grad is None else x * 2,
        lambda x: x * w if w.requires_grad else x * 2,
        lambda x: x * 2 if x.is_leaf else x * 3,
    ]
    for f in map(wrap, functions):
        w.requires_grad_(True)
        w.grad = None
        for number in range(CALLS):
            if number == CALLS - 1:
                w.grad, x = torch.ones(1), -x
                w.requires_grad_(False)
            yield f(x)


# What is changed beside the results


@either
def what_is_changed_beside(wrap):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    seen: list[int] = []
    numbers = np.zeros(1)

    def extends(x: Any) -> Any:
        alias = seen
        alias += [1]
        return x * 2

    def counts(x: Any) -> Any:
        alias = numbers
        alias += 1
        return x * 2

    def longer(numbers: list[int]) -> int:
        numbers += [1]
        return 2

    changes: list[Callable[..., Any]] = [
        lambda x: x * longer(seen),
        extends,
        counts,
        lambda x: (optimizer.zero_grad(), model(x))[1],
        lambda x: (model.zero_grad(), model(x))[1],
        lambda x: (schedule.step(), x * 2)[1],
        lambda x: (torch.manual_seed(5), x * 2)[1],
        lambda x: (torch.set_grad_enabled(False), x * 2)[1],
        lambda x: (model.weight.register_hook(lambda g: seen.append(2)), model(x))[1],
        lambda x: (x.retain_grad(), x * 2)[1],
        lambda x: (x.register_hook(lambda g: g * 5), x * 2)[1],
    ]
    for f in map(wrap, changes):
        for _ in range(CALLS):
            model.weight.grad = torch.ones(2, 2)
            x = weights(2) * 1
            y = f(x)
            if y.requires_grad:
                y.sum().backward()
            yield from (model.weight.grad, x.grad, len(seen), numbers[0], optimizer.param_groups[0]["lr"])
            yield from (torch.rand(1), torch.is_grad_enabled())
            torch.set_grad_enabled(True)


@either
def tensors_that_start_a_graph(wrap):
    def inside(x: Any) -> Any:
        with torch.no_grad():
            y = x * 2
        y.requires_grad_()
        return y, y * 3

    f, g = wrap(inside), wrap(lambda x: x.requires_grad_() * 2)
    for _ in range(CALLS):
        y, z = f(torch.ones(2))
        z.sum().backward()
        yield from (y.grad, z, g(torch.ones(2)))


@either
def warnings_come_each_time(wrap):
    f = wrap(F.mse_loss)
    for _ in range(CALLS):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            f(torch.ones(3, 1), torch.ones(3))
        yield len(caught)


# Kinds of arguments, and modes


@replayed
def numbers_that_are_equal_but_not_the_same(wrap):
    f = wrap(lambda x, k: x * k[0])
    for k in (0.0, -0.0, 1, 1.0, True):
        for _ in range(CALLS):
            yield f(torch.arange(2), (k,))


@replayed
def the_default_dtype(wrap):
    f = wrap(lambda x: x * torch.ones(2) / 3)
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        for _ in range(CALLS):
            yield f(torch.arange(2))
    torch.set_default_dtype(torch.float32)


@replayed
def strides(wrap):
    f = wrap(lambda x: x.view(4) * 2)
    for x in (torch.arange(8.0)[::2].view(2, 2), torch.arange(4.0).view(2, 2).t()):
        for _ in range(CALLS):
            try:
                yield f(x)
            except RuntimeError as error:
                yield str(error)


@replayed
def a_function_that_counts(wrap):
    def function(x: Any) -> Any:
        times = 0
        factor = 1.0
        while times < 3:
            times += 1
            factor *= 2
            x = x * times * factor
        return x

    f = wrap(function)
    for _ in range(CALLS):
        yield f(torch.ones(1))


@pytest.mark.parametrize("name", [*REPLAYED, *EITHER])
def test_as_written(name):
    made: list[Any] = []

    def compiled(function: Any) -> Any:
        made.append(torch.compile(function))
        return made[-1]

    case = REPLAYED.get(name) or EITHER[name]
    written = outcomes(case, lambda function: function)
    assert outcomes(case, compiled) == written
    for each in made if name in REPLAYED else ():
        recorded = each if isinstance(each, Compiled) else each.forward
        assert recorded.has_programs, recorded.reasons
