"""Rows of the family `elementwise`."""

from __future__ import annotations

import numpy as np

from tables import SHAPES, Table, apart, positive, real, truth, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

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
row("sigmoid of large", lambda torch, x: torch.sigmoid(x), np.array([-800.0, -30.0, 30.0, 800.0]), smooth=False)
row("dropout in evaluation", lambda torch, x: torch.nn.functional.dropout(x, 0.5, training=False), real(2, 3))
row("dropout of nothing", lambda torch, x: torch.nn.functional.dropout(x, 0.0), real(2, 3))
row("dropout of all", lambda torch, x: torch.nn.functional.dropout(x, 1.0), real(2, 3))
row("softmax", lambda torch, x: torch.softmax(x, 1), real(3, 4))
row("softmax first", lambda torch, x: x.softmax(0), real(3, 4))
row("softmax of large", lambda torch, x: torch.softmax(x, -1), real(3, 4) * 500)
row("softmax 0-d", lambda torch, x: torch.softmax(x, 0), real())
row("log softmax", lambda torch, x: torch.nn.functional.log_softmax(x, dim=1), real(3, 4, 2))
row("log softmax of large", lambda torch, x: x.log_softmax(-1), real(3, 4) * 500)
