"""NumPy's BLAS: which kernels it runs. Imported before NumPy is, and therefore importing nothing of ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """The vendor and the instruction-set flags of the first processor; empty where the system does not tell."""
    vendor, flags = "", set[str]()
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return vendor, flags
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "vendor_id":
            vendor = value.strip()
        elif key.strip() == "flags":
            return vendor, set(value.split())
    return vendor, flags


def has_avx512() -> bool:
    """Whether this processor runs what OpenBLAS calls SkylakeX."""
    return cpu_flags()[1] >= _AVX512


def choose_core_type() -> None:
    """Ask OpenBLAS for its AVX-512 kernels on AMD processors that have AVX-512.

    OpenBLAS 0.3.31 knows Intel's processors by their features but AMD's by their model number, and runs AVX2 kernels
    on newer ones: at half the speed on Zen 5. On Zen 4, whose units are half as wide, the small products of a
    convolution gain (a LeNet step takes 0.85 of the time) and large ones lose up to a fifth. OpenBLAS reads the
    variable when NumPy loads it: later calls change nothing. A value that the user set stays.
    """
    if "numpy" in sys.modules or "OPENBLAS_CORETYPE" in os.environ:
        return
    vendor, flags = cpu_flags()
    if vendor == "AuthenticAMD" and flags >= _AVX512:
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"


def describe() -> dict[str, str]:
    """What the bits of a matrix product depend on: library, version, core type and threads of NumPy's BLAS."""
    import numpy  # noqa: F401 - loads the library that is asked about
    from threadpoolctl import threadpool_info

    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            return {
                "library": str(pool["internal_api"]),
                "version": str(pool["version"]),
                "core type": str(pool.get("architecture", "unknown")),
                "threads": str(pool["num_threads"]),
            }
    return {"library": "unknown", "version": "unknown", "core type": "unknown", "threads": "unknown"}


def core_type() -> str:
    """The core type in use, such as 'SkylakeX' or 'Haswell'."""
    return describe()["core type"]
