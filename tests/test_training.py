"""The run behind `ddpnet train`: one answer at any number of ranks, stopped and resumed or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from digits import Notes, run, write, write_digits

from ddpnet import checkpoint
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.errors import InputError
from ddpnet.training import Settings, evaluate, preflight, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize("model", ["lenet", "mlp", "cnn"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_same_weights_on_any_number_of_ranks_and_resumed(
    folder: Path, tmp_path: Path, model: str, optimizer: str
) -> None:
    """200 images in batches of 48: each epoch ends with a batch of 8; dropout and batch norm take part."""
    settings = Settings(model=model, data=str(folder), optimizer=optimizer, batch=48, steps=8, seed=7)
    alone = run(replace(settings, out=tmp_path / "1"), 1)
    for ranks in (2, 3, 4, 8):
        assert run(replace(settings, out=tmp_path / str(ranks)), ranks).digest == alone.digest, f"{ranks} ranks"
    run(replace(settings, steps=3, out=tmp_path / "half"), 2)
    resumed = Settings(steps=8, resume=tmp_path / "half", out=tmp_path / "resumed")
    assert run(resumed, 3, frozenset({"steps", "resume", "out"})).digest == alone.digest


def test_shards_decide_the_bits(folder: Path, tmp_path: Path) -> None:
    settings = Settings(model="mlp", data=str(folder), steps=4, batch=40)
    eight, four = (run(replace(settings, shards=n, out=tmp_path / str(n)), 1).digest for n in (8, 4))
    assert eight != four
    assert run(replace(settings, shards=4, out=tmp_path / "4-on-4"), 4).digest == four


def test_it_learns(folder: Path, tmp_path: Path) -> None:
    notes = run(Settings(data=str(folder), epochs=15, batch=20, out=tmp_path / "run"), 2)
    assert notes.losses[-1] < 0.2 * notes.losses[0]
    assert notes.test[1] > 0.9
    found = evaluate(tmp_path / "run", None, run_threads(1, lambda comm: comm)[0])
    assert (found.loss, found.accuracy) == notes.test
    assert found.samples == 60


def test_evaluation_is_the_same_on_any_number_of_ranks(folder: Path, tmp_path: Path) -> None:
    run(Settings(model="cnn", data=str(folder), steps=2, out=tmp_path / "run"), 1)
    results = [run_threads(n, lambda comm: evaluate(tmp_path / "run", "mnist", comm)) for n in (1, 3)]
    assert len({(found.loss, found.accuracy) for ranks in results for found in ranks}) == 1
    assert results[0][0].samples == 10_000


def test_cosine_schedule_resumes(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(folder), schedule="cosine", epochs=2, batch=25, checkpoint_every=5)
    whole = run(replace(settings, out=tmp_path / "whole"), 1)
    middle = tmp_path / "whole" / "step-00000005"
    assert middle in whole.checkpoints
    resumed = run(Settings(resume=middle, out=tmp_path / "again"), 2, frozenset({"resume", "out"}))
    assert resumed.digest == whole.digest
    assert not resumed.notes


def test_a_cosine_schedule_keeps_its_length(folder: Path, tmp_path: Path) -> None:
    """Beyond its end the learning rate would rise again."""
    run(Settings(data=str(folder), schedule="cosine", steps=4, out=tmp_path / "run"), 1)
    with pytest.raises(InputError, match="cosine schedule ends at step 4, and cannot be made to end at 6"):
        preflight(Settings(resume=tmp_path / "run", steps=6), frozenset({"resume", "steps"}))


def test_keep_leaves_the_newest(folder: Path, tmp_path: Path) -> None:
    run(Settings(data=str(folder), steps=6, checkpoint_every=1, keep=2, out=tmp_path / "run"), 1)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["step-00000005", "step-00000006"]


# Bad input: one clear message, and nothing is touched


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "lent"}, "did you mean 'lenet'"),
        ({"optimizer": "adan"}, "did you mean 'adam'"),
        ({"schedule": "cos"}, "did you mean 'cosine'"),
        ({"lr": float("nan")}, "lr: expected a positive number, got nan"),
        ({"lr": -1.0}, "lr: expected a positive number"),
        ({"steps": 0}, "steps: expected a whole number of 1 or more"),
        ({"steps": 1, "epochs": 1}, "exclude each other"),
        ({"shards": 8, "batch": 4}, "shards: expected at most one a sample"),
        ({"compress": "fp8"}, "did you mean 'fp16'"),
        ({"overlap": "of"}, "did you mean 'off'"),
        ({"on_desync": "ignore"}, "unknown on-desync 'ignore'"),
        ({"timeout": 0.0}, "timeout: expected a positive number"),
        ({"fingerprint_every": -1}, "fingerprint-every: expected a whole number of 0 or more"),
        ({"shards": 8, "accumulate": 16}, "shards: expected at most one a sample .* got 8 times 16 to accumulate"),
        ({"momentum": -0.1}, "momentum"),
    ],
)
def test_values_that_no_run_can_have(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**change)  # type: ignore[arg-type]


def test_unknown_data_set() -> None:
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        preflight(Settings(data="mnits"))


def test_labels_out_of_range(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    labels = tmp_path / "train-labels-idx1-ubyte"
    damaged = bytearray(labels.read_bytes())
    damaged[8 + 17] = 10
    labels.write_bytes(damaged)
    with pytest.raises(InputError, match=r"\[17\]: expected a label from 0 to 9, got 10"):
        preflight(Settings(data=str(tmp_path)))


def test_images_that_do_not_fit_the_model(folder: Path, tmp_path: Path) -> None:
    for part, count in (("train", 20), ("t10k", 10)):
        write(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((count, 40, 40), np.uint8))
        write(tmp_path / f"{part}-labels-idx1-ubyte", np.zeros(count, np.uint8))
    with pytest.raises(InputError, match="lenet takes images of at most 32 by 32 pixels, got 40 by 40"):
        preflight(Settings(data=str(tmp_path), batch=8))
    with pytest.raises(InputError, match="at most the 20 training images"):
        preflight(Settings(data=str(tmp_path), model="mlp", batch=64))


def test_resume_of_another_run(folder: Path, tmp_path: Path) -> None:
    run(Settings(model="mlp", data=str(folder), steps=2, seed=1, out=tmp_path / "run"), 1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for change, message in (
        ({"model": "cnn"}, "the run has model mlp, not cnn"),
        ({"seed": 2}, "the run has seed 1, not 2"),
        ({"steps": 2}, "has ended; to go on, give more --steps"),
    ):
        settings = Settings(resume=tmp_path / "run", **change)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=message):
            preflight(settings, frozenset({"resume", *change}))
    with pytest.raises(InputError, match="the output folder is not empty"):
        preflight(Settings(model="mlp", data=str(folder), out=tmp_path / "run"))
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_resume_into_the_folder_of_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    settings = Settings(model="mlp", data=str(folder), out=out)
    run(replace(settings, steps=2), 1)
    given = frozenset({"resume", "out", "steps"})
    monkeypatch.chdir(tmp_path)
    run(Settings(resume=Path("run"), out=Path("../", tmp_path.name, "run"), steps=4), 2, given)
    assert sorted(path.name for path in out.iterdir()) == ["step-00000002", "step-00000004"]
    with pytest.raises(InputError, match="holds step-00000004, which is newer"):
        preflight(Settings(resume=out / "step-00000002", out=out, steps=6), given)


def test_two_runs_into_one_folder(folder: Path, tmp_path: Path) -> None:
    """The second is refused before its first step, not at its first checkpoint."""
    ready = preflight(Settings(model="mlp", data=str(folder), out=tmp_path / "run", steps=2))
    notes = Notes()
    with checkpoint.claimed(tmp_path / "run"), pytest.raises(InputError, match="run: another run saves"):
        run_threads(2, lambda comm: train(ready, comm, notes), timeout=60)
    assert notes.losses == []


def test_checkpoint_of_another_model(folder: Path, tmp_path: Path) -> None:
    """A checkpoint whose settings name one model and whose arrays are another's."""
    from ddpnet import checkpoint

    run(Settings(model="mlp", data=str(folder), steps=1, out=tmp_path / "run"), 1)
    saved = checkpoint.load(checkpoint.find(tmp_path / "run"))
    path = checkpoint.save(
        tmp_path / "other",
        model=saved.model,
        optimizer=saved.optimizer,
        schedule=None,
        step=1,
        settings={**saved.settings, "model": "lenet"},
        fingerprint=saved.fingerprint,
    )
    with pytest.raises(InputError, match="the weights are those of another model"):
        preflight(Settings(resume=path, steps=9), frozenset({"resume", "steps"}))


def test_more_ranks_than_shards(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ranks: expected at most one a shard \(2\), got 3"):
        run(Settings(data=str(folder), steps=1, shards=2, out=tmp_path / "run"), 3)


NO_BIT = [
    {"zero": True},
    {"overlap": "on", "bucket_mb": 0.01},
    {"overlap": "off"},
    {"fingerprint_every": 0},
    {"on_desync": "heal", "fingerprint_every": 3},
    {"shards": 4, "accumulate": 2},
    {"shards": 1, "accumulate": 8, "zero": True},
]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_how_it_is_computed_changes_no_bit(folder: Path, tmp_path: Path, optimizer: str) -> None:
    common = Settings(model="cnn", data=str(folder), steps=9, batch=40, optimizer=optimizer, clip_norm=0.5)
    digests = {}
    for number, options in enumerate([{}, *NO_BIT]):
        for ranks in (1, 3):
            settings = replace(common, out=tmp_path / f"{number}-{ranks}", **options)
            digests[str(options), ranks] = run(settings, ranks).digest
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("options", [{"sync_batchnorm": True}, {"compress": "fp16"}, {"compress": "bf16"}])
def test_what_changes_bits_changes_them_everywhere(folder: Path, tmp_path: Path, options: dict[str, object]) -> None:
    common = Settings(model="cnn", data=str(folder), steps=6, batch=40)
    plain = run(replace(common, out=tmp_path / "plain"), 2).digest
    digests = [run(replace(common, out=tmp_path / str(n), **options), n).digest for n in (1, 2, 3, 8)]
    assert len(set(digests)) == 1
    assert digests[0] != plain


def test_zero_saves_the_whole_state(folder: Path, tmp_path: Path) -> None:
    """A run of 3 ranks with ZeRO goes on on 2 without, and has the bits of one that was never cut."""
    common = Settings(model="mlp", data=str(folder), steps=8, batch=32, optimizer="adam")
    whole = run(replace(common, out=tmp_path / "whole"), 1)
    run(replace(common, steps=4, zero=True, out=tmp_path / "cut"), 3)
    resumed = Settings(resume=tmp_path / "cut", steps=8)
    assert run(resumed, 2, frozenset({"resume", "steps"})).digest == whole.digest


def test_a_last_batch_that_leaves_shards_empty(folder: Path, tmp_path: Path) -> None:
    """200 images in batches of 49 leave 4."""
    settings = Settings(data=str(folder), batch=49, epochs=1, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"leave 4 for the last step .* few for 8 shards: .* --drop-last"):
        preflight(settings)
    assert len(run(replace(settings, drop_last=True), 2).losses) == 4
    assert len(run(replace(settings, shards=4, out=tmp_path / "four"), 2).losses) == 5


def test_shards_for_small_batches_are_one_a_rank() -> None:
    assert Settings(batch=64).for_ranks(3).shards == 8
    assert Settings(batch=6).for_ranks(3).shards == 3
    assert Settings(batch=64, device="cuda").for_ranks(2).shards == 2
    with pytest.raises(InputError, match=r"at most one a shard \(8\), got 9"):
        Settings(batch=64).for_ranks(9)


def test_drift_is_refused_unless_allowed(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(folder), steps=2, batch=40, out=tmp_path / "run")
    (path,) = run(settings, 1).checkpoints
    saved = checkpoint.load(path)
    elsewhere = checkpoint.save(
        tmp_path / "elsewhere",
        model=saved.model,
        optimizer=saved.optimizer,
        schedule=saved.schedule,
        step=saved.step,
        settings=saved.settings,
        fingerprint={**saved.fingerprint, "numpy": "1.0"},
    )
    resumed = Settings(resume=elsewhere, steps=4, out=tmp_path / "on")
    given = frozenset({"resume", "steps"})
    with pytest.raises(InputError, match=r"numpy: 1\.0 then, .* now: go on where the run began, or give --allow-drift"):
        run(resumed, 1, given)
    (note,) = run(replace(resumed, allow_drift=True), 1, given).notes
    assert "the last bits may differ" in note


def test_settings_survive_json() -> None:
    settings = Settings(model="cnn", lr=0.1, resume=Path("a/b"), out=Path("c"))
    assert Settings.from_json(settings.to_json()) == settings
    assert "resume" not in json.loads(json.dumps(settings.defining()))
