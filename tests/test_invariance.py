"""`ddpnet train` under real MPI: one sha256 of the weights, whatever starts the ranks and however many there are."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path

import pytest
from excerpt import write_excerpt
from ranks import DDPNET, finish, run, started

MPIRUN = Path(sys.executable).parent / "mpirun"
RUNS = [
    ("lenet", "sgd", 8),
    ("cnn", "adam", 4),  # dropout and batch norm
]


def train(folder: Path, *options: str, ranks: int, mpirun: bool = False) -> str:
    """The sha256 that a run prints."""
    if mpirun:
        command = [MPIRUN, "-n", str(ranks), *DDPNET, "train", *options]
    else:
        command = [*DDPNET, "train", *options, "--ranks", str(ranks)]
    done = run(command, cwd=folder)
    assert done.code == 0, done.err
    found = re.findall(r"^weights sha256 ([0-9a-f]{64})$", done.out, re.MULTILINE)
    assert len(found) == 1, done.out
    return found[0]


@pytest.mark.parametrize(("model", "optimizer", "shards"), RUNS)
def test_one_answer(tmp_path: Path, model: str, optimizer: str, shards: int) -> None:
    """Started by ourselves and by mpirun, uninterrupted and resumed on another number of ranks.

    `test_matrix.py` has more numbers of ranks.
    """
    data = write_excerpt(tmp_path / "mnist")
    options = ["--model", model, "--optimizer", optimizer, "--shards", str(shards), "--seed", "7", "--data", str(data)]
    answers = {f"{ranks} ranks": train(tmp_path, *options, "--steps", "60", ranks=ranks) for ranks in (1, 2)}
    answers["mpirun, 3 ranks"] = train(tmp_path, *options, "--steps", "60", ranks=3, mpirun=True)
    half = tmp_path / "half"
    train(tmp_path, *options, "--steps", "30", "--out", str(half), ranks=2)
    for ranks, mpirun in ((3, False), (1, False), (2, True)):
        resumed = train(tmp_path, "--resume", str(half), "--steps", "60", ranks=ranks, mpirun=mpirun)
        answers[f"resumed on {ranks} ranks, mpirun {mpirun}"] = resumed
    assert len(set(answers.values())) == 1, answers


def test_stopped_by_a_signal_and_resumed(tmp_path: Path) -> None:
    """SIGTERM lets the step end and saves; the resumed run has the weights of one that was not stopped."""
    data = write_excerpt(tmp_path / "mnist")
    options = ["--model", "cnn", "--seed", "7", "--steps", "250", "--data", str(data)]
    expected = train(tmp_path, *options, ranks=2)
    with started([*DDPNET, "train", *options, "--ranks", "3", "--out", "stopped"], cwd=tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGTERM)
        done = finish(process, 30)
    assert done.code == 128 + signal.SIGTERM, done.out + done.err
    (saved,) = (tmp_path / "stopped").iterdir()
    assert 0 < int(saved.name.removeprefix("step-")) < 250
    assert train(tmp_path, "--resume", "stopped", ranks=2) == expected


def test_killed_and_resumed(tmp_path: Path) -> None:
    """kill -9 of the whole job loses only what came after the last checkpoint."""
    data = write_excerpt(tmp_path / "mnist")
    options = ["--model", "mlp", "--seed", "7", "--steps", "200", "--checkpoint-every", "20", "--data", str(data)]
    expected = train(tmp_path, *options, ranks=1)
    with started([*DDPNET, "train", *options, "--ranks", "2", "--out", "killed"], cwd=tmp_path):
        deadline = time.monotonic() + 40
        while not list((tmp_path / "killed").glob("step-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert train(tmp_path, "--resume", "killed", ranks=3) == expected


SCRIPT = """
import ddpnet as torch
import ddpnet.distributed as dist
from ddpnet import nn
from ddpnet.nn.parallel import DistributedDataParallel as DDP
from ddpnet.utils.data import DataLoader, TensorDataset
from ddpnet.utils.data.distributed import DistributedSampler

dist.init_process_group("gloo")
torch.manual_seed(0)
data = TensorDataset(torch.randn(48, 1, 12, 12), torch.randint(0, 5, (48,)))


def build():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 16), nn.Tanh(), nn.Linear(16, 5)
    )


alone = build()
model = build()
model.load_state_dict(alone.state_dict())
if dist.get_rank():
    nn.init.zeros_(model[0].weight)  # rank 0's weights count
model = DDP(model)
criterion = nn.CrossEntropyLoss()
optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (alone, model)]
sampler = DistributedSampler(data, shuffle=True, seed=3)
size = dist.get_world_size()
for epoch in range(2):
    sampler.set_epoch(epoch)
    loader = DataLoader(data, batch_size=8, sampler=sampler)
    samplers = [DistributedSampler(data, size, rank, seed=3) for rank in range(size)]
    parts = [DataLoader(data, batch_size=8, sampler=part) for part in samplers]
    for part in parts:
        part.sampler.set_epoch(epoch)
    for (x, y), *joined in zip(loader, *parts):
        for optimizer in optimizers:
            optimizer.zero_grad()
        criterion(model(x), y).backward()
        images, labels = (torch.cat([batch[i] for batch in joined]) for i in (0, 1))
        criterion(alone(images), labels).backward()
        for p, q in zip(model.parameters(), alone.parameters()):
            difference = (p.grad - q.grad).abs().max() / q.grad.abs().max()
            assert difference.item() < 1e-6, difference
        for optimizer in optimizers:
            optimizer.step()
total = torch.tensor([1.0])
dist.all_reduce(total)
assert total.item() == size
dist.barrier()
if dist.get_rank() == 0:
    print("agrees on", size, "ranks")
dist.destroy_process_group()
"""


@pytest.mark.parametrize("start", ["mpirun", "ddpnet run", "alone"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ddp_script_has_the_gradients_of_the_joined_batch(tmp_path: Path, start: str, ranks: int) -> None:
    """An ordinary script with DistributedDataParallel, DistributedSampler and DataLoader."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = {
        "mpirun": [MPIRUN, "-n", str(ranks), sys.executable, str(script)],
        "ddpnet run": [*DDPNET, "run", "-n", str(ranks), str(script)],
        "alone": [sys.executable, str(script)],
    }[start]
    done = run(command, cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"agrees on {1 if start == 'alone' else ranks} ranks" in done.out


def test_exception_on_one_rank_of_plain_mpirun(tmp_path: Path) -> None:
    """Without our launcher, too, the job ends at once, and the traceback is shown once, with the rank."""
    script = tmp_path / "script.py"
    script.write_text(
        "import ddpnet.distributed as dist\n"
        "dist.init_process_group()\n"
        "if dist.get_rank() == 1:\n"
        "    raise ValueError('boom')\n"
        "dist.barrier()\n"
    )
    started = time.monotonic()
    done = run([MPIRUN, "-n", "3", sys.executable, str(script)], timeout=30, cwd=tmp_path)
    assert done.code != 0
    assert time.monotonic() - started < 10
    assert done.err.count("Traceback") == 1
    assert "rank 1 of 3 failed" in done.err
    assert "ValueError: boom" in done.err


def test_the_readmes_example_runs(tmp_path: Path) -> None:
    """The first Python block of the README, on 1 and 2 ranks."""
    text = (Path(__file__).parent.parent / "README.md").read_text()
    (tmp_path / "example.py").write_text(text.split("```python\n")[1].split("```")[0])
    for ranks in (1, 2):
        done = run([*DDPNET, "run", "-n", str(ranks), "example.py"], timeout=30, cwd=tmp_path)
        assert done.code == 0, done.err


WAITING = {
    "dist.all_reduce(torch.ones(3))": r"all_reduce \(call 1 of the default group\)",
    "dist.recv(torch.ones(3), src=1)": "recv from rank 1 with tag 0 in the default group",
    "model(torch.ones(2, 2)).sum().backward()": "step 0: sum of gradients",
}


@pytest.mark.parametrize("waiting", WAITING)
@pytest.mark.parametrize("start", ["mpirun", "ddpnet run"])
def test_a_rank_that_leaves_early_ends_the_job(tmp_path: Path, start: str, waiting: str) -> None:
    """Without an exception and with exit code 0: all others say at once in which call they wait for it."""
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "import ddpnet as torch\n"
        "import ddpnet.distributed as dist\n"
        "dist.init_process_group()\n"
        "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))\n"
        "if dist.get_rank() == 1:\n"
        "    sys.exit(0)\n"
        f"{waiting}\n"
    )
    starts = {"mpirun": [MPIRUN, "-n", "3", sys.executable], "ddpnet run": [*DDPNET, "run", "-n", "3"]}
    begun = time.monotonic()
    done = run([*starts[start], "script.py"], timeout=30, cwd=tmp_path)
    assert done.code != 0
    assert time.monotonic() - begun < 10
    for rank in (0, 2):
        words = rf"Error: rank {rank} of 3: {WAITING[waiting]}: rank 1 has come to its end: all ranks have to make"
        assert re.search(words, done.err), done.err


def test_a_rank_that_works_longer_than_the_others_is_given_its_time(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import time\n"
        "import ddpnet.distributed as dist\n"
        "dist.init_process_group()\n"
        "dist.barrier()\n"
        "if dist.get_rank() == 0:\n"
        "    time.sleep(2)\n"
        "    print('saved')\n"
    )
    done = run([MPIRUN, "-n", "3", sys.executable, "script.py"], timeout=30, cwd=tmp_path)
    assert (done.code, done.out) == (0, "saved\n"), done.err
