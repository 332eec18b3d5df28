"""Recurrent layers and cells against PyTorch's: outputs, states, gradients, packed sequences, errors, text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet.kernels import kernels_for

LAYERS = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "bias": False}),
    ("RNN", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    ("LSTM", {"batch_first": True, "bias": False}),
    ("GRU", {}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("GRU", {"batch_first": True, "bias": False}),
]


def ours(x: Any) -> Any:
    return ddpnet.tensor(x.detach().numpy(), requires_grad=x.requires_grad)


def pair(torch: Any, name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """PyTorch's layer and ours, of the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(3, 4, dtype=torch.float64, **options)
    mine = getattr(ddpnet.nn, name)(3, 4, dtype=ddpnet.float64, **options)
    mine.load_state_dict({key: ours(x) for key, x in theirs.state_dict().items()})
    return theirs, mine


def flat(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [part for inner in value for part in flat(inner)]
    return [value] if value is not None else []


def same(mine: Any, theirs: Any) -> None:
    for a, b in zip(flat(mine), flat(theirs), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)


def derived(torch: Any, outputs: list[Any], inputs: list[Any], twice: bool) -> list[Any]:
    """The gradients of the sum of cubes, or of the sum of their squares."""
    total = sum(((y * y * y).sum() for y in outputs[1:]), (outputs[0] ** 3).sum())
    gradients = torch.autograd.grad(total, inputs, retain_graph=True, create_graph=twice)
    if not twice:
        return list(gradients)
    return list(torch.autograd.grad(sum(((g * g).sum() for g in gradients[1:]), (gradients[0] ** 2).sum()), inputs))


def states(torch: Any, name: str, options: dict[str, Any], samples: int) -> list[Any]:
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    widths = [options.get("proj_size", 4), 4][: 2 if name == "LSTM" else 1]
    return [torch.randn(count, samples, width, dtype=torch.float64, requires_grad=True) for width in widths]


@pytest.mark.parametrize(("name", "options"), LAYERS)
@pytest.mark.parametrize("kind", ["batch", "single", "states", "packed"])
def test_layers_are_pytorchs(name: str, options: dict[str, Any], kind: str) -> None:
    torch = pytest.importorskip("torch")
    theirs, mine = pair(torch, name, options)
    x = torch.randn(*((5, 3) if kind == "single" else (5, 2, 3)), dtype=torch.float64, requires_grad=True)
    inputs, own = [x], [ours(x)]
    if kind == "states":
        inputs += states(torch, name, options, 5 if options.get("batch_first") else 2)
        own += [ours(state) for state in inputs[1:]]
    wrapped = [tuple(s[1:]) if name == "LSTM" else s[1] for s in (inputs, own)] if kind == "states" else [None, None]
    if kind == "packed":
        first = options.get("batch_first", False)
        lengths = [1, 2, 1, 2, 1] if first else [3, 5]
        results = []
        for library, layer, data in ((torch, theirs, x), (ddpnet, mine, own[0])):
            rnn = library.nn.utils.rnn
            packed = rnn.pack_padded_sequence(data, lengths, first, enforce_sorted=False)
            y, last = layer(packed)
            results.append((*rnn.pad_packed_sequence(y, first, -1.0), last))
    else:
        results = [theirs(x, wrapped[0]), mine(own[0], wrapped[1])]
    same(results[1], results[0])
    assert repr(mine) == repr(theirs)
    outputs = [[y for y in flat(result) if y.requires_grad] for result in results]
    inputs += list(theirs.parameters())
    own += list(mine.parameters())
    for twice in (False, True):
        same(tuple(derived(ddpnet, outputs[1], own, twice)), tuple(derived(torch, outputs[0], inputs, twice)))


@pytest.mark.parametrize(("name", "options"), LAYERS)
@pytest.mark.parametrize("kind", ["batch", "packed"])
def test_long_sequences_in_float32(name: str, options: dict[str, Any], kind: str) -> None:
    """Widths that fill no vector, batches that fill no tile and shrink: outputs and gradients to 1e-5 of float64's."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(30, 37, dtype=torch.float64, **options)
    mine = getattr(ddpnet.nn, name)(30, 37, **options)
    mine.load_state_dict({key: ours(x).float() for key, x in theirs.state_dict().items()})
    x = torch.randn(*((13, 40, 30) if options.get("batch_first") else (40, 13, 30)), dtype=torch.float64)

    def derive(library: Any, layer: Any, x: Any) -> list[Any]:
        if kind == "packed":
            lengths = [40, 40, 40, 31, 31, 30, 28, 20, 17, 11, 6, 2, 1]
            x = library.nn.utils.rnn.pack_padded_sequence(x, lengths, options.get("batch_first", False))
        results = flat(layer(x))
        outputs = [y for y in results if y.requires_grad]
        total = sum((y * y * y).sum() for y in outputs)
        return [*outputs, *library.autograd.grad(total, list(layer.parameters()))]

    once, again = (derive(ddpnet, mine, ddpnet.tensor(x.float().numpy())) for _ in range(2))
    for y, repeated, expected in zip(once, again, derive(torch, theirs, x), strict=True):
        assert y.dtype is ddpnet.float32
        assert y.equal(repeated)
        reference = expected.detach().numpy()
        np.testing.assert_allclose(y.detach().numpy(), reference, rtol=1e-5, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize("shape", [(20, 16, 64), (5, 1, 1), (7, 33, 130), (4, 8, 8), (0, 8, 8), (9, 2049, 3)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_repeated_product(shape: tuple[int, int, int], transposed: bool, dtype: Any) -> None:
    n, depth, width = shape
    rng = np.random.default_rng(0)
    b = rng.standard_normal((width, depth)).T if transposed else rng.standard_normal((depth, width))
    b, x = b.astype(dtype), rng.standard_normal((n, depth)).astype(dtype)
    for rows in (n, 200):
        y = np.full((n + 2, width), 7, dtype)
        product = kernels_for(b).repeated_product(b, rows)
        product(x, y[1:-1])
        expected = x.astype(np.float64) @ b.astype(np.float64)
        tolerance = 1e-5 if dtype is np.float32 else 1e-12
        np.testing.assert_allclose(y[1:-1], expected, rtol=tolerance, atol=tolerance * depth)
        assert (y[[0, -1]] == 7).all()
        if n:
            bad = x.copy()
            bad[-1, 0] = np.nan
            product(bad, y[1:-1])
            assert np.isnan(y[n]).all()
            assert np.isfinite(y[:n]).all()


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_what_is_no_number_stays_with_its_sample(name: str) -> None:
    layer, x = getattr(ddpnet.nn, name)(3, 20), ddpnet.randn(30, 6, 3)
    x[4, 2, 1] = float("nan")
    x[4, 5, 1] = float("inf")
    y = layer(x)[0].detach().numpy()
    assert np.isnan(y[4:, 2]).all()
    assert np.isfinite(np.delete(y, 2, axis=1)).all()


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("shape", [(2, 3), (3,)])
def test_cells_are_pytorchs(name: str, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    theirs, mine = pair(torch, name, {})
    x = torch.randn(*shape, dtype=torch.float64)
    one, two = theirs(x), mine(ours(x))
    same(two, one)
    same(mine(ours(x), two), theirs(x, one))
    assert repr(mine) == repr(theirs)


def test_dropout_between_layers_only_while_training() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout"):
        ddpnet.nn.GRU(3, 4, dropout=0.5)
    layer = ddpnet.nn.GRU(3, 4, 2, dropout=0.5)
    x = ddpnet.randn(5, 2, 3)
    assert not ddpnet.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert ddpnet.equal(layer(x)[0], layer(x)[0])


def zeros(*shape: int) -> Any:
    return ddpnet.zeros(shape)


BAD = {
    "input of one dimension": (lambda: ddpnet.nn.LSTM(3, 4)(zeros(3)), ValueError, "2D or 3D"),
    "features": (lambda: ddpnet.nn.GRU(3, 4)(zeros(5, 2, 4)), RuntimeError, "Expected 3, got 4"),
    "dtype": (lambda: ddpnet.nn.GRU(3, 4)(zeros(5, 2, 3).double()), ValueError, "does not match weight dtype"),
    "state": (lambda: ddpnet.nn.RNN(3, 4)(zeros(5, 2, 3), zeros(1, 3, 4)), RuntimeError, "Expected hidden size"),
    "state's dtype": (lambda: ddpnet.nn.RNN(3, 4)(zeros(5, 2, 3), zeros(1, 2, 4).double()), RuntimeError, "same dtype"),
    "state's dimensions": (lambda: ddpnet.nn.RNN(3, 4)(zeros(5, 2, 3), zeros(2, 4)), RuntimeError, "3-D"),
    "no time": (lambda: ddpnet.nn.RNN(3, 4)(zeros(0, 2, 3)), RuntimeError, "larger than 0"),
    "hidden_size": (lambda: ddpnet.nn.LSTM(3, 0), ValueError, "hidden_size must be greater"),
    "proj_size": (lambda: ddpnet.nn.LSTM(3, 4, proj_size=4), ValueError, "smaller than hidden_size"),
    "proj_size of a GRU": (lambda: ddpnet.nn.GRU(3, 4, proj_size=2), ValueError, "only supported for LSTM"),
    "nonlinearity": (lambda: ddpnet.nn.RNN(3, 4, nonlinearity="sin"), ValueError, "Unknown nonlinearity"),
    "dropout": (lambda: ddpnet.nn.RNN(3, 4, dropout=2), ValueError, "range"),
    "bias": (lambda: ddpnet.nn.RNN(3, 4, 1, "tanh", 3), TypeError, "bias should be of type bool"),
    "lengths": (
        lambda: ddpnet.nn.utils.rnn.pack_padded_sequence(zeros(5, 2, 3), [3, 5]),
        RuntimeError,
        "sorted in decreasing order",
    ),
    "length 0": (
        lambda: ddpnet.nn.utils.rnn.pack_padded_sequence(zeros(5, 2, 3), [3, 0]),
        RuntimeError,
        "greater than 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_sequences_are_packed_and_padded_as_pytorch_does() -> None:
    torch = pytest.importorskip("torch")
    parts = [torch.randn(n, 2, dtype=torch.float64) for n in (2, 4, 1)]
    mine = [ours(x) for x in parts]
    one, two = torch.nn.utils.rnn, ddpnet.nn.utils.rnn
    for options in ({}, {"batch_first": True}, {"padding_value": 2.0, "padding_side": "left"}):
        same(two.pad_sequence(mine, **options), one.pad_sequence(parts, **options))
    theirs, packed = one.pack_sequence(parts, enforce_sorted=False), two.pack_sequence(mine, enforce_sorted=False)
    same(tuple(packed), tuple(theirs))
    same(two.pad_packed_sequence(packed, total_length=6), one.pad_packed_sequence(theirs, total_length=6))
    same(tuple(two.unpack_sequence(packed)), tuple(parts))
    padded, lengths = two.pad_packed_sequence(packed)
    same(tuple(two.unpad_sequence(padded, lengths)), tuple(parts))
    assert two.invert_permutation(ddpnet.tensor([2, 0, 1])).tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="total_length"):
        two.pad_packed_sequence(packed, total_length=3)
    assert packed.to(ddpnet.float32).data.dtype is ddpnet.float32
