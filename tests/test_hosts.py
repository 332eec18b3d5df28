"""Ranks on several hosts, which are network namespaces of this machine: needs root, and is skipped without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ranks
import shard_sums

from ddpnet.distributed.transport.threads import run_threads

FOLDER = Path(__file__).parent.parent / "scripts" / "benchmark"
sys.path.insert(0, str(FOLDER))
import hosts as namespaces  # noqa: E402 - from the folder above
import wire  # noqa: E402

REASON = namespaces.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def left() -> list[str]:
    """The hosts of this process that exist."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listed if name.startswith(f"ddpnet-{os.getpid()}-")]


@pytest.mark.parametrize(("count", "per_host"), [(2, 1), (2, 2), (3, 1)])
def test_same_bits_over_a_wire(count: int, per_host: int) -> None:
    with namespaces.Hosts(count) as hosts:
        sent = hosts.bytes_sent(2)
        done = ranks.run(hosts.command([sys.executable, shard_sums.__file__], per_host), env=hosts.environment())
        sent = hosts.bytes_sent(2) - sent
    assert done.code == 0, done.err
    answers = dict(json.loads(line) for line in done.out.splitlines())
    assert sorted(answers) == list(range(count * per_host))
    expected = [list(range(host * per_host, (host + 1) * per_host)) for host in range(count)]
    (alone,) = run_threads(1, shard_sums.digest)
    for answer in answers.values():
        assert answer == {"hosts": expected, "digest": alone}
    assert sent > 4 * shard_sums.SIZE * (count - 1) / count, "nothing went over the wire"


@pytest.mark.ranks
def test_a_link_has_its_rate() -> None:
    """Of 1 MiB on two hosts at 200 Mbit/s each sends and receives 1 MiB: 42 ms; and MPI's sum is not faster."""
    (row,) = wire.measure(2, 1, 200, (2**20,), rounds=3)
    assert row.wire == pytest.approx(8 * 2**20 / 200e6)
    assert row.ours > 0.9 * row.wire
    assert row.mpi > 0.9 * row.wire


def test_nothing_is_left_behind() -> None:
    class Stop(Exception):
        pass

    started: list[subprocess.Popen[bytes]] = []

    def use_and_fail() -> None:
        with namespaces.Hosts(2) as hosts:
            assert len(left()) == 3
            started.append(subprocess.Popen(hosts.inside(2, ["sleep", "1000"])))
            time.sleep(0.2)
            raise Stop

    with pytest.raises(Stop):
        use_and_fail()
    assert started[0].wait(10) == -9
    assert left() == []


def test_a_host_that_cannot_be_made_is_an_error_that_leaves_nothing() -> None:
    with pytest.raises(RuntimeError, match="exit code"), namespaces.Hosts(2, mtu=1):
        pass
    assert left() == []


def test_what_a_dead_process_left_is_taken_away() -> None:
    code = "import os, hosts; hosts.Hosts(1).__enter__(); print(os.getpid(), flush=True); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    stale = f"ddpnet-{int(done.stdout)}-0-1"
    assert stale in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    with namespaces.Hosts(1):
        pass
    assert stale not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
