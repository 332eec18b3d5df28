"""What several test files share."""

from __future__ import annotations

from types import CodeType, FunctionType

import pytest
import ranks

from ddpnet import backend


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start ranks: CI runs them with another MPI, too."""
    for item in items:
        if isinstance(item, pytest.Function) and starts_ranks(item.function.__code__, vars(item.module), []):
            item.add_marker("ranks")


def starts_ranks(code: CodeType, names: dict[str, object], seen: list[CodeType]) -> bool:
    """Whether a function of a test file uses something of `ranks`, by itself or by other functions of the file."""
    seen.append(code)
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    for value in (names.get(name) for name in code.co_names):
        if value is ranks or getattr(value, "__module__", None) == ranks.__name__:
            return True
        if isinstance(value, FunctionType) and value.__globals__ is names:
            inner.append(value.__code__)
    return any(starts_ranks(each, names, seen) for each in inner if each not in seen)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; "cuda" is skipped where CuPy or a GPU is missing."""
    if request.param == "cuda" and backend.cuda_device_count() == 0:
        pytest.skip("needs CuPy and a CUDA device")
    return request.param
