"""The step's exchange: what the ranks hold of the tree becomes its total, in place, on every rank.

A bucket is cut into one slice a rank. On each host one rank takes care of a slice: on the owner's host the owner. It
adds, in memory that the ranks of the host share, the nodes that its host can make. The others send theirs to the owner,
who finishes the tree, and sends the total back. So on one host nothing is sent, and between hosts each element crosses
the wire about twice, as in the best all-reduce, with any number of them.

Hosts send in rounds, in round k to the k-th after them: each link then carries one message at a time. All at once takes
up to twice the wire's time (three hosts, TCP), and so do messages of many megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.distributed.step.compression import Narrow
from ddpnet.distributed.step.tree import Span, additions, largest_nodes, nodes_within, share
from ddpnet.distributed.step.window import Window
from ddpnet.distributed.transport.communicator import Communicator, Message
from ddpnet.spans import span

BLOCK_BYTES = 128 * 1024
"""What is added at once: operands and result stay in the second-level cache."""
BATCH_BYTES = 4 * 2**20
"""What hosts exchange at once, as far as parts of buckets go."""


@dataclass(frozen=True)
class Sum:
    """The additions of one node's slice: `out` gets the last result, and `copies` are filled with it.

    Without additions `out` is the only operand.
    """

    operands: list[np.ndarray]
    steps: list[tuple[int, int]]
    out: np.ndarray
    copies: list[np.ndarray]

    def run(self, divisor: Any, narrow: Narrow | None) -> None:
        """Add in blocks, each sum rounded if it is narrow; divide what comes out by `divisor`, if there is one."""
        if not self.steps and divisor is None:
            return
        size, length = self.out.size, max(1, BLOCK_BYTES // self.out.itemsize)
        scratch = [np.empty(min(size, length), self.out.dtype) for _ in self.steps[1:]]
        for start in range(0, size, length):
            place = slice(start, min(start + length, size))
            self._run_block(place, [array[: place.stop - start] for array in scratch], divisor, narrow)

    def _run_block(self, place: slice, scratch: list[np.ndarray], divisor: Any, narrow: Narrow | None) -> None:
        values = [operand[place] for operand in self.operands]
        out = self.out[place]
        for (left, right), result in zip(self.steps, [*scratch, out], strict=False):
            values.append(np.add(values[left], values[right], out=result))
            if narrow is not None:
                narrow.round(result)
        if divisor is not None:
            np.divide(out, divisor, out=out)
        for copy in self.copies:
            copy[place] = out


@dataclass(frozen=True)
class _Part:
    """What this rank does for a part of a bucket; arrays are looked up once, not in each step."""

    narrow: Narrow | None
    nbytes: int
    partial: list[Sum]
    """The nodes that this host can make of slices whose owner is elsewhere."""
    nodes_out: list[Message]
    nodes_in: list[Message]
    total: Sum
    """The slice that this rank owns."""
    totals_out: list[Message]
    totals_in: list[Message]
    spread: list[tuple[np.ndarray, list[np.ndarray]]]
    """A total that came, and where else on this host it goes."""


class AllReduce:
    """Adds the nodes of all ranks (node i of `nodes_within` in copy i of a bucket); the total is in copy 0 everywhere.

    A bucket that is `narrow` is sent as such, and all its sums are rounded. Bits depend on the number of shards alone.
    """

    def __init__(
        self, comm: Communicator, shards: int, window: Window, narrow: Sequence[Narrow | None] | None = None
    ) -> None:
        self.comm, self.window, self._root = comm, window, (0, shards)
        self._held = [nodes_within(share(shards, comm.size, rank), self._root) for rank in range(comm.size)]
        self._nodes = [self._known(host) for host in window.hosts]
        self._host_of = {rank: number for number, host in enumerate(window.hosts) for rank in host}
        kinds = narrow or [None] * len(window.arrays)
        self._parts = [self._plan(arrays, kind) for arrays, kind in zip(window.arrays, kinds, strict=True)]

    def run(
        self, buckets: Sequence[int], divisors: Sequence[Any], what: str = "all-reduce", *, computing: bool = False
    ) -> None:
        """Reduce some buckets, the same ones on every rank, and divide each by its divisor (or None).

        `computing`: another thread of this process needs the core.
        """
        parts = [(p, d) for bucket, d in zip(buckets, divisors, strict=True) for p in self._parts[bucket]]
        with np.errstate(all="ignore"):  # infinities and nan are the model's affair
            with span("wait"):
                self.window.barrier(what, computing=computing)
            for batch in _batches(parts) if len(self.window.hosts) > 1 else [parts]:
                self._gather_nodes([part for part, _ in batch], what)
                for part, divisor in batch:
                    part.total.run(divisor, part.narrow)
                self._spread_totals([part for part, _ in batch], what)
            self.window.barrier(what, computing=computing)

    def _gather_nodes(self, parts: list[_Part], what: str) -> None:
        """Give the owners of slices on other hosts what this host has of them."""
        for part in parts:
            for node in part.partial:
                node.run(None, part.narrow)
        self._exchange([(part.narrow, part.nodes_out, part.nodes_in) for part in parts], what)

    def _spread_totals(self, parts: list[_Part], what: str) -> None:
        """Give the totals of slices to the other hosts, and there to all ranks."""
        self._exchange([(part.narrow, part.totals_out, part.totals_in) for part in parts], what)
        for part in parts:
            for total, copies in part.spread:
                for copy in copies:
                    copy[...] = total

    def _exchange(self, messages: list[tuple[Narrow | None, list[Message], list[Message]]], what: str) -> None:
        """Send and receive, host by host; narrow messages in their dtype."""
        count, here = len(self.window.hosts), self._host_of[self.comm.rank]
        for distance in range(1, count):
            ahead, behind = (here + distance) % count, (here - distance) % count
            sends: list[Message] = []
            receives: list[Message] = []
            widened: list[tuple[Narrow, np.ndarray, np.ndarray]] = []
            for narrow, out, into in messages:
                leaving = [message for message in out if self._host_of[message[0]] == ahead]
                coming = [message for message in into if self._host_of[message[0]] == behind]
                if narrow is not None:
                    leaving = [(peer, narrow.pack(array)) for peer, array in leaving]
                    small = [(peer, np.empty(array.size, np.uint16)) for peer, array in coming]
                    widened += [(narrow, came, array) for (_, array), (_, came) in zip(coming, small, strict=True)]
                    coming = small
                sends += leaving
                receives += coming
            if count > 2:
                self._wait_for_readers(sends, receives, what)
            self.comm.exchange(sends, receives, what)
            for kind, came, array in widened:
                kind.unpack(came, array)

    def _wait_for_readers(self, sends: list[Message], receives: list[Message], what: str) -> None:
        """Send when the receivers have all of the round before, and a link carries one flow.

        Else a host that is ahead slows down those behind, and from some batches on all take twice the time (measured).
        """
        word = np.zeros(1, np.uint8)
        readers, writers = (dict.fromkeys(peer for peer, _ in messages) for messages in (sends, receives))
        self.comm.exchange([(peer, word) for peer in writers], [(peer, word.copy()) for peer in readers], what)

    def _known(self, ranks: list[int]) -> list[Span]:
        """The nodes that some ranks can make together, as large as can be, from left to right."""
        return largest_nodes(self._root, [node for rank in ranks for node in self._held[rank]])

    def _plan(self, arrays: dict[int, list[np.ndarray]], narrow: Narrow | None) -> list[_Part]:
        """The parts of a bucket: it is one on a single host."""
        whole = arrays[self.comm.rank][0]
        count = max(1, -(-whole.nbytes // BATCH_BYTES)) if len(self.window.hosts) > 1 else 1
        places = [slice(*share(whole.size, count, number)) for number in range(count)]
        return [self._part({r: [a[place] for a in copies] for r, copies in arrays.items()}, narrow) for place in places]

    def _part(self, arrays: dict[int, list[np.ndarray]], narrow: Narrow | None) -> _Part:
        me, peers, size = self.comm.rank, self.window.peers, arrays[self.comm.rank][0].size
        partial: list[Sum] = []
        nodes_out: list[Message] = []
        totals_in: list[Message] = []
        spread = []
        for owner in range(self.comm.size):
            if owner in peers or _caretaker(peers, owner) != me:
                continue
            place = slice(*share(size, self.comm.size, owner))
            spans, operands = self._local(arrays, place)
            for node in self._nodes[self._host_of[me]]:
                steps = additions(node, spans)
                out = operands[spans.index(_leftmost(node, spans))]
                if steps:
                    partial.append(Sum(operands, steps, out, []))
                nodes_out.append((owner, out))
            totals_in.append((owner, arrays[me][0][place]))
            spread.append((arrays[me][0][place], [arrays[peer][0][place] for peer in peers if peer != me]))
        total, nodes_in = self._own(arrays, slice(*share(size, self.comm.size, me)))
        totals_out = [(_caretaker(host, me), total.out) for host in self.window.hosts if host is not peers]
        leaving, coming, back, home = (
            [(peer, array) for peer, array in messages if array.size]
            for messages in (nodes_out, nodes_in, totals_out, totals_in)
        )
        return _Part(narrow, arrays[me][0].nbytes, partial, leaving, coming, total, back, home, spread)

    def _own(self, arrays: dict[int, list[np.ndarray]], place: slice) -> tuple[Sum, list[Message]]:
        """The total of the slice that this rank owns, and what it gets for it from other hosts."""
        me, peers = self.comm.rank, self.window.peers
        spans, operands = self._local(arrays, place)
        nodes_in: list[Message] = []
        for number, host in enumerate(self.window.hosts):
            if host is not peers:
                for node in self._nodes[number]:
                    came = np.empty(place.stop - place.start, operands[0].dtype)
                    nodes_in.append((_caretaker(host, me), came))
                    spans, operands = [*spans, node], [*operands, came]
        copies = [arrays[peer][0][place] for peer in peers if peer != me]
        return Sum(operands, additions(self._root, spans), arrays[me][0][place], copies), nodes_in

    def _local(self, arrays: dict[int, list[np.ndarray]], place: slice) -> tuple[list[Span], list[np.ndarray]]:
        """The nodes held on this host, each with its part of a bucket."""
        held = [(node, arrays[rank][copy]) for rank in self.window.peers for copy, node in enumerate(self._held[rank])]
        return [node for node, _ in held], [array[place] for _, array in held]


def _caretaker(host: list[int], owner: int) -> int:
    """The rank of a host that takes care of a slice that is owned elsewhere."""
    return host[owner % len(host)]


def _leftmost(node: Span, known: list[Span]) -> Span:
    """The known node at the left end of a node: its array gets the node's sum."""
    return next(span for span in known if span[0] == node[0] and span[1] <= node[1])


def _batches(parts: list[tuple[_Part, Any]]) -> list[list[tuple[_Part, Any]]]:
    """Parts that are exchanged together: as many as fit into BATCH_BYTES."""
    batches: list[list[tuple[_Part, Any]]] = []
    filled = BATCH_BYTES
    for part, divisor in parts:
        if filled + part.nbytes > BATCH_BYTES:
            batches.append([])
            filled = 0
        batches[-1].append((part, divisor))
        filled += part.nbytes
    return batches
