"""`ddpnet bench comm`: measured on real ranks, and told."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
import ranks
from ddpnet_launch.bench import limit
from ddpnet_launch.communication import Row, Step, World

from ddpnet.distributed.step.cost import Link

QUICK = "rounds=3, max_mib=0.25, compute_ms=1"


def run(size: int, options: str, tmp_path: Path) -> ranks.Result:
    """The command in a world that somebody's mpirun has started."""
    code = (
        f"from pathlib import Path; from ddpnet_launch.bench import bench_comm; raise SystemExit(bench_comm({options}))"
    )
    return ranks.run([ranks.MPIEXEC, "-n", str(size), sys.executable, "-c", code], cwd=tmp_path)


def test_three_ranks_with_eight_shards(tmp_path: Path) -> None:
    """What is printed is what is written; every all-reduce has had the right sum."""
    done = run(3, f"None, Path('numbers.json'), shards=8, {QUICK}", tmp_path)
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "numbers.json").read_text())
    (world,) = content["worlds"]
    assert (world["ranks"], world["hosts"], world["shards"], world["rounds"]) == (3, 1, 8, 3)
    assert [row["nbytes"] for row in world["rows"]] == [4096, 65536, 250_000]
    for row in world["rows"]:
        assert all(0 < row[name] < 1 for name in ("ours", "mpi", "by_messages", "message"))
        assert re.search(rf"{row['ratio']:.2f}", done.out)
    assert world["step"]["computing"] > 0 < world["step"]["whole"]
    assert world["link"]["seconds_per_byte"] > 0
    predicted = content["predicted"]
    assert [row["ranks"] for row in predicted] == [2**k for k in range(1, 11)]
    for name in ("ring", "tree", "ours"):
        values = [row[name] for row in predicted]
        assert all(0 < b <= a < 1 for a, b in itertools.pairwise(values)), name
    assert "3 ranks on one host" in done.out
    assert "ideal bucket for" in done.out


def test_the_prediction_for_another_network(tmp_path: Path) -> None:
    """Two ranks a host; 2 MB over 1 Gbit/s with 50 us: 2 hosts exchange 2 MB at 125 MB/s, so 16 ms beside 4 ms."""
    done = run(2, f"None, Path('n.json'), {QUICK}, model_bytes=2_000_000, latency_us=50, gbit=1", tmp_path)
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "n.json").read_text())
    assert (content["link"]["latency_s"], content["link"]["seconds_per_byte"]) == (5e-5, 8e-9)
    ring = {row["ranks"]: row["ring"] for row in content["predicted"]}
    gamma = content["link"]["seconds_per_byte_added"]
    assert ring[2] == pytest.approx(1e-3 / (1e-3 + 2 * 50e-6 + 0.016 + 1e6 * gamma))
    assert "125 MB/s" in done.out


def test_the_command_starts_ranks_of_its_own(tmp_path: Path) -> None:
    options = ("--ranks", "2", "--rounds", "3", "--max-mib", "0.1", "--compute-ms", "1", "--json", "n.json")
    done = ranks.run([*ranks.DDPNET, "bench", "comm", *options], cwd=tmp_path)
    assert done.code == 0, done.err
    (world,) = json.loads((tmp_path / "n.json").read_text())["worlds"]
    assert (world["ranks"], [row["nbytes"] for row in world["rows"]]) == (2, [4096, 65536])
    assert "2 ranks on one host" in done.out
    done = ranks.run([*ranks.DDPNET, "bench", "comm", "--ranks", "1"], cwd=tmp_path)
    assert (done.code, done.err.strip()) == (
        2,
        "ddpnet: error: ranks: expected at least 2: one rank has nobody to communicate with",
    )


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (1, f"None, None, {QUICK}", "a world of one rank has nothing to measure"),
        (2, f"None, None, shards=1, {QUICK}", "2 ranks need at least as many shards, got 1"),
        (2, f"3, None, {QUICK}", "--ranks is 3, but the launcher has started 2"),
        (2, f"None, Path('no/where.json'), {QUICK}", "no/where.json: cannot be written: there is no folder no"),
    ],
)
def test_misuse(tmp_path: Path, size: int, options: str, message: str) -> None:
    done = run(size, options, tmp_path)
    assert done.code != 0
    assert message in done.err


def test_limits_hold_for_one_host_and_their_sizes() -> None:
    def of(size: int, nbytes: int, hosts: int = 1) -> float | None:
        world = World(size, hosts, size, 1, "", Link(0, 0), [], Step(1, 1, 1))
        return limit(world, Row(nbytes, 1, 1, 1, 1, 1))

    assert [of(2, n) for n in (4096, 2**16, 250_000, 25 * 2**20, 2**26)] == [None, 1.1, 0.6, 0.6, 1.1]
    assert [of(size, 2**20) for size in (2, 3, 4, 5)] == [0.6, 1.1, 1.1, None]
    assert of(2, 2**20, hosts=2) is None
