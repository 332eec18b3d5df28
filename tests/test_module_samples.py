"""PyTorch's own sample inputs for modules: the same outputs, gradients, second derivatives, repr and state_dict."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")
import module_samples  # noqa: E402 - needs PyTorch

KNOWN: dict[str, str] = {}
"""Modules for which something differs, and why."""

OURS = [info for info in module_samples.module_db if module_samples.ours_of(info)]


@pytest.mark.parametrize("info", OURS, ids=module_samples.name_of)
def test_module_samples(info: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = module_samples.check_all(info, limit=20)
    if module_samples.name_of(info) in KNOWN:
        pytest.xfail(KNOWN[module_samples.name_of(info)])
    assert not problems, "\n".join(problems[:10])
