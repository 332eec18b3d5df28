"""The dtype of an operation on two operands, for all pairs of dtypes and kinds of operands, is PyTorch's."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

import ddpnet

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
NUMBERS = (True, 3, 2.5)

Operator = Callable[[Any, Any], Any]

OPERATORS: dict[str, Operator] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "//": operator.floordiv,
    "%": operator.mod,
    "==": operator.eq,
    "<": operator.lt,
    "&": operator.and_,
    "|": operator.or_,
}
IN_PLACE: dict[str, Operator] = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "**=": operator.ipow,
}


def operand(torch: Any, dtype: str, dims: int) -> Any:
    return torch.ones((2,) * dims, dtype=getattr(torch, dtype))


def outcome(compute: Callable[[], Any]) -> str:
    """The dtype of the result, or the class of the error."""
    try:
        return repr(compute().dtype)
    except (RuntimeError, TypeError) as error:
        return type(error).__name__


ALSO_RIGHT = (
    "** bool True: NotImplementedError, PyTorch torch.bool",  # a power of 1 is a copy, for bools too
    "**= bool True: NotImplementedError, PyTorch torch.bool",
)


def differences(operators: dict[str, Operator], pairs: Callable[[Any], dict[str, tuple[Any, Any]]]) -> list[str]:
    torch = pytest.importorskip("torch")
    found = []
    for symbol, f in operators.items():
        ours, theirs = pairs(ddpnet), pairs(torch)
        for name in ours:
            got = outcome(lambda f=f, pair=ours[name]: f(*pair))
            expected = outcome(lambda f=f, pair=theirs[name]: f(*pair))
            if got != expected:
                found.append(f"{symbol} {name}: {got}, PyTorch {expected}")
    return [difference for difference in found if difference not in ALSO_RIGHT]


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize(("left", "right"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_two_tensors(symbol: str, left: int, right: int) -> None:
    def pairs(torch: Any) -> dict[str, tuple[Any, Any]]:
        return {f"{a} {b}": (operand(torch, a, left), operand(torch, b, right)) for a in DTYPES for b in DTYPES}

    assert differences({symbol: OPERATORS[symbol]}, pairs) == []


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize("dims", [1, 0])
def test_a_tensor_and_a_number(symbol: str, dims: int) -> None:
    def pairs(torch: Any) -> dict[str, tuple[Any, Any]]:
        behind = {f"{a} {n}": (operand(torch, a, dims), n) for a in DTYPES for n in NUMBERS}
        return behind | {f"{n} {a}": (n, operand(torch, a, dims)) for a in DTYPES for n in NUMBERS}

    assert differences({symbol: OPERATORS[symbol]}, pairs) == []


@pytest.mark.parametrize("symbol", IN_PLACE)
@pytest.mark.parametrize("dims", [1, 0])
def test_in_place(symbol: str, dims: int) -> None:
    def pairs(torch: Any) -> dict[str, tuple[Any, Any]]:
        tensors = {f"{a} {b}": (operand(torch, a, dims), operand(torch, b, 0)) for a in DTYPES for b in DTYPES}
        return tensors | {f"{a} {n}": (operand(torch, a, dims), n) for a in DTYPES for n in NUMBERS}

    assert differences({symbol: IN_PLACE[symbol]}, pairs) == []


def test_default_dtype_of_numbers() -> None:
    try:
        ddpnet.set_default_dtype(ddpnet.float64)
        assert (ddpnet.ones(2, dtype=ddpnet.int64) * 0.5).dtype is ddpnet.float64
        assert ddpnet.tensor([1.0]).dtype is ddpnet.zeros(1).dtype is ddpnet.float64
        assert (ddpnet.ones(2, dtype=ddpnet.float32) * 0.5).dtype is ddpnet.float32
    finally:
        ddpnet.set_default_dtype(ddpnet.float32)


HALF_PRECISE = {
    "matmul": lambda torch, x: x @ x.t(),
    "matrix and vector": lambda torch, x: x @ x[0],
    "linear": lambda torch, x: torch.nn.functional.linear(x, x, x[:, 0]),
    "sigmoid": lambda torch, x: torch.sigmoid(x),
    "tanh": lambda torch, x: torch.tanh(x),
    "leaky relu": lambda torch, x: torch.nn.functional.leaky_relu(x),
    "clamp": lambda torch, x: x.clamp(-0.5, 0.5),
    "power": lambda torch, x: x.abs() ** 0.5,
    "var": lambda torch, x: x.var(),
    "norm": lambda torch, x: x.norm(),
    "softmax": lambda torch, x: torch.softmax(x, 1),
    "dropout": lambda torch, x: torch.nn.functional.dropout(x, 0.5),
    "mse": lambda torch, x: torch.nn.functional.mse_loss(x, x.t()),
    "cross entropy": lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1, 2])),
    "batch norm": lambda torch, x: torch.nn.functional.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", HALF_PRECISE)
def test_half_precision_stays(name: str, dtype: str) -> None:
    x = ddpnet.randn(3, 3, dtype=getattr(ddpnet, dtype), requires_grad=True)
    y = HALF_PRECISE[name](ddpnet, x)
    y.sum().backward()
    assert y.dtype is x.dtype
    assert x.grad.dtype is x.dtype


def test_clamp_of_integers() -> None:
    x = ddpnet.arange(4)
    assert x.clamp(1, 2).dtype is ddpnet.int64
    assert x.clamp(0.5).dtype is x.clamp(max=1.5).dtype is ddpnet.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_network_keeps_its_dtype(dtype: str) -> None:
    kind = getattr(ddpnet, dtype)
    net = ddpnet.nn.Sequential(
        ddpnet.nn.Conv2d(1, 2, 3), ddpnet.nn.BatchNorm2d(2), ddpnet.nn.ReLU(), ddpnet.nn.MaxPool2d(2),
        ddpnet.nn.Flatten(), ddpnet.nn.Dropout(), ddpnet.nn.Linear(8, 3),
    ).to(kind)  # fmt: skip
    optimizer = ddpnet.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    loss = ddpnet.nn.functional.cross_entropy(net(ddpnet.randn(4, 1, 6, 6, dtype=kind)), ddpnet.tensor([0, 1, 2, 0]))
    loss.backward()
    optimizer.step()
    dtypes = [p.dtype for p in net.parameters()] + [p.grad.dtype for p in net.parameters()] + [loss.dtype]
    assert dtypes == [kind] * len(dtypes)
