"""`ddpnet train` on several hosts, which are network namespaces of this machine: needs root, and is skipped without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import DDPNET, MPIEXEC, finish, run, running, started

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts" / "benchmark"))
from hosts import Hosts, missing

REASON = missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

TRAIN = [*DDPNET, "train", "--seed", "7"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights that one process has after 20 steps."""
    return weights(run([*TRAIN, "--steps", "20"], cwd=tmp_path_factory.mktemp("alone")).out)


def weights(text: str) -> str:
    (found,) = re.findall(r"^weights sha256 ([0-9a-f]{64})$", text, re.MULTILINE)
    return found


@pytest.mark.parametrize(("count", "per_host"), [(2, 1), (3, 1), (2, 2)])
def test_the_weights_of_one_process(tmp_path: Path, alone: str, count: int, per_host: int) -> None:
    with Hosts(count) as hosts:
        before = hosts.bytes_sent(2)
        command = hosts.command([*TRAIN, "--steps", "20"], per_host)
        done = run(command, cwd=tmp_path, env=hosts.environment())
        sent = hosts.bytes_sent(2) - before
    assert done.code == 0, done.err
    assert weights(done.out) == alone
    assert sent > 20 * 4 * 61_706 * (count - 1) / count, "the gradients of LeNet did not go over the wire"


def test_local_sgd_sends_weights_now_and_then(tmp_path: Path) -> None:
    """Twice in 24 steps; the bits are those of one process."""
    options = ["--steps", "24", "--local-sgd", "12"]
    expected = weights(run([*TRAIN, *options], cwd=tmp_path).out)
    with Hosts(2) as hosts:
        before = hosts.bytes_sent(2)
        done = run(hosts.command([*TRAIN, *options]), cwd=tmp_path, env=hosts.environment())
        sent = hosts.bytes_sent(2) - before
    assert done.code == 0, done.err
    assert weights(done.out) == expected
    assert 2 < sent / (4 * 61_706) < 12, "gradients would be 24 times the weights of LeNet"


def test_a_link_that_goes_down(tmp_path: Path) -> None:
    """Ranks whose messages come through say whom they miss within the deadline; rank 0 tells how to go on."""
    options = ["--steps", "100000", "--checkpoint-every", "10", "--out", "run", "--timeout", "2"]
    hosts = Hosts(3)
    with hosts, started(hosts.command([*TRAIN, *options]), cwd=tmp_path, env=hosts.environment()) as process:
        while "checkpoint run" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        subprocess.run(hosts.inside(2, ["ip", "link", "set", "eth0", "down"]), check=True)
        begun, errors = time.monotonic(), ""
        while errors.count("nothing came from") < 2:
            line = process.stderr.readline()
            assert line, errors
            errors += line
        assert time.monotonic() - begun < 6
        if not open_mpi():  # whose mpirun waits, for its daemon on the other side
            assert finish(process, timeout=10).code != 0
    missed = []
    for rank in (0, 2):
        words = rf"^ddpnet: rank {rank} of 3: step \d+: sum of gradients: nothing came from rank (\d) within 2 s: "
        missed += re.findall(words, errors, re.MULTILINE)
    assert len(missed) == 2, errors
    assert "1" in missed, errors  # the other one waits for rank 1, or for a rank that does
    assert re.search(rf"^ddpnet: to go on from step-\d+: ddpnet train --resume {tmp_path}/run$", errors, re.MULTILINE)
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"ddpnet-{os.getpid()}-" not in listed
    assert running(process) == []


def open_mpi() -> bool:
    return "Open MPI" in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, check=True).stdout
