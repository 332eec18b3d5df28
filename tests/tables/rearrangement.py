"""Rows of the families that rearrange, split, join and stride."""

from __future__ import annotations

import numpy as np

from tables import Table, real, whole

TABLE = Table()
row = TABLE.row

row("repeat", lambda torch, x: (x.repeat(2, 1, 3), x.repeat((1, 2))), real(2, 3))
row("repeat 0-d", lambda torch, x: (x.repeat(3), x.repeat(2, 2)), real())
row("repeat nothing", lambda torch, x: (x.repeat(0, 2), torch.tile(x, (2,))), real(2, 3))
row("tile", lambda torch, x: (torch.tile(x, (2,)), x.tile(2, 1, 1)), real(2, 3))
row("repeat interleave", lambda torch, x: (x.repeat_interleave(2), x.repeat_interleave(3, dim=1)), real(2, 3))
row("repeat interleave by counts", lambda torch, x, n: x.repeat_interleave(n, 0), real(3, 2), np.array([1, 0, 2]))
row("repeat interleave of counts", lambda torch, n: torch.repeat_interleave(n), np.array([1, 0, 2]))
row("flip", lambda torch, x: (x.flip(0), x.flip(0, 1), torch.flip(x, [-1])), real(2, 3))
row("flip lr, ud", lambda torch, x: (x.fliplr(), torch.flipud(x)), real(2, 3))
row("roll", lambda torch, x: (x.roll(1), x.roll((1, 2), (0, 1)), torch.roll(x, -1, 1)), real(2, 3))
row("rot90", lambda torch, x: (x.rot90(), torch.rot90(x, -1, (1, 0)), x.rot90(2)), real(2, 3))
row("meshgrid", lambda torch, x, y: torch.meshgrid(x, y, indexing="ij"), real(2), real(3))
row("meshgrid xy", lambda torch, x, y: torch.meshgrid([x, y], indexing="xy"), real(2), real(3))
row("unravel index", lambda torch, i: torch.unravel_index(i, (2, 3)), whole(0, 6, 4))
row("split with sizes", lambda torch, x: torch.split_with_sizes(x, [1, 0, 2], 1), real(2, 3))
row("split uses one part", lambda torch, x: torch.split(x, 2)[1] * 2, real(5, 2))
row("tensor split", lambda torch, x: (*torch.tensor_split(x, 2), *x.tensor_split((1, 4), dim=1)), real(3, 5))
row("hsplit, vsplit", lambda torch, x: (*x.hsplit(2), *torch.vsplit(x, [1])), real(2, 4))
row("dsplit", lambda torch, x: x.dsplit(2), real(2, 1, 4))
row("unsafe chunk", lambda torch, x: torch.unsafe_chunk(x, 2), real(3, 2))
row("narrow", lambda torch, x: (x.narrow(1, 1, 2), torch.narrow(x, 0, -1, 1)), real(2, 4))
row("select", lambda torch, x: (x.select(1, 2), torch.select(x, 0, -1)), real(2, 4))
row("unflatten", lambda torch, x: (x.unflatten(1, (2, -1)), torch.unflatten(x, 0, (1, 2))), real(2, 6))
row("ravel", lambda torch, x: (x.ravel(), x.t().ravel()), real(2, 3))
row("movedim", lambda torch, x: (x.movedim(0, 2), torch.moveaxis(x, (0, 1), (2, 0))), real(2, 3, 4))
row("swapaxes", lambda torch, x: (x.swapaxes(0, 1), x.swapdims(1, 2), x.adjoint(), x.mH), real(2, 3, 4))
row("squeeze several", lambda torch, x: x.squeeze((0, 2)), real(1, 2, 1, 1))
row(
    "broadcast", lambda torch, x, y: (*torch.broadcast_tensors(x, y), x.broadcast_to((4, 2, 3))), real(2, 3), real(2, 1)
)
row(
    "at least", lambda torch, x, y: (*torch.atleast_1d(x, y), torch.atleast_2d(y), torch.atleast_3d(y)), real(), real(3)
)
row("windows", lambda torch, x: (x.unfold(1, 3, 2), x.unfold(0, 2, 1)), real(2, 7))
row("as strided", lambda torch, x: x.as_strided((2, 2), (1, 2), 1) * 2, real(6), strided=False)
row("as strided of overlaps", lambda torch, x: x.as_strided((3, 2), (1, 1)), real(4), strided=False)
row(
    "stacks",
    lambda torch, x, y: (torch.hstack([x, y]), torch.vstack([x, y]), torch.dstack([x, y])),
    real(2, 3),
    real(2, 3),
)
row("stacks of vectors", lambda torch, x, y: (torch.hstack([x, y]), torch.column_stack([x, y])), real(3), real(3))
row("cat with legacy empty", lambda torch, x, y: torch.cat([x, y], 1), real(0), real(2, 3), smooth=False)
row("concat", lambda torch, x, y: (torch.concat([x, y]), torch.concatenate([x, y], axis=0)), real(2, 3), real(1, 3))
row("view of bytes", lambda torch, x: (x.view(torch.int16), x.view(torch.uint8)), whole(0, 2**30, 2, 3), strided=False)
row("flat copies", lambda torch, x: (torch.t_copy(x), torch.select_copy(x, 0, 1), *torch.unbind_copy(x)), real(2, 3))
