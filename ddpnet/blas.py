"""NumPy's BLAS: which kernels it runs. Imported before NumPy is, and therefore importing nothing of ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_ZEN_5 = 26


class Processor(NamedTuple):
    """What the system says of the first processor; empty and 0 where it does not tell."""

    vendor: str = ""
    family: int = 0
    flags: frozenset[str] = frozenset()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """The processor's vendor, family and instruction sets."""
    found: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    family = found.get("cpu family", "")
    flags = frozenset(found.get("flags", "").split())
    return Processor(found.get("vendor_id", ""), int(family) if family.isdecimal() else 0, flags)


def has_avx512() -> bool:
    """Whether this processor runs what OpenBLAS calls SkylakeX."""
    return processor().flags >= _AVX512


def best_core_type(cpu: Processor) -> str | None:
    """The kernels of OpenBLAS that are fastest on a processor of AMD's with AVX-512; None where OpenBLAS knows better.

    Version 0.3.31 runs AVX2 kernels on Zen 5, at half the speed of its AVX-512 ones, and AVX-512 kernels on Zen 4,
    whose units are half as wide: 64 x 1024 x 784 has 79 GFLOP/s with those and 103 with AVX2, 1024 x 1024 x 1024 has
    101 and 106.
    """
    if cpu.vendor != "AuthenticAMD" or not cpu.flags >= _AVX512:
        return None
    return "SkylakeX" if cpu.family >= _ZEN_5 else "Haswell"


def choose_core_type() -> None:
    """Ask OpenBLAS for the kernels that are best here, as far as is known.

    It knows Intel's processors by their features but AMD's by their model number. It reads the variable when NumPy
    loads it: later calls change nothing. A value that the user set stays.
    """
    if "numpy" in sys.modules or "OPENBLAS_CORETYPE" in os.environ:
        return
    best = best_core_type(processor())
    if best is not None:
        os.environ["OPENBLAS_CORETYPE"] = best


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
