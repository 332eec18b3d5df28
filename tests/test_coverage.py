"""docs/coverage.md says what `scripts/coverage` would write."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_script_writes(monkeypatch):
    oracle = pytest.importorskip("torch")
    if not oracle.__version__.startswith("2.13."):
        pytest.skip("the page compares with PyTorch 2.13")
    monkeypatch.syspath_prepend(ROOT / "scripts" / "survey")
    import namespaces

    assert namespaces.page() == namespaces.COVERAGE.read_text(), "run ./scripts/coverage"
    sys.modules.pop("namespaces")
