"""Attention and transformers against PyTorch's of the same weights: outputs, weights, gradients, errors, text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet

pytestmark = pytest.mark.filterwarnings("ignore:.*(nested|mismatched)")  # PyTorch's


def ours(x: Any) -> Any:
    return x if x is None else ddpnet.tensor(x.detach().numpy(), requires_grad=x.requires_grad)


def loaded(mine: Any, theirs: Any) -> Any:
    mine.load_state_dict({key: ours(x) for key, x in theirs.state_dict().items()})
    return mine


def same(mine: Any, theirs: Any) -> None:
    assert (mine is None) == (theirs is None)
    if theirs is not None:
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-11)


def compare(torch: Any, mine: Any, theirs: Any, inputs: list[Any], **options: Any) -> None:
    """One call and its gradients."""
    fresh = {id(x): x.detach().clone().requires_grad_() for x in inputs}  # one tensor stays one
    inputs = [fresh[id(x)] for x in inputs]
    own = {id(x): ours(x) for x in inputs}
    translated = {key: ours(x) if isinstance(x, torch.Tensor) else x for key, x in options.items()}
    results = [theirs(*inputs, **options), mine(*(own[id(x)] for x in inputs), **translated)]
    (one, w_one), (two, w_two) = (y if isinstance(y, tuple) else (y, None) for y in results)
    same(two, one)
    same(w_two, w_one)
    one.pow(3).sum().backward()
    two.pow(3).sum().backward()
    for x in inputs:
        same(own[id(x)].grad, x.grad)
    for (name, p), (other, q) in zip(theirs.named_parameters(), mine.named_parameters(), strict=True):
        assert name == other
        same(q.grad, p.grad)


HEADS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"bias": False}, {"need_weights": False}),
    ({"batch_first": True}, {"average_attn_weights": False}),
    ({"add_bias_kv": True, "add_zero_attn": True}, {}),
    ({"add_bias_kv": True}, {"need_weights": False, "padding": True}),
    ({"kdim": 6, "vdim": 5}, {"padding": True}),
    ({}, {"mask": True, "padding": True}),
    ({}, {"mask": True, "need_weights": False}),
    ({}, {"causal": True, "need_weights": False}),
]


@pytest.mark.parametrize(("options", "call"), HEADS)
def test_multihead_attention(options: dict[str, Any], call: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(8, 2, dtype=torch.float64, **options)
    mine = loaded(ddpnet.nn.MultiheadAttention(8, 2, dtype=ddpnet.float64, **options), theirs)
    assert repr(mine) == repr(theirs)
    call = dict(call)
    widths = (8, options.get("kdim", 8), options.get("vdim", 8))
    inputs = [torch.randn(3, 3, width, dtype=torch.float64) for width in widths]
    if call.pop("padding", False):
        call["key_padding_mask"] = torch.tensor([[False, True, False], [False, False, False], [False, False, True]])
    if call.pop("mask", False):
        call["attn_mask"] = torch.randn(3, 3, dtype=torch.float64)
    if call.pop("causal", False):
        call |= {"attn_mask": torch.nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)}
        call["is_causal"] = True
    compare(torch, mine, theirs, inputs, **call)


def test_attention_to_itself_and_without_a_batch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(4, 2, dtype=torch.float64)
    mine = loaded(ddpnet.nn.MultiheadAttention(4, 2, dtype=ddpnet.float64), theirs)
    for shape in ((3, 2, 4), (3, 4)):
        x = torch.randn(*shape, dtype=torch.float64)
        compare(torch, mine, theirs, [x, x, x])
        theirs.zero_grad()
        mine.zero_grad()
    x, memory = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    compare(torch, mine, theirs, [x, memory, memory])


STACKS: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}),
    ("gelu", {"activation": "gelu", "norm_first": True, "batch_first": True}),
    ("no bias", {"bias": False, "layer_norm_eps": 1e-3}),
]


@pytest.mark.parametrize(("name", "options"), STACKS)
@pytest.mark.parametrize("masked", [False, True])
def test_stacks(name: str, options: dict[str, Any], masked: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    built = []
    for library in (torch, ddpnet):
        layers = library.nn.TransformerEncoderLayer, library.nn.TransformerDecoderLayer
        made = [layer(4, 2, 8, 0.0, dtype=library.float64, **options) for layer in layers]
        norm = library.nn.LayerNorm(4, dtype=library.float64)
        built.append((library.nn.TransformerEncoder(made[0], 2, norm), library.nn.TransformerDecoder(made[1], 2)))
    source, target = torch.randn(3, 3, 4, dtype=torch.float64), torch.randn(3, 3, 4, dtype=torch.float64)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)
    padding = torch.tensor([[False, False, True], [False, False, False], [False, True, True]])
    for theirs, mine in zip(*built, strict=True):
        loaded(mine, theirs)
        assert repr(mine) == repr(theirs)
    seen = {"mask": causal, "src_key_padding_mask": padding} if masked else {}
    compare(torch, built[1][0], built[0][0], [source], **seen)
    seen = {"tgt_mask": causal, "memory_key_padding_mask": padding} if masked else {}
    compare(torch, built[1][1], built[0][1], [target, source], **seen)


def test_the_whole_transformer() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.Transformer(4, 2, 1, 1, 8, 0.0, dtype=torch.float64)
    mine = loaded(ddpnet.nn.Transformer(4, 2, 1, 1, 8, 0.0, dtype=ddpnet.float64), theirs)
    assert repr(mine) == repr(theirs)
    source, target = torch.randn(5, 2, 4, dtype=torch.float64), torch.randn(3, 2, 4, dtype=torch.float64)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)
    same(ddpnet.nn.Transformer.generate_square_subsequent_mask(3, dtype=ddpnet.float64), causal)
    compare(torch, mine, theirs, [source, target], tgt_mask=causal)


@pytest.mark.parametrize("training", [True, False])
def test_padding_of_an_encoder_in_evaluation(training: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    made = [
        library.nn.TransformerEncoder(library.nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), 1)
        for library in (torch, ddpnet)
    ]
    loaded(made[1], made[0])
    padding = torch.tensor([[False, False, True], [False, False, False]])
    x = torch.randn(2, 3, 4)
    with torch.no_grad(), ddpnet.no_grad():
        one = made[0].train(training)(x, src_key_padding_mask=padding)
        two = made[1].train(training)(ours(x), src_key_padding_mask=ours(padding))
    np.testing.assert_allclose(two.numpy(), one.numpy(), rtol=1e-5, atol=1e-5)


BAD = {
    "heads": (lambda nn: nn.MultiheadAttention(5, 2), AssertionError, "divisible"),
    "no heads": (lambda nn: nn.MultiheadAttention(4, 0), ValueError, "greater than 0"),
    "activation": (lambda nn: nn.TransformerEncoderLayer(4, 2, activation="sin"), RuntimeError, "relu/gelu"),
    "mask": (
        lambda nn: nn.MultiheadAttention(4, 2)(*[ddpnet.zeros(3, 2, 4)] * 3, attn_mask=ddpnet.zeros(2, 3)),
        RuntimeError,
        "2D attn_mask",
    ),
    "dimensions": (lambda nn: nn.MultiheadAttention(4, 2)(*[ddpnet.zeros(4)] * 3), AssertionError, "1-D query"),
    "features": (
        lambda nn: nn.Transformer(4, 2, 1, 1, 8)(ddpnet.zeros(3, 2, 4), ddpnet.zeros(3, 2, 5)),
        RuntimeError,
        "equal to d_model",
    ),
    "query, key": (
        lambda nn: nn.functional.scaled_dot_product_attention(*(ddpnet.zeros(3, k) for k in (4, 5, 4))),
        RuntimeError,
        "same last dimension",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call(ddpnet.nn)


def test_dropped_attention_keeps_the_mean() -> None:
    ddpnet.manual_seed(0)
    q, k = ddpnet.zeros(1, 2000, 4), ddpnet.zeros(1, 64, 4)
    v = ddpnet.ones(1, 64, 1, requires_grad=True)
    y = ddpnet.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.25)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    assert y.std().item() > 0.01
    y.sum().backward()
    assert v.grad.sum().item() == pytest.approx(y.sum().item(), rel=1e-4)
