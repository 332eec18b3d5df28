"""Checkpoints: what is saved comes back to the bit, damage is noticed, and a killed save leaves nothing half."""

import fcntl
import hashlib
import json
import math
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ddpnet import checkpoint
from ddpnet.errors import InputError

FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")
DTYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", ml_dtypes.bfloat16),
)


def content(step: int = 30, **changes: Any) -> dict[str, Any]:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3) + step
    whole = {
        "model": {"z.weight": weight, "a.bias": np.zeros(2, np.float32)},
        "optimizer": {
            "state": {0: {"momentum_buffer": weight / 7, "step": step}, 1: {"momentum_buffer": None}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1]}],
        },
        "schedule": {"last_epoch": 3, "milestones": {2: 1}},
        "step": step,
        "settings": {"model": "lenet", "seed": 2**63 + 1},
        "fingerprint": {"blas": "SkylakeX"},
    }
    return {**whole, **changes}


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal in types, order and bits."""
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return isinstance(b, float) and struct.pack("d", a) == struct.pack("d", b)
    return type(a) is type(b) and a == b


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def edit_manifest(folder: Path, change: Any) -> None:
    """Change a manifest and give it a right digest, as an attacker or another program would."""

    def encoded(data: Any) -> bytes:
        return (json.dumps(data, indent=1) + "\n").encode()

    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["digest"]
    change(manifest)
    manifest["digest"] = hashlib.sha256(encoded(manifest)).hexdigest()
    path.write_bytes(encoded(manifest))


# What is saved comes back


def test_round_trip(tmp_path):
    saved = content()
    path = checkpoint.save(tmp_path / "run", **saved)
    loaded = checkpoint.load(path)
    assert path == loaded.path == tmp_path / "run" / "step-00000030"
    assert all(same(value, getattr(loaded, name)) for name, value in saved.items())
    assert sorted(read(path)) == list(FILES)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_of_every_type_and_shape(tmp_path, dtype):
    grid = np.arange(24).reshape(2, 3, 4).astype(dtype)
    model = {
        "whole": grid,
        "scalar": np.array(1, dtype),
        "empty": np.zeros((0, 3), dtype),
        "transposed": grid.T,
        "every second": grid[:, ::2],
        "backwards": grid[::-1],
        "broadcast": np.broadcast_to(grid[0, 0, 1], (3, 2)),
    }
    loaded = checkpoint.load(checkpoint.save(tmp_path, **content(model=model))).model
    assert same(model, loaded)
    assert all(array.flags.writeable for array in loaded.values())


def test_other_byte_order(tmp_path):
    swapped = np.arange(5, dtype=">f4")
    loaded = checkpoint.load(checkpoint.save(tmp_path, **content(model={"w": swapped}))).model["w"]
    assert loaded.dtype == np.float32
    assert loaded.tolist() == swapped.tolist()


def test_numbers_keep_their_bits(tmp_path):
    nan_with_payload = struct.unpack("d", struct.pack("Q", 0xFFF8_0000_0000_1234))[0]
    numbers = [math.inf, -math.inf, nan_with_payload, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 2**70, True, 1, 1.0]
    settings = {"numbers": numbers, "tuple": (1, (2.5, None)), "$odd": {"$float": "x"}, "": {}, "keys": {1: {2: "é"}}}
    path = checkpoint.save(tmp_path, **content(settings=settings, schedule=None))
    loaded = checkpoint.load(path)
    assert same(settings, loaded.settings)
    assert loaded.schedule is None
    json.loads((path / "state.json").read_bytes(), parse_constant=pytest.fail)


def test_two_saves_have_the_same_bytes(tmp_path):
    first, second = (checkpoint.save(tmp_path / run, **content()) for run in ("first", "second"))
    assert read(first) == read(second)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"settings": {"lr": {"x": np.float32(1)}}}, "settings.lr.x"),
        ({"settings": {"array": np.zeros(1)}}, "settings.array"),
        ({"optimizer": {"state": {0: {"names": {"a"}}}}}, "state.0.names"),
        ({"model": {"w": np.array(["text"])}}, "w"),
        ({"model": {"w": [1.0]}}, "w"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, changes, place):
    with pytest.raises(TypeError, match=f"^{place}: "):
        checkpoint.save(tmp_path / "run", **content(**changes))
    assert not (tmp_path / "run").exists()


def test_weights_digest_sees_names_types_shapes_bits_and_order():
    def digest(**model: np.ndarray) -> str:
        return checkpoint.weights_digest(model)

    a, b = np.zeros(4, np.float32), np.ones((2, 2), np.float32)
    others = [
        digest(a=a, c=b),
        digest(a=a.view(np.int32), b=b),
        digest(a=a.reshape(2, 2), b=b),
        digest(a=-a, b=b),
        digest(b=b, a=a),
        digest(a=a),
    ]
    assert digest(a=a, b=b) == digest(a=a.copy(), b=np.asfortranarray(b))
    assert len({digest(a=a, b=b), *others}) == 7


# Damage


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(tmp_path, name):
    path = checkpoint.save(tmp_path, **content()) / name
    sound = path.read_bytes()
    for bit in range(0, len(sound) * 8, 7):
        flip(path, bit)
        with pytest.raises(InputError):
            checkpoint.load(path.parent)
        path.write_bytes(sound)
    checkpoint.load(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_truncated_extended_and_missing_files_are_noticed(tmp_path, name):
    path = checkpoint.save(tmp_path, **content()) / name
    sound = path.read_bytes()
    for damaged in (sound[:-1], sound[: len(sound) // 2], b"", sound + b"\n", sound + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=name):
            checkpoint.load(path.parent)
    path.unlink()
    with pytest.raises(InputError, match=name):
        checkpoint.load(path.parent)
    assert checkpoint.newest(tmp_path) is None


def test_damage_is_described_with_a_remedy(tmp_path):
    older, damaged = (checkpoint.save(tmp_path, **content(step)) for step in (10, 20))
    flip(damaged / "model.safetensors", 900)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged.*sha256 \w{12}.*got \w{12}") as caught:
        checkpoint.load(damaged)
    assert f"{older} is whole" in str(caught.value)
    assert checkpoint.newest(tmp_path) == checkpoint.find(tmp_path) == older


def test_no_manifest_is_no_whole_checkpoint(tmp_path):
    path = checkpoint.save(tmp_path, **content())
    (path / "manifest.json").unlink()
    for use in (checkpoint.load, lambda path: checkpoint.load(checkpoint.find(path))):
        with pytest.raises(InputError, match="not a whole checkpoint"):
            use(path)


def test_newer_format(tmp_path):
    path = checkpoint.save(tmp_path, **content())
    edit_manifest(path, lambda manifest: manifest.update(version=2))
    with pytest.raises(InputError, match=r"newer ddpnet \(format 2, this program reads up to 1\): upgrade ddpnet"):
        checkpoint.load(path)
    with pytest.raises(InputError, match="upgrade ddpnet"):
        checkpoint.find(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", "model.safetensors/../../secret"])
def test_manifest_cannot_name_other_files(tmp_path, name):
    path = checkpoint.save(tmp_path, **content())
    (tmp_path / "secret").write_bytes(b"secret")

    def rename(manifest: Any) -> None:
        manifest["files"] = {name: manifest["files"]["state.json"]}

    edit_manifest(path, rename)
    with pytest.raises(InputError, match="expected the files"):
        checkpoint.load(path)


@pytest.mark.parametrize("name", FILES)
def test_links_and_devices_are_not_followed(tmp_path, name):
    path = checkpoint.save(tmp_path, **content()) / name
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    with pytest.raises(InputError, match="regular file"):
        checkpoint.load(path.parent)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="regular file"):
        checkpoint.load(path.parent)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"\xff", b"[" * 60_000, b'{"format": 1e999}', b" " * 100_000])
def test_nonsense_in_place_of_the_manifest(tmp_path, text):
    path = checkpoint.save(tmp_path, **content())
    (path / "manifest.json").write_bytes(text)
    with pytest.raises(InputError, match=r"manifest\.json: damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "state",
    [
        b"{}",
        b'{"step": NaN}',
        b"[" * 5000 + b"]" * 5000,
        b'{"optimizer": {"$array": "nowhere"}, "model": []}',
        b'{"optimizer": {"$float": 3}, "model": []}',
        b'{"optimizer": {"$what": 3}, "model": []}',
        b'{"optimizer": {"$dict": [[[], 3]]}, "model": []}',
        b'{"optimizer": [], "model": []}',
        b'{"model": ["missing"]}',
    ],
)
def test_content_of_another_form_with_right_digests(tmp_path, state):
    path = checkpoint.save(tmp_path, **content())
    (path / "state.json").write_bytes(state)
    entry = {"size": len(state), "sha256": hashlib.sha256(state).hexdigest()}
    edit_manifest(path, lambda manifest: manifest["files"].update({"state.json": entry}))
    with pytest.raises(InputError, match="content cannot be read"):
        checkpoint.load(path)


# Finding, keeping, deleting


def test_find(tmp_path):
    older, last = (checkpoint.save(tmp_path / "run", **content(step)) for step in (99_999_999, 100_000_000))
    assert checkpoint.find(tmp_path / "run") == checkpoint.newest(tmp_path / "run") == last
    assert checkpoint.find(older) == older
    moved = older.rename(tmp_path / "best")
    assert checkpoint.load(checkpoint.find(moved)).step == 99_999_999
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "nowhere", "no such checkpoint"),
        (tmp_path / "empty", "holds no checkpoint"),
        (last / "state.json", "got a file"),
    ):
        with pytest.raises(InputError, match=message):
            checkpoint.find(path)
    assert checkpoint.newest(tmp_path / "nowhere") is None


def test_an_existing_name_is_never_overwritten(tmp_path):
    path = checkpoint.save(tmp_path, **content())
    before = read(path)
    with pytest.raises(InputError, match="not overwritten"):
        checkpoint.save(tmp_path, **content(settings={"other": 1}))
    assert read(path) == before
    (tmp_path / "step-00000031").mkdir()
    (tmp_path / "step-00000032").write_text("a file")
    (tmp_path / "step-00000033").symlink_to("nowhere")
    for step in (31, 32, 33):
        with pytest.raises(InputError, match="not overwritten"):
            checkpoint.save(tmp_path, **content(step))
    assert sorted(os.listdir(tmp_path)) == [f"step-000000{step}" for step in (30, 31, 32, 33)]


def test_prune_keeps_the_newest_whole_ones(tmp_path):
    paths = [checkpoint.save(tmp_path, **content(step)) for step in range(1, 7)]
    (paths[1] / "manifest.json").unlink()
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(tmp_path.iterdir()) == [paths[1], paths[4], paths[5]]
    checkpoint.prune(tmp_path, keep=2)
    for path in paths[4:]:
        flip(path / "state.json", 99)
    paths.append(checkpoint.save(tmp_path, **content(4)))
    checkpoint.prune(tmp_path, keep=1)
    assert checkpoint.newest(tmp_path) == paths[-1]
    with pytest.raises(ValueError, match="at least 1"):
        checkpoint.prune(tmp_path, keep=0)


# Interrupted saves

SAVE = """
import os, sys, signal, resource
import numpy as np
from ddpnet import checkpoint

def save(step, size=200_000):
    array = np.full(size, step, np.float32)
    checkpoint.save(sys.argv[1], model={"w": array}, optimizer={"state": {0: {"m": array}}, "param_groups": []},
                    schedule=None, step=step, settings={}, fingerprint={})
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SAVE + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_run(folder: Path, at_least: int) -> int:
    """Every named checkpoint is whole; the newest has all that was saved. Its step."""
    for path in folder.glob("step-*"):
        checkpoint.load(path)
    newest = checkpoint.newest(folder)
    loaded = checkpoint.load(newest)
    assert loaded.step >= at_least
    assert np.all(loaded.model["w"] == loaded.step)
    assert np.all(loaded.optimizer["state"][0]["m"] == loaded.step)
    return loaded.step


def test_killed_at_any_time(tmp_path):
    draw = random.Random(2)
    last = 0
    for _ in range(8):
        script = f"for step in range({last + 1}, 10**6):\n    save(step)\n    print(step, flush=True)"
        with start(script, tmp_path) as process:
            assert process.stdout.readline() == f"{last + 1}\n"  # it is saving now
            time.sleep(draw.uniform(0, 0.03))
            process.kill()
            reported = [last + 1, *map(int, process.stdout.read().split())]
        last = check_run(tmp_path, at_least=max(reported))


def test_killed_before_any_file_operation(tmp_path):
    script = """
for fatal in range(200):
    child = os.fork()
    if child == 0:
        counter = iter(range(fatal))
        def count(event, arguments):
            if event in ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.listdir", "os.scandir"):
                if next(counter, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        save(2, 100)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    newest = checkpoint.newest(sys.argv[1])
    print(fatal, status, checkpoint.load(newest).step)
    if status != signal.SIGKILL:
        break
"""
    with start("save(1, 100)" + script, tmp_path) as process:
        output, errors = process.communicate(timeout=60)
    rows = [tuple(map(int, line.split())) for line in output.splitlines()]
    assert process.returncode == 0, errors
    assert len(rows) >= 10  # operations at which it was killed
    *killed, finished = rows
    assert finished[1] in (0, 256)  # 256: the last kill came after the renaming, so that step 2 existed
    assert all(status == signal.SIGKILL and step in (1, 2) for _, status, step in killed)
    assert killed[0][2] == 1
    assert check_run(tmp_path, at_least=2) == 2


@pytest.mark.parametrize("limit", [0, 5000, 800_100])
def test_killed_in_the_middle_of_a_write(tmp_path, limit):
    script = f"""
save(1)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
save(2, 200_000 if {limit} < 800_000 else 200_010)
"""
    with start(script, tmp_path) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGXFSZ
    assert check_run(tmp_path, at_least=1) == 1
    (left_over,) = tmp_path.glob(".unfinished-*")
    checkpoint.save(tmp_path, **content(2))
    assert not left_over.exists()


def test_a_save_in_progress_is_left_alone(tmp_path):
    in_use = tmp_path / ".unfinished-step-00000001-x"
    in_use.mkdir()
    descriptor = os.open(in_use, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    checkpoint.save(tmp_path, **content(2))
    assert in_use.exists()
    os.close(descriptor)
    checkpoint.save(tmp_path, **content(3))
    assert not in_use.exists()


def test_a_disk_that_takes_no_more(tmp_path):
    checkpoint.save(tmp_path, **content(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"w": np.zeros(10**6)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, before[1]))
    try:
        with pytest.raises(InputError, match=r"step-00000002: the checkpoint cannot be saved \(File too large\)"):
            checkpoint.save(tmp_path, **content(2, model=big))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["step-00000001"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be saved"):
        checkpoint.save(tmp_path / "file" / "run", **content())
    with pytest.raises(InputError, match="Not a directory: choose another output folder"):
        checkpoint.claimed(tmp_path / "file" / "run").__enter__()


def test_a_folder_has_one_run(tmp_path):
    run = tmp_path / "runs" / "run"
    with checkpoint.claimed(run):
        with pytest.raises(InputError, match="another run saves its checkpoints there"), checkpoint.claimed(run):
            pass
        assert run.exists()
    assert not run.exists()  # nothing was saved
    with checkpoint.claimed(run):
        path = checkpoint.save(run, **content())
    with checkpoint.claimed(run):
        assert checkpoint.find(run) == path
