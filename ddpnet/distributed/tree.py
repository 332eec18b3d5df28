"""The fixed tree: sums over shards whose bits do not depend on who adds what.

Floating-point addition is not associative, so the order must not change with the number of ranks. Over shards 0 to
V - 1 stands one binary tree, each node split in the middle. A rank that holds shards [a, b) adds the largest nodes that
lie wholly in its range; the rest of the tree is added by the owner of each slice of the array. Every addition is one of
the tree's, wherever it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.distributed.communicator import Communicator, Message

Span = tuple[int, int]
"""A node of the tree: the shards from the first to before the second."""

Add = Callable[..., Any]
"""A NumPy ufunc of two arrays with `out`."""


def share(total: int, parts: int, part: int) -> Span:
    """The range of 0 to `total` that belongs to one of `parts`: contiguous, of sizes that differ by one at most."""
    return total * part // parts, total * (part + 1) // parts


def halves(span: Span) -> tuple[Span, Span]:
    """The two children of a node of more than one shard."""
    start, stop = span
    middle = (start + stop) // 2
    return (start, middle), (middle, stop)


def nodes_within(held: Span, node: Span) -> list[Span]:
    """The largest nodes at or below `node` that lie wholly in the range `held`, from left to right."""
    if held[0] <= node[0] and node[1] <= held[1]:
        return [node]
    if node[1] <= held[0] or held[1] <= node[0]:
        return []
    left, right = halves(node)
    return nodes_within(held, left) + nodes_within(held, right)


def are_siblings(left: Span, right: Span, root: Span) -> bool:
    """Whether two spans are the two children of one node of the tree under `root`."""
    node = root
    while node[1] - node[0] > 1:
        if halves(node) == (left, right):
            return True
        node = halves(node)[left[0] >= halves(node)[1][0]]
    return False


class TreeSum:
    """Adds what comes shard after shard in the order of the tree, holding at most log2(V) + 1 partial sums.

    `merge(a, b)` adds b to a; what it frees is up to the caller.
    """

    def __init__(self, shards: int, merge: Callable[[Any, Any], None]) -> None:
        self._root, self._merge = (0, shards), merge
        self.partial: list[tuple[Span, Any]] = []

    def push(self, shard: int, value: Any) -> None:
        """Add the value of the next shard."""
        self.partial.append(((shard, shard + 1), value))
        while len(self.partial) > 1 and are_siblings(self.partial[-2][0], self.partial[-1][0], self._root):
            (left, total), (right, value) = self.partial[-2:]
            self._merge(total, value)
            self.partial[-2:] = [((left[0], right[1]), total)]


def tree_all_reduce(
    comm: Communicator, shards: int, held: Sequence[tuple[Span, list[Array]]], add: Add = np.add
) -> list[np.ndarray]:
    """The sum over all shards, the same bits on every rank.

    `held` has, for each of this rank's nodes (`nodes_within` its share), the node's sum as a list of flat arrays.
    Slice d of every array goes to rank d, which finishes the tree there and gives the sum to all: each element crosses
    the network about twice, as in the best all-reduce, with any number of ranks.
    """
    root = (0, shards)
    if comm.size == 1:
        return held[0][1]
    totals = [np.empty_like(array) for array in held[0][1]]
    mine = _slices(totals, comm, comm.rank)
    peers = [peer for peer in range(comm.size) if peer != comm.rank]
    owners = [(peer, node) for peer in peers for node in nodes_within(share(shards, comm.size, peer), root)]
    inbox = {node: [np.empty_like(part) for part in mine] for _, node in owners}
    comm.exchange(
        _filled((peer, part) for peer in peers for _, sums in held for part in _slices(sums, comm, peer)),
        _filled((peer, part) for peer, node in owners for part in inbox[node]),
    )
    known = inbox | {node: _slices(sums, comm, comm.rank) for node, sums in held}
    for index, part in enumerate(mine):
        part[...] = _finish(root, {node: parts[index] for node, parts in known.items()}, add)
    comm.exchange(
        _filled((peer, part) for peer in peers for part in mine),
        _filled((peer, part) for peer in peers for part in _slices(totals, comm, peer)),
    )
    return totals


def _slices(arrays: list[Array], comm: Communicator, owner: int) -> list[Array]:
    """The slice of each array that a rank owns."""
    return [array[slice(*share(array.size, comm.size, owner))] for array in arrays]


def _filled(messages: Any) -> list[Message]:
    """The messages that have something in them: both sides leave out the same ones."""
    return [(peer, array) for peer, array in messages if array.size]


def _finish(node: Span, known: dict[Span, np.ndarray], add: Add) -> np.ndarray:
    """The sum of a node, from the sums of the nodes below it that are known."""
    if node in known:
        return known[node]
    left, right = halves(node)
    return np.asarray(add(_finish(left, known, add), _finish(right, known, add)))
