"""`scripts/bench`: what it counts, what it prints, and that it leaves no process behind."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
import ranks

from ddpnet.backend import cuda_device_count

FOLDER = Path(__file__).parents[1] / "scripts" / "benchmark"


def python(code: str) -> str:
    """What code prints that can import the files of the benchmark."""
    done = ranks.run([sys.executable, "-c", code], env={"PYTHONPATH": str(FOLDER)})
    assert done.code == 0, done.err
    return done.out.strip()


def compare(*options: str | Path, **env: str) -> ranks.Result:
    return ranks.run([sys.executable, FOLDER / "compare.py", *options], timeout=120, env=env)


@pytest.mark.one_process
def test_the_operations_of_a_step() -> None:
    """By hand: an output, a weight's gradient, and but for the first layer an input's; 2 operations each."""
    conv1, conv2 = 28 * 28 * 25 * 6, 10 * 10 * 150 * 16
    linear = [400 * 120, 120 * 84, 84 * 10]
    lenet = 2 * (2 * conv1 + 3 * (conv2 + sum(linear)))
    mlp = 2 * (2 * 784 * 1024 + 3 * (1024 * 1024 + 1024 * 10))
    width, length, heads = 128, 128, 4
    layer = width * 3 * width + width * width + 2 * width * 4 * width
    attention = 6 * heads * length * (length // 2) * (width // heads)
    gpt = 2 * (length * 3 * (4 * layer + width * 96) + 4 * attention)
    lstm = 2 * 35 * 3 * (2 * 2 * 256 * 1024 + 256 * 10_000)
    code = (
        "import ddpnet; from products import of_step, operations; "
        "print([operations(of_step(ddpnet, case, n)) for case in ('lenet', 'mlp', 'gpt', 'lstm') for n in (1, 2)])"
    )
    assert json.loads(python(code)) == [n * work for work in (lenet, mlp, gpt, lstm) for n in (1, 2)]


@pytest.mark.one_process
def test_a_convolution_is_counted_as_pytorch_counts_it() -> None:
    torch = pytest.importorskip("torch")
    assert torch is not None
    code = """
import torch
from torch.utils.flop_counter import FlopCounterMode
from models import CASES
from products import of_step, operations
model, (x, y) = CASES["resnet18"].model(torch), CASES["resnet18"].batch(torch, 2)
with FlopCounterMode(display=False) as counter:
    torch.nn.functional.cross_entropy(model(x), y).backward()
print([counter.get_total_flops(), operations(of_step(torch, "resnet18", 2))])
"""
    theirs, ours = json.loads(python(code))
    assert ours == theirs


def test_ours_alone(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ("--peer", "none", "--case", "tiny", "--case", "mlp", "--batch", "4", "--rounds", "2", "--json", out)
    done = compare(*options)
    assert done.code == 0, done.err
    content = json.loads(out.read_text())
    tiny, mlp = content["cases"]
    assert (content["failure"], tiny["name"], tiny["goal"]) == (None, "MLP 8-8-8-8, batch 4", 1.2)
    for row in (tiny, mlp):
        assert row["ours"] > 0
        assert (row["rounds"], row["ratio"], row["peer"], row["met"]) == (2, None, None, None)
        assert row["name"] in done.out
    assert tiny["products"] is None
    assert mlp["products"] > 1  # nobody is faster than a product alone
    assert mlp["details"]["products_gflop"] == pytest.approx(4 * 2 * (2 * 784 + 3 * (1024 + 10)) * 1024 / 1e9)
    assert {"processor", "BLAS of NumPy", "numpy", "ddpnet", "python"} <= set(content["machine"])
    assert content["machine"]["BLAS of NumPy"] in done.out


def test_beside_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "figures.json"
    done = compare("--case", "lenet", "--ranks", "1", "--ranks", "2", "--batch", "4", "--rounds", "3", "--json", out)
    assert done.code == 0, done.err
    rows = json.loads(out.read_text())["cases"]
    assert [row["name"] for row in rows] == ["LeNet, batch 4", "LeNet, batch 4, 2 ranks"]
    for row in rows:
        low, high = row["quartiles"]
        assert 0 < low <= row["ratio"] <= high
        assert row["met"] == (row["ratio"] >= 3)
        assert set(row["details"]["peer_ms"]) == {"default", "channels_last"}
        assert row["peer"] == pytest.approx(min(row["details"]["peer_ms"].values()))
    assert [row["products"] is None for row in rows] == [False, True]


def test_new_processes() -> None:
    code = """
import json
from processes import compare_memory, compare_start
rows = [*compare_start(peer=None, rounds=2), compare_memory("lenet", 4, peer=None)]
print(json.dumps([row.to_json() for row in rows]))
"""
    imports, first, memory = json.loads(python(code))
    assert 0 < imports["ours"] < first["ours"]
    assert (imports["unit"], first["unit"], memory["unit"]) == ("s", "s", "MiB")
    assert 20 < memory["ours"] < 2000


@pytest.mark.one_process
def test_the_peak_is_that_of_the_new_process_alone() -> None:
    """Though the one that starts it has more."""
    code = "filled = b'x' * 2**30; from processes import fresh; print(fresh('ddpnet', 'tiny', 4, 1)['peak_bytes'])"
    assert 20 * 2**20 < int(python(code)) < 2**29


@pytest.mark.parametrize("size", [1, 2])
def test_a_process_that_fails_is_quoted(size: int) -> None:
    code = f"""
from peers import Peers, Task, WorkerError
try:
    with Peers([Task("ddpnet", "tiny", 4), Task("ddpnet", "nothing", 4, {size})]):
        print("ready")
except WorkerError as error:
    print(error)
"""
    told = python(code)
    assert told.startswith(f"ddpnet, nothing, batch 4, {size} rank")
    assert "ended before its first step" in told
    assert "KeyError: 'nothing'" in told


def test_a_process_that_is_killed_ends_the_round() -> None:
    code = """
import os, signal
from peers import Peers, Task, WorkerError
with Peers([Task("ddpnet", "tiny", 4)]) as (group,):
    group.round(2)
    os.kill(group._processes[0].pid, signal.SIGKILL)
    try:
        group.round(2)
    except WorkerError as error:
        print(error)
"""
    assert python(code).startswith("ddpnet, tiny, batch 4, 1 rank: ended in a step")


def test_nothing_is_left_of_a_benchmark_that_is_told_to_stop() -> None:
    options = ("--peer", "none", "--case", "lenet", "--ranks", "2", "--rounds", "1000")
    with ranks.started([sys.executable, FOLDER / "compare.py", *options]) as process:
        give_up = time.monotonic() + 60
        while len(ranks.running(process)) < 4 and time.monotonic() < give_up:
            time.sleep(0.1)
        children = ranks.running(process)
        assert len(children) >= 4  # the launcher, MPI's, and the ranks
        os.kill(process.pid, 15)
        done = ranks.finish(process)
        assert done.code == 143
        give_up = time.monotonic() + 10
        while ranks.running(process) and time.monotonic() < give_up:
            time.sleep(0.1)
        assert ranks.running(process) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--case", "lenett"), "invalid choice: 'lenett'"),
        (("--batch", "0"), "expected a number from 1 on, got '0'"),
        (("--batch", "3", "--ranks", "2"), "--batch 3 cannot be cut for --ranks 2"),
        (("--json", "no/where.json"), "--json: there is no folder no"),
        (("--device", "gpu"), "invalid choice: 'gpu'"),
        pytest.param(
            ("--device", "cuda"),
            "--device cuda: RuntimeError: ",
            marks=pytest.mark.skipif(cuda_device_count() > 0, reason="there is a GPU"),
        ),
    ],
)
def test_misuse(options: tuple[str, ...], message: str) -> None:
    done = compare(*options)
    assert done.code == 2
    assert message in done.err


@pytest.mark.one_process
def test_the_epochs_of_the_command_are_read(tmp_path: Path) -> None:
    """The line of `ddpnet train` that the benchmark reads."""
    done = ranks.run(
        [
            *ranks.DDPNET,
            "train",
            "--steps",
            "1",
            "--batch",
            "60000",
            "--shards",
            "8",
            "-n",
            "1",
            "--out",
            tmp_path / "r",
        ],
        timeout=120,
    )
    assert done.code == 0, done.err
    code = f"import epoch; print(epoch.rates({done.out!r}))"
    (rate,) = json.loads(python(code))
    assert rate > 0


@pytest.mark.one_process
def test_a_row_says_whether_its_goal_is_met() -> None:
    code = """
import json
from table import Row, ratios
row = Row("x", "ms", 2.0, goal=3.0, products=1.5, products_goal=1.25)
ratios(row, [0.001, 0.002, 0.003], [0.003, 0.008, 0.006])
print(json.dumps([row.ratio, *row.quartiles, row.peer, row.met, row.products_met]))
print(row)
"""
    values, printed = python(code).splitlines()
    assert json.loads(values) == [3.0, 2.5, 3.5, 6.0, True, False]
    assert printed.split() == "x 2.000 ms 6.000 ms 3.00 2.50 to 3.50 3.00 yes 1.50 1.25 NO".split()
