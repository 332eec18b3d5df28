"""Attention in float32, which has kernels of its own, against PyTorch: shapes, layouts, what is no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet.nn.functional import scaled_dot_product_attention as attention

SHAPES = [
    # stack, rows, columns, width of queries and keys, width of values
    ((2, 3), 40, 40, 24, 24),
    ((2, 4), 128, 128, 32, 32),
    ((3,), 130, 130, 33, 64),
    ((), 7, 9, 5, 3),
    ((2, 1), 20, 53, 8, 4),
    ((1, 2), 53, 20, 16, 40),
    ((2, 2, 2), 5, 6, 4, 4),
    ((2,), 1, 1, 1, 1),
    ((2, 0), 3, 3, 4, 4),
]


def near(actual: Any, wanted: Any) -> None:
    """Within 1e-5 of the largest value."""
    actual, wanted = actual.detach().numpy(), wanted.detach().numpy()
    assert actual.dtype == np.float32
    assert actual.shape == wanted.shape
    if actual.size:
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5 * max(np.nanmax(np.abs(wanted)), 1e-30))


def drawn(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("stack", "rows", "columns", "width", "out"), SHAPES)
def test_values_and_gradients(
    stack: tuple[int, ...], rows: int, columns: int, width: int, out: int, causal: bool
) -> None:
    torch = pytest.importorskip("torch")
    arrays = drawn([(*stack, rows, width), (*stack, columns, width), (*stack, columns, out), (*stack, rows, out)])
    *inputs, g = (torch.tensor(x, dtype=torch.float64) for x in arrays)
    inputs = [x.requires_grad_() for x in inputs]
    wanted = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=causal)
    wanted.backward(g)
    own = [ddpnet.tensor(x, requires_grad=True) for x in arrays[:3]]
    y = attention(*own, is_causal=causal)
    y.backward(ddpnet.tensor(arrays[3]))
    near(y, wanted)
    for x, reference in zip(own, inputs, strict=True):
        near(x.grad, reference.grad)


def test_projection_of_all_three() -> None:
    """Views of one array, as models have them: the same bits as from arrays of their own."""
    (packed,) = drawn([(2, 21, 3, 2, 8)])
    whole = ddpnet.tensor(packed, requires_grad=True)
    y = attention(*whole.permute(2, 0, 3, 1, 4), is_causal=True)
    parts = [ddpnet.tensor(packed[:, :, i].transpose(0, 2, 1, 3).copy(), requires_grad=True) for i in range(3)]
    z = attention(*parts, is_causal=True)
    assert np.array_equal(y.detach().numpy(), z.detach().numpy())
    y.pow(2).sum().backward()
    z.pow(2).sum().backward()
    for i, part in enumerate(parts):
        assert np.array_equal(whole.grad.numpy()[:, :, i].transpose(0, 2, 1, 3), part.grad.numpy())


def test_heads_are_joined_without_a_copy() -> None:
    torch = pytest.importorskip("torch")
    x = drawn([(2, 5, 3, 4)])[0]
    for order in ((0, 2, 1, 3), (0, 1, 2, 3)):
        theirs, own = torch.tensor(x, requires_grad=True).permute(*order), ddpnet.tensor(x).permute(*order)
        wanted = torch.nn.functional.scaled_dot_product_attention(theirs, theirs, theirs)
        assert attention(own, own, own).stride() == wanted.stride()


def test_layouts() -> None:
    """Expanded, transposed and every second number: as from copies."""
    a, b = drawn([(2, 1, 9, 16), (2, 3, 8, 9)])
    q = ddpnet.tensor(a).expand(2, 3, 9, 16)[..., ::2].requires_grad_()
    k = ddpnet.tensor(b).transpose(-1, -2).requires_grad_()
    copies = [ddpnet.tensor(np.ascontiguousarray(x.detach().numpy()), requires_grad=True) for x in (q, k)]
    y, z = attention(q, k, k), attention(copies[0], copies[1], copies[1])
    assert np.array_equal(y.detach().numpy(), z.detach().numpy())
    y.pow(2).sum().backward()
    z.pow(2).sum().backward()
    for x, copy in zip((q, k), copies, strict=True):
        assert np.array_equal(x.grad.numpy(), copy.grad.numpy())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_no_number(which: int, value: float) -> None:
    """It reaches the rows that see it, and no others."""
    torch = pytest.importorskip("torch")
    arrays = drawn([(1, 2, 6, 4)] * 3)
    arrays[which][0, 0, 3, 1] = value
    q, k, v = map(torch.tensor, arrays)
    wanted = ((q @ k.transpose(-1, -2) * 0.5).softmax(-1) @ v).numpy()  # its attention gives 0 where q is no number
    y = attention(*map(ddpnet.tensor, arrays)).numpy()
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_rows_that_see_nothing() -> None:
    q, k, v = (ddpnet.tensor(x, requires_grad=True) for x in drawn([(1, 3, 4), (1, 5, 4), (1, 5, 4)]))
    hidden = k * 0 - float("inf")  # every score is -inf where the queries are positive
    y = attention(q.abs() + 1, hidden, v)
    assert np.array_equal(y.detach().numpy(), np.zeros((1, 3, 4), np.float32))


def test_second_derivative() -> None:
    torch = pytest.importorskip("torch")
    arrays = drawn([(1, 2, 5, 4)] * 3)
    results = []
    for library, tensors in (
        (torch, [torch.tensor(x, dtype=torch.float64) for x in arrays]),
        (ddpnet, [ddpnet.tensor(x) for x in arrays]),
    ):
        q, k, v = (x.requires_grad_() for x in tensors)
        weights = (q @ k.transpose(-1, -2) * 0.5).softmax(-1) @ v if library is torch else attention(q, k, v, scale=0.5)
        (first,) = library.autograd.grad(weights.pow(2).sum(), (k,), create_graph=True)
        results.append(library.autograd.grad(first.pow(2).sum(), (q, k, v)))
    for wanted, own in zip(*results, strict=True):
        near(own, wanted)


def test_same_bits_wherever_it_lies() -> None:
    arrays = drawn([(2, 2, 37, 20)] * 3)
    results = []
    for shift in (0, 1, 3, 7):
        memory = np.empty(shift + arrays[0].size, np.float32)
        moved = memory[shift:].reshape(arrays[0].shape)
        moved[...] = arrays[0]
        q = ddpnet.from_numpy(moved).requires_grad_()
        attention(q, *map(ddpnet.tensor, arrays[1:]), is_causal=True).pow(2).sum().backward()
        results.append(q.grad.numpy().tobytes())
    assert len(set(results)) == 1
