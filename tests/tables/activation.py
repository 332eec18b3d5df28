"""Rows of the family `activation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import SHAPES, Table, apart, positive, real, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

STRAIGHT: dict[str, tuple[dict[str, Any], ...]] = {
    "relu6": ({},),
    "leaky_relu": ({}, {"negative_slope": 0.3}),
    "rrelu": ({}, {"lower": 0.1, "upper": 0.2}),
    "hardtanh": ({}, {"min_val": -0.3, "max_val": 0.8}),
    "hardsigmoid": ({},),
    "hardswish": ({},),
    "hardshrink": ({}, {"lambd": 0.2}),
    "softshrink": ({}, {"lambd": 0.2}),
    "threshold": ({"threshold": 0.1, "value": 2.0},),
}
SMOOTH: dict[str, tuple[dict[str, Any], ...]] = {
    "elu": ({}, {"alpha": 0.7}),
    "selu": ({},),
    "celu": ({}, {"alpha": 0.7}),
    "gelu": ({}, {"approximate": "tanh"}),
    "silu": ({},),
    "mish": ({},),
    "logsigmoid": ({},),
    "softplus": ({}, {"beta": 2.0, "threshold": 1.0}),
    "softsign": ({},),
    "tanhshrink": ({},),
    "glu": ({}, {"dim": 0}),
}
IN_PLACE = ("relu6", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish", "threshold")
IN_PLACE += ("elu", "selu", "celu", "silu", "mish")


ROUNDED = {"hardsigmoid", "celu"}
"""PyTorch's gradients of these have constants rounded to float32, in float64 too."""


def of(name: str, **options: Any) -> Callable[..., Any]:
    return lambda torch, x: getattr(torch.nn.functional, name)(x, **options)


for name, variants in STRAIGHT.items():
    for options in variants:
        tolerance = 1e5 if name in ROUNDED else 1.0
        rows(f"{name} {options}", of(name, **options), apart, *SHAPES, tolerance=tolerance)
        row(f"{name} {options} of large", of(name, **options), np.array([-500.0, -4.0, 4.0, 500.0]))
for name, variants in SMOOTH.items():
    for options in variants:
        shapes = ((2, 4), (4, 2, 2), (2, 0)) if name == "glu" else SHAPES
        tolerance = 1e5 if name in ROUNDED else 1.0
        rows(f"{name} {options}", of(name, **options), real, *shapes, tolerance=tolerance)
        large = np.array([-500.0, -90.0, -15.0, 15.0, 90.0, 500.0])
        row(f"{name} {options} of large", of(name, **options), large, smooth=False, twice=False)
for name in IN_PLACE:
    options = STRAIGHT[name][0] if name in STRAIGHT else {}
    row(
        f"{name} in place",
        lambda torch, x, f=name, o=options: getattr(torch.nn.functional, f)(x * 1, inplace=True, **o),
        apart(3, 4),
        tolerance=1e5 if name in ROUNDED else 1.0,
    )
for name in ("relu", "leaky_relu", "hardtanh", "elu", "selu", "celu"):
    row(f"{name}_", lambda torch, x, f=name: getattr(torch.nn.functional, f"{f}_")(x * 1), apart(3, 4))
for name in ("relu_", "selu_", "celu_", "rrelu_", "tanh_", "sigmoid_"):
    row(f"torch.{name}", lambda torch, x, f=name: getattr(torch, f)(x * 1), apart(3, 4))
row("threshold_", lambda torch, x: torch.threshold_(x * 1, 0.2, 3.0), apart(3, 4))
row("threshold of integers", lambda torch, x: torch.threshold(x, 2, 5), whole(0, 5, 6))
row("relu of integers", lambda torch, x: (torch.relu(x), torch.nn.functional.relu6(x)), whole(-9, 9, 6))
row("prelu", lambda torch, x, w: torch.prelu(x, w), apart(2, 3, 4), positive(3))
row("prelu of one slope", lambda torch, x, w: x.prelu(w), apart(2, 3), positive(1))
row("prelu 0-d", lambda torch, x, w: torch.prelu(x, w), apart(), positive())
row("gelu at the tails", of("gelu"), np.linspace(-9, 9, 37), tolerance=4)

# The softmax family

for name in ("softmax", "log_softmax", "softmin"):
    for dim, shape in ((0, (3, 4)), (1, (3, 4)), (-2, (2, 3, 4)), (-1, (2, 3, 19)), (0, ()), (1, (2, 0)), (0, (0, 3))):
        row(f"{name} {dim} {shape}", of(name, dim=dim), real(*shape), tolerance=4)
    row(f"{name} of large", of(name, dim=1), real(3, 4) * 300)
    row(
        f"{name} to float64",
        lambda torch, x, f=name: getattr(torch.nn.functional, f)(x, dim=0, dtype=torch.float64),
        real(3, 4),
        tolerance=4,
    )
row("softmax of integers to float32", lambda torch, x: torch.softmax(x, 0, dtype=torch.float32), whole(0, 5, 4))
row("softmax of -inf", of("softmax", dim=1), np.array([[-np.inf, 1.0, 2.0], [0.0, -np.inf, -np.inf]]), smooth=False)
row("softmax of -inf alone", of("softmax", dim=0), np.full(3, -np.inf), smooth=False)
