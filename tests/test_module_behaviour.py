"""Modules do what PyTorch's do: the same calls on both, and their results, texts and error classes compared."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import ddpnet

Call = Callable[[], Any]


def outcome(call: Call) -> str:
    """The text of a result, or the class of the error."""
    try:
        return repr(call()).replace("_IncompatibleKeys", "IncompatibleKeys")
    except Exception as error:
        return type(error).__name__


def sequences(torch: Any) -> list[Call]:
    nn = torch.nn
    m = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    short = nn.Sequential(nn.Identity())
    return [
        lambda: m[:2],
        lambda: m[-1],
        lambda: m[5],
        lambda: len(m.append(nn.ReLU())),
        lambda: m.insert(1, nn.Tanh()),
        lambda: m.insert(9, nn.Tanh()),
        lambda: m.pop(1),
        lambda: m + short,
        lambda: m + 3,
        lambda: short * 2,
        lambda: short * 0,
        lambda: m.extend([nn.ReLU()]),
        lambda: m.__delitem__(slice(0, 2)),
        lambda: m,
    ]


def lists_and_dicts(torch: Any) -> list[Call]:
    nn = torch.nn
    modules = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    named = nn.ModuleDict({"a": nn.ReLU()})
    return [
        lambda: modules,
        lambda: modules.__add__([nn.ReLU()]),
        lambda: modules.__setitem__(0, nn.ReLU()),
        lambda: modules.pop(0),
        lambda: modules.insert(0, nn.ReLU()),
        lambda: modules(1),
        lambda: modules[7],
        lambda: modules.extend(3),
        lambda: named.update([("b", nn.Tanh())]),
        lambda: named,
        lambda: list(named.keys()),
        lambda: named.update(3),
        lambda: named.update([("c",)]),
        lambda: named.__setitem__("a.b", nn.ReLU()),
        lambda: named.pop("a"),
        lambda: "a" in named,
    ]


def parameters(torch: Any) -> list[Call]:
    nn = torch.nn
    listed = nn.ParameterList([torch.ones(2), 3])
    named = nn.ParameterDict({"a": torch.ones(2)})
    single = nn.Parameter(torch.ones(2))
    return [
        lambda: listed,
        lambda: listed[0],
        lambda: listed.__setitem__(0, torch.zeros(3)),
        lambda: list(listed.state_dict()),
        lambda: listed(1),
        lambda: listed[4],
        lambda: listed[:1],
        lambda: nn.ParameterList(torch.ones(2)[0]),
        lambda: named,
        lambda: named.update({"b": torch.ones(1)}),
        lambda: list(named),
        lambda: named | nn.ParameterDict({"z": torch.ones(1)}),
        lambda: named.popitem(),
        lambda: named.__setitem__(3, torch.ones(1)),
        lambda: named.get("q", 5),
        lambda: single,
        lambda: copy.deepcopy(single),
        lambda: nn.Parameter(torch.ones(2, dtype=torch.int64)),
        lambda: nn.Parameter(),
    ]


def extra(torch: Any) -> Any:
    """A module with a parameter, buffers, a layer, and state of its own."""
    nn = torch.nn

    class Extra(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))
            self.b = nn.Buffer(torch.zeros(1))
            self.c = nn.Buffer(torch.zeros(1), persistent=False)
            self.layer = nn.Linear(1, 1)
            self.register_buffer("none", None)
            self.kept = 5

        def get_extra_state(self) -> Any:
            return self.kept

        def set_extra_state(self, state: Any) -> None:
            self.kept = state

    return Extra()


def state(torch: Any) -> list[Call]:
    m = extra(torch)
    grown = {key: x if key == "_extra_state" else x + 1 for key, x in m.state_dict().items()}
    return [
        lambda: list(m.state_dict()),
        lambda: m.state_dict()._metadata,
        lambda: list(m.state_dict(prefix="p.")),
        lambda: m.state_dict(keep_vars=True)["w"].requires_grad,
        lambda: m.load_state_dict({}),
        lambda: m.load_state_dict({}, strict=False),
        lambda: m.load_state_dict(3),
        lambda: m.load_state_dict({**m.state_dict(), "w": 3}),
        lambda: m.load_state_dict({**m.state_dict(), "_extra_state": 9}),
        lambda: m.kept,
        lambda: m.load_state_dict(grown, assign=True),
        lambda: (type(m.w).__name__, m.w.requires_grad, m.w.tolist()),
    ]


def registration(torch: Any) -> list[Call]:
    nn, m = torch.nn, extra(torch)
    return [
        lambda: m.register_parameter("w.x", None),
        lambda: m.register_parameter("", None),
        lambda: m.register_parameter(3, None),
        lambda: m.register_parameter("forward", None),
        lambda: m.register_parameter("q", torch.ones(1)),
        lambda: m.register_buffer("a.b", None),
        lambda: m.register_buffer("q", 3),
        lambda: m.register_buffer("w", None),
        lambda: m.add_module("a.b", None),
        lambda: m.add_module("q", 3),
        lambda: setattr(m, "w", 3),
        lambda: setattr(m, "layer", 3),
        lambda: setattr(m, "b", "x"),
        lambda: m.nothing,
        lambda: m.get_submodule("x.y"),
        lambda: m.get_submodule("w"),
        lambda: m.get_parameter("layer.weight").shape,
        lambda: m.get_parameter("b"),
        lambda: m.get_buffer("b"),
        lambda: m.get_buffer("w"),
        lambda: m.set_submodule("layer", nn.ReLU()),
        lambda: m,
        lambda: m.train(3),
        lambda: m.to(torch.int64),
        lambda: m.double().w.dtype,
        lambda: m.bfloat16().w.dtype,
        lambda: m.half().b.dtype,
        lambda: m.type(torch.float32).w.dtype,
        lambda: m.to_empty(device="cpu").w.shape,
        lambda: copy.deepcopy(m).w.shape,
        lambda: [name for name, _ in m.named_parameters()],
        lambda: [name for name, _ in m.named_buffers()],
        lambda: nn.Module()(3),
        lambda: nn.Unflatten(1, (2, 3))(torch.zeros(2, 6)).shape,
        lambda: nn.Unflatten(1, 3),
    ]


def hooks(torch: Any) -> list[Call]:
    """What hooks are given, in which order, and what they change."""
    seen: list[Any] = []
    m = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(m.weight)
    torch.nn.init.zeros_(m.bias)
    first = m.register_forward_hook(lambda module, inputs, output: seen.append("second"))
    m.register_forward_hook(lambda module, inputs, output: seen.append("first"), prepend=True)
    m.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    m.register_forward_pre_hook(lambda module, inputs, options: (inputs, options), with_kwargs=True)
    m.register_forward_hook(lambda module, inputs, options, output: output + 1, with_kwargs=True)
    m.register_forward_hook(lambda module, inputs, output: seen.append(output is None), always_call=True)
    m.register_full_backward_pre_hook(lambda module, after: seen.append(after[0].tolist()))

    def tenfold(module: Any, before: Any, after: Any) -> Any:
        seen.append((None if before[0] is None else before[0].tolist(), after[0].tolist()))
        return None if before[0] is None else (before[0] * 10,)

    m.register_full_backward_hook(tenfold)
    x = torch.ones(1, 2, requires_grad=True)
    y = m(x)
    y.sum().backward()
    first.remove()
    m(torch.ones(1, 2)).sum().backward()
    return [lambda: m(torch.ones(1, 3)), lambda: seen, lambda: y.tolist(), lambda: x.grad.tolist()]


def state_hooks(torch: Any) -> list[Call]:
    m, seen = torch.nn.Linear(1, 1), []  # type: tuple[Any, list[Any]]
    m.register_state_dict_pre_hook(lambda *_: seen.append("before"))
    m.register_state_dict_post_hook(lambda *_: seen.append("after"))
    m.register_load_state_dict_pre_hook(lambda module, state, *_: state.pop("junk", None) and None)
    m.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
    state = m.state_dict()
    state["junk"] = torch.ones(1)
    del state["bias"]
    return [lambda: m.load_state_dict(state), lambda: seen]


@pytest.mark.filterwarnings("ignore:Full backward hook")  # PyTorch's
@pytest.mark.parametrize(
    "calls", [sequences, lists_and_dicts, parameters, state, registration, hooks, state_hooks], ids=lambda f: f.__name__
)
def test_modules_do_what_pytorchs_do(calls: Callable[[Any], list[Call]]) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = ([outcome(call) for call in calls(library)] for library in (torch, ddpnet))
    for number, (one, two) in enumerate(zip(theirs, ours, strict=True)):
        assert two == one, f"call {number}"
