"""What several test files share."""

from __future__ import annotations

import pytest

from ddpnet import backend


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; "cuda" is skipped where CuPy or a GPU is missing."""
    if request.param == "cuda" and backend.cuda_device_count() == 0:
        pytest.skip("needs CuPy and a CUDA device")
    return request.param
