"""A sum over shards whose bits must be the same wherever the ranks are: run by the ranks of test_hosts.py."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from ddpnet.distributed import Communicator, connect
from ddpnet.distributed.step.exchange import AllReduce
from ddpnet.distributed.step.tree import nodes_within, share
from ddpnet.distributed.step.window import Window

SHARDS, SIZE = 8, 300_001


def digest(comm: Communicator) -> str:
    """Of the mean, on this rank, of numbers that depend on the shard alone."""
    held = [nodes_within(share(SHARDS, comm.size, rank), (0, SHARDS)) for rank in range(comm.size)]
    window = Window(comm, [SIZE], [np.dtype(np.float32)], max(map(len, held)))
    for copy, span in zip(window.arrays[0][comm.rank], held[comm.rank], strict=False):
        copy[...] = node(span)
    AllReduce(comm, SHARDS, window).run([0], [np.float32(3)])
    return hashlib.sha256(window.arrays[0][comm.rank][0].tobytes()).hexdigest()


def node(span: tuple[int, int]) -> np.ndarray:
    """The sum of a node of the tree."""
    start, stop = span
    if stop - start == 1:
        return np.random.default_rng(start).standard_normal(SIZE).astype(np.float32)
    middle = (start + stop) // 2
    return node((start, middle)) + node((middle, stop))


if __name__ == "__main__":
    world = connect()
    print(json.dumps([world.rank, {"hosts": world.hosts, "digest": digest(world)}]), flush=True)
    world.barrier()
