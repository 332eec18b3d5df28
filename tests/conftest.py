"""What several test files share."""

from __future__ import annotations

import pytest
import ranks

from ddpnet import backend


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of files that start ranks: CI runs them with another MPI, too."""
    for item in items:
        names = vars(item.module).values()  # type: ignore[attr-defined]
        if any(value is ranks or getattr(value, "__module__", None) == ranks.__name__ for value in names):
            item.add_marker("ranks")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; "cuda" is skipped where CuPy or a GPU is missing."""
    if request.param == "cuda" and backend.cuda_device_count() == 0:
        pytest.skip("needs CuPy and a CUDA device")
    return request.param
