"""In-place updates, views and versions: history is right, or an error says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ddpnet as torch


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values or 3.0, dtype=torch.float64, requires_grad=True)


def numbers(tensor: Any) -> Any:
    return tensor.detach().numpy().tolist()


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
    y.mul_(y.detach().clone())
    y.sum().backward()
    assert y is same
    assert numbers(x.grad) == [3 * 4, 4 * 9]
    assert numbers(w.grad) == [1 * 4, 2 * 9]


@pytest.mark.parametrize(
    "other", [lambda y: y, lambda y: y.detach(), lambda y: y.view(2)], ids=["self", "detached", "view"]
)
def test_in_place_with_itself(other: Callable[[Any], Any]) -> None:
    """The second operand was saved and then overwritten: backward says so, as PyTorch's does."""
    y = leaf(1, 2) * 1
    y.mul_(other(y))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


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


def test_change_of_a_view_is_one_of_its_base() -> None:
    x, w = leaf(1, 2, 3, 4), leaf(5, 6)
    base = x * 1
    square, column = base.view(2, 2), base.view(2, 2).t()[0]
    column.mul_(w)  # base is now [1 * 5, 2, 3 * 6, 4]
    assert base.tolist() == [5, 2, 18, 4]
    assert (base.grad_fn.name(), column.grad_fn.name(), square.grad_fn.name()) == (
        "CopySlices",
        "SelectBackward0",
        "ViewBackward0",
    )
    (square * torch.tensor([[1.0, 10.0], [100.0, 1000.0]], dtype=torch.float64)).sum().backward()
    assert numbers(x.grad) == [5, 10, 600, 1000]
    assert numbers(w.grad) == [1, 300]


def test_change_of_the_base_is_one_of_its_views() -> None:
    x = leaf(1, 2, 3)
    base = x * 1
    view = base[1:]
    base.mul_(base.detach().clone())
    view.sum().backward()
    assert numbers(x.grad) == [0, 2, 3]


def test_view_of_a_plain_tensor() -> None:
    w = leaf(3, 4)
    base = torch.zeros(3, 2, dtype=torch.float64)
    row = base[1]
    row += w
    assert base.requires_grad
    (base * base).sum().backward()
    assert numbers(w.grad) == [6, 8]


def test_change_of_a_view_twice_derived() -> None:
    x = leaf(1, 2, 3)
    base = x * 1
    base[1:].mul_(x[:2])
    (g,) = torch.autograd.grad((base * base).sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(g.sum(), x)
    a, b, c = 1.0, 2.0, 3.0  # the sum is a^2 + (a b)^2 + (b c)^2
    gradient = [2 * a + 2 * a * b * b, 2 * b * (a * a + c * c), 2 * c * b * b]
    assert numbers(g) == gradient
    assert numbers(again) == [
        2 + 2 * b * b + 4 * a * b,
        4 * a * b + 2 * (a * a + c * c) + 4 * b * c,
        4 * b * c + 2 * b * b,
    ]


def test_overwritten_values_get_no_gradient() -> None:
    x = leaf(1, 2)
    y = x * 1
    y.zero_()
    assert y.requires_grad
    y.sum().backward()
    assert numbers(x.grad) == [0, 0]


def test_one_of_several_views_is_not_updated() -> None:
    x = leaf(1, 2)
    first, _ = (x * 1).unbind()
    with pytest.raises(RuntimeError, match="output of a function that returns multiple views"):
        first.mul_(2)


def test_several_views_of_an_updated_base() -> None:
    base = leaf(1, 2) * 1
    first, _ = base.unbind()
    base.mul_(2)
    with pytest.raises(RuntimeError, match="its base or another view of its base has been modified inplace"):
        first.backward()


def test_view_made_without_gradients() -> None:
    base = leaf(1, 2) * 1
    with torch.no_grad():
        view = base[0]
    with pytest.raises(RuntimeError, match="created in no_grad mode"):
        view.mul_(2)
    with torch.no_grad():
        view.mul_(2)
    assert numbers(base) == [2, 2]


def test_view_of_a_leaf() -> None:
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        leaf(1, 2)[0].mul_(2)


def test_expanded_tensors_are_not_written() -> None:
    wide = torch.zeros(1, 3).expand(2, 3)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        wide.add_(1)
    wide[0].add_(1)
    assert wide.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_saved_result_changed_before_backward() -> None:
    y = (leaf(1, 2) * 1).exp_()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_views_do_not_outlive_their_use() -> None:
    base = torch.zeros(1000)
    for number in range(1000):
        base[number].add_(1)
    assert len(base.version._views) < 100
    assert base.sum().item() == 1000
