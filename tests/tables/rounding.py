"""Rows of the families `rounding`, `choice` and `bitwise`."""

from __future__ import annotations

import numpy as np

from tables import SHAPES, Table, apart, positive, real, truth, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

EDGES = np.array([-2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, np.nan, np.inf, -np.inf])

for name in "ceil floor trunc fix round frac sign abs absolute".split():
    rows(name, lambda torch, x, f=name: getattr(torch, f)(x), apart, *SHAPES)
    row(f"{name} method", lambda torch, x, f=name: (getattr(x, f)(), getattr(x * 1, f"{f}_")()), apart(4))
    row(f"{name} at edges", lambda torch, x, f=name: getattr(torch, f)(x), EDGES[:8], smooth=False)
row("sgn", lambda torch, x: torch.sgn(x.detach()), apart(2, 3))
for name in "ceil floor trunc round sign sgn abs neg".split():
    row(f"{name} of integers", lambda torch, n, f=name: getattr(torch, f)(n), whole(-3, 3, 5))
row("sign of bool", lambda torch, b: (torch.sign(b), torch.signbit(b)), truth(4))
row("signbit", lambda torch, x, n: (torch.signbit(x), n.signbit()), EDGES, whole(-3, 3, 5))
for decimals in (1, 3, -1):
    row(f"round decimals {decimals}", lambda torch, x, d=decimals: torch.round(x, decimals=d), real(5) * 20)
row("copysign", lambda torch, x, y: torch.copysign(x, y), apart(3, 4), apart(4))
row("copysign number", lambda torch, x, n: (x.copysign(-2), torch.copysign(n, -1.0)), apart(4), whole(1, 4, 3))
row("copysign at 0", lambda torch, x: torch.copysign(x, -1.0), np.array([0.0, -0.0, 1.0]), smooth=False)
row("heaviside", lambda torch, x, y: torch.heaviside(x.detach(), y.detach()), EDGES, positive(11))
row("nextafter", lambda torch, x, y: torch.nextafter(x.detach(), y.detach()), EDGES, real(11))
row("ldexp", lambda torch, x, n: (torch.ldexp(x, n), torch.ldexp(x.detach(), -n)), apart(4), whole(0, 4, 4))
row("frexp", lambda torch, x: tuple(torch.frexp(x)), apart(3, 4), smooth=False)
row(
    "angle",
    lambda torch, x, n: (torch.angle(x), torch.angle(n)),
    np.array([-1.0, 0.0, 2.0]),
    whole(-2, 2, 4),
    smooth=False,
)

# Choice

PLACES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
row("clamp at bounds", lambda torch, x: x.clamp(-0.5, 0.5), PLACES, smooth=False)
row("clamp lower above upper", lambda torch, x: x.clamp(0.7, -0.7), PLACES, smooth=False)
row("clamp aliases", lambda torch, x: (torch.clip(x, 0, 1), x.clamp_min(0.2), torch.clamp_max(x, 0.3)), apart(5))
row("clamp by tensors", lambda torch, x, a, b: torch.clamp(x, a, b), apart(3, 4), real(4), real(3, 1))
row("clamp by one tensor", lambda torch, x, a: (torch.clamp(x, min=a), x.clamp(max=a)), apart(3, 4), real(4))
row("clamp by tensors at bounds", lambda torch, x, a: torch.clamp(x, a, a), PLACES, np.zeros(5), smooth=False)
row(
    "clamp of integers",
    lambda torch, n: (n.clamp(0, 2), n.clamp(0.5), torch.clamp(n, max=n.new_tensor(1))),
    whole(-3, 3, 5),
)
row("clamp of not a number", lambda torch, x: x.clamp(0, 1), EDGES, smooth=False)
for name in ("maximum", "minimum", "fmax", "fmin"):
    row(name, lambda torch, x, y, f=name: getattr(torch, f)(x, y), apart(3, 4), real(4))
    row(f"{name} 0-d", lambda torch, x, y, f=name: getattr(x, f)(y), real(), real())
    row(f"{name} ties", lambda torch, x, y, f=name: getattr(torch, f)(x, y), PLACES, -PLACES, smooth=False)
    row(f"{name} of nan", lambda torch, x, y, f=name: getattr(torch, f)(x, y), EDGES, EDGES[::-1].copy(), smooth=False)
    row(f"{name} of integers", lambda torch, m, x, f=name: getattr(torch, f)(m, x.detach()), whole(0, 5, 4), real(4))
row("where of nan", lambda torch, x: torch.where(x > 0, x.log(), 0.0), np.array([-1.0, 1.0, 2.0]), smooth=False)
row("where method", lambda torch, x, y, c: x.where(c, y), real(3, 4), real(4), truth(3, 1))
row("where indices", lambda torch, c, n: (*torch.where(c), *torch.where(n)), truth(3, 4), whole(0, 2, 5))
row(
    "where promotes",
    lambda torch, c, n, x: (torch.where(c, n, 1.5), torch.where(c, 1, x), torch.where(c, 1, True)),
    truth(4),
    whole(0, 5, 4),
    real(4),
)
row("masked fill with tensor", lambda torch, x, c, y: x.masked_fill(c, y), real(3, 4), truth(4), real())
row(
    "masked fill of integers",
    lambda torch, n, c: (n.masked_fill(c, 2.7), n.masked_fill(c, True)),
    whole(0, 9, 4),
    truth(4),
)
row(
    "masked fill with infinity",
    lambda torch, x, c: x.masked_fill(c, -float("inf")),
    real(3, 4),
    truth(3, 4),
    smooth=False,
)
row("lerp", lambda torch, x, y: (torch.lerp(x, y, 0.3), x.lerp(y, 0.8)), real(3, 4), real(4))
row("lerp with tensor", lambda torch, x, y, w: torch.lerp(x, y, w), real(3, 4), real(4), positive(3, 1))
row("lerp in place", lambda torch, x, y: (x * 1).lerp_(y, 0.25), real(3), real(3))
row("nan to num", lambda torch, x: torch.nan_to_num(x), EDGES, smooth=False)
row(
    "nan to num with values",
    lambda torch, x, n: (x.nan_to_num(1.0, 2.0, 3.0), n.nan_to_num()),
    EDGES,
    whole(0, 5, 3),
    smooth=False,
)

# Logic

for name in ("and", "or", "xor"):
    row(
        f"logical {name}",
        lambda torch, x, y, n, f=f"logical_{name}": (getattr(torch, f)(x, y), getattr(n, f)(x)),
        whole(0, 2, 9),
        truth(9),
        whole(-1, 2, 9),
    )
    row(
        f"bitwise {name}",
        lambda torch, x, y, f=f"bitwise_{name}": (getattr(torch, f)(x, y), getattr(x, f)(3)),
        whole(0, 9, 9),
        whole(-9, 9, 9),
    )
    row(
        f"bitwise {name} of truth", lambda torch, x, y, f=f"bitwise_{name}": getattr(torch, f)(x, y), truth(9), truth(9)
    )
row("operators of bits", lambda torch, x, y: (x ^ y, 3 & x, 5 | x, 6 ^ x, ~x), whole(0, 9, 9), whole(-9, 9, 9))
row(
    "shifts", lambda torch, x, y: (x << y, x >> y, 1 << y, 100 >> y, x << 2, x >> 70), whole(-99, 99, 9), whole(0, 9, 9)
)


def _augmented(torch, x, y):  # type: ignore[no-untyped-def]
    x = x.clone()
    x += y
    x <<= 2
    x |= 5
    x ^= y
    x &= 61
    x >>= 1
    x //= 3
    x %= 5
    x **= 2
    x -= y
    x *= 2
    return x


row("augmented assignments", _augmented, whole(1, 9, 9), whole(1, 9, 9))
row("gcd and lcm", lambda torch, x, y: (torch.gcd(x, y), torch.lcm(x, y)), whole(-30, 30, 9), whole(-30, 30, 9))
row(
    "special numbers",
    lambda torch, x: (x.isnan(), x.isinf(), x.isposinf(), torch.isneginf(x), x.isfinite(), x.isreal()),
    EDGES,
)
row(
    "isclose",
    lambda torch, x, y: (torch.isclose(x, y), torch.isclose(x, y, 0.1, 0.1), torch.isclose(x, x, equal_nan=True)),
    EDGES,
    EDGES + 1e-9,
)
row("isclose of integers", lambda torch, n: (torch.isclose(n, n + 1), n.isclose(n + 1, 0.5, 1.0)), whole(-5, 5, 9))
row(
    "named comparisons",
    lambda torch, m, n: (m.greater(n), torch.less(m, n), m.greater_equal(1), m.less_equal(n), m.not_equal(n)),
    whole(0, 3, 9),
    whole(0, 3, 9),
)
row(
    "comparisons in place",
    lambda torch, m: (m.clone().eq_(1), m.clone().lt_(2), m.clone().logical_not_()),
    whole(0, 3, 9),
)

# Large arrays go another way than small ones
row(
    "where of many",
    lambda torch, x, y: (torch.where(x > y, x, y), torch.where(x > 0, x.T, y)),
    real(60, 60),
    real(60, 60),
)
row(
    "masked fill of many",
    lambda torch, x, c, n: (x.masked_fill(c, 2.0), n.masked_fill(c, 3)),
    real(60, 60),
    truth(60, 60),
    whole(0, 9, 60, 60),
)
row(
    "clamp of many",
    lambda torch, x: (x.clamp(-0.5, 0.5), x.T.half().clamp(min=0.0).float()),
    real(60, 60),
    smooth=False,
)
