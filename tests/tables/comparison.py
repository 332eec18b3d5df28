"""Rows of the family `comparison`."""

from __future__ import annotations

import numpy as np

from tables import Table, apart, real, truth, whole

TABLE = Table()
row = TABLE.row

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
