"""Which elements of which parameters belong to which rank: equal parts, whatever the sizes of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module, device_of, host
from ddpnet.distributed.transport.communicator import Communicator, Message
from ddpnet.tensor import Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """The elements from `start` to before `stop` of a parameter, counted in the order of its indices."""

    parameter: Tensor
    start: int
    stop: int

    def of(self, flat: Array) -> Array:
        """The piece of an array of one dimension over all elements of the parameter."""
        return flat[self.start : self.stop]


def cut(parameters: Sequence[Tensor], extents: Sequence[int]) -> list[list[Piece]]:
    """For each rank its pieces of the parameters, laid end to end: `extents` elements; empty ones go to rank 0."""
    pieces: list[list[Piece]] = [[] for _ in extents]
    rank, room = 0, extents[0]
    for parameter in parameters:
        start, size = 0, parameter.numel()
        if not size:
            pieces[0].append(Piece(parameter, 0, 0))
        while start < size:
            while not room:
                rank, room = rank + 1, extents[rank + 1]
            stop = min(size, start + room)
            pieces[rank].append(Piece(parameter, start, stop))
            start, room = stop, room - (stop - start)
    return pieces


class Segment:
    """Parameters of one dtype and device, cut for the ranks.

    With `as_bucket_view` they lie in one flat array, of which each rank owns a contiguous part.
    """

    def __init__(self, parameters: Sequence[Tensor], extents: Sequence[int], as_bucket_view: bool) -> None:
        self.parameters = parameters
        self.pieces = cut(parameters, extents)
        self._bounds = np.cumsum([0, *extents]).tolist()
        self._flat: Array | None = None
        if as_bucket_view:
            xp = array_module(parameters[0].array)
            self._flat = xp.concatenate([p.array.reshape(-1) for p in parameters])
            start = 0
            for p in parameters:
                stop = start + p.numel()
                p.data = Tensor(self._flat[start:stop].reshape(p.array.shape))
                start = stop

    def takes_part(self) -> bool:
        """Whether a step may change these parameters: all ranks have to come to the same answer."""
        return any(p.requires_grad or p.grad is not None for p in self.parameters)

    def arrays(self, rank: int, flats: dict[int, Array]) -> list[Array]:
        """What a rank owns, as few arrays of one dimension; `flats` has that of each parameter, by its id."""
        if self._flat is not None and self._is_in_place():
            return [self._flat[self._bounds[rank] : self._bounds[rank + 1]]]
        return [piece.of(flats[id(piece.parameter)]) for piece in self.pieces[rank]]

    def _is_in_place(self) -> bool:
        """Whether no parameter was given other memory since: `p.data = ...` takes it out of the flat array."""
        start = self._flat.__array_interface__["data"][0] if isinstance(self._flat, np.ndarray) else None
        if start is None:
            return False
        for p in self.parameters:
            if p.numel() and p.data_ptr() != start:
                return False
            start += p.nbytes
        return True


class Partition:
    """All segments. Parameters that are added later are cut so that the ranks stay equal to one element."""

    def __init__(self, ranks: int, as_bucket_view: bool) -> None:
        self.segments: list[Segment] = []
        self._ranks, self._as_bucket_view = ranks, as_bucket_view
        self._loads: dict[Any, list[int]] = {}

    def add(self, parameters: Iterable[Tensor]) -> None:
        """Cut parameters; those that need no gradient by themselves, since they have no state either."""
        kinds: dict[Any, dict[int, Tensor]] = {}
        for p in parameters:
            kind = (p.dtype.name, str(device_of(p.array)), p.requires_grad)
            kinds.setdefault(kind, {})[id(p)] = p
        for kind, chosen in kinds.items():
            total = sum(p.numel() for p in chosen.values())
            extents = self._level(self._loads.setdefault(kind, [0] * self._ranks), total)
            self.segments.append(Segment(list(chosen.values()), extents, self._as_bucket_view))

    def pieces(self, rank: int) -> list[Piece]:
        """What belongs to a rank."""
        return [piece for segment in self.segments for piece in segment.pieces[rank]]

    def _level(self, loads: list[int], total: int) -> list[int]:
        """How many of `total` elements each rank gets; the odd ones go to those that have least."""
        extents = [total // self._ranks] * self._ranks
        for rank in sorted(range(self._ranks), key=lambda rank: loads[rank])[: total % self._ranks]:
            extents[rank] += 1
        for rank, extent in enumerate(extents):
            loads[rank] += extent
        return extents


def exchange_parts(segment: Segment, flats: dict[int, Array], comm: Communicator) -> None:
    """Give every rank what each owner has: one message to each peer, from and into the parameters where they lie
    in one piece."""
    parts = [segment.arrays(rank, flats) for rank in range(comm.size)]
    mine = _packed(parts[comm.rank])
    peers = [peer for peer in range(comm.size) if peer != comm.rank]
    inbox = {peer: _place_for(parts[peer]) for peer in peers if sum(part.size for part in parts[peer])}
    sends: list[Message] = [(peer, mine) for peer in peers] if mine.size else []
    comm.exchange(sends, list(inbox.items()), what="ZeroRedundancyOptimizer.step")
    for peer, came in inbox.items():
        start = 0
        for part in parts[peer]:
            if part is not came:
                part[...] = array_module(part).asarray(came[start : start + part.size])
            start += part.size


def _packed(parts: list[Array]) -> np.ndarray:
    """The arrays as one in host memory."""
    if len(parts) == 1:
        return host(parts[0])
    return np.concatenate([host(part) for part in parts]) if parts else np.empty(0, np.uint8)


def _place_for(parts: list[Array]) -> np.ndarray:
    """Where to receive what `_packed` made: in place if it can be."""
    if len(parts) == 1 and isinstance(parts[0], np.ndarray):
        return parts[0]
    dtype = parts[0].dtype
    return np.empty(sum(part.size for part in parts), dtype)
