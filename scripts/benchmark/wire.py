"""All-reduce between hosts in network namespaces (`hosts.py`), beside the time that the bytes take on the wire.

Of n bytes on H hosts, each host has to send and to receive 2 n (H - 1) / H, headers not counted. Where a host holds k
nodes of the tree (8 shards on 3 hosts: 2) it has to send (k + 1) n (H - 1) / H: "own" is the ratio to that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass

from hosts import Hosts, missing

from ddpnet.distributed.step.cost import most_nodes

LIMIT = 1.1
SIZES = (2**20, 2**22, 2**24)
WORLDS = ((2, 1), (3, 1), (2, 2))
"""Hosts, and ranks on each of them."""
DEADLINE_S = 300
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Row:
    """Seconds of an all-reduce, medians of rounds: ours, MPI's, and the wire's; no host holds more than `nodes`."""

    hosts: int
    ranks: int
    shards: int
    nodes: int
    megabits: float
    nbytes: int
    ours: float
    mpi: float
    wire: float

    @property
    def ratio(self) -> float:
        """Ours by the wire's."""
        return self.ours / self.wire

    @property
    def own_ratio(self) -> float:
        """Ours by the wire's time for what has to be sent with these shards."""
        return self.ours / (self.wire * (self.nodes + 1) / 2)


def measure(
    count: int,
    ranks_per_host: int,
    megabits: float,
    sizes: tuple[int, ...] = SIZES,
    *,
    shards: int = 0,
    rounds: int = 5,
) -> list[Row]:
    """All-reduces of some sizes in a world of its own; as many shards as ranks unless a number is given."""
    with Hosts(count, megabits=megabits) as hosts:
        order = json.dumps({"sizes": sizes, "shards": shards, "rounds": rounds})
        command = hosts.command([sys.executable, __file__, "--rank", order], ranks_per_host)
        environment = {**hosts.environment(), **ONE_THREAD}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
        if done.returncode != 0:
            raise RuntimeError(f"{count} hosts: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    ranks, rate = count * ranks_per_host, megabits * 1e6 / 8
    shards = shards or ranks
    nodes = most_nodes(count, shards)  # hosts of as many ranks each share the shards as `count` ranks would
    return [
        Row(count, ranks, shards, nodes, megabits, nbytes, ours, mpi, 2 * nbytes * (count - 1) / count / rate)
        for nbytes, ours, mpi in json.loads(done.stdout.splitlines()[-1])
    ]


def work(order: str) -> None:
    """What each rank does: rank 0 prints the medians."""
    from ddpnet_launch.communication import in_turn, mpi_all_reduce, our_all_reduce

    from ddpnet.distributed import connect

    comm, options = connect(), json.loads(order)
    rows = []
    for nbytes in options["sizes"]:
        ours = our_all_reduce(comm, options["shards"] or comm.size, nbytes)
        times = in_turn(comm, [ours, mpi_all_reduce(nbytes)], options["rounds"])
        rows.append([nbytes, *(statistics.median(column) for column in zip(*times, strict=True))])
    if comm.rank == 0:
        print(json.dumps(rows), flush=True)


def show(row: Row) -> None:
    """One line."""
    times = "".join(f"{1e3 * seconds:>10.1f}" for seconds in (row.wire, row.ours, row.mpi))
    print(
        f"{row.hosts:>5}{row.ranks:>6}{row.shards:>7}{row.megabits:>8g}{row.nbytes / 2**20:>6g} MiB{times}"
        f"{row.ratio:>8.3f}{LIMIT:>7}{row.own_ratio:>7.3f}{row.mpi / row.wire:>7.2f}{'   above' * (row.ratio > LIMIT)}",
        flush=True,
    )


def main() -> None:
    """Print a table; nothing is measured, and the reason printed, where there can be no such hosts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabits", type=float, nargs="+", default=[200], help="rates of the links")
    parser.add_argument("--shards", type=int, default=0, help="default: the number of ranks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        work(options.rank)
        return
    reason = missing()
    if reason is not None:
        print(f"hosts on a slow wire: skipped: {reason}")
        return
    print("hosts ranks shards  Mbit/s     bytes   wire ms   ours ms    MPI ms   ratio  limit    own  MPI's")
    for megabits in options.megabits:
        for count, ranks_per_host in WORLDS:
            for row in measure(count, ranks_per_host, megabits, shards=options.shards, rounds=options.rounds):
                show(row)


if __name__ == "__main__":
    main()
