"""What several test files share."""

from __future__ import annotations

import gc
import signal
import sys
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import pytest
import ranks

import ddpnet
from ddpnet import backend

FOLDER = Path(__file__).parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # shells let what they start in the background ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start ranks, but for those of which their file says that they start one process only."""
    for item in items:
        one_process = item.get_closest_marker("one_process") is not None
        if isinstance(item, pytest.Function) and not one_process and starts_ranks(item.function):
            item.add_marker("ranks")


def pytest_collection_finish() -> None:
    """Collections of garbage pass over what is there before the first test: it made each full one take 0.8 s."""
    gc.collect()
    gc.freeze()


@cache
def starts_ranks(function: FunctionType) -> bool:
    """Whether a test uses something of `ranks`, by itself or by functions of the files in this folder."""
    seen: set[CodeType] = set()
    left = [(function.__code__, function.__globals__)]
    while left:
        code, names = left.pop()
        seen.add(code)
        found = [(constant, names) for constant in code.co_consts if isinstance(constant, CodeType)]
        for value in (names.get(name) for name in code.co_names):
            if value is ranks or getattr(value, "__module__", None) == ranks.__name__:
                return True
            if isinstance(value, FunctionType) and Path(value.__code__.co_filename).parent == FOLDER:
                found.append((value.__code__, value.__globals__))
        left += [each for each in found if each[0] not in seen]
    return False


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Random numbers of a test do not depend on the tests that ran before it in this process."""
    ddpnet.manual_seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; "cuda" is skipped where CuPy or a GPU is missing."""
    if request.param == "cuda" and backend.cuda_device_count() == 0:
        pytest.skip("needs CuPy and a CUDA device")
    return request.param
