"""What a tensor is and becomes: indexing, shapes, conversions, drawing and interchange, as PyTorch has them."""

from __future__ import annotations

import copy
import importlib
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet

EXPRESSIONS: dict[str, Callable[[Any], Any]] = {
    "device": lambda torch: [torch.device("cuda", 0), torch.device(type="cuda", index=1), torch.device("cpu:0")],
    "device of no kind": lambda torch: torch.device("foo"),
    "device without number": lambda torch: torch.device("cuda:"),
    "size": lambda torch: [torch.Size([1, 2]) * 2, torch.Size([3]) * 2, torch.Size([2, 3])[::-1], torch.Size()],
    "size of floats": lambda torch: torch.Size([1.5]),
    "size of tensors": lambda torch: torch.Size([torch.tensor(2)]),
    "numbers": lambda torch: [int(torch.tensor([2.7])), float(torch.tensor(2)), complex(torch.tensor([1.5]))],
    "index of a float": lambda torch: torch.tensor(1.5).__index__(),
    "item of several": lambda torch: torch.tensor([1, 2]).item(),
    "number of several": lambda torch: float(torch.tensor([1, 2])),
    "truth of none": lambda torch: bool(torch.tensor([])),
    "length of 0-d": lambda torch: len(torch.tensor(1)),
    "contains": lambda torch: [1 in torch.ones(2), 2.5 in torch.ones(2)],
    "contains a string": lambda torch: "a" in torch.ones(2),
    "reversed": lambda torch: list(reversed(torch.arange(3))),
    "format": lambda torch: [f"{torch.tensor(1.5):.3f}", f"{torch.tensor([1.5])}"],
    "float64 in a list": lambda torch: torch.tensor([np.float64(1)]).dtype,
    "tensor of a string": lambda torch: torch.tensor("a"),
    "tensor of None": lambda torch: torch.tensor(None),
    "tensor of uneven lists": lambda torch: torch.tensor([[1], [1, 2]]),
    "tensor of a large number": lambda torch: torch.tensor(2**64),
    "uint8 of a large number": lambda torch: torch.tensor([300], dtype=torch.uint8),
    "uint8 of a negative number": lambda torch: torch.tensor(-1, dtype=torch.uint8),
    "tensor of tensors": lambda torch: [torch.tensor([torch.tensor(1), 2]), torch.tensor([torch.tensor([1])])],
    "empty lists": lambda torch: [torch.tensor([[]]).shape, torch.tensor([]).dtype],
    "from a reversed array": lambda torch: torch.from_numpy(np.arange(3)[::-1]),
    "from a list": lambda torch: torch.from_numpy([1]),
    "zeros of a float": lambda torch: torch.zeros(2.5),
    "zeros of less than none": lambda torch: torch.zeros(-1),
    "full of bool": lambda torch: torch.full((2,), True),
    "integers drawn evenly": lambda torch: torch.rand(2, dtype=torch.int32),
    "randint of nothing": lambda torch: torch.randint(3, 1, (2,)),
    "arange the wrong way": lambda torch: torch.arange(0, 1, -1),
    "arange": lambda torch: [torch.arange(5, 0, -2), torch.arange(0, 1, 0.3), torch.arange(3, dtype=torch.float16)],
    "linspace": lambda torch: [torch.linspace(0, 1, 7), torch.linspace(3, 1, 4, dtype=torch.int64)],
    "logspace": lambda torch: [torch.logspace(0, 2, 3), torch.logspace(0, 3, 4, base=2, dtype=torch.int32)],
    "type": lambda torch: [
        torch.ones(1).type(),
        torch.ones(1).type("torch.LongTensor"),
        torch.ones(1).type(torch.half),
    ],
    "type of no name": lambda torch: torch.ones(1).type("foo"),
    "old constructors": lambda torch: [torch.FloatTensor([1, 2]), torch.LongTensor([1.5]), torch.IntTensor(2).shape],
    "old types": lambda torch: [isinstance(torch.ones(1), torch.FloatTensor), isinstance(1, torch.LongTensor)],
    "numpy with gradients": lambda torch: torch.ones(1, requires_grad=True).numpy(),
    "numpy by force": lambda torch: torch.ones(1, requires_grad=True).numpy(force=True),
    "integers have no gradient": lambda torch: torch.ones(1, requires_grad=True).long().requires_grad,
    "to": lambda torch: [torch.ones(1).to("cpu", torch.int32, True, True), torch.ones(1).to(torch.ones(1).double())],
    "channels last": lambda torch: torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last).stride(),
    "strides are kept": lambda torch: [
        torch.ones(2, 3).t().clone().stride(),
        torch.ones(2, 3).t().double().stride(),
        torch.zeros_like(torch.ones(2, 3).t()).stride(),
        torch.zeros(2, 0).stride(),
    ],
    "offset": lambda torch: [torch.ones(2, 3)[1].storage_offset(), torch.ones(2, 3)[:, 1].storage_offset()],
    "resize": lambda torch: [torch.arange(6).resize_(2, 3), torch.arange(6).resize_(2)],
    "shape in place": lambda torch: [torch.ones(2, 3).t_().shape, torch.ones(1, 2).squeeze_(0).unsqueeze_(1).shape],
    "shape of a leaf in place": lambda torch: torch.ones(2, requires_grad=True).t_(),
    "strides outside": lambda torch: torch.ones(2, 3).as_strided((2,), (7,)),
    "view of other strides": lambda torch: torch.ones(2, 3).t().view(6),
    "drawn by weight": lambda torch: torch.multinomial(torch.tensor([0.0, 1.0]), 3, replacement=True),
    "weights below 0": lambda torch: torch.multinomial(torch.tensor([-1.0, 2.0]), 1),
    "certain": lambda torch: torch.bernoulli(torch.tensor([0.0, 1.0])),
    "bounds the wrong way": lambda torch: torch.empty(3).uniform_(3, 1),
    "spread below 0": lambda torch: torch.empty(3).normal_(std=-1),
    "normal integers": lambda torch: torch.empty(3, dtype=torch.long).normal_(),
    "generator": lambda torch: [torch.Generator().manual_seed(3).initial_seed(), torch.Generator("cpu").device],
    "index with a step back": lambda torch: torch.ones(3)[::-1],
    "index out of range": lambda torch: torch.ones(3)[3],
    "array out of range": lambda torch: torch.ones(3)[[3]],
    "too many": lambda torch: torch.ones(3)[0, 0],
    "index of 0-d": lambda torch: torch.tensor(1)[0],
    "index by a float": lambda torch: torch.ones(3)[1.0],
    "index by float tensors": lambda torch: torch.ones(3)[torch.ones(1)],
    "mask that does not fit": lambda torch: torch.ones(3)[torch.tensor([True, False])],
    "tensors as ends": lambda torch: torch.arange(5)[torch.tensor(1) : torch.tensor(3)],
    "put a list": lambda torch: torch.ones(3).__setitem__(0, [1]),
    "put what does not fit": lambda torch: torch.ones(2, 3).__setitem__(0, torch.ones(2)),
    "put of another dtype": lambda torch: torch.ones(3).__setitem__([0], torch.tensor([1])),
    "split of nothing": lambda torch: torch.ones(3).split(0),
    "copy of a tensor": lambda torch: copy.copy(torch.ones(2)),
}


def result(name: str, expression: Callable[[Any], Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(expression(importlib.import_module(name)))
        except Exception as error:
            return type(error).__name__


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_is_pytorchs(name: str) -> None:
    pytest.importorskip("torch")
    assert result("ddpnet", EXPRESSIONS[name]) == result("torch", EXPRESSIONS[name])


def test_dlpack_shares_memory() -> None:
    ours = ddpnet.arange(3)
    array = np.from_dlpack(ours)
    ours[0] = 7
    assert array.tolist() == [7, 1, 2]
    back = ddpnet.from_dlpack(np.arange(3))
    back[1] = 5
    assert back.tolist() == [0, 5, 2]
    assert ddpnet.utils.dlpack.from_dlpack(ddpnet.utils.dlpack.to_dlpack(ours)).tolist() == [7, 1, 2]
    with pytest.raises(BufferError):
        ddpnet.ones(1, requires_grad=True).__dlpack__()


def test_copies() -> None:
    x = ddpnet.ones(2, requires_grad=True)
    assert copy.copy(x).data_ptr() == x.data_ptr()
    deep = copy.deepcopy({"x": x, "y": x})
    assert deep["x"] is deep["y"]
    assert deep["x"].data_ptr() != x.data_ptr()
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(x)


def test_views_share_memory() -> None:
    x = ddpnet.zeros(2, 3)
    views = [
        x.view(6),
        x.t(),
        x[1],
        x.unfold(1, 2, 1),
        *x.split(1),
        *x.unbind(1),
        x.expand(2, 2, 3),
        x.view(ddpnet.int32),
    ]
    assert {view.untyped_storage() for view in views} == {x.untyped_storage()}
    x.as_strided((2,), (3,)).fill_(1)
    assert x.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_several_views_refuse_updates_in_place() -> None:
    for parts in (lambda x: x.split(1), lambda x: x.unbind(), lambda x: x.chunk(2)):
        y = ddpnet.ones(2, 2, requires_grad=True) * 1
        with pytest.raises(RuntimeError, match="multiple views"):
            parts(y)[0].mul_(2)


def test_transposing_in_place_keeps_the_gradient() -> None:
    x = ddpnet.arange(6.0).reshape(2, 3).requires_grad_()
    y = (x * 2).t_()
    (y * ddpnet.arange(6.0).reshape(3, 2)).sum().backward()
    assert x.grad.tolist() == [[0, 4, 8], [2, 6, 10]]


def test_forked_generators_leave_nothing() -> None:
    ddpnet.manual_seed(0)
    before = ddpnet.get_rng_state()
    with ddpnet.random.fork_rng():
        ddpnet.rand(3)
    assert ddpnet.get_rng_state() == before


@pytest.mark.parametrize(
    ("fill", "mean", "spread"),
    [
        (lambda x: x.exponential_(2.0), 0.5, 0.5),
        (lambda x: x.geometric_(0.25), 4.0, 12**0.5),
        (lambda x: x.log_normal_(0.0, 0.5), 1.1331, 0.6039),
        (lambda x: x.bernoulli_(0.3), 0.3, 0.4583),
        (lambda x: x.random_(0, 11), 5.0, 10**0.5),
        (lambda x: ddpnet.poisson(x.fill_(4.0)), 4.0, 2.0),
        (lambda x: ddpnet.normal(x.fill_(1.0), 2.0), 1.0, 2.0),
    ],
)
def test_distributions(fill: Callable[[Any], Any], mean: float, spread: float) -> None:
    ddpnet.manual_seed(3)
    values = fill(ddpnet.empty(100_000)).numpy().astype(np.float64)
    assert (values.mean(), values.std()) == (pytest.approx(mean, rel=0.03), pytest.approx(spread, rel=0.05))


def test_categories_come_as_often_as_their_weights() -> None:
    ddpnet.manual_seed(0)
    weights = ddpnet.tensor([[1.0, 3.0, 0.0], [0.0, 1.0, 1.0]])
    drawn = weights.multinomial(20_000, replacement=True).numpy()
    shares = [np.bincount(row, minlength=3) / 20_000 for row in drawn]
    np.testing.assert_allclose(shares, [[0.25, 0.75, 0], [0, 0.5, 0.5]], atol=0.02)
    assert sorted(ddpnet.multinomial(ddpnet.ones(5), 5).tolist()) == [0, 1, 2, 3, 4]
