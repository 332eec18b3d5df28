"""Losses and embeddings, as far as they are no row of a table: modules, deprecated arguments, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import nn
from ddpnet.nn import functional as F

LOSSES: tuple[Callable[[Any], Any], ...] = (
    lambda torch: torch.nn.MSELoss(reduction="sum"),
    lambda torch: torch.nn.L1Loss(),
    lambda torch: torch.nn.SmoothL1Loss(beta=0.5),
    lambda torch: torch.nn.HuberLoss(delta=0.5),
    lambda torch: torch.nn.KLDivLoss(reduction="batchmean", log_target=True),
    lambda torch: torch.nn.PoissonNLLLoss(),
    lambda torch: torch.nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)),
    lambda torch: torch.nn.SoftMarginLoss(),
    lambda torch: torch.nn.MultiLabelSoftMarginLoss(torch.ones(3)),
    lambda torch: torch.nn.HingeEmbeddingLoss(),
    lambda torch: torch.nn.PairwiseDistance(),
    lambda torch: torch.nn.CosineSimilarity(),
)
OTHERS: tuple[Callable[[Any], Any], ...] = (
    lambda torch: torch.nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1),
    lambda torch: torch.nn.NLLLoss(torch.ones(3)),
    lambda torch: torch.nn.BCELoss(),
    lambda torch: torch.nn.GaussianNLLLoss(),
    lambda torch: torch.nn.CTCLoss(),
    lambda torch: torch.nn.CosineEmbeddingLoss(),
    lambda torch: torch.nn.MarginRankingLoss(),
    lambda torch: torch.nn.TripletMarginLoss(),
    lambda torch: torch.nn.TripletMarginWithDistanceLoss(),
    lambda torch: torch.nn.MultiMarginLoss(weight=torch.ones(3)),
    lambda torch: torch.nn.MultiLabelMarginLoss(),
    lambda torch: torch.nn.Embedding(5, 3, padding_idx=-1, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True),
    lambda torch: torch.nn.Embedding(5, 3),
    lambda torch: torch.nn.EmbeddingBag(5, 3, max_norm=1.0, mode="sum", padding_idx=2),
    lambda torch: torch.nn.EmbeddingBag(5, 3),
    lambda torch: torch.nn.Bilinear(2, 3, 4),
    lambda torch: torch.nn.Bilinear(2, 3, 4, bias=False),
)


def state_of(module: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("make", LOSSES + OTHERS)
def test_text_and_state_of_modules(make: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = make(ddpnet), make(torch)
    assert repr(ours) == repr(theirs)
    assert state_of(ours) == state_of(theirs)


@pytest.mark.parametrize("make", LOSSES)
def test_values_of_modules(make: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3), np.float32), rng.standard_normal((4, 3), np.float32)
    ours, theirs = make(ddpnet)(ddpnet.tensor(x), ddpnet.tensor(y)), make(torch)(torch.tensor(x), torch.tensor(y))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "reduction"),
    [
        ({"size_average": False}, "sum"),
        ({"size_average": True}, "mean"),
        ({"reduce": False}, "none"),
        ({"reduce": True}, "mean"),
        ({"size_average": False, "reduce": True}, "sum"),
    ],
)
def test_deprecated_reductions(options: dict[str, bool], reduction: str) -> None:
    x, y = ddpnet.tensor([1.0, 2.0]), ddpnet.tensor([3.0, 5.0])
    with pytest.warns(UserWarning, match=f"reduction='{reduction}'"):
        assert F.mse_loss(x, y, **options).equal(F.mse_loss(x, y, reduction=reduction))
    with pytest.warns(UserWarning, match=f"reduction='{reduction}'"):
        assert nn.CrossEntropyLoss(**options).reduction == reduction


def test_cross_entropy_is_one_node() -> None:
    x, classes = ddpnet.randn(4, 5, requires_grad=True), ddpnet.tensor([0, 1, 4, 2])
    loss = F.cross_entropy(x, classes)
    assert loss.grad_fn.name() == "NllLossBackward0"
    loss.backward()
    p = np.exp(F.log_softmax(x.detach(), dim=1).numpy())
    np.testing.assert_allclose(x.grad.numpy(), (p - np.eye(5)[classes.numpy()]) / 4, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_twice(reduction: str, dtype: str) -> None:
    """A retained graph gives the same gradient again, whatever was done with the first, and with another gradient."""
    x = ddpnet.randn(4, 5).to(getattr(ddpnet, dtype)).requires_grad_()
    loss = F.cross_entropy(x, ddpnet.tensor([0, 1, -100, 2]), reduction=reduction)
    ones = ddpnet.ones_like(loss)
    loss.backward(ones, retain_graph=True)
    first = x.grad.clone()
    x.grad.mul_(0)
    x.grad = None
    loss.backward(ones, retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), first.numpy())
    assert not first[2].any()
    x.grad = None
    loss.backward(ones * 4)
    np.testing.assert_array_equal(x.grad.numpy(), (first * 4).numpy())
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward(ones)


@pytest.mark.parametrize("kind", ["int64", "uint8"])
@pytest.mark.parametrize("case", ["all count", "some are ignored", "ignored are NaN", "none counts", "one"])
def test_mean_of_cross_entropy(case: str, kind: str) -> None:
    torch = pytest.importorskip("torch")
    x, classes = np.random.default_rng(0).standard_normal((6, 7)), np.array([3, 0, 6, 2, 2, 1])
    ignored = 2 if case != "all count" else -100
    if case == "ignored are NaN":
        x[3, 5] = np.nan
    if case == "none counts":
        classes[:] = 2
    if case == "one":
        x, classes = x[:1], classes[:1]
    results = []
    for library, dtype in ((torch, torch.float64), (ddpnet, ddpnet.float32), (ddpnet, ddpnet.float64)):
        logits = library.tensor(np.asfortranarray(x)).to(dtype).requires_grad_()
        target = library.tensor(np.repeat(classes, 2)).to(getattr(library, kind))[::2]
        loss = library.nn.functional.cross_entropy(logits, target, ignore_index=ignored)
        loss.backward(retain_graph=True)
        first = library.autograd.grad(loss, logits, create_graph=True)[0]
        again = library.autograd.grad((first**2).sum(), logits)[0] if case != "none counts" else loss
        results.append([a.detach().numpy() for a in (loss, logits.grad, first, again)])
    for mine in results[1:]:
        assert mine[0].shape == ()
        for a, b in zip(mine, results[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_logits_without_bounds() -> None:
    """-inf is a class that cannot be; rows with NaN or inf lose all their gradients, as with PyTorch."""
    torch = pytest.importorskip("torch")
    inf, nan = float("inf"), float("nan")
    rows = [[1.0, -inf, 2.0], [inf, 0.0, 1.0], [nan, 0.0, 1.0], [-inf, -inf, -inf], [-inf, 0.0, 200.0]]
    x = np.asarray(rows, np.float32)
    classes = np.array([2, 1, 1, 0, 1])
    for library in (ddpnet, torch):
        logits = library.tensor(x, requires_grad=True)
        losses = library.nn.functional.cross_entropy(logits, library.tensor(classes), reduction="none")
        losses.sum().backward()
        if library is ddpnet:
            mine = losses.detach().numpy(), logits.grad.numpy()
    np.testing.assert_allclose(mine[0], losses.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(mine[1], logits.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["cross_entropy", "mse_loss", "gelu", "softmax", "silu", "smooth_l1_loss"])
def test_halves_are_rounded_once(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 50), np.float32), rng.standard_normal((8, 50), np.float32)
    results = []
    for library in (ddpnet, torch):
        a = library.tensor(x).to(getattr(library, dtype)).requires_grad_()
        second = library.tensor(np.arange(8)) if name == "cross_entropy" else library.tensor(y).to(a.dtype)
        options = {"dim": 1} if name == "softmax" else {}
        rest = () if name in ("gelu", "softmax", "silu") else (second,)
        out = getattr(library.nn.functional, name)(a, *rest, **options)
        out.sum().backward()
        results.append([out.detach().float().numpy(), a.grad.float().numpy()])
    unit = 2.0**-10 if dtype == "float16" else 2.0**-7
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=unit, atol=unit / 8)


# Embeddings


def test_rows_are_scaled_down_in_place() -> None:
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).standard_normal((6, 4))
    results = []
    for library in (ddpnet, torch):
        layer = library.nn.Embedding(6, 4, max_norm=1.0, dtype=library.float64)
        with library.no_grad():
            layer.weight.copy_(library.tensor(table))
        layer(library.tensor([1, 1, 5])).pow(2).sum().backward()
        results.append([layer.weight.detach().numpy(), layer.weight.grad.numpy()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert np.array_equal(results[0][0][[0, 2, 3, 4]], table[[0, 2, 3, 4]])


def test_embedding_from_a_table() -> None:
    table = ddpnet.randn(4, 3)
    layer = nn.Embedding.from_pretrained(table, padding_idx=1)
    assert not layer.weight.requires_grad
    assert layer.weight.equal(table)
    assert nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="max").weight.requires_grad
    assert nn.Embedding(4, 3, padding_idx=-2).weight[2].equal(ddpnet.zeros(3))
    assert copy.deepcopy(layer).weight.equal(table)


def test_embedding_derived_twice() -> None:
    weight = ddpnet.randn(5, 3, dtype=ddpnet.float64, requires_grad=True)
    index = ddpnet.tensor([1, 1, 3])
    (first,) = ddpnet.autograd.grad(F.embedding(index, weight).pow(3).sum(), weight, create_graph=True)
    (second,) = ddpnet.autograd.grad(first.pow(2).sum(), weight)
    w = weight.detach().numpy()
    counts = np.array([0, 2, 0, 1, 0])[:, None]
    np.testing.assert_allclose(second.numpy(), 2 * (counts * 3 * w**2) * (counts * 6 * w))


# Errors

BAD: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "bce shape": (lambda torch, x: torch.nn.functional.binary_cross_entropy(x, x[0]), "size"),
    "bce range": (lambda torch, x: torch.nn.functional.binary_cross_entropy(x + 1, x), "between 0 and 1"),
    "bce dtype": (lambda torch, x: torch.nn.functional.binary_cross_entropy(x, x.double()), "dtype"),
    "logits shape": (lambda torch, x: torch.nn.functional.binary_cross_entropy_with_logits(x, x[0]), "size"),
    "smooth l1": (lambda torch, x: torch.nn.functional.smooth_l1_loss(x, x, beta=-1.0), "negative"),
    "huber": (lambda torch, x: torch.nn.functional.huber_loss(x, x, delta=0.0), "non-positive"),
    "huber module": (lambda torch, x: torch.nn.HuberLoss(delta="1"), "delta"),
    "mse weight": (lambda torch, x: torch.nn.functional.mse_loss(x, x, weight=x[0]), "same size"),
    "mse of integers": (lambda torch, x: torch.nn.functional.mse_loss(x.long(), x.long()), "mse"),
    "gaussian": (lambda torch, x: torch.nn.functional.gaussian_nll_loss(x, x, -x), "negative"),
    "gaussian shape": (lambda torch, x: torch.nn.functional.gaussian_nll_loss(x, x, torch.ones(5)), "size"),
    "cosine target": (lambda torch, x: torch.nn.functional.cosine_embedding_loss(x, x, x), "multi-target"),
    "cosine input": (lambda torch, x: torch.nn.functional.cosine_embedding_loss(x[0], x, x[0]), "1D"),
    "ranking": (lambda torch, x: torch.nn.functional.margin_ranking_loss(x, x, x[0]), "dimension"),
    "triplet": (lambda torch, x: torch.nn.functional.triplet_margin_loss(x, x, x[0]), "dimensions"),
    "triplet margin": (lambda torch, x: torch.nn.functional.triplet_margin_loss(x, x, x, margin=0.0), "margin"),
    "multi margin": (lambda torch, x: torch.nn.functional.multi_margin_loss(x, torch.zeros(3).long()), "target"),
    "multi margin p": (lambda torch, x: torch.nn.functional.multi_margin_loss(x, x, p=3), "p == 1"),
    "multilabel": (lambda torch, x: torch.nn.functional.multilabel_margin_loss(x, x[0].long()), "target"),
    "smoothing": (
        lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1]), label_smoothing=1.5),
        "label_smoothing",
    ),
    "int32 classes": (lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1]).int()), "Long"),
    "integer probabilities": (lambda torch, x: torch.nn.functional.cross_entropy(x, x.long()), "loating"),
    "reduction": (lambda torch, x: torch.nn.functional.l1_loss(x, x, reduction="all"), "all"),
    "ctc lengths": (
        lambda torch, x: torch.nn.functional.ctc_loss(x[:, None], torch.ones(1, 1).long(), [3], [1]),
        "at most 2",
    ),
    "ctc blank": (
        lambda torch, x: torch.nn.functional.ctc_loss(x[:, None], torch.ones(1, 1).long(), [2], [1], blank=3),
        "blank",
    ),
    "embedding index": (lambda torch, x: torch.nn.functional.embedding(torch.tensor([2]), x), "range"),
    "embedding dtype": (lambda torch, x: torch.nn.functional.embedding(torch.tensor([1.0]), x), "Long"),
    "embedding padding": (lambda torch, x: torch.nn.functional.embedding(torch.tensor([1]), x, 5), "adding"),
    "bag": (lambda torch, x: torch.nn.functional.embedding_bag(torch.tensor([1]), x), "offsets"),
    "bag mode": (lambda torch, x: torch.nn.functional.embedding_bag(torch.tensor([[1]]), x, mode="min"), "mode"),
    "bilinear": (lambda torch, x: torch.bilinear(x, x[:1], torch.ones(4, 3, 3)), "batch"),
    "bilinear features": (lambda torch, x: torch.bilinear(x, x, torch.ones(4, 3, 2)), "features"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    call, text = BAD[name]
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever PyTorch raises
        call(torch, torch.full((2, 3), 0.5))
    with pytest.raises(theirs.type, match=text):
        call(ddpnet, ddpnet.full((2, 3), 0.5))


def test_sparse_gradients_are_refused() -> None:
    weight, index = ddpnet.ones(3, 2), ddpnet.tensor([[1]])
    for call in (
        lambda: F.embedding(index, weight, sparse=True),
        lambda: F.embedding_bag(index, weight, sparse=True),
        lambda: nn.Embedding(3, 2, sparse=True),
        lambda: nn.EmbeddingBag(3, 2, sparse=True),
    ):
        with pytest.raises(NotImplementedError, match="sparse=True"):
            call()
