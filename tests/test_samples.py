"""PyTorch's own sample inputs for operators: the same values, dtypes, gradients and second derivatives."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")
import samples  # noqa: E402 - needs PyTorch

HALF = (torch.float16, torch.bfloat16)
FLOAT = (*HALF, torch.float32, torch.float64)
ROUNDING = (HALF, "PyTorch rounds in between, ours once at the end")
KNOWN: dict[str, tuple[tuple[object, ...], str]] = {
    "as_strided_scatter": (FLOAT, "what was overwritten has no gradient; PyTorch gives it one"),
    "gradient": ROUNDING,
    "ldexp": ROUNDING,
    "linalg.eigh": (FLOAT, "the signs of eigenvectors are the LAPACK library's choice"),
    "logcumsumexp": ((*HALF, torch.float32), "PyTorch's gradient is further from the one in float64 than ours"),
    "matrix_exp": ((*HALF, torch.float32), "of large matrices; PyTorch's overflows in half precision"),
    "nextafter": (FLOAT, "PyTorch has no derivative and raises"),
    "nn.functional.conv3d": ROUNDING,
    "nn.functional.conv_transpose1d": ROUNDING,
    "nn.functional.conv_transpose2d": ROUNDING,
    "nn.functional.conv_transpose3d": ROUNDING,
    "nn.functional.ctc_loss": ((torch.float64,), "PyTorch has no second derivative and raises"),
    "nn.functional.grid_sample": ROUNDING,
    "nn.functional.instance_norm": ROUNDING,
    "nn.functional.layer_norm": ((torch.float32,), "of a single element PyTorch's gradient is rounding instead of 0"),
    "nn.functional.scaled_dot_product_attention": (
        (torch.float16, torch.float64),
        "PyTorch rounds in between; it has no second derivative for some",
    ),
    "polygamma": (tuple(samples.DTYPES), "near the poles PyTorch's float32 is finite"),
    "special.i1": (HALF, "PyTorch has no derivative and raises"),
    "special.i1e": (HALF, "PyTorch has no derivative and raises"),
    "special.polygamma": (tuple(samples.DTYPES), "near the poles PyTorch's float32 is finite"),
}
"""Operators that differ for some dtypes, and why."""

CHECKED = (torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float32, torch.float64)
"""The other dtypes are for the command line of `samples`: they take as long again."""

OURS = [op for op in samples.op_db if samples.exists(op.name)]


@pytest.mark.parametrize("op", OURS, ids=lambda op: f"{op.name} {op.variant_test_name}".strip())
def test_samples(op: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = [
            problem
            for dtype in CHECKED
            if dtype in op.dtypes and dtype not in KNOWN.get(op.name, ((), ""))[0]
            for problem in samples.check(op, dtype, second=dtype == torch.float64, limit=12)
        ]
    assert not problems, "\n".join(problems[:10])
