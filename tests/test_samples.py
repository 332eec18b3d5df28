"""PyTorch's own sample inputs for operators: the same values, dtypes, gradients and second derivatives."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")
import samples  # noqa: E402 - needs PyTorch

HALF = (torch.float16, torch.bfloat16)
KNOWN: dict[str, tuple[tuple[object, ...], str]] = {
    "nn.functional.conv_transpose1d": (HALF, "PyTorch rounds every product of the sum, ours only the sum"),
    "nn.functional.conv_transpose2d": (HALF, "PyTorch rounds every product of the sum"),
    "nn.functional.conv_transpose3d": (HALF, "PyTorch rounds every product of the sum"),
    "nn.functional.conv3d": (HALF, "PyTorch rounds every product of the sum that is the input's gradient"),
    "nn.functional.grid_sample": (HALF, "bicubic: the grid's gradient is a sum that PyTorch rounds otherwise"),
}
"""Operators that differ for some dtypes, and why; None stands for the error inputs."""

OURS = [
    op for op in samples.op_db if samples.resolve(samples.ddpnet, op.name) or hasattr(samples.ddpnet.Tensor, op.name)
]


@pytest.mark.parametrize("op", OURS, ids=lambda op: f"{op.name} {op.variant_test_name}".strip())
def test_samples(op: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = [
            problem
            for dtype in samples.DTYPES
            if dtype in op.dtypes and dtype not in KNOWN.get(op.name, ((), ""))[0]
            for problem in samples.check(op, dtype, second=dtype == torch.float64, limit=20)
        ]
    assert not problems, "\n".join(problems[:10])
