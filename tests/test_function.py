"""Operations that users write, and `gradcheck`, which tests them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet.autograd import Function, GradcheckError, gradcheck
from ddpnet.nn import functional as F


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values or 3.0, dtype=torch.float64, requires_grad=True)


def numbers(tensor: Any) -> Any:
    return tensor.detach().numpy().tolist()


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
