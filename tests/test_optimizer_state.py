"""Groups, names, hooks and saved states of optimizers."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import ddpnet
from ddpnet import nn, optim
from ddpnet.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


def start() -> tuple[Any, Any]:
    weight = nn.Parameter(ddpnet.ones(2))
    weight.grad = ddpnet.ones(2)
    return weight, optim.SGD([weight], lr=0.1, momentum=0.9)


def test_names() -> None:
    layer = nn.Linear(2, 2)
    optimizer = optim.Adam(layer.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    state = optimizer.state_dict()
    assert state["param_groups"][0]["param_names"] == ["weight", "bias"]
    unnamed = optim.Adam(layer.parameters())
    unnamed.load_state_dict(state)
    assert unnamed.param_groups[0]["param_names"] == ["weight", "bias"]
    optimizer.load_state_dict(optim.Adam(layer.parameters()).state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="without names to the optimizer"):
        optimizer.add_param_group({"params": nn.Parameter(ddpnet.ones(1))})


def test_adding_a_group() -> None:
    weight, optimizer = start()
    other = nn.Parameter(ddpnet.ones(3))
    optimizer.add_param_group({"params": other, "lr": 0.5})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    assert optimizer.param_groups[1]["momentum"] == 0.9
    assert optimizer.state_dict()["param_groups"][1]["params"] == [1]
    for group, message in (([], "must be a dict"), ({"params": {other}}, "sets will change")):
        with pytest.raises(TypeError, match=message):
            optimizer.add_param_group(group)
    del weight


def test_hooks_of_steps() -> None:
    weight, optimizer = start()
    heard: list[str] = []
    handles = [
        register_optimizer_step_pre_hook(lambda o, args, kwargs: heard.append("every, before")),
        optimizer.register_step_pre_hook(lambda o, args, kwargs: heard.append(f"before {len(args)}")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: heard.append("after")),
        register_optimizer_step_post_hook(lambda o, args, kwargs: heard.append("every, after")),
    ]
    optimizer.step()
    assert heard == ["every, before", "before 1", "after", "every, after"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(heard) == 4
    optimizer.register_step_pre_hook(lambda o, args, kwargs: (args, {"closure": lambda: 7}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()
    assert weight.tolist() != [1, 1]


def test_hooks_of_states() -> None:
    _, optimizer = start()
    heard: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: heard.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: heard.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    state = optimizer.state_dict()
    assert heard == ["first", "second"]
    assert state["extra"] == 1

    def halve(o: Any, state: dict[str, Any]) -> dict[str, Any]:
        groups = [{**group, "lr": group["lr"] / 2} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_post_hook(lambda o: heard.append("loaded"))
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert heard[-1] == "loaded"


def test_an_optimizer_of_users() -> None:
    """A class with a `step` of its own has hooks, state and schedules, too."""

    class Sign(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        @ddpnet.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
                    p.add_(p.grad.sign(), alpha=-group["lr"])

    weight, _ = start()
    optimizer = Sign([weight], lr=0.5)
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
    heard: list[int] = []
    optimizer.register_step_post_hook(lambda o, args, kwargs: heard.append(1))
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert ddpnet.allclose(weight, ddpnet.full((2,), 0.45))
    assert heard == [1, 1]
    assert optimizer.state_dict()["state"] == {0: {"seen": 2}}


def test_a_copy_is_apart() -> None:
    weight, optimizer = start()
    optimizer.step()
    other = copy.deepcopy(optimizer)
    optimizer.step()
    copied = other.param_groups[0]["params"][0]
    assert copied is not weight
    assert other.state[copied]["momentum_buffer"].tolist() == [1, 1]


def test_states_that_do_not_fit() -> None:
    _, optimizer = start()
    optimizer.step()
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({**state, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict({**state, "param_groups": [{**state["param_groups"][0], "params": []}]})
    longer = {0: {"momentum_buffer": ddpnet.ones(3)}}
    with pytest.raises(ValueError, match=r"'momentum_buffer': expected shape \[2\], got \[3\]"):
        optimizer.load_state_dict({**state, "state": longer})


def test_an_older_state() -> None:
    """Options and counters as PyTorch kept them years ago."""
    weight = nn.Parameter(ddpnet.ones(2))
    optimizer = optim.Adam([weight])
    moments = {"exp_avg": ddpnet.zeros(2), "exp_avg_sq": ddpnet.zeros(2)}
    group = {"lr": 0.5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "params": [0]}
    optimizer.load_state_dict({"state": {0: {"step": 3, **moments}}, "param_groups": [group]})
    assert optimizer.state[weight]["step"].item() == 3
    assert optimizer.param_groups[0]["amsgrad"] is False
    weight.grad = ddpnet.ones(2)
    optimizer.step()
    assert optimizer.state[weight]["step"].item() == 4


@pytest.mark.parametrize("option", ["capturable", "differentiable"])
def test_what_is_not_supported_is_refused(option: str) -> None:
    with pytest.raises(NotImplementedError, match=f"{option}=True is not supported"):
        optim.Adam([nn.Parameter(ddpnet.ones(1))], **{option: True})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in optim.__all__ if name[0].isupper() and name != "Optimizer"])
def test_half_precision(name: str, dtype: str) -> None:
    weight = nn.Parameter(ddpnet.full((2, 2), 0.0625, dtype=getattr(ddpnet, dtype)))
    optimizer = getattr(optim, name)([weight])

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (weight.float() ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert weight.dtype is getattr(ddpnet, dtype)
    assert weight.tolist() != [[0.0625] * 2] * 2


def test_options_that_are_tensors() -> None:
    """Of one element, with or without a dimension, whatever the numbers are then."""
    found = []
    for make in (float, ddpnet.tensor, lambda value: ddpnet.tensor([value])):
        weight, _ = start()
        optim.SGD([weight], lr=make(0.5), weight_decay=make(0.25)).step()
        optim.AdamW([weight], lr=make(0.5)).step()
        found.append(weight.tolist())
    assert found[0] == found[1] == found[2]
