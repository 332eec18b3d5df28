"""What `import ddpnet` does to the process, and what it leaves alone."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from ranks import run

from ddpnet import blas

pytestmark = pytest.mark.one_process


def python(code: str, **env: str) -> str:
    done = run([sys.executable, "-c", code], env=env)
    assert done.code == 0, done.err
    return done.out.strip()


def test_import_starts_neither_mpi_nor_cuda_nor_a_compiler() -> None:
    heavy = ("mpi4py.MPI", "cupy", "numba", "click", "rich", "torch")
    loaded = python(f"import sys, ddpnet; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"


def test_import_leaves_for_later_what_not_every_program_uses() -> None:
    heavy = ("distributed", "distributions", "futures", "profiler", "checkpoint", "utils.data", "nn.parallel")
    loaded = f"[name for name in {heavy} if f'ddpnet.{{name}}' in sys.modules]"
    assert python(f"import sys, ddpnet; print({loaded})") == "[]"
    names = (
        "distributed.is_available distributions.Normal futures.Future profiler.profile save load utils.data.DataLoader "
        "nn.parallel.DistributedDataParallel nn.DataParallel nn.SyncBatchNorm"
    ).split()
    for name in names:
        assert python(f"import ddpnet as torch; print(callable(torch.{name}))") == "True"
    assert python("from ddpnet import *; print(callable(save), distributed.is_available())") == "True True"
    assert python("import ddpnet; print('futures' in dir(ddpnet), 'SyncBatchNorm' in dir(ddpnet.nn))") == "True True"


def test_a_missing_name_is_explained_however_its_module_was_loaded() -> None:
    catch = "except AttributeError as error: print(error)"
    for module in ("distributed", "distributions", "profiler", "utils.data"):
        said = f"torch.{module}.nothing is not in ddpnet"
        assert python(f"import ddpnet.{module} as m\ntry: m.nothing\n{catch}").startswith(said)
        assert python(f"import ddpnet\ntry: ddpnet.{module}.nothing\n{catch}").startswith(said)


def test_a_core_type_that_the_user_set_stays() -> None:
    code = "import os, ddpnet; print(os.environ['OPENBLAS_CORETYPE'])"
    assert python(code, OPENBLAS_CORETYPE="Haswell") == "Haswell"


def test_the_core_type_is_not_touched_after_numpy_was_loaded() -> None:
    code = "import os, numpy, ddpnet; print(os.environ.get('OPENBLAS_CORETYPE'))"
    assert python(f"import os; os.environ.pop('OPENBLAS_CORETYPE', None); {code}") == "None"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="core types of x86")
def test_the_core_type_that_was_asked_for_is_in_use() -> None:
    code = "import ddpnet.blas; print(ddpnet.blas.core_type())"
    assert python(code, OPENBLAS_CORETYPE="Haswell") == "Haswell"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "vendor_id\t: AuthenticAMD\ncpu family\t: 26\nflags\t\t: fpu avx512f\nprocessor : 1\nflags : sse\n",
            blas.Processor("AuthenticAMD", 26, frozenset({"fpu", "avx512f"})),
        ),
        ("vendor_id\t: GenuineIntel\nflags\t\t: sse\n", blas.Processor("GenuineIntel", 0, frozenset({"sse"}))),
        ("cpu family: many\n", blas.Processor()),
    ],
)
def test_what_the_system_says_of_the_processor(tmp_path: Path, text: str, expected: blas.Processor) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert blas.processor(tmp_path / "cpuinfo") == expected
    assert blas.processor(tmp_path / "missing") == blas.Processor()


def test_the_kernels_that_are_asked_for() -> None:
    flags = frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})
    assert blas.best_core_type(blas.Processor("AuthenticAMD", 26, flags)) == "SkylakeX"
    assert blas.best_core_type(blas.Processor("AuthenticAMD", 25, flags)) == "Haswell"
    assert blas.best_core_type(blas.Processor("AuthenticAMD", 26, flags - {"avx512vl"})) is None
    assert blas.best_core_type(blas.Processor("GenuineIntel", 6, flags)) is None


STEPS = """
import resource
import ddpnet as torch
from ddpnet import allocator, nn

model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1176, 10))
x, y = torch.randn(256, 1, 32, 32), torch.randint(0, 10, (256,))
for step in range(12):
    if step == 6:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 6, allocator.describe(), sep=",")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_steps_use_their_memory_again() -> None:
    """The activations of a step of 256 images are 15 MB: 3,700 pages, which no later step should fault in again."""
    faults, state = python(STEPS).split(",", 1)
    assert float(faults) < 100
    assert state == "glibc, keeps freed memory"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_an_allocator_that_the_user_set_up_stays() -> None:
    faults, state = python(STEPS, MALLOC_MMAP_THRESHOLD_="65536").split(",", 1)
    assert float(faults) > 1000
    assert state == "as the environment says"
