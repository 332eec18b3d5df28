"""Rows of the family `shape`."""

from __future__ import annotations

from tables import Table, real, whole

TABLE = Table()
row = TABLE.row

# Shapes

row("reshape", lambda torch, x: x.reshape(4, -1), real(2, 3, 4))
row("reshape of a transpose", lambda torch, x: torch.reshape(x.t(), (6,)), real(2, 3))
row("view", lambda torch, x: x.view(3, 2) * 2, real(2, 3), strided=False)
row("view as", lambda torch, x, y: x.view_as(y), real(2, 3), real(6), strided=False)
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
row("conversion", lambda torch, x: (x.double(), x.to(torch.float64), x.float()), real(2, 3), smooth=False)
row(
    "conversion of integers",
    lambda torch, x: (x.to(torch.uint8), x.bool(), x.long(), x.float(), x.int(), x.short()),
    whole(0, 9, 4),
)
