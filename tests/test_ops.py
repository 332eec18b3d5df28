"""Every operation is a row of a table: its values, dtypes and gradients are PyTorch's.

A row is a function of the module `torch` (ours or PyTorch's) and of tensors. Gradients are compared with differences of
the values as well, which needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import ddpnet

RNG = np.random.default_rng(0)


@dataclass
class Row:
    name: str
    call: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    tolerance: float = 1.0
    """Multiplies what float32 and float64 are allowed to differ by."""


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2.0, shape)


def apart(*shape: int) -> np.ndarray:
    """Numbers no two of which are close, and none close to 0: safe for differences through max, abs, relu."""
    count = int(np.prod(shape))
    return ((RNG.permutation(count) - count // 2 + 0.5) / 4).reshape(shape)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape)


def truth(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


def probabilities(*shape: int) -> np.ndarray:
    values = RNG.random(shape)
    return values / values.sum(1, keepdims=True)


TABLE: list[Row] = []


def row(name: str, call: Callable[..., Any], *inputs: np.ndarray, tolerance: float = 1.0) -> None:
    TABLE.append(Row(name, call, inputs, tolerance))


def rows(name: str, call: Callable[..., Any], make: Callable[..., np.ndarray], *shapes: tuple[int, ...]) -> None:
    """One row a shape."""
    for shape in shapes:
        row(f"{name} {shape}", call, make(*shape))


SHAPES = ((2, 3), (), (0, 3))

# Arithmetic: equal shapes, broadcasting on either side, 0-d, empty, numbers

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
}
PAIRS = (
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((1, 4), (3, 1)),
    ((), (3,)),
    ((3,), ()),
    ((), ()),
    ((0, 3), (3,)),
    ((2, 1), (1,)),
)
for name, f in BINARY.items():
    for a, b in PAIRS:
        row(f"{name} {a} {b}", lambda torch, x, y, f=f: f(x, y), positive(*a), positive(*b))
    row(f"{name} number", lambda torch, x, f=f: f(x, 3), real(2, 3))
    row(f"{name} from number", lambda torch, x, f=f: f(2.5, x), positive(2, 3))
    row(f"{name} itself", lambda torch, x, f=f: f(x, x), positive(2, 3))
    row(f"{name} integers", lambda torch, x, f=f: f(x, x + 1), whole(1, 5, 3))
    row(f"{name} in place", lambda torch, x, y, f=name: getattr(x * 1, f"{f}_")(y), positive(2, 3), positive(3))
    row(f"{name} function", lambda torch, x, y, f=name: getattr(torch, f)(x, y), positive(2, 3), positive(3))
row("add alpha", lambda torch, x, y: torch.add(x, y, alpha=2.5), real(2, 3), real(2, 3))
row("sub alpha", lambda torch, x, y: x.sub(y, alpha=2), real(2, 3), real(3))
row("pow 0", lambda torch, x: x**0, apart(2, 3))
row("pow 1", lambda torch, x: x**1, apart(2, 3))
row("pow 2", lambda torch, x: x**2, apart(2, 3))
row("pow half", lambda torch, x: x**0.5, positive(2, 3))
row("pow -1", lambda torch, x: x**-1, apart(2, 3))
row("pow at zero", lambda torch, x, y: x**y, np.zeros(3), np.array([0.0, 1.0, 2.0]))
row("floor divide", lambda torch, x, y: (x.detach() // y.detach(),), apart(5, 5), positive(5))
row("remainder", lambda torch, x: x.detach() % 0.7, apart(5, 5))
row(
    "integer quotients",
    lambda torch, x, y: (x // y, x % y, x // 3, x % -3),
    whole(-9, 9, 20),
    np.where(np.arange(20) % 2, 4, -4),
)
rows("neg", lambda torch, x: -x, real, *SHAPES)

# Functions of one tensor

rows("exp", lambda torch, x: torch.exp(x), real, *SHAPES)
rows("log", lambda torch, x: x.log(), positive, *SHAPES)
rows("sqrt", lambda torch, x: x.sqrt(), positive, *SHAPES)
rows("square", lambda torch, x: torch.square(x), real, *SHAPES)
rows("abs", lambda torch, x: abs(x), apart, *SHAPES)
rows("tanh", lambda torch, x: torch.tanh(x), real, *SHAPES)
rows("sigmoid", lambda torch, x: torch.sigmoid(x), real, *SHAPES)
rows("relu", lambda torch, x: torch.relu(x), apart, *SHAPES)
rows("clamp", lambda torch, x: x.clamp(-0.3, 0.4), apart, *SHAPES)
row("clamp below", lambda torch, x: x.clamp(min=-0.3), apart(3, 3))
row("clamp above", lambda torch, x: torch.clamp(x, max=0.3), apart(3, 3))
row(
    "functions of integers",
    lambda torch, x: (x.exp(), x.log(), x.sqrt(), x.tanh(), x.sigmoid(), abs(x), -x),
    whole(1, 5, 3),
)
for name in ("exp", "log", "sqrt", "square", "abs", "neg", "tanh", "sigmoid", "relu"):
    row(f"{name} in place", lambda torch, x, f=name: getattr(x * 1, f"{f}_")(), positive(3))
row("clamp in place", lambda torch, x: (x * 1).clamp_(0.2, 0.9), apart(2, 3))
row("masked fill in place", lambda torch, x, c: (x * 1).masked_fill_(c, 2.0), real(2, 3), truth(2, 3))
row("relu with inplace", lambda torch, x: torch.nn.functional.relu(x * 1, inplace=True), apart(2, 3))
row("leaky relu in place", lambda torch, x: torch.nn.functional.leaky_relu(x * 1, 0.2, True), apart(2, 3))
row("leaky relu", lambda torch, x: torch.nn.functional.leaky_relu(x, 0.2), apart(2, 3))
row("sigmoid of large", lambda torch, x: torch.sigmoid(x), np.array([-800.0, -30.0, 30.0, 800.0]))
row("dropout in evaluation", lambda torch, x: torch.nn.functional.dropout(x, 0.5, training=False), real(2, 3))
row("dropout of nothing", lambda torch, x: torch.nn.functional.dropout(x, 0.0), real(2, 3))
row("dropout of all", lambda torch, x: torch.nn.functional.dropout(x, 1.0), real(2, 3))
row("softmax", lambda torch, x: torch.softmax(x, 1), real(3, 4))
row("softmax first", lambda torch, x: x.softmax(0), real(3, 4))
row("softmax of large", lambda torch, x: torch.softmax(x, -1), real(3, 4) * 500)
row("softmax 0-d", lambda torch, x: torch.softmax(x, 0), real())
row("log softmax", lambda torch, x: torch.nn.functional.log_softmax(x, dim=1), real(3, 4, 2))
row("log softmax of large", lambda torch, x: x.log_softmax(-1), real(3, 4) * 500)

# Choices and comparisons

row("maximum", lambda torch, x, y: torch.maximum(x, y), apart(3, 4), real(4))
row("minimum", lambda torch, x, y: torch.minimum(x, y), apart(3, 4), real(4))
row("where", lambda torch, c, x, y: torch.where(c, x, y), truth(3, 4), real(3, 4), real(4))
row("where number", lambda torch, c, x: torch.where(c, x, 0.5), truth(3, 4), real(3, 4))
row("where numbers", lambda torch, c: torch.where(c, 1.0, 2.0), truth(3, 4))
row("masked fill", lambda torch, x, c: x.masked_fill(c, -9.0), real(3, 4), truth(3, 4))
row("masked fill broadcast", lambda torch, x, c: x.masked_fill(c, 7), real(3, 4), truth(4))
row("comparisons", lambda torch, x, y: (x == y, x != y, x < y, x <= y, x > y, x >= y), whole(0, 3, 9), whole(0, 3, 9))
row("comparisons with numbers", lambda torch, x: (x == 0, x > 0.5, x < 0, x <= 1, torch.eq(x, 1), x.ge(1)), real(9))
row("bits", lambda torch, x, y: (x & y, x | y, ~x, x & 1), whole(0, 9, 9), whole(0, 9, 9))
row("truth", lambda torch, x, y: (x & y, x | y, ~x, torch.logical_not(x)), truth(9), truth(9))
row("not a number", lambda torch, x: (x.isnan(), torch.isfinite(x)), np.array([np.nan, np.inf, -np.inf, 0.0]))

# Reductions

for name in ("sum", "mean"):
    rows(name, lambda torch, x, f=name: getattr(torch, f)(x), real, (2, 3), ())
    for dim in (0, -1, (0, 2), [1], None):
        row(f"{name} {dim}", lambda torch, x, f=name, d=dim: getattr(x, f)(d), real(2, 3, 4))
        row(f"{name} {dim} kept", lambda torch, x, f=name, d=dim: getattr(x, f)(d, keepdim=True), real(2, 3, 4))
row("sum of nothing", lambda torch, x: (x.sum(), x.sum(0), x.sum(1)), real(0, 3))
row("sum of integers", lambda torch, x: (x.sum(), x.sum(0)), whole(0, 5, 2, 3).astype(np.int32))
row("sum of truth", lambda torch, x: (x.sum(), x.sum(1)), truth(2, 3))
row("sum in another dtype", lambda torch, x: x.sum(dtype=torch.float64), real(2, 3))
row("mean of integers as floats", lambda torch, x: x.mean(dtype=torch.float32), whole(0, 5, 2, 3))
for unbiased in (True, False):
    row(f"var {unbiased}", lambda torch, x, u=unbiased: x.var(unbiased=u), real(2, 3))
    row(f"std {unbiased}", lambda torch, x, u=unbiased: torch.std(x, 1, unbiased=u), real(2, 3))
    row(f"var kept {unbiased}", lambda torch, x, u=unbiased: torch.var(x, (0, 2), u, True), real(2, 3, 4))
row("var correction", lambda torch, x: torch.var(x, 1, correction=2), real(2, 4))
for name in ("max", "min"):
    row(name, lambda torch, x, f=name: getattr(torch, f)(x), apart(3, 4))
    row(f"{name} of equals", lambda torch, x, f=name: getattr(torch, f)(x), np.ones((2, 3)))
    row(f"{name} along", lambda torch, x, f=name: tuple(getattr(torch, f)(x, 1)), apart(3, 4))
    row(f"{name} along kept", lambda torch, x, f=name: getattr(x, f)(dim=0, keepdim=True).values, apart(3, 4))
    row(f"{name} of two", lambda torch, x, y, f=name: getattr(torch, f)(x, y), apart(3, 4), real(3, 4))
    row(f"{name} of integers", lambda torch, x, f=name: getattr(x, f)(), whole(0, 9, 5))
    row(f"{name} with nan", lambda torch, x, f=name: tuple(getattr(x, f)(1)), np.array([[1, np.nan, 2], [3, 1, 2]]))
    position = f"arg{name}"
    row(position, lambda torch, x, f=position: getattr(torch, f)(x), apart(3, 4))
    row(f"{position} along", lambda torch, x, f=position: getattr(x, f)(1), apart(3, 4))
    row(f"{position} kept", lambda torch, x, f=position: getattr(x, f)(dim=-1, keepdim=True), apart(3, 4))
row("all, any", lambda torch, x: (x.all(), x.any(), torch.all(x, 0), x.any(1, keepdim=True)), truth(2, 3))
row("norm", lambda torch, x: torch.norm(x), real(2, 3))
row("norm 1", lambda torch, x: x.norm(1), apart(2, 3))
row("norm 3 along", lambda torch, x: x.norm(3, dim=1), apart(2, 3))
row("norm kept", lambda torch, x: x.norm(2, 1, True), real(2, 3))

# Matrix products

FACTORS = (
    ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
)  # fmt: skip
for a, b in FACTORS:
    row(f"matmul {a} {b}", lambda torch, x, y: x @ y, real(*a), real(*b))
row("mm", lambda torch, x, y: torch.mm(x, y), real(2, 3), real(3, 4))
row("bmm", lambda torch, x, y: torch.bmm(x, y), real(2, 3, 4), real(2, 4, 5))
row("dot", lambda torch, x, y: torch.dot(x, y), real(3), real(3))
row("addmm", lambda torch, c, x, y: torch.addmm(c, x, y), real(4), real(2, 3), real(3, 4))
row("addmm scaled", lambda torch, c, x, y: torch.addmm(c, x, y, beta=0.5, alpha=2), real(2, 4), real(2, 3), real(3, 4))
row("linear", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(2, 3), real(4, 3), real(4))
row("linear, no bias", lambda torch, x, w: torch.nn.functional.linear(x, w), real(2, 3), real(4, 3))
row("linear of a vector", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(3), real(4, 3), real(4))
row("linear of a stack", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(2, 5, 3), real(4, 3), real(4))
row("linear of nothing", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(0, 3), real(4, 3), real(4))
row("matmul of integers", lambda torch, x, y: x @ y, whole(0, 5, 2, 3), whole(0, 5, 3, 4))

# Shapes

row("reshape", lambda torch, x: x.reshape(4, -1), real(2, 3, 4))
row("reshape of a transpose", lambda torch, x: torch.reshape(x.t(), (6,)), real(2, 3))
row("view", lambda torch, x: x.view(3, 2) * 2, real(2, 3))
row("view as", lambda torch, x, y: x.view_as(y), real(2, 3), real(6))
row("flatten", lambda torch, x: torch.flatten(x, 1), real(2, 3, 4))
row("flatten all", lambda torch, x: x.flatten(), real(2, 3, 4))
row("flatten 0-d", lambda torch, x: x.flatten(), real())
row("flatten some", lambda torch, x: x.flatten(0, 1), real(2, 3, 4))
row("transpose", lambda torch, x: x.transpose(0, -1), real(2, 3, 4))
row("t", lambda torch, x: x.t(), real(2, 3))
row("t of a vector", lambda torch, x: x.t(), real(3))
row("T", lambda torch, x: x.T @ x, real(2, 3))
row("mT", lambda torch, x: x.mT, real(2, 3, 4))
row("permute", lambda torch, x: x.permute(2, 0, 1), real(2, 3, 4))
row("permute by tuple", lambda torch, x: torch.permute(x, (1, 2, 0)), real(2, 3, 4))
row("expand", lambda torch, x: x.expand(2, 3, -1), real(3, 1))
row("expand 0-d", lambda torch, x: x.expand(2, 3), real())
row("expand as", lambda torch, x, y: x.expand_as(y), real(1, 3), real(2, 3))
row("unsqueeze", lambda torch, x: (x.unsqueeze(0), x.unsqueeze(-1), torch.unsqueeze(x, 1)), real(2, 3))
row("squeeze", lambda torch, x: x.squeeze(), real(1, 2, 1))
row("squeeze one", lambda torch, x: (x.squeeze(0), x.squeeze(1), torch.squeeze(x, -1)), real(1, 2, 1))
row("contiguous", lambda torch, x: x.t().contiguous(), real(2, 3))
row("cat", lambda torch, x, y: torch.cat([x, y], 1), real(2, 3), real(2, 1))
row("cat of one kind", lambda torch, x: torch.cat((x, x, x)), real(2, 3))
row("cat of empty", lambda torch, x, y: torch.cat([x, y]), real(2, 3), real(0, 3))
row("cat of dtypes", lambda torch, x, y: torch.cat([x, y]), real(2), whole(0, 5, 3))
row("stack", lambda torch, x, y: torch.stack([x, y], 1), real(2, 3), real(2, 3))
row("stack 0-d", lambda torch, x, y: torch.stack([x, y]), real(), real())
row("stack last", lambda torch, x, y: torch.stack([x, y], -1), real(2, 3), real(2, 3))
row("split", lambda torch, x: torch.split(x, 2), real(5, 2))
row("split by sizes", lambda torch, x: x.split([1, 3], 1), real(2, 4))
row("chunk", lambda torch, x: torch.chunk(x, 2, 1), real(2, 5))
row("unbind", lambda torch, x: torch.unbind(x, 1), real(2, 3))
row("iteration", lambda torch, x: tuple(x), real(3, 2))
row("clone", lambda torch, x: x.clone(), real(2, 3))
row("conversion", lambda torch, x: (x.double(), x.to(torch.float64), x.float()), real(2, 3))
row(
    "conversion of integers",
    lambda torch, x: (x.to(torch.uint8), x.bool(), x.long(), x.float(), x.int(), x.short()),
    whole(0, 9, 4),
)

# Indexing

ROWS = np.array([2, 0, 2])
row("index", lambda torch, x: x[1], real(3, 4))
row("index from the end", lambda torch, x: x[-1, -2], real(3, 4))
row("index of all", lambda torch, x: x[...], real(3, 4))
row("slice", lambda torch, x: x[1:, ::2], real(3, 4))
row("slice and new", lambda torch, x: x[:, None, 1], real(3, 4))
row("ellipsis", lambda torch, x: x[..., 0], real(2, 3, 4))
row("index by tensor", lambda torch, x, i: x[i], real(3, 4), ROWS)
row("index by tensors", lambda torch, x, i, j: x[i, j], real(3, 4), ROWS, np.array([0, 1, 0]))
row("index by slice and tensor", lambda torch, x, i: x[:, i], real(2, 3), ROWS)
row("index by list", lambda torch, x: x[[0, 2, 0]], real(3, 4))
row("index by 0-d tensor", lambda torch, x, i: x[i], real(3, 4), np.array(1))
row("index by mask", lambda torch, x, c: x[c], real(3, 4), np.eye(3, 4, dtype=bool))
row("index by row mask", lambda torch, x, c: x[c], real(3, 4), np.array([True, False, True]))
row("index by comparison", lambda torch, x: x[x > 0], apart(3, 4))
row("gather", lambda torch, x, i: torch.gather(x, 1, i), real(3, 4), whole(0, 4, 3, 2))
row("gather first", lambda torch, x, i: x.gather(0, i), real(3, 4), whole(0, 3, 5, 4))
row("gather of fewer", lambda torch, x, i: x.gather(1, i), real(3, 4), whole(0, 4, 2, 6))
row("index select", lambda torch, x, i: torch.index_select(x, 1, i), real(2, 3), ROWS)


def put(key: Callable[[Any], Any]) -> Callable[..., Any]:
    """Assignment to elements of a tensor that is not a leaf, with gradients to the tensor and to the value."""

    def call(torch: Any, x: Any, value: Any) -> Any:
        y = x * 2
        y[key(torch)] = value
        return y

    return call


row("put one", put(lambda torch: 1), real(3, 4), real(4))
row("put a slice", put(lambda torch: slice(1, None)), real(3, 4), real(2, 4))
row("put broadcast", put(lambda torch: (slice(None), 2)), real(3, 4), real())
row("put by tensor", put(lambda torch: torch.tensor([2, 0])), real(3, 4), real(2, 4))
row("put by mask", put(lambda torch: torch.tensor([True, False, True])), real(3, 4), real(2, 4))
row("put by list", put(lambda torch: [0, 2]), real(3, 4), real(4))
row("put all", put(lambda torch: ...), real(3, 4), real(4))
row("put a number", lambda torch, x: put(lambda torch: 0)(torch, x, 5.0), real(3, 4))
row("copy", lambda torch, x, y: (x * 2).copy_(y), real(3, 4), real(4))
row("fill", lambda torch, x: (x * 2).fill_(3), real(3, 4))
row("zero", lambda torch, x: (x * 2).zero_(), real(3, 4))

# Losses

for reduction in ("mean", "sum", "none"):
    row(
        f"mse {reduction}",
        lambda torch, x, y, r=reduction: torch.nn.functional.mse_loss(x, y, reduction=r),
        real(3, 4),
        real(3, 4),
    )
    row(
        f"l1 {reduction}",
        lambda torch, x, y, r=reduction: torch.nn.functional.l1_loss(x, y, reduction=r),
        apart(3, 4),
        real(3, 4),
    )
    for options in (
        {},
        {"weight": (1.0, 2.0, 0.5)},
        {"ignore_index": 1},
        {"weight": (1.0, 2.0, 0.5), "ignore_index": 0},
    ):

        def nll(torch: Any, x: Any, y: Any, options: Any = options, reduction: str = reduction) -> Any:
            weight = torch.tensor(options["weight"], dtype=x.dtype) if "weight" in options else None
            index = options.get("ignore_index", -100)
            return torch.nn.functional.nll_loss(x, y, weight=weight, ignore_index=index, reduction=reduction)

        def entropy(
            torch: Any, x: Any, y: Any, s: float = 0.0, options: Any = options, reduction: str = reduction
        ) -> Any:
            weight = torch.tensor(options["weight"], dtype=x.dtype) if "weight" in options else None
            index = options.get("ignore_index", -100)
            return torch.nn.functional.cross_entropy(
                x, y, weight=weight, ignore_index=index, reduction=reduction, label_smoothing=s
            )

        name = f"{options} {reduction}"
        row(f"nll {name}", nll, real(5, 3), np.array([0, 1, 2, 1, 0]))
        row(f"nll image {name}", nll, real(2, 3, 2, 2), whole(0, 3, 2, 2, 2))
        row(f"cross entropy {name}", entropy, real(5, 3), np.array([0, 1, 2, 1, 0]))
        row(f"cross entropy image {name}", entropy, real(2, 3, 2, 2), whole(0, 3, 2, 2, 2))
        row(
            f"cross entropy smooth {name}",
            lambda torch, x, y, f=entropy: f(torch, x, y, 0.2),
            real(5, 3),
            np.array([0, 1, 2, 1, 0]),
        )
        if "ignore_index" not in options:
            row(f"cross entropy probabilities {name}", entropy, real(5, 3), probabilities(5, 3))
            row(
                f"cross entropy smooth probabilities {name}",
                lambda torch, x, y, f=entropy: f(torch, x, y, 0.2),
                real(5, 3),
                probabilities(5, 3),
            )
    row(f"cross entropy of one {reduction}", entropy, real(3), np.array(1))
    row(f"nll of one {reduction}", nll, real(3), np.array(1))
    row(f"cross entropy of large {reduction}", entropy, real(5, 3) * 500, np.array([0, 1, 2, 1, 0]))
row(
    "cross entropy all ignored",
    lambda torch, x, y: torch.nn.functional.cross_entropy(x, y),
    real(2, 3),
    np.array([-100, -100]),
)
row(
    "cross entropy ignores -100",
    lambda torch, x, y: torch.nn.functional.cross_entropy(x, y),
    real(3, 3),
    np.array([-100, 1, 2]),
)
row("mse of integers", lambda torch, x, y: torch.nn.functional.mse_loss(x, y), real(3), whole(0, 5, 3))

# Convolution, pooling, batch norm


def convolution(**options: Any) -> Callable[..., Any]:
    return lambda torch, x, w, b=None: torch.nn.functional.conv2d(x, w, b, **options)


row("conv", convolution(), real(2, 3, 6, 5), real(4, 3, 3, 2), real(4))
row("conv, no bias", convolution(), real(2, 3, 6, 5), real(4, 3, 3, 2))
row("conv 1x1", convolution(), real(2, 3, 4, 4), real(4, 3, 1, 1), real(4))
row("conv stride", convolution(stride=2), real(2, 3, 7, 6), real(4, 3, 3, 2), real(4))
row("conv strides", convolution(stride=(1, 3)), real(2, 3, 7, 6), real(4, 3, 3, 2), real(4))
row("conv padding", convolution(padding=1), real(2, 3, 4, 4), real(4, 3, 3, 3), real(4))
row("conv paddings", convolution(padding=(0, 2), stride=2), real(2, 3, 5, 4), real(4, 3, 3, 3), real(4))
row("conv same", convolution(padding="same"), real(2, 3, 4, 5), real(4, 3, 3, 5), real(4))
row("conv same, dilated", convolution(padding="same", dilation=2), real(1, 2, 6, 6), real(2, 2, 3, 3), real(2))
row("conv valid", convolution(padding="valid"), real(2, 3, 4, 5), real(4, 3, 3, 3), real(4))
row("conv dilation", convolution(dilation=2), real(2, 3, 8, 7), real(4, 3, 3, 2), real(4))
row("conv dilations", convolution(dilation=(1, 2), padding=1, stride=2), real(2, 3, 8, 7), real(4, 3, 3, 2), real(4))
row("conv groups", convolution(groups=2), real(2, 4, 5, 5), real(6, 2, 3, 3), real(6))
row("conv depthwise", convolution(groups=4, padding=1), real(2, 4, 5, 5), real(4, 1, 3, 3), real(4))
row("conv of one image", convolution(), real(3, 6, 5), real(4, 3, 3, 2), real(4))
row("conv of no images", convolution(), real(0, 3, 6, 5), real(4, 3, 3, 2), real(4))
row("conv of the whole image", convolution(), real(2, 3, 4, 5), real(4, 3, 4, 5), real(4))


def pool(kind: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda torch, x: getattr(torch.nn.functional, f"{kind}_pool2d")(x, *args, **options)


for kind in ("max", "avg"):
    row(f"{kind} pool", pool(kind, 2), apart(2, 3, 6, 4))
    row(f"{kind} pool of odd size", pool(kind, 2), apart(2, 3, 7, 5))
    row(f"{kind} pool window", pool(kind, (2, 3)), apart(2, 3, 6, 6))
    row(f"{kind} pool stride", pool(kind, 3, 1), apart(2, 3, 6, 5))
    row(f"{kind} pool strides", pool(kind, 2, (3, 1)), apart(2, 3, 6, 5))
    row(f"{kind} pool padding", pool(kind, 3, 2, 1), apart(2, 3, 6, 5))
    row(f"{kind} pool ceil", pool(kind, 3, 2, ceil_mode=True), apart(2, 3, 6, 6))
    row(f"{kind} pool ceil, padding", pool(kind, 3, 2, 1, ceil_mode=True), apart(2, 3, 6, 7))
    row(f"{kind} pool of one image", pool(kind, 2), apart(3, 6, 4))
    row(f"{kind} pool of no images", pool(kind, 2), apart(0, 3, 6, 4))
row("max pool indices", pool("max", 3, 2, 1, return_indices=True), apart(2, 3, 6, 5))
row("max pool indices of one image", pool("max", 2, return_indices=True), apart(3, 6, 4))
row("max pool dilation", pool("max", 2, 1, dilation=2), apart(2, 3, 6, 5))
row("max pool of equals", pool("max", 2, return_indices=True), np.ones((1, 1, 4, 4)))
row("max pool of negatives, padding", pool("max", 3, 2, 1), -positive(1, 2, 5, 5))
row("max pool of nan", pool("max", 2, return_indices=True), np.array([[[[1.0, np.nan], [3.0, 2.0]]]]))
row("max pool of -inf", pool("max", 2, return_indices=True), np.full((1, 1, 2, 2), -np.inf))
row("avg pool without padding", pool("avg", 3, 2, 1, count_include_pad=False), apart(2, 3, 6, 5))
row("avg pool ceil without padding", pool("avg", 3, 2, 1, True, False), apart(2, 3, 6, 7))
row("avg pool divisor", pool("avg", 3, 2, divisor_override=5), apart(2, 3, 7, 5))


def normalized(training: bool, affine: bool = True, tracked: bool = True) -> Callable[..., Any]:
    def call(torch: Any, x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        running = (mean.detach().clone(), var.detach().clone()) if tracked else (None, None)
        scale = (w, b) if affine else (None, None)
        y = torch.nn.functional.batch_norm(x, *running, *scale, training, 0.3, 1e-3)
        return (y, *running) if tracked else y

    return call


for shape in ((4, 3, 2, 5), (6, 3), (4, 3, 5), (2, 3, 1, 1)):
    channels = (real(3), real(3), real(3), positive(3))
    row(f"batch norm training {shape}", normalized(True), real(*shape), *channels, tolerance=100)
    row(f"batch norm evaluation {shape}", normalized(False), real(*shape), *channels)
row("batch norm, not affine", normalized(True, affine=False), real(4, 3, 2, 2), *channels, tolerance=10)
row("batch norm, not tracked", normalized(True, tracked=False), real(4, 3, 2, 2), *channels, tolerance=10)
row("batch norm of large", normalized(True), real(4, 3, 2, 2) + 100, *channels, tolerance=1000)

# New tensors

row("tensor of floats", lambda torch: (torch.tensor([[1.0, 2], [3, 4]]), torch.tensor(2.5), torch.tensor([])))
row("tensor of integers", lambda torch: (torch.tensor([1, 2]), torch.tensor(3), torch.tensor([True, False])))
row(
    "tensor with dtype", lambda torch: (torch.tensor([1, 2], dtype=torch.float64), torch.tensor(1.7, dtype=torch.int32))
)
row(
    "tensor of arrays",
    lambda torch: (torch.tensor(np.ones(2)), torch.tensor([np.float32(1), 2.0]), torch.tensor(np.int16(3))),
)
row("as tensor", lambda torch: (torch.as_tensor([1.5]), torch.as_tensor(np.arange(3)), torch.as_tensor(torch.ones(2))))
row("Tensor", lambda torch: (torch.Tensor([1, 2]), torch.Tensor([[1.5]]), torch.zeros(2).new_tensor([1, 2])))
row(
    "zeros, ones",
    lambda torch: (torch.zeros(2, 3), torch.ones((2,)), torch.zeros(()), torch.ones(2, dtype=torch.int64)),
)
row(
    "like",
    lambda torch, x: (torch.zeros_like(x), torch.ones_like(x, dtype=torch.int32), torch.full_like(x, 3)),
    real(2),
)
row("new zeros", lambda torch, x: (x.new_zeros(2, 3), x.new_zeros((2,), dtype=torch.int64)), real(2))
row("full", lambda torch: (torch.full((2,), 3), torch.full((2,), 3.5), torch.full((), True)))
row("empty", lambda torch: torch.empty(2, 3) * 0 == 0)
row("arange", lambda torch: (torch.arange(5), torch.arange(1, 7, 2), torch.arange(0.0, 1, 0.25), torch.arange(3.0)))
row("linspace", lambda torch: torch.linspace(0, 1, 5))
row("eye", lambda torch: (torch.eye(2), torch.eye(2, 3)))
row("requires grad", lambda torch: torch.ones(2, requires_grad=True) * 2)
row("shapes of random", lambda torch: tuple(x * 0 for x in (
    torch.rand(2, 3), torch.randn((2,)), torch.rand_like(torch.ones(2)), torch.randint(5, (3,)),
    torch.randint(2, 5, (2,)), torch.randperm(4), torch.normal(0.0, 1.0, (3,)), torch.randn(2, dtype=torch.float64),
)))  # fmt: skip


every_row = pytest.mark.parametrize("case", TABLE, ids=[row.name for row in TABLE])


def leaves(torch: Any, case: Row, dtype: str, to: Callable[[np.ndarray], np.ndarray] = np.array) -> list[Any]:
    """The inputs as tensors; those of floating point require gradients."""
    return [
        torch.tensor(to(x), dtype=getattr(torch, dtype), requires_grad=True)
        if x.dtype == np.float64
        else torch.from_numpy(np.array(x))
        for x in case.inputs
    ]


def listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def run(torch: Any, case: Row, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """The outputs, and the gradients of the inputs for fixed gradients of the outputs."""
    outputs = listed(case.call(torch, *inputs))
    rng = np.random.default_rng(1)
    flowing = [y for y in outputs if y.requires_grad]
    if flowing:
        directions = [torch.tensor(rng.standard_normal(tuple(y.shape)), dtype=y.dtype) for y in flowing]
        torch.autograd.backward(flowing, directions)
    return outputs, [x.grad for x in inputs]


def same(ours: Any, theirs: Any, what: str, tolerance: float) -> None:
    assert repr(ours.dtype) == repr(theirs.dtype), what
    assert tuple(ours.shape) == tuple(theirs.shape), what
    relative = tolerance * (1e-5 if ours.dtype is ddpnet.float32 else 1e-12)
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=relative, atol=relative, err_msg=what, strict=True
    )


@every_row
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equals_pytorch(case: Row, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ours, our_gradients = run(ddpnet, case, leaves(ddpnet, case, dtype))
    theirs, their_gradients = run(torch, case, leaves(torch, case, dtype))
    assert len(ours) == len(theirs)
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        same(a, b, f"output {number}", case.tolerance)
        assert a.requires_grad == b.requires_grad, f"output {number}"
    for number, (a, b) in enumerate(zip(our_gradients, their_gradients, strict=True)):
        assert (a is None) == (b is None), f"gradient {number}"
        if a is not None:
            same(a, b, f"gradient {number}", case.tolerance)


NOT_SMOOTH = (
    "pow at zero",  # on the edge of the domain
    "max of equals",
    "min of equals",
    "max with nan",
    "min with nan",
    "max pool of equals",
    "max pool of nan",
    "max pool of -inf",
    "conversion",  # through float32
    "sigmoid of large",
    "cross entropy all ignored",
)


def values(case: Row, steps: list[np.ndarray], size: float, device: str) -> list[np.ndarray]:
    """The outputs at inputs moved by `size` along `steps`."""
    inputs = [
        ddpnet.tensor(x + size * step if x.dtype == np.float64 else x, device=device)
        for x, step in zip(case.inputs, steps, strict=True)
    ]
    return [y.detach().cpu().numpy() for y in listed(case.call(ddpnet, *inputs))]


@pytest.mark.parametrize("case", [r for r in TABLE if r.name not in NOT_SMOOTH], ids=lambda case: case.name)
def test_gradient_in_a_random_direction(case: Row, device: str) -> None:
    """The slope of a random sum of the outputs along a random direction, by backward and by a central difference."""
    inputs = [x.to(device).detach().requires_grad_(x.is_floating_point()) for x in leaves(ddpnet, case, "float64")]
    rng = np.random.default_rng(1)
    outputs = listed(case.call(ddpnet, *inputs))
    weights = [rng.standard_normal(y.shape) if y.requires_grad else np.zeros(y.shape) for y in outputs]
    flowing = [(y, ddpnet.tensor(w, device=device)) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    if not flowing:
        pytest.skip("no gradient flows")
    ddpnet.autograd.backward([y for y, _ in flowing], [w for _, w in flowing])
    gradients = [np.zeros(x.shape) if x.grad is None else x.grad.cpu().numpy() for x in inputs]
    steps = [np.zeros(x.shape) if x.grad is None else rng.standard_normal(x.shape) for x in inputs]
    slope = sum(float((gradient * step).sum()) for gradient, step in zip(gradients, steps, strict=True))
    size = 1e-6
    ahead, behind = values(case, steps, size, device), values(case, steps, -size, device)
    changes = [
        float(((b - a) * w).sum())
        for a, b, w in zip(behind, ahead, weights, strict=True)
        if w.any() and a.dtype != bool
    ]
    difference = sum(changes) / (2 * size)
    assert slope == pytest.approx(difference, rel=1e-6, abs=1e-6), f"backward {slope!r}, difference {difference!r}"


def _strided(x: np.ndarray) -> np.ndarray:
    """The same values, every second element of a larger array with its dimensions reversed."""
    wide = np.zeros([2 * extent for extent in reversed(x.shape)], x.dtype)
    view = wide[(..., *(slice(None, None, 2) for _ in x.shape))].T
    view[...] = x
    return view


@pytest.mark.parametrize("case", [r for r in TABLE if not r.name.startswith("view")], ids=lambda case: case.name)
def test_non_contiguous_inputs(case: Row) -> None:
    straight = leaves(ddpnet, case, "float64")
    strided = [ddpnet.from_numpy(_strided(x)) for x in case.inputs]
    for x in strided:
        x.requires_grad = x.is_floating_point()
    for a, b in zip(run(ddpnet, case, straight), run(ddpnet, case, strided), strict=True):
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_allclose(
                    y.detach().numpy(), x.detach().numpy(), rtol=1e-9, atol=1e-11, err_msg=str(number), strict=True
                )


def test_random_numbers() -> None:
    ddpnet.manual_seed(1)
    even, normal = ddpnet.rand(100_000).numpy(), ddpnet.randn(100_000).numpy()
    assert (even.min() >= 0, even.max() < 1) == (True, True)
    assert (even.mean(), even.var()) == (pytest.approx(1 / 2, abs=0.005), pytest.approx(1 / 12, abs=0.002))
    assert (normal.mean(), normal.var()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert sorted(ddpnet.randperm(1000).tolist()) == list(range(1000))
    assert set(ddpnet.randint(2, 5, (1000,)).tolist()) == {2, 3, 4}
    moved = ddpnet.zeros(100_000).uniform_(-3, 1).numpy()
    assert (moved.min(), moved.max()) == (pytest.approx(-3, abs=1e-3), pytest.approx(1, abs=1e-3))
    assert ddpnet.zeros(100_000).normal_(5, 0.1).numpy().mean() == pytest.approx(5, abs=0.01)


def test_the_seed_decides_and_the_state_goes_back() -> None:
    ddpnet.manual_seed(1)
    first = ddpnet.rand(3)
    state = ddpnet.get_rng_state()
    second = ddpnet.rand(3)
    ddpnet.set_rng_state(state)
    assert ddpnet.equal(ddpnet.rand(3), second)
    assert not ddpnet.equal(first, second)
    ddpnet.manual_seed(1)
    assert ddpnet.equal(ddpnet.rand(3), first)
    own = ddpnet.Generator().manual_seed(1)
    assert ddpnet.equal(ddpnet.rand(3, generator=own), first)


def test_from_numpy_shares_memory_and_tensor_does_not() -> None:
    array = np.zeros(2)
    shared, copied = ddpnet.from_numpy(array), ddpnet.tensor(array)
    array[0] = 1
    assert (shared.tolist(), copied.tolist()) == ([1, 0], [0, 0])
    shared[1] = 5
    assert array.tolist() == [1, 5]
