"""Rows of the families `sorting` and `counting`."""

from __future__ import annotations

import numpy as np

from tables import Table, apart, real, truth, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

GAPS = np.array([[1.0, np.nan, 2.0, -1.0, np.nan], [5.0, 4.0, 3.0, 2.0, 1.0]])

for falling in (False, True):
    row(f"sort {falling}", lambda torch, x, d=falling: tuple(torch.sort(x, 0, d)), apart(4, 3))
    row(
        f"sort stably {falling}",
        lambda torch, x, d=falling: tuple(x.sort(dim=1, descending=d, stable=True)),
        whole(0, 3, 2, 9),
    )
    row(
        f"argsort {falling}",
        lambda torch, x, d=falling: torch.argsort(x, dim=-1, descending=d, stable=True),
        whole(0, 3, 2, 9),
    )
    row(
        f"sort with nan {falling}",
        lambda torch, x, d=falling: tuple(torch.sort(x, dim=-1, descending=d, stable=True)),
        GAPS,
        smooth=False,
        twice=False,
    )
rows("sort", lambda torch, x: tuple(x.sort()), real, (), (0, 3), (3, 0))
row("sort of truth", lambda torch, x: torch.sort(x, dim=0, stable=True).values, truth(5, 2))
row("msort", lambda torch, x: torch.msort(x), apart(4, 3))
for largest in (True, False):
    row(f"topk {largest}", lambda torch, x, m=largest: tuple(x.topk(2, 1, m)), apart(3, 5))
    row(f"topk of many {largest}", lambda torch, x, m=largest: tuple(torch.topk(x, 3, 0, m)), apart(100, 2))
    row(f"topk 1 {largest}", lambda torch, x, m=largest: tuple(torch.topk(x, 1, -1, m)), apart(2, 90))
    row(f"topk with nan {largest}", lambda torch, x, m=largest: x.topk(3, 1, m)[0], GAPS, smooth=False, twice=False)
row("topk of a number", lambda torch, x: tuple(x.topk(1)), real())
for k in (1, 3):
    row(f"kthvalue {k}", lambda torch, x, k=k: tuple(torch.kthvalue(x, k, 0)), apart(4, 3))
row("kthvalue kept", lambda torch, x: tuple(x.kthvalue(2, keepdim=True)), apart(4, 3))
for name in ("median", "nanmedian"):
    row(name, lambda torch, x, f=name: getattr(torch, f)(x), apart(3, 4))
    row(f"{name} along", lambda torch, x, f=name: tuple(getattr(x, f)(1)), apart(3, 4))
    row(f"{name} kept", lambda torch, x, f=name: tuple(getattr(x, f)(0, True)), apart(3, 4))
    row(f"{name} with nan", lambda torch, x, f=name: getattr(x, f)(1).values, GAPS, smooth=False, twice=False)
    row(f"{name} of all with nan", lambda torch, x, f=name: getattr(x, f)(), GAPS, smooth=False, twice=False)
    rows(name, lambda torch, x, f=name: getattr(x, f)(), real, (), (0,), smooth=False, twice=False)
row("mode", lambda torch, x: (torch.mode(x).values, x.mode(0, True).values), whole(0, 3, 5, 6))
row(
    "mode of numbers",
    lambda torch, x: tuple(x.mode(1)),
    np.array([[1.0, 2.0, 2.0, 1.0, 3.0], [5.0, 5.0, 5.0, 1.0, 1.0]]),
    smooth=False,
)
for kind in ("linear", "lower", "higher", "midpoint", "nearest"):
    row(f"quantile {kind}", lambda torch, x, k=kind: torch.quantile(x, 0.3, 1, interpolation=k), apart(3, 6))
    row(
        f"nanquantile {kind}",
        lambda torch, x, k=kind: torch.nanquantile(x, 0.6, 1, interpolation=k),
        GAPS,
        smooth=False,
        twice=False,
    )
row("quantiles", lambda torch, x: torch.quantile(x, torch.tensor([0.1, 0.5, 1.0], dtype=x.dtype), 0, True), apart(5, 3))
row("quantile of all", lambda torch, x: (x.quantile(0.25), x.quantile(0.25, keepdim=True)), apart(3, 4))
row("quantile with nan", lambda torch, x: x.quantile(0.5, 1), GAPS, smooth=False, twice=False)

row("unique", lambda torch, x: torch.unique(x, return_inverse=True, return_counts=True), whole(0, 4, 3, 5))
row("unique along", lambda torch, x: torch.unique(x, dim=1, return_inverse=True, return_counts=True), whole(0, 2, 2, 6))
row("unique alone", lambda torch, x: (x.unique(), x.unique(return_counts=True)[1]), whole(0, 4, 9))
row("unique of truth", lambda torch, x: x.unique(return_inverse=True), truth(3, 4))
row("unique_consecutive", lambda torch, x: torch.unique_consecutive(x, True, True), whole(0, 2, 3, 5))
row("unique_consecutive along", lambda torch, x: x.unique_consecutive(True, True, 0), whole(0, 2, 8, 1))
row("bincount", lambda torch, x: (torch.bincount(x), x.bincount(minlength=9)), whole(0, 5, 12))
row("bincount weighed", lambda torch, x, w: torch.bincount(x, w.detach()), whole(0, 5, 12), real(12))
row("bincount of nothing", lambda torch, x: x.bincount(), whole(0, 5, 0))
row("histc", lambda torch, x: (torch.histc(x.detach(), 5), x.detach().histc(bins=4, min=-1, max=1)), real(30))
row(
    "bucketize",
    lambda torch, x, b: (torch.bucketize(x.detach(), b), torch.bucketize(x.detach(), b, right=True)),
    real(3, 4),
    np.arange(-2, 3),
)
row(
    "searchsorted",
    lambda torch, a, v: (torch.searchsorted(a, v), torch.searchsorted(a, v, right=True, out_int32=True)),
    np.sort(whole(0, 9, 2, 6)),
    whole(0, 9, 2, 3),
)
row("searchsorted in one", lambda torch, a: (torch.searchsorted(a, 3), torch.searchsorted(a, a)), np.arange(6))
row(
    "isin",
    lambda torch, x, y: (torch.isin(x, y), torch.isin(x, 2), torch.isin(x, y, invert=True)),
    whole(0, 5, 3, 4),
    whole(0, 5, 3),
)
