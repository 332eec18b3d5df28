"""Hooks on tensors, and gradients that are kept."""

from __future__ import annotations

from typing import Any

import pytest

import ddpnet as torch


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values or 3.0, dtype=torch.float64, requires_grad=True)


def numbers(tensor: Any) -> Any:
    return tensor.detach().numpy().tolist()


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


def test_hooks_of_a_node() -> None:
    x, calls = leaf(1, 2), []
    y = x * 3
    before = y.grad_fn.register_prehook(lambda outputs: calls.append(numbers(outputs[0])) or (outputs[0] * 2,))
    after = y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] + outputs[0], None))
    y.sum().backward(retain_graph=True)
    assert calls == [[1, 1]]
    assert numbers(x.grad) == [8, 8]  # 2 * 3 + 2
    before.remove()
    after.remove()
    x.grad = None
    y.sum().backward()
    assert calls == [[1, 1]]
    assert numbers(x.grad) == [3, 3]
    with pytest.raises(NotImplementedError, match="leaf"):
        (x * 1).grad_fn.next_functions[0][0].register_hook(print)
