"""Drift: a run that goes on in another environment than the one it began in, where its last bits may be others."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddpnet import blas
from ddpnet.backend import Device, cupy
from ddpnet.distributed.trust.plan import versions
from ddpnet.errors import InputError

_FEATURES = ("avx", "fma", "avx2", "avx512f", "avx512bw", "avx512vl")
"""Those for which Numba's compiler makes other code of our kernels."""


def environment_fingerprint(device: str, shards: int) -> dict[str, str]:
    """What the last bits of a result depend on, besides the settings: packages, processor, device, type, shards."""
    facts = {**versions(), "processor": _processor(), "device": device, "dtype": "float32", "shards": str(shards)}
    if Device(device).type == "cuda":
        facts["gpu"] = _gpu(Device(device))
    return facts


def _processor() -> str:
    """The instruction sets that decide which code runs: for Numba's kernels, and (behind the comma) for NumPy's."""
    flags = blas.processor().flags
    compiled = " ".join(name for name in _FEATURES if name in flags)
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return f"{platform.machine()} {compiled}, numpy {' '.join(found)}"


def _gpu(device: Device) -> str:
    library = cupy()
    properties = library.cuda.runtime.getDeviceProperties(device.index or 0)
    return f"{properties['name'].decode()}, cupy {library.__version__}, CUDA {library.cuda.runtime.runtimeGetVersion()}"


def drift(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each thing that has changed: `numpy: 2.4.5 then, 2.4.6 now`."""
    return [
        f"{name}: {saved.get(name, 'not recorded')} then, {now.get(name, 'not recorded')} now"
        for name in {**now, **saved}
        if saved.get(name) != now.get(name)
    ]


def check_drift(path: Path, saved: Mapping[str, str], now: Mapping[str, str], allowed: bool) -> list[str]:
    """The lines of `drift`, to be reported, if it is `allowed`; InputError, naming the checkpoint, if it is not."""
    lines = drift(saved, now)
    if lines and not allowed:
        raise InputError(
            f"{path}: saved in another environment, in which the last bits of the result may be others: "
            f"{'; '.join(lines)}: go on where the run began, or give --allow-drift"
        )
    return lines
