"""`save` and `load`: what goes in comes back, other readers find it, and nothing damaged or foreign is taken."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import ddpnet as torch


def through(value: Any, **options: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, **options)


def test_a_tensor_of_each_dtype_and_shape() -> None:
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"):
        for shape in ((), (0, 3), (2, 3)):
            tensor = torch.ones(shape, dtype=getattr(torch, name))
            back = through(tensor)
            assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(back, tensor)


def test_nested_data() -> None:
    data = {
        "model": {"w": torch.arange(6).reshape(2, 3).t(), "b": torch.tensor(1.5)},
        "epoch": 3,
        "best": math.inf,
        "of the batch": [1, 2.5, None, True, "text", (torch.ones(1), ())],
        7: np.float64(0.5),
    }
    back = through(data)
    assert list(back) == list(data)
    assert torch.equal(back["model"]["w"], data["model"]["w"])
    assert back["of the batch"][:5] == data["of the batch"][:5]
    assert type(back["of the batch"][5]) is tuple
    assert (back["best"], back[7], back["epoch"]) == (math.inf, 0.5, 3)
    back["model"]["w"][0, 0] = 9  # its own memory, which may be written


def test_views_and_shared_tensors_are_saved_whole() -> None:
    base = torch.arange(10)
    back = through({"part": base[2:8:2], "same": base, "again": base})
    assert back["part"].tolist() == [2, 4, 6]
    assert back["same"].tolist() == back["again"].tolist() == list(range(10))


def test_modules_and_optimizers(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "file")
    back = torch.load(tmp_path / "file", map_location="cpu", weights_only=True)
    other = torch.nn.Linear(3, 2)
    other.load_state_dict(back["model"])
    assert torch.equal(other.weight, model.weight)
    torch.optim.Adam(other.parameters()).load_state_dict(back["optimizer"])


def test_other_readers_find_the_names(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "n": torch.arange(3)}, tmp_path / "file")
    arrays = safetensors.numpy.load_file(tmp_path / "file")
    assert sorted(arrays) == ["n", "w"]
    safetensors.numpy.save_file({"x": np.arange(3)}, tmp_path / "plain")
    assert torch.load(tmp_path / "plain")["x"].tolist() == [0, 1, 2]


def test_pickles_are_refused_with_a_remedy(tmp_path: Path) -> None:
    oracle = pytest.importorskip("torch")
    for zipped in (True, False):
        oracle.save({"a": oracle.ones(2)}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(RuntimeError, match=r"safetensors\.torch\.save_file"):
            torch.load(tmp_path / "model.pt")


@pytest.mark.parametrize("change", ["cut", "longer", "empty", "text", "shape", "overlap", "header"])
def test_damage_is_found(change: str) -> None:
    good = safetensors.numpy.save({"x": np.arange(3), "y": np.ones(3)})
    data = {
        "cut": good[:-1],
        "longer": good + b"x",
        "empty": b"",
        "text": b"no such file at all",
        "shape": good.replace(b'"shape":[3]', b'"shape":[9]', 1),
        "overlap": good.replace(b"[24,48]", b"[ 0,24]"),
        "header": b"\xff" * 4 + bytes(4) + good[8:],
    }[change]
    with pytest.raises(ValueError, match="the file"):
        torch.load(io.BytesIO(data))


def test_sizes_are_checked_before_memory_is_taken() -> None:
    header = b'{"x":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8000000000000]}}'
    with pytest.raises(ValueError, match="bytes of tensors"):
        torch.load(io.BytesIO(len(header).to_bytes(8, "little") + header))


@pytest.mark.parametrize("value", [{"f": object()}, {"s": {1}}, {"a": np.ones(2)}])
def test_what_is_not_data_is_refused_by_its_place(value: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(value))):
        torch.save(value, io.BytesIO())


def test_a_module_is_not_saved_whole() -> None:
    with pytest.raises(TypeError, match="state_dict"):
        torch.save(torch.nn.Linear(1, 1), io.BytesIO())


def test_map_location() -> None:
    assert through(torch.ones(1), map_location={"cuda:0": "cpu"}).device.type == "cpu"
    assert through(torch.ones(1), map_location=lambda tensor, place: tensor * 2).item() == 2
    with pytest.raises(NotImplementedError, match="mmap"):
        through(torch.ones(1), mmap=True)


def test_weights_go_both_ways(tmp_path):
    """What PyTorch wrote is loaded by name here, and what ddpnet wrote is loaded there."""
    pytorch = pytest.importorskip("torch")
    theirs_on_disk = pytest.importorskip("safetensors.torch")

    def network(library):
        nn = library.nn
        return nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.LSTM(5, 6, 2, bidirectional=True),
        )

    theirs, ours, again = network(pytorch), network(torch), network(pytorch)
    theirs_on_disk.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours.load_state_dict(torch.load(tmp_path / "theirs.safetensors"))
    torch.save(ours.state_dict(), tmp_path / "ours.safetensors")
    again.load_state_dict(theirs_on_disk.load_file(tmp_path / "ours.safetensors"))
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value.numpy())
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), value.numpy())
