"""The fixed tree: sums over shards whose bits do not depend on who adds what.

Floating-point addition is not associative, so the order must not change with the number of ranks. Over shards 0 to
V - 1 stands one binary tree, each node split in the middle. A rank that holds shards [a, b) adds the largest nodes that
lie wholly in its range; the rest of the tree is added by the owner of each slice of the array. Every addition is one of
the tree's, wherever it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.distributed.transport.communicator import Communicator, Message

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


def largest_nodes(node: Span, known: Sequence[Span]) -> list[Span]:
    """The largest nodes at or below `node` that can be had from the sums of the nodes in `known`, left to right."""
    if node in known:
        return [node]
    if node[1] - node[0] == 1:
        return []
    left, right = (largest_nodes(half, known) for half in halves(node))
    return [node] if (left, right) == tuple([half] for half in halves(node)) else left + right


def additions(node: Span, known: Sequence[Span]) -> list[tuple[int, int]]:
    """The additions that make a node's sum: pairs of operands, which are `known` and then the results, in order."""
    places = {span: place for place, span in enumerate(known)}
    steps: list[tuple[int, int]] = []

    def place_of(span: Span) -> int:
        if span not in places:
            left, right = halves(span)
            steps.append((place_of(left), place_of(right)))
            places[span] = len(known) + len(steps) - 1
        return places[span]

    place_of(node)
    return steps


@dataclass(frozen=True)
class Turn:
    """Where the values of one shard go: into the array at a level, which they fill or are added to.

    Then `merges` add the array of a level to that of another, (into, from).
    """

    level: int
    adds: bool
    merges: tuple[tuple[int, int], ...]


def turns(held: Span, shards: int) -> list[Turn]:
    """How the shards of a rank, one after the other, become the sums of its nodes in as few arrays as can be.

    The sum of node i of `nodes_within(held, ...)` ends at level i. A shard that is the right half of a pair is added to
    the left one while it is computed: so V / P shards take log2(V / P) arrays, where P is the number of ranks.
    """
    root = (0, shards)
    stack: list[Span] = []
    result = []
    for shard in range(*held):
        span = (shard, shard + 1)
        adds = bool(stack) and are_siblings(stack[-1], span, root)
        if adds:
            stack[-1] = (stack[-1][0], span[1])
        else:
            stack.append(span)
        level, merges = len(stack) - 1, []
        while len(stack) > 1 and are_siblings(stack[-2], stack[-1], root):
            merges.append((len(stack) - 2, len(stack) - 1))
            _, stop = stack.pop()
            stack[-1] = (stack[-1][0], stop)
        result.append(Turn(level, adds, tuple(merges)))
    return result


@dataclass(frozen=True)
class Addition:
    """The values of one, two or four shards that follow each other, added into the array at a level; then `merges`."""

    shards: tuple[int, ...]
    level: int
    adds: bool
    merges: tuple[tuple[int, int], ...]


def additions_at_once(held: Span, shards: int) -> list[Addition]:
    """`turns`, where the shards of a rank are all there: nodes of two and of four shards are added in one go."""
    each = turns(held, shards)
    result = []
    at = 0
    while at < len(each):
        first, two, four = each[at], each[at : at + 2], each[at : at + 4]
        level, count, merges = first.level, 1, first.merges
        if not first.adds and [turn.adds for turn in two] == [False, True]:
            count, merges = 2, two[1].merges
            whole = [(turn.level - level, turn.adds) for turn in four] == [(0, False), (0, True), (1, False), (1, True)]
            if whole and not merges and four[3].merges[:1] == ((level, level + 1),):
                count, merges = 4, four[3].merges[1:]
        result.append(Addition(tuple(range(held[0] + at, held[0] + at + count)), level, first.adds, merges))
        at += count
    return result


def tree_all_reduce(
    comm: Communicator,
    shards: int,
    held: Sequence[tuple[Span, list[Array]]],
    add: Add = np.add,
    what: str = "sum over the ranks",
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
        what,
    )
    known = inbox | {node: _slices(sums, comm, comm.rank) for node, sums in held}
    for index, part in enumerate(mine):
        part[...] = _finish(root, {node: parts[index] for node, parts in known.items()}, add)
    comm.exchange(
        _filled((peer, part) for peer in peers for part in mine),
        _filled((peer, part) for peer in peers for part in _slices(totals, comm, peer)),
        what,
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
