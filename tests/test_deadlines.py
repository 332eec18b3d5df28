"""How jobs end whose ranks wait for each other: within the deadline, each with its reason, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from ranks import DDPNET, MPIEXEC, Result, finish, rank_process, run, running, started, unmapped_shared_memory

STARTS = ("ddpnet", "mpirun")
REMEDY = "all ranks have to make the same calls in the same order"


def ended(process, seconds: float) -> Result:
    """The result of a command, which must end within some seconds and leave neither processes nor shared memory."""
    before, begun = unmapped_shared_memory(), time.monotonic()
    result = finish(process, timeout=seconds + 20)
    assert time.monotonic() - begun < seconds, result.err
    until = time.monotonic() + 5
    while running(process) and time.monotonic() < until:  # mpirun is faster than what it has killed
        time.sleep(0.05)
    assert running(process) == []
    if process.args[0] != str(MPIEXEC):  # MPICH's leaves a file behind
        assert unmapped_shared_memory() <= before
    return result


# In a training


@pytest.mark.parametrize("start", STARTS)
def test_a_stopped_rank_of_a_training(tmp_path: Path, start: str) -> None:
    """As if its host hung: the others tell whom they miss, in which step, and how to go on."""
    command = [*DDPNET, "train", "--steps", "100000", "--checkpoint-every", "10", "--out", "run", "--timeout", "1"]
    command = [MPIEXEC, "-n", "3", *command] if start == "mpirun" else [*command, "-n", "3"]
    with started(command, cwd=tmp_path) as process:
        while "checkpoint run" not in process.stdout.readline():
            assert process.poll() is None
        os.kill(rank_process(process, 1), signal.SIGSTOP)
        result = ended(process, 8)
    assert result.code == 1
    assert "Traceback" not in result.err
    said = [line for line in result.err.splitlines() if line.startswith("ddpnet: ")]
    first, second = said[0], said[1 if start == "ddpnet" else 2]
    for rank, line in ((0, first), (2, second)):
        words = rf"ddpnet: rank {rank} of 3: step \d+: sum of gradients: nothing came from rank 1 within 1 s: {REMEDY}"
        assert re.match(words, line), result.err
    resume = rf"to go on from step-\d+: ddpnet train --resume {tmp_path}/run"
    if start == "ddpnet":
        assert "rank 1 of 3 is stopped" in result.err
        summary = "nothing came from rank 1 of 3, for which ranks 0 and 2 waited"
        assert re.fullmatch(f"ddpnet: {summary}; {resume}", said[-1]), result.err
    else:
        assert re.fullmatch(f"ddpnet: {resume}", said[1]), result.err


# In scripts

CALLS = {
    "other calls": (
        "dist.broadcast(one, 0) if rank == 1 else dist.all_reduce(one)",
        [0, 1, 2],
        f"rank 1 called broadcast where rank 0 called all_reduce: {REMEDY}",
    ),
    "other shapes": (
        "dist.all_reduce(torch.ones(3 + rank // 2))",
        [0, 1, 2],
        r"all_reduce \(call 1 of the default group\): rank 0 has float32 \(3,\) SUM, rank 2 has float32 \(4,\) SUM",
    ),
    "a call too few": (
        "dist.barrier()\nif rank == 2:\n    import time\n    time.sleep(60)  # lost in thought\ndist.all_reduce(one)",
        [0, 1],
        rf"all_reduce \(call 2 of the default group\): nothing came from rank 2 within 1 s: {REMEDY}",
    ),
    "a model of its own": (
        "nn.parallel.DistributedDataParallel(nn.Linear(4, 3 + (rank == 2)))",
        [],
        r"the ranks do not agree: weight: rank 2 has float32 \(4, 4\), rank 0 float32 \(3, 4\)",
    ),
    "a group that was destroyed": (
        "if rank == 1:\n    dist.destroy_process_group()\ndist.all_reduce(one)",
        [],
        "all_reduce: rank 1 of 3 has called destroy_process_group before",
    ),
    "a group of others": (
        "dist.all_reduce(one, group=dist.new_group([0, 1]))",
        [],
        "all_reduce: rank 2 of 3 does not belong to the given group: make the call on the ranks of the group only",
    ),
    "too few samples": (
        "list(dist.Reducer(nn.Linear(2, 2), dist.connect(), 8).shards(7))",
        [],
        r"rank \d of 3: step 0: a global batch of 7 samples leaves some of 8 shards empty",
    ),
}
HEAD = """
from datetime import timedelta

import ddpnet as torch
import ddpnet.distributed as dist
from ddpnet import nn

dist.init_process_group(timeout=timedelta(seconds=1))
rank, one = dist.get_rank(), torch.ones(3)
"""


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("start", STARTS)
def test_calls_that_do_not_fit(tmp_path: Path, start: str, how: str) -> None:
    """Each rank that has seen it says so, once, with the line of the script; the exit code is 1."""
    statements, witnesses, words = CALLS[how]
    (tmp_path / "script.py").write_text(HEAD + statements + "\n")
    starts = {"ddpnet": [*DDPNET, "run", "-n", "3"], "mpirun": [MPIEXEC, "-n", "3", sys.executable]}
    with started([*starts[start], "script.py"], cwd=tmp_path) as process:
        result = ended(process, 8)
    assert result.code == 1
    assert re.search(words, result.err), result.err
    failed = [int(rank) for rank in re.findall(r"^rank (\d) of 3 failed:$", result.err, re.MULTILINE)]
    assert result.err.count("Traceback") == len(failed) == len({*failed}) > 0
    assert result.err.count('script.py", line') >= len(failed)
    for rank in witnesses:
        assert re.search(rf"Error: rank {rank} of 3: (.*: )?{words}", result.err), result.err
    if start == "ddpnet":
        last = result.err.splitlines()[-1]
        assert last.startswith("ddpnet: ")
        assert "to debug it in one process: ddpnet run -n 1 script.py" in last


@pytest.mark.parametrize(
    ("start", "how"), [("ddpnet", "import time; time.sleep(60)"), ("mpirun", "from mpi4py import MPI")]
)
def test_a_rank_that_never_calls_init_process_group(tmp_path: Path, start: str, how: str) -> None:
    """MPI itself would wait for ever."""
    (tmp_path / "script.py").write_text(
        "from ddpnet.distributed import environment, init_process_group\n"
        "if environment.launched_world()[0] == 1:\n"
        f"    {how}\n"
        "else:\n"
        "    init_process_group()\n"
    )
    starts = {"ddpnet": [*DDPNET, "run", "-n", "3"], "mpirun": [MPIEXEC, "-n", "3", sys.executable]}
    with started([*starts[start], "script.py"], cwd=tmp_path, env={"DDPNET_TIMEOUT": "1"}) as process:
        result = ended(process, 8)
    words = r"rank [02] of 3: init_process_group: another rank has not come within 1 s: all ranks have to call it"
    assert re.search(words, result.err), result.err
    assert re.search(r'File ".*script.py", line 5', result.err), result.err


def test_a_rank_that_leaves_out_the_end_is_named(tmp_path: Path) -> None:
    """Launchers then kill the others, or end the job without a word."""
    (tmp_path / "script.py").write_text(HEAD + "if rank == 1:\n    import os\n    os._exit(0)\ndist.barrier()\n")
    with started([*DDPNET, "run", "-n", "3", "script.py"], cwd=tmp_path) as process:
        result = ended(process, 8)
    assert "rank 1 of 3 had ended with exit code 0, without the others" in result.err.splitlines()[-1]


def test_what_a_rank_does_that_does_not_come_is_shown(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(HEAD + CALLS["a call too few"][0] + "\n")
    result = run([*DDPNET, "run", "-n", "3", "script.py"], cwd=tmp_path)
    place = (HEAD + CALLS["a call too few"][0]).splitlines().index("    time.sleep(60)  # lost in thought") + 1
    assert re.search(rf'rank 2 of 3 is here:\n.*\n  File "script.py", line {place} in <module>', result.err), result.err
    assert "nothing came from rank 2 of 3, for which ranks 0 and 1 waited; to debug" in result.err.splitlines()[-1]


def test_another_text_of_the_script(tmp_path: Path) -> None:
    """Rank 1 has an older copy."""
    text = HEAD + "nn.parallel.DistributedDataParallel(nn.Linear(4, 3))\n"
    for folder, ending in (("new", ""), ("old", "# as it was\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.py").write_text(text + ending)
    new, old = ([sys.executable, f"{folder}/train.py"] for folder in ("new", "old"))
    command = [MPIEXEC, "-n", "1", *new, ":", "-n", "1", *old, ":", "-n", "1", *new]
    with started(command, cwd=tmp_path) as process:
        result = ended(process, 8)
    assert result.code == 1
    assert re.search("the ranks do not agree: text of train.py: rank 1 has .*, rank 0 .*", result.err), result.err
    assert "all ranks have to run the same script" in result.err
