"""What the last bits of a run depend on, and a run that goes on where that is something else."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from ddpnet import backend
from ddpnet.errors import InputError
from ddpnet.training.drift import check_drift, drift, environment_fingerprint


def test_environment_fingerprint() -> None:
    facts = environment_fingerprint("cpu", 8)
    assert facts["numpy"] == np.__version__
    assert facts["numba"] == metadata.version("numba")
    assert (facts["device"], facts["dtype"], facts["shards"]) == ("cpu", "float32", "8")
    assert json.loads(json.dumps(facts)) == facts == environment_fingerprint("cpu", 8)


def test_it_notices_what_changes_bits() -> None:
    """Such as another core type of the BLAS; nothing else differs between two processes."""
    program = (
        "import json; from ddpnet.training.drift import environment_fingerprint as f; print(json.dumps(f('cpu', 8)))"
    )
    usual, again, other = (
        json.loads(subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True).stdout)
        for env in ({}, {}, {"OPENBLAS_CORETYPE": "Nehalem"})
    )
    assert drift(usual, again) == []
    assert [line.partition(":")[0] for line in drift(usual, other)] == ["core type"]


def test_drift_tells_what_was_and_what_is() -> None:
    now = {"numpy": "2.4.6", "numba": "0.68", "device": "cpu"}
    assert drift({**now}, now) == []
    assert drift({**now, "numpy": "2.4.5"}, now) == ["numpy: 2.4.5 then, 2.4.6 now"]
    assert drift({"numpy": "2.4.6", "device": "cpu"}, now) == ["numba: not recorded then, 0.68 now"]
    assert drift({**now, "gpu": "H100"}, now) == ["gpu: H100 then, not recorded now"]


def test_a_resume_elsewhere_is_refused_unless_allowed() -> None:
    saved, now = {"numpy": "2.4.5", "core type": "Haswell"}, {"numpy": "2.4.6", "core type": "SkylakeX"}
    lines = check_drift(Path("runs/a/step-7"), saved, now, allowed=True)
    assert lines == ["numpy: 2.4.5 then, 2.4.6 now", "core type: Haswell then, SkylakeX now"]
    with pytest.raises(InputError) as caught:
        check_drift(Path("runs/a/step-7"), saved, now, allowed=False)
    assert str(caught.value).startswith("runs/a/step-7: ")
    assert all(line in str(caught.value) for line in lines)
    assert "--allow-drift" in str(caught.value)
    assert check_drift(Path("x"), now, now, allowed=False) == []


@pytest.mark.gpu
def test_environment_fingerprint_of_a_gpu() -> None:
    if not backend.cuda_device_count():
        pytest.skip("no CUDA device with CuPy")
    assert "CUDA" in environment_fingerprint("cuda", 2)["gpu"]
