"""The graph and the walk back: what `grad_fn` shows, where gradients go, hooks, versions, users' own functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.autograd import Function, GradcheckError, gradcheck
from ddpnet.nn import functional as F


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
    "split": "SliceBackward0",
    "chunk": "SliceBackward0",
    "unbind": "SelectBackward0",
    "l1": "AbsBackward0",
    "norm": "SqrtBackward0",
    "put": "IndexPutBackward0",
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
    with pytest.raises(RuntimeError, match=r"shape of \(3,\) and output\[0\] has a shape of \(2,\)"):
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


# In place, views and versions


def test_detach_and_data_share_memory() -> None:
    x = leaf(1, 2)
    x.detach()[0] = 10
    x.data[1] = 20
    assert numbers(x) == [10, 20]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.add_(1),
        lambda a: a.detach().add_(1),
        lambda a: a[0].detach().zero_(),
        lambda a: a.__setitem__(0, 5.0),
        lambda a: a.view(2).detach().fill_(0),
        lambda a: a.copy_(torch.zeros(2)),
    ],
    ids=["add_", "detach", "part", "setitem", "view", "copy_"],
)
def test_saved_tensor_changed_before_backward(change: Callable[[Any], Any]) -> None:
    x, w = leaf(1, 2), leaf(1, 1)
    a = x * 1
    y = (a * w).sum()
    with torch.no_grad():
        change(a)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: .*shape \[2\] saved by MulBackward0"):
        y.backward()


def test_saved_output_changed_before_backward() -> None:
    y = leaf(1, 2).exp()
    z = y.sum()
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_change_through_data_is_not_seen() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    x.data.mul_(10)
    y.backward()
    assert numbers(x.grad) == [20, 40]


def test_change_after_backward() -> None:
    x = leaf(1, 2)
    (x * x).sum().backward()
    with torch.no_grad():
        x.sub_(x.grad)
    assert numbers(x) == [-1, -2]


def test_leaf_in_place() -> None:
    x = leaf(1, 2)
    for change in (lambda: x.add_(1), lambda: x.__setitem__(0, 1.0), x.zero_, lambda: x.copy_(x.detach())):
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            change()
    with torch.no_grad():
        x += 1
    assert numbers(x) == [2, 3]
    assert x.is_leaf
    assert x.requires_grad


def test_in_place_keeps_history() -> None:
    x, w = leaf(1, 2), leaf(3, 4)
    y = x * 1
    same = y
    y *= w
    y += 1
    y.mul_(y.detach())
    y.sum().backward()
    assert y is same
    assert numbers(x.grad) == [3 * 4, 4 * 9]
    assert numbers(w.grad) == [1 * 4, 2 * 9]


def test_in_place_with_itself() -> None:
    """What is saved is about to be overwritten; PyTorch raises, here it is copied."""
    x = leaf(1, 2)
    y = x * 1
    y.mul_(y)
    y.sum().backward()
    assert numbers(x.grad) == [2, 4]
    z = leaf(1, 2) * 1
    with pytest.raises(RuntimeError, match="shares its memory with a view"):
        z.mul_(z.detach().view(2))


def test_in_place_gives_a_plain_tensor_a_history() -> None:
    w = leaf(3, 4)
    total = torch.zeros(2, dtype=torch.float64)
    for k in range(3):
        total += w * k
    assert total.requires_grad
    total.sum().backward()
    assert numbers(w.grad) == [3, 3]


def test_rows_written_one_after_the_other() -> None:
    w = leaf(3, 4)
    out = torch.zeros(3, 2, dtype=torch.float64)
    for k in range(3):
        out[k] = w * k if k == 0 else out[k - 1] + w
    out.sum().backward()
    assert numbers(w.grad) == [3, 3]


def test_view_sees_changes() -> None:
    x = torch.arange(6).reshape(2, 3)
    x.view(6)[0] = 10
    x.t()[1, 1] = 20
    x[1][2] = 30
    assert x.tolist() == [[10, 1, 2], [3, 20, 30]]


def test_recorded_change_of_a_view_is_refused() -> None:
    """PyTorch rewrites the history of the base and of all views; here that raises, whether or not the base has one."""
    w = leaf()
    for base in (leaf(1, 2) * 1, torch.zeros(2, dtype=torch.float64)):
        view = base[0]
        with pytest.raises(RuntimeError, match="shares its memory with a view"):
            view.mul_(w)
        with pytest.raises(RuntimeError, match="shares its memory with a view"):
            base.mul_(w)
        del view
        base.mul_(w)
        assert base.requires_grad


# Hooks and kept gradients


def test_retain_grad() -> None:
    x = leaf(1, 2)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert numbers(y.grad) == [4, 8]
    assert numbers(x.grad) == [8, 16]
    x.retain_grad()
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        torch.ones(1).retain_grad()


def test_leaf_hook_fires_once_with_the_final_gradient() -> None:
    x = leaf(1)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    y = x * 2
    (y + x * 3 + x * x).backward()
    assert seen == [7]
    assert x.grad.item() == 7


def test_gradient_that_a_hook_keeps_is_not_added_to() -> None:
    x = leaf(1, 2)
    seen = []
    x.register_hook(seen.append)
    for _ in range(2):
        (x * x).sum().backward()
    assert [numbers(g) for g in seen] == [[2, 4], [2, 4]]
    assert numbers(x.grad) == [4, 8]


def test_hooks_replace_gradients() -> None:
    x = leaf(1, 2)
    y = x * 2
    x.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    (y * 3).sum().backward()
    assert numbers(x.grad) == [80, 80]


def test_hook_of_another_output_is_left_alone() -> None:
    a, b = torch.split(leaf(1, 2, 3, 4) * 2, 2)
    seen = []
    b.register_hook(lambda g: seen.append(numbers(g)))
    (a * 2 + b * 3).sum().backward()
    assert seen == [[3, 3]]


def test_hooks_are_removed() -> None:
    x = leaf(1)
    seen = []
    first = x.register_hook(lambda g: seen.append("first"))
    with x.register_hook(lambda g: seen.append("second")):
        (x * 2).backward()
    first.remove()
    first.remove()
    (x * 2).backward()
    assert seen == ["first", "second"]


def test_one_hook_registered_twice_is_removed_once() -> None:
    x = leaf(1)
    seen = []

    def hook(g: Any) -> None:
        seen.append(g)

    x.register_hook(hook)
    x.register_hook(hook).remove()
    (x * 2).backward()
    assert len(seen) == 1


def test_hook_may_remove_itself() -> None:
    x = leaf(1)
    seen = []
    handle = x.register_hook(lambda g: (seen.append("once"), handle.remove())[0])
    x.register_hook(lambda g: seen.append("always"))
    for _ in range(2):
        (x * 2).backward()
    assert seen == ["once", "always", "always"]


def test_post_accumulate_hook() -> None:
    x = leaf(1)
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append((p is x, p.grad.item())))
    (x * 2 + x * 3).backward()
    (x * 2).backward()
    assert seen == [(True, 5), (True, 7)]
    with pytest.raises(RuntimeError, match="non-leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)


def test_post_accumulate_hook_may_clear_the_gradient() -> None:
    x = leaf(1)
    x.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    (x * 2).backward()
    assert x.grad is None


def test_exception_in_a_hook() -> None:
    x = leaf(1)

    def fail(g: Any) -> None:
        raise KeyError("hook")

    handle = x.register_hook(fail)
    y = x * x
    with pytest.raises(KeyError):
        y.backward()
    assert torch.is_grad_enabled()
    assert x.grad is None
    handle.remove()
    (x * 2).backward()
    assert x.grad.item() == 2


def test_hook_on_what_needs_no_gradient() -> None:
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        torch.ones(1).register_hook(print)


def test_backward_inside_a_hook() -> None:
    x, other = leaf(1), leaf(5)

    @torch.enable_grad()
    def hook(g: Any) -> None:
        (other * g).backward()

    x.register_hook(hook)
    (x * 2).backward()
    assert other.grad.item() == 2


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


def test_create_graph_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="create_graph"):
        (leaf(1) * 2).backward(create_graph=True)


# Users' own functions


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Scaled(Function):
    """Two outputs of three arguments, with options that are not tensors."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float, w: Any) -> Any:
        ctx.factor = factor
        return x * factor, w * factor

    @staticmethod
    def backward(ctx: Any, gx: Any, gw: Any) -> Any:
        assert ctx.needs_input_grad[1] is False
        return gx * ctx.factor, None, gw * ctx.factor if ctx.needs_input_grad[2] else None


def test_function() -> None:
    x = leaf(1, 2)
    y = Cube.apply(x)
    assert y.grad_fn.name() == "CubeBackward"
    y.sum().backward()
    assert numbers(x.grad) == [3, 12]
    assert gradcheck(Cube.apply, leaf(1, 2))


def test_function_of_several() -> None:
    x, w = leaf(1, 2), torch.ones(2, dtype=torch.float64)
    a, b = Scaled.apply(x, 5.0, w)
    assert (a.requires_grad, numbers(b)) == (True, [5, 5])
    a.sum().backward()
    assert numbers(x.grad) == [5, 5]


def test_function_with_setup_context() -> None:
    class Square(Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x * x

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(3)
    Square.apply(x).backward()
    assert x.grad.item() == 6


def test_function_is_not_recorded_without_need() -> None:
    assert Cube.apply(torch.ones(2)).grad_fn is None
    with torch.no_grad():
        assert Cube.apply(leaf(1)).grad_fn is None


def wrong(*gradients: Any) -> type[Function]:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            return x * w

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return gradients

    return Wrong


def test_wrong_gradients_are_named() -> None:
    x, w, g = leaf(1, 2), leaf(3, 4), torch.ones(2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        wrong(g).apply(x, w).sum().backward()
    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 3\)"):
        wrong(g, g, g).apply(x, w).sum().backward()
    wrong(g, g, None).apply(x, w).sum().backward()
    with pytest.raises(RuntimeError, match=r"invalid gradient at index 1 - got \[3\] but expected shape .* \[2\]"):
        wrong(g, torch.ones(3)).apply(x, w).sum().backward()


def test_function_that_keeps_its_gradients() -> None:
    """A user's backward may return one and the same tensor twice, or one that it keeps: nobody may add to it."""
    kept = torch.ones(2, dtype=torch.float64)
    x, w = leaf(1, 2), leaf(3, 4)
    (wrong(kept, kept).apply(x, w) + x + w).sum().backward()
    assert (numbers(x.grad), numbers(w.grad), numbers(kept)) == ([2, 2], [2, 2], [1, 1])
    x.grad.mul_(5)
    assert (numbers(w.grad), numbers(kept)) == ([2, 2], [1, 1])


def test_saved_tensors_are_checked_and_freed() -> None:
    x = leaf(1, 2)
    a = x * 1
    y = Cube.apply(a).sum()
    with torch.no_grad():
        a.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    y = Cube.apply(x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_mark_dirty() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(1, 2)
    a = x * 1
    saved = (a * a).sum()
    y = Double.apply(a)
    assert y is a
    y.sum().backward()
    assert numbers(x.grad) == [2, 2]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.backward()


def test_mark_non_differentiable() -> None:
    class Sorted(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            order = torch.from_numpy(np.argsort(x.numpy()))
            ctx.mark_non_differentiable(order)
            ctx.save_for_backward(order)
            return x[order], order

        @staticmethod
        def backward(ctx: Any, g: Any, _: Any) -> Any:
            (order,) = ctx.saved_tensors
            result = torch.zeros_like(g)
            result[order] = g
            return result

    x = leaf(3, 1, 2)
    y, order = Sorted.apply(x)
    assert not order.requires_grad
    (y * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert numbers(x.grad) == [100, 1, 10]


def test_gradients_that_did_not_arrive() -> None:
    seen = []

    class Two(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, materialize: bool) -> Any:
            ctx.set_materialize_grads(materialize)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            seen.append(None if b is None else numbers(b))
            return a, None

    for materialize in (True, False):
        Two.apply(leaf(1, 2), materialize)[0].sum().backward()
    assert seen == [[0, 0], None]


def test_input_that_is_returned() -> None:
    class Same(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 10

    x = leaf(1)
    y = Same.apply(x)
    assert y is not x
    y.backward()
    assert x.grad.item() == 10
    assert x.is_leaf


def test_missing_methods() -> None:
    class Empty(Function):
        pass

    with pytest.raises(NotImplementedError, match="forward"):
        Empty.apply(leaf(1))

    class Forward(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

    with pytest.raises(NotImplementedError, match="backward"):
        Forward.apply(leaf(1)).backward()


# gradcheck


def test_gradcheck_finds_a_wrong_gradient() -> None:
    class Wrong(Cube):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * ctx.saved_tensors[0] ** 2 * g

    with pytest.raises(GradcheckError, match=r"output 0 .* input 0: .* is 3[.0-9]* by differences and 2 by backward"):
        gradcheck(Wrong.apply, leaf(1, 2))
    assert not gradcheck(Wrong.apply, leaf(1, 2), raise_exception=False)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, w: (F.relu(x) @ w, w.sum()), (x, leaf(1, 2)))
    with pytest.raises(ValueError, match="at least one"):
        gradcheck(Cube.apply, torch.ones(2))


def test_gradcheck_finds_a_missing_gradient() -> None:
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x * x.detach(), leaf(1, 2))
