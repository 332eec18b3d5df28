"""The graph and the walk back: what `grad_fn` shows, where gradients go, hooks, versions, users' own functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import ddpnet as torch
from ddpnet import nn


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values or 3.0, dtype=torch.float64, requires_grad=True)


def numbers(tensor: Any) -> Any:
    return tensor.detach().numpy().tolist()


# The graph


def test_chain_of_nodes() -> None:
    output = nn.Linear(3, 2)(torch.randn(4, 3))
    loss = nn.MSELoss()(output, torch.randn(4, 2))
    names = []
    node = loss.grad_fn
    while node is not None:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    assert names == ["MseLossBackward0", "AddmmBackward0", "AccumulateGrad"]
    assert re.fullmatch(r"<MseLossBackward0 object at 0x[0-9a-f]+>", repr(loss.grad_fn))
    assert type(loss.grad_fn).__name__ == "MseLossBackward0"


NODES: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda torch, x: x + 1,
    "sub": lambda torch, x: x - 1,
    "mul": lambda torch, x: x * 2,
    "div": lambda torch, x: x / 2,
    "pow": lambda torch, x: x**2,
    "neg": lambda torch, x: -x,
    "exp": lambda torch, x: x.exp(),
    "log": lambda torch, x: x.log(),
    "sqrt": lambda torch, x: x.sqrt(),
    "abs": lambda torch, x: x.abs(),
    "clamp": lambda torch, x: x.clamp(0, 1),
    "sum": lambda torch, x: x.sum(),
    "mean": lambda torch, x: x.mean(),
    "var": lambda torch, x: x.var(),
    "max": lambda torch, x: x.max(),
    "max along": lambda torch, x: x.max(0).values,
    "maximum": lambda torch, x: torch.maximum(x, x),
    "relu": lambda torch, x: torch.relu(x),
    "leaky relu": lambda torch, x: torch.nn.functional.leaky_relu(x),
    "tanh": lambda torch, x: torch.tanh(x),
    "sigmoid": lambda torch, x: torch.sigmoid(x),
    "softmax": lambda torch, x: torch.softmax(x, 0),
    "log softmax": lambda torch, x: torch.log_softmax(x, 0),
    "dropout": lambda torch, x: torch.nn.functional.dropout(x),
    "mm": lambda torch, x: x @ x,
    "bmm": lambda torch, x: torch.bmm(x[None], x[None]),
    "addmm": lambda torch, x: torch.addmm(x, x, x),
    "linear": lambda torch, x: torch.nn.functional.linear(x, x, x[0]),
    "linear, no bias": lambda torch, x: torch.nn.functional.linear(x, x),
    "linear of a stack": lambda torch, x: torch.nn.functional.linear(x[None], x, x[0]),
    "view": lambda torch, x: x.view(9),
    "reshape": lambda torch, x: x.reshape(9),
    "flatten": lambda torch, x: x.flatten(),
    "t": lambda torch, x: x.t(),
    "transpose": lambda torch, x: x.transpose(0, 1),
    "permute": lambda torch, x: x.permute(1, 0),
    "expand": lambda torch, x: x.expand(2, 3, 3),
    "unsqueeze": lambda torch, x: x.unsqueeze(0),
    "squeeze": lambda torch, x: x.squeeze(),
    "squeeze one": lambda torch, x: x.squeeze(0),
    "clone": lambda torch, x: x.clone(),
    "convert": lambda torch, x: x.double(),
    "cat": lambda torch, x: torch.cat([x, x]),
    "stack": lambda torch, x: torch.stack([x, x]),
    "split": lambda torch, x: torch.split(x, 2)[0],
    "chunk": lambda torch, x: torch.chunk(x, 2)[0],
    "unbind": lambda torch, x: torch.unbind(x)[0],
    "select": lambda torch, x: x[0],
    "slice": lambda torch, x: x[1:],
    "index": lambda torch, x: x[[0, 1]],
    "index select": lambda torch, x: torch.index_select(x, 0, torch.tensor([0])),
    "gather": lambda torch, x: torch.gather(x, 0, torch.tensor([[0]])),
    "where": lambda torch, x: torch.where(x > 0, x, 1.0),
    "masked fill": lambda torch, x: x.masked_fill(x > 0, 1.0),
    "mse": lambda torch, x: torch.nn.functional.mse_loss(x, x),
    "l1": lambda torch, x: torch.nn.functional.l1_loss(x, x),
    "nll": lambda torch, x: torch.nn.functional.nll_loss(x, torch.tensor([0, 1, 2])),
    "cross entropy": lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1, 2])),
    "conv": lambda torch, x: torch.nn.functional.conv2d(x[None, None], x[None, None]),
    "max pool": lambda torch, x: torch.nn.functional.max_pool2d(x[None, None], 2),
    "avg pool": lambda torch, x: torch.nn.functional.avg_pool2d(x[None, None], 2),
    "batch norm": lambda torch, x: torch.nn.functional.batch_norm(x, None, None, training=True),
    "norm": lambda torch, x: x.norm(),
    "in place": lambda torch, x: x.clone().mul_(2),
    "put": lambda torch, x: x.clone().fill_(2),
}

NAMED_OTHERWISE = {
    "dropout": "NativeDropoutBackward0",
    "linear, no bias": "AddmmBackward0",
    "linear of a stack": "AddmmBackward0",
    "l1": "AbsBackward0",
}
"""Where one node here stands for what are several there, or for another of theirs."""


@pytest.mark.parametrize("name", NODES)
def test_nodes_have_pytorchs_names(name: str) -> None:
    oracle = pytest.importorskip("torch")
    ours = NODES[name](torch, torch.ones(3, 3, requires_grad=True)).grad_fn.name()
    theirs = NODES[name](oracle, oracle.ones(3, 3, requires_grad=True)).grad_fn.name()
    assert ours == NAMED_OTHERWISE.get(name, theirs)


def test_leaves_and_others() -> None:
    x = leaf(1, 2)
    y = x * 2
    assert (x.is_leaf, y.is_leaf) == (True, False)
    assert (x.requires_grad, y.requires_grad, torch.ones(2).requires_grad) == (True, True, False)
    assert x.grad_fn is None
    assert y.grad_fn is not None
    assert y.grad_fn.next_functions[0][0].variable is x
    assert (torch.ones(2) * 2).is_leaf
    assert y.detach().is_leaf


def test_only_floating_point_requires_gradients() -> None:
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1, 2], requires_grad=True)
    y = leaf(1, 2) * 2
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad = False


def test_gradients_accumulate() -> None:
    x = leaf(1, 2)
    (x * 3).sum().backward()
    first = x.grad
    (x * 4).sum().backward()
    assert numbers(x.grad) == [7, 7]
    assert x.grad is first
    x.grad = None
    (x * 5).sum().backward()
    assert numbers(x.grad) == [5, 5]


def test_backward_from_a_gradient() -> None:
    x = leaf(1, 2)
    (x * x).backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    assert numbers(x.grad) == [2, 40]
    with pytest.raises(
        RuntimeError, match=r"shape of torch.Size\(\[3\]\) and output\[0\] has a shape of torch.Size\(\[2\]\)"
    ):
        (x * x).backward(torch.ones(3))
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * x).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(1).backward()


def test_given_gradient_is_not_changed() -> None:
    x, g = leaf(1, 2), torch.ones(2, dtype=torch.float64)
    y = x + 0
    torch.autograd.backward([y, y * 1], [g, g])
    x.grad.mul_(5)
    assert numbers(g) == [1, 1]


def test_several_roots() -> None:
    x = leaf(1, 2)
    torch.autograd.backward([x.sum(), (x * x).sum()])
    assert numbers(x.grad) == [3, 5]


def test_freed_graph() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert numbers(x.grad) == [6, 12]


def test_nothing_saved_may_be_walked_again() -> None:
    x = leaf(1, 2)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert numbers(x.grad) == [2, 2]


def test_diamond() -> None:
    x = leaf(2)
    a = x * 3
    b, c = a * 5, a * a
    (b * c + b).backward()
    value = 2.0
    assert x.grad.item() == pytest.approx(3 * 45 * value**2 * 3 + 15)


def test_the_same_tensor_twice() -> None:
    x = leaf(2)
    y = x * x
    (y + y + x).backward()
    assert x.grad.item() == 9


def test_output_of_which_a_part_is_used() -> None:
    x = leaf(1, 2, 3, 4)
    _, second = torch.split(x * 2, 2)
    second.sum().backward()
    assert numbers(x.grad) == [0, 0, 2, 2]


def test_deep_chain() -> None:
    x = leaf(1)
    y = x
    for _ in range(50_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1


def test_deep_chain_that_is_dropped() -> None:
    y = leaf(1)
    for _ in range(50_000):
        y = y + 1
    del y


def test_gradients_do_not_alias() -> None:
    x, y, z = leaf(1, 2), leaf(3, 4), leaf(5, 6)
    (x + y + z.view(2)).backward(torch.ones(2, dtype=torch.float64))
    x.grad.mul_(7)
    y.grad.mul_(11)
    assert (numbers(x.grad), numbers(y.grad), numbers(z.grad)) == ([7, 7], [11, 11], [1, 1])


def test_gradient_does_not_alias_its_root() -> None:
    x, g = leaf(1, 2), torch.ones(2, dtype=torch.float64)
    x.backward(g)
    x.grad.mul_(3)
    assert numbers(g) == [1, 1]


def test_broadcast_views_are_added_safely() -> None:
    """The gradient of `sum` is a read-only view of one number."""
    x = leaf(1, 2)
    (x.sum() + x.sum() + (x * 2).sum()).backward()
    assert numbers(x.grad) == [4, 4]
    x.grad.mul_(2)
    assert numbers(x.grad) == [8, 8]


# Recording


def test_modes() -> None:
    x = leaf(1)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with torch.inference_mode():
        assert not (x * 2).requires_grad
    torch.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    torch.set_grad_enabled(True)
    assert (x * 2).requires_grad


def test_modes_as_decorators() -> None:
    x = leaf(1)
    for switch in (torch.no_grad(), torch.no_grad, torch.set_grad_enabled(False), torch.inference_mode()):
        torch.set_grad_enabled(True)

        @switch
        def double(x: Any) -> Any:
            return x * 2

        assert not double(x).requires_grad
        assert double.__name__ == "double"
        assert torch.is_grad_enabled()

    @torch.enable_grad()
    def triple(x: Any) -> Any:
        return x * 3

    with torch.no_grad():
        assert triple(x).requires_grad


def test_mode_after_an_exception() -> None:
    with pytest.raises(KeyError), torch.no_grad():
        raise KeyError
    assert torch.is_grad_enabled()


def test_one_switch_may_be_entered_twice() -> None:
    switch = torch.no_grad()
    with switch, switch:
        pass
    assert torch.is_grad_enabled()


# autograd.grad


def test_grad() -> None:
    x, w = leaf(1, 2), leaf(3, 4)
    y = x * w
    gx, gw, gy = torch.autograd.grad((y * y).sum(), [x, w, y])
    assert (numbers(gx), numbers(gw), numbers(gy)) == ([18, 64], [6, 32], [6, 16])
    assert x.grad is w.grad is None


def test_grad_of_what_is_not_used() -> None:
    x, w = leaf(1), leaf(2)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.autograd.grad(x * 2, [x, w])
    assert torch.autograd.grad(x * 2, [x, w], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(x * 2, torch.ones(1))


def test_grad_with_respect_to_the_output() -> None:
    x = leaf(1)
    y = x * 2
    assert torch.autograd.grad(y, y)[0].item() == 1


def test_grads_do_not_alias() -> None:
    x, w = leaf(1, 2), leaf(3, 4)
    gx, gw = torch.autograd.grad((x + w).sum(), [x, w])
    gx.mul_(5)
    assert numbers(gw) == [1, 1]


def test_backward_into_chosen_inputs() -> None:
    x, w = leaf(1), leaf(2)
    (x * w).backward(inputs=[x])
    assert x.grad.item() == 2
    assert w.grad is None


def test_grad_leaves_the_graph_behind_whole() -> None:
    """What `grad` did not need is still there for a later backward."""
    layer = nn.Linear(2, 2)
    y = layer(torch.ones(1, 2))
    z = (y * y).sum()
    torch.autograd.grad(z, y, retain_graph=True)
    z.backward()
    assert layer.weight.grad is not None


def test_modes_take_pytorchs_arguments() -> None:
    with torch.set_grad_enabled(mode=False):
        assert not torch.is_grad_enabled()

        @torch.enable_grad
        def recorded() -> bool:
            return torch.is_grad_enabled()

        assert recorded()
    with torch.autograd.set_detect_anomaly(mode=True):
        assert torch.is_anomaly_enabled()
    with pytest.warns(FutureWarning, match="only_inputs"):
        torch.autograd.grad(leaf() * 2, leaf(), only_inputs=False, allow_unused=True)
