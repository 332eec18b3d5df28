"""Rows of the family `arithmetic`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import SHAPES, Table, apart, positive, real, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

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
row("pow at zero", lambda torch, x, y: x**y, np.zeros(3), np.array([0.0, 1.0, 2.0]), smooth=False)
row("floor divide", lambda torch, x, y: (x.detach() // y.detach(),), apart(5, 5), positive(5))
row("remainder", lambda torch, x: x.detach() % 0.7, apart(5, 5))
row(
    "integer quotients",
    lambda torch, x, y: (x // y, x % y, x // 3, x % -3),
    whole(-9, 9, 20),
    np.where(np.arange(20) % 2, 4, -4),
)
rows("neg", lambda torch, x: -x, real, *SHAPES)
for mode in ("floor", "trunc"):
    row(f"div {mode}", lambda torch, x, y, m=mode: torch.div(x, y, rounding_mode=m), apart(5, 5), positive(5))
    row(f"div {mode} by number", lambda torch, x, m=mode: x.div(-0.7, rounding_mode=m), apart(5, 5))
    row(
        f"div {mode} of integers",
        lambda torch, x, y, m=mode: (torch.div(x, y, rounding_mode=m), torch.div(x, -3, rounding_mode=m)),
        whole(-9, 9, 20),
        np.where(np.arange(20) % 2, 4, -4),
    )
row("quotients with gradients", lambda torch, x, y: (x % y, torch.fmod(x, y)), apart(5, 5), positive(5))
row("quotients of numbers", lambda torch, x: (7 // x.detach(), 7 % x.detach(), torch.fmod(x, 0.4)), positive(5))
row(
    "quotients by zero",
    lambda torch, x: (x.detach() // 0.0, x % 0.0, x.fmod(0.0), x / 0),
    np.array([1.0, -1.0, 0.0]),
    smooth=False,
)
row("reciprocal", lambda torch, x: (x.reciprocal(), torch.reciprocal(x)), apart(3, 4))
row(
    "aliases",
    lambda torch, x, y: (
        torch.subtract(x, y),
        x.multiply(y),
        torch.divide(x, y),
        torch.true_divide(x, 2),
        x.negative(),
    ),
    apart(3, 4),
    positive(4),
)
row("rsub", lambda torch, x, y: (torch.rsub(x, y), torch.rsub(x, 2, alpha=3)), real(3, 4), real(4))
row("positive", lambda torch, x: (+x, torch.positive(x)), real(3, 4))
for value in (1, 0.5):
    row(
        f"addcmul {value}",
        lambda torch, x, a, b, v=value: torch.addcmul(x, a, b, value=v),
        real(3, 4),
        real(4),
        real(3, 1),
    )
    row(
        f"addcdiv {value}",
        lambda torch, x, a, b, v=value: torch.addcdiv(x, a, b, value=v),
        real(3, 4),
        real(4),
        positive(3, 1),
    )
row("addcmul of integers", lambda torch, n: torch.addcmul(n, n, n, value=2), whole(-9, 9, 5))
row("addcmul in place", lambda torch, x, a: (x * 1).addcmul_(a, a, value=-2), real(3, 4), real(4))
row("addcdiv in place", lambda torch, x, a: (x * 1).addcdiv_(x, a), real(3, 4), positive(4))
row("alpha of integers", lambda torch, n: (torch.add(n, n, alpha=-3), n.sub(2, alpha=4)), whole(0, 9, 5))
row("numbers", lambda torch, x: (torch.add(1, x), torch.mul(2, x), torch.sub(1, x), torch.div(1, x)), positive(3))
row("out", lambda torch, x: torch.add(x.detach(), 1, out=torch.empty(3, dtype=x.dtype)), positive(3))
row("truth", lambda torch, a, b: (a + b, a * b, a / b, a + 1, a * 2.5), np.array([True, False]), np.array([True, True]))
