"""What tensors print is PyTorch's text, to the letter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ddpnet

SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 1e-5, 123456.0, 1e8, 1e9, 1e-20, 0.1, 99999.5)
SHAPES = ((), (1,), (3,), (7,), (25,), (2, 3), (1, 1), (3, 9), (2, 2, 3), (2, 1, 2, 2), (0,), (2, 0), (0, 3))
LONG = ((1001,), (40, 30), (2, 600), (600, 2), (11, 10, 10), (7, 7, 7, 7))


def examples(count: int) -> Iterator[np.ndarray]:
    """Arrays of many shapes, dtypes and magnitudes."""
    rng = np.random.default_rng(5)
    for number in range(count):
        shape = LONG[number % len(LONG)] if number % 10 == 0 else SHAPES[rng.integers(len(SHAPES))]
        kind = rng.integers(6)
        if kind == 0:
            yield rng.standard_normal(shape).astype(rng.choice([np.float32, np.float64]))
        elif kind == 1:
            yield (rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 10)).astype(np.float32)
        elif kind == 2:
            yield rng.choice(SPECIAL, shape).astype(np.float32) * rng.choice([1, rng.random()])
        elif kind == 3:
            yield np.round(rng.standard_normal(shape) * 10.0 ** rng.integers(0, 6)).astype(np.float32)
        elif kind == 4:
            yield rng.integers(-(10 ** int(rng.integers(1, 9))), 10**9, shape).astype(rng.choice([np.int32, np.int64]))
        else:
            yield rng.choice([True, False], shape) if rng.random() < 0.5 else rng.integers(0, 99, shape, np.uint8)


def same_text(make: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = make(ddpnet), make(torch)
    assert repr(ours) == repr(theirs)
    assert str(ours) == str(theirs)


@pytest.mark.parametrize("array", list(examples(400)), ids=lambda array: f"{array.dtype} {array.shape}")
def test_values(array: np.ndarray) -> None:
    same_text(lambda torch: torch.from_numpy(np.array(array)))


TENSORS: dict[str, Callable[[Any], Any]] = {
    "float64": lambda torch: torch.ones(2, dtype=torch.float64),
    "float16": lambda torch: torch.tensor([0.1, 1000.0, 65504.0], dtype=torch.float16),
    "bfloat16": lambda torch: torch.tensor([0.1, 3.0, 1e30], dtype=torch.bfloat16),
    "int8": lambda torch: torch.tensor([[-1, 100]], dtype=torch.int8),
    "bool": lambda torch: torch.tensor([[True, False], [False, False]]),
    "bool 0-d": lambda torch: torch.tensor(True),
    "requires_grad": lambda torch: torch.ones(2, 3, requires_grad=True),
    "grad_fn": lambda torch: torch.ones(3, requires_grad=True) * 2,
    "grad_fn and dtype": lambda torch: torch.ones(3, dtype=torch.float64, requires_grad=True).sum(),
    "notes on a line of their own": lambda torch: torch.arange(10, dtype=torch.float64).sqrt().requires_grad_(),
    "long rows, notes": lambda torch: (torch.arange(40.0).reshape(2, 20).requires_grad_() * 0.3).exp(),
    "loss": lambda torch: torch.nn.functional.mse_loss(torch.ones(3, requires_grad=True), torch.zeros(3)),
    "empty": lambda torch: torch.zeros(0),
    "empty with dtype": lambda torch: torch.zeros(0, 3, dtype=torch.int64),
    "empty with gradient": lambda torch: torch.zeros(2, 0, requires_grad=True),
    "parameter": lambda torch: torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)),
    "parameter without gradient": lambda torch: torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "summarised with gradient": lambda torch: torch.arange(3000.0, requires_grad=True) / 7,
    "summarised integers": lambda torch: torch.arange(2000),
    "summarised truth": lambda torch: torch.arange(2000) % 2 == 0,
    "transposed": lambda torch: torch.arange(6).reshape(2, 3).t(),
    "all nan": lambda torch: torch.tensor([float("nan"), float("inf")]),
    "smallest": lambda torch: torch.tensor([1e-45, 1.0]),
    "largest": lambda torch: torch.tensor([3.4e38, -3.4e38]),
    "large integers": lambda torch: torch.tensor([2**62, -(2**62)]),
    "dtype": lambda torch: [torch.float32, torch.int64, torch.bool, torch.half, torch.double],
    "size": lambda torch: torch.zeros(2, 3).size(),
    "size 0-d": lambda torch: torch.tensor(1).shape,
    "parts of size": lambda torch: (
        torch.zeros(2, 3).shape[0],
        torch.zeros(2, 3, 4).shape[-1],
        torch.Size([2, 3]).numel(),
    ),
    "device": lambda torch: torch.zeros(2).device,
    "list of tensors": lambda torch: [torch.ones(2), torch.tensor(3)],
    "keys": lambda torch: list(torch.nn.Linear(2, 1).state_dict()),
    "format": lambda torch: f"{torch.tensor(1.23456):.2f} {torch.tensor(3)} {torch.ones(2)} {torch.tensor(2.5)}",
    "size of a slice": lambda torch: torch.zeros(2, 3, 4).shape[1:],
    "sum of sizes": lambda torch: torch.Size([1]) + torch.Size([2, 3]),
    "item": lambda torch: (torch.tensor(0.1).item(), torch.tensor(3).item(), torch.tensor(True).item()),
    "lists": lambda torch: (
        torch.tensor([[0.5, 1], [2, 3]]).tolist(),
        torch.tensor(2).tolist(),
        torch.zeros(0).tolist(),
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_text(name: str) -> None:
    same_text(TENSORS[name])


@pytest.mark.parametrize(
    "options",
    [{"precision": 2}, {"sci_mode": True}, {"sci_mode": False}, {"linewidth": 40}, {"threshold": 5, "edgeitems": 1}],
    ids=str,
)
def test_options(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((6, 7)).astype(np.float32) * [1e5]
    before = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
    try:
        for library in (ddpnet, torch):
            library.set_printoptions(**options)
        same_text(lambda torch: torch.tensor(values))
        same_text(lambda torch: torch.arange(30.0))
    finally:
        for library in (ddpnet, torch):
            library.set_printoptions(**before)


def test_known_text() -> None:
    """Some of it, where there is no PyTorch to compare with."""
    x = ddpnet.tensor([[1.0, -2.5], [1e-3, 3.0]], requires_grad=True)
    assert repr(x) == ("tensor([[ 1.0000e+00, -2.5000e+00],\n        [ 1.0000e-03,  3.0000e+00]], requires_grad=True)")
    assert repr((x * 0).sum()) == "tensor(0., grad_fn=<SumBackward0>)"
    assert repr(ddpnet.arange(3)) == "tensor([0, 1, 2])"
    assert repr(ddpnet.zeros(2, 0).shape) == "torch.Size([2, 0])"
    with pytest.raises(TypeError, match="'presicion'"):
        ddpnet.set_printoptions(presicion=3)


@pytest.mark.parametrize("profile", ["short", "full", "default"])
def test_profiles(profile: str) -> None:
    def text(torch: Any) -> str:
        torch.set_printoptions(profile=profile)
        try:
            return repr(torch.arange(2000.0) / 7)
        finally:
            torch.set_printoptions(profile="default")

    oracle = pytest.importorskip("torch")
    assert text(ddpnet) == text(oracle)
