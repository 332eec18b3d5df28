"""The example programs run unchanged under PyTorch and under ddpnet, and their losses agree step by step."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "scripts" / "examples"
SMALL = {
    "resnet18": ["--width", "16", "--batch-size", "8"],
    "char_gpt": [str(ROOT / "LICENSE"), "--layers", "2", "--width", "64", "--batch-size", "8"],
    "lstm_lm": [str(ROOT / "LICENSE"), "--width", "48", "--words", "300", "--batch-size", "4", "--length", "8"],
}


def losses(name: str, *runner: str) -> list[float]:
    command = [sys.executable, *runner, str(EXAMPLES / f"{name}.py"), "--steps", "50", *SMALL[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [float(loss) for loss in re.findall(r"^step \d+ loss (\S+)", done.stdout, re.MULTILINE)]


@pytest.mark.parametrize("name", SMALL)
def test_losses_fall_and_agree_with_pytorchs(name: str) -> None:
    ours = losses(name, "-m", "ddpnet.as_torch")
    assert len(ours) == 50
    assert sum(ours[-5:]) < sum(ours[:5])
    pytest.importorskip("torch")
    assert ours == pytest.approx(losses(name), abs=1e-4)
