"""Compiled kernels are kept: one process of a machine compiles each, and nothing on the disk can spoil a result."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ddpnet
from ddpnet.kernels.cpu import storage
from ddpnet.kernels.cpu.turns import Turns

STEP = """
import sys
import numpy as np
from ddpnet.kernels import kernels_for
x = np.array([[-1.0, 2.0]], np.float32)
kernels = kernels_for(x)
assert np.array_equal(kernels.relu_backward(x, x), [[0, 2]])
y = kernels.sigmoid(x)
assert np.allclose(y, [[0.268941, 0.880797]], rtol=1e-5), y
from ddpnet.kernels.cpu import activation, elementwise
for name, kernel in {**vars(activation), **vars(elementwise)}.items():
    for count in getattr(kernel, "stats", ((), {}, {}))[2].values():
        print("compiled", name, count)
"""


def start(folder: Path, code: str = STEP, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, storage.VARIABLE: str(folder), **variables}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    """The sorted lines that a process printed, and its standard error."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return sorted(output.splitlines()), errors


def run(folder: Path, code: str = STEP, **variables: str) -> tuple[list[str], str]:
    return ended(start(folder, code, **variables))


BOTH = ["compiled _sigmoid 1", "compiled _unless_negative 1"]


def test_four_processes_compile_each_kernel_once_between_them(tmp_path: Path) -> None:
    results = [ended(process) for process in [start(tmp_path) for _ in range(4)]]
    assert sorted(line for lines, _ in results for line in lines) == BOTH
    lines, errors = run(tmp_path)
    assert lines == [], "a later process compiles nothing"
    assert errors == ""


def test_a_file_that_was_cut_short_or_changed_is_made_again(tmp_path: Path) -> None:
    assert run(tmp_path)[0] == BOTH
    short, changed = sorted((tmp_path / "ddpnet").glob("*.kernel"))
    whole = short.read_bytes()
    short.write_bytes(whole[: len(whole) // 2])
    changed.write_bytes(changed.read_bytes()[:-1] + b"\0")
    assert run(tmp_path)[0] == BOTH
    assert run(tmp_path)[0] == []
    short.write_bytes(b"")
    assert run(tmp_path)[0] == [BOTH[0]]


@pytest.mark.parametrize("place", ["/proc/none", "/dev/null"])
def test_without_a_folder_kernels_are_compiled_by_everybody(place: str) -> None:
    assert run(Path(place))[0] == BOTH


def test_a_full_disk_costs_only_what_it_cannot_keep(tmp_path: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    for _ in range(2):
        assert run(tmp_path, full + STEP)[0] == BOTH
    assert [path.name for path in (tmp_path / "ddpnet").iterdir()] == ["turns"]
    assert run(tmp_path)[0] == BOTH
    assert run(tmp_path, full + STEP)[0] == []


def test_a_change_in_a_file_that_a_kernel_takes_from_compiles_it_again(tmp_path: Path) -> None:
    package = tmp_path / "source" / "ddpnet"
    shutil.copytree(Path(ddpnet.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    found = run(tmp_path, f"import ddpnet; print(ddpnet.__file__)\n{STEP}", PYTHONPATH=str(package.parent))[0]
    assert found == [f"{package / '__init__.py'}", *BOTH]
    with (package / "kernels/cpu/exponential.py").open("a") as file:
        file.write("# changed\n")
    assert run(tmp_path, PYTHONPATH=str(package.parent))[0] == ["compiled _sigmoid 1"]


def test_a_file_that_others_may_write_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "folder", lambda: tmp_path)
    assert storage.write("kernel", b"code")
    assert storage.read("kernel") == b"code"
    (tmp_path / "kernel.kernel").chmod(0o666)
    assert storage.read("kernel") is None


def test_a_file_depends_on_all_that_it_takes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PACKAGE", tmp_path)
    (tmp_path / "kernels").mkdir()
    for name in ("one", "two", "three", "four"):
        (tmp_path / "kernels" / f"{name}.py").write_text("x = y = 1\n")
    kernel = tmp_path / "kernels" / "kernel.py"
    kernel.write_text("from ddpnet.kernels import one, two\nfrom ddpnet.kernels.three import (\n    x,\n    y,\n)\n")
    storage.sources.cache_clear()
    before = storage.sources(kernel)
    for name, counts in (("one", True), ("two", True), ("three", True), ("four", False)):
        (tmp_path / "kernels" / f"{name}.py").write_text("x = y = 2\n")
        storage.sources.cache_clear()
        after = storage.sources(kernel)
        assert (after != before) == counts, name
        before = after


def test_what_takes_long_is_told_once(tmp_path: Path) -> None:
    slow = STEP + LONG
    told = "".join(errors for _, errors in [ended(process) for process in [start(tmp_path, slow) for _ in range(2)]])
    assert told.count("ddpnet: compiling kernels, once for this machine") == 1, told
    assert run(tmp_path, slow)[1] == ""
    assert "at every start" in run(Path("/proc/none"), slow)[1]


LONG = """
for dtype in (np.float32, np.float64):
    x = np.ones(8, dtype)
    for kernel in (kernels.lgamma, kernels.digamma, kernels.erf, kernels.erfinv, kernels.erfc, kernels.silu_forward):
        kernel(x)
"""


def test_the_turn_of_a_killed_process_goes_to_another(tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from ddpnet.kernels.cpu.turns import Turns
print(Turns(pathlib.Path({str(tmp_path)!r}) / "turns").take(7), flush=True)
time.sleep(60)
"""
    other = start(tmp_path, code)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    turns = Turns(tmp_path / "turns")
    assert turns.take(7) is False
    assert turns.take(8) is True
    looked: list[float] = []

    def done() -> bool:
        looked.append(time.monotonic())
        if len(looked) == 3:
            other.send_signal(signal.SIGKILL)
            other.wait(timeout=60)
        return False

    assert turns.wait(7, done) is True, "the system gives back what a dead process held"
    assert len(looked) == 3
    other.communicate()


def test_who_waits_goes_on_when_the_work_is_done(tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from ddpnet.kernels.cpu.turns import Turns
print(Turns(pathlib.Path({str(tmp_path)!r}) / "turns").take(7), flush=True)
time.sleep(60)
"""
    other = start(tmp_path, code)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    assert Turns(tmp_path / "turns").wait(7, lambda: True) is False
    other.kill()
    other.communicate()


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    code = "from ddpnet.kernels.cpu import storage; print(storage.folder())"
    places = {"XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    ours, temporary = tmp_path / "ddpnet" / "kernels", tmp_path / f"ddpnet-kernels-{os.getuid()}"

    def folder() -> str:
        environment = {**os.environ, **places}
        environment.pop(storage.VARIABLE, None)
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout

    assert folder() == f"{ours}\n"
    ours.chmod(0o777)
    assert folder() == f"{temporary}\n"
    temporary.rmdir()
    temporary.symlink_to(tmp_path)
    assert folder() == "None\n"


def test_kernels_of_one_function_differ_by_what_they_take_from_around_them(tmp_path: Path) -> None:
    module = tmp_path / "made.py"
    module.write_text("""
from ddpnet.kernels.cpu.compiled import compiled

def made(number):
    @compiled
    def inner(x):
        return x + number
    @compiled
    def outer(x):
        return 2 * inner(x)
    return outer

kernels = [made(number) for number in (3, 4, 0.5)]
print([kernel(10) for kernel in kernels], sum(kernel.stats.cache_hits.total() for kernel in kernels))
""")
    code = "import made"
    assert run(tmp_path, code, PYTHONPATH=str(tmp_path))[0] == ["[26, 28, 21.0] 0"]
    assert run(tmp_path, code, PYTHONPATH=str(tmp_path))[0] == ["[26, 28, 21.0] 3"]


def test_the_doctor_says_where_kernels_are(tmp_path: Path) -> None:
    def said(folder: Path) -> str:
        command = [sys.executable, "-m", "ddpnet_launch", "doctor"]
        return subprocess.run(
            command, env={**os.environ, storage.VARIABLE: str(folder)}, capture_output=True, text=True, timeout=60
        ).stdout

    assert run(tmp_path)[0] == BOTH
    kept = len(list((tmp_path / "ddpnet").glob("*.kernel")))
    assert re.search(rf" {kept} compiled \(0\.\d MiB\) in {tmp_path / 'ddpnet'}\n", said(tmp_path))
    assert f"at every start: name a folder that can be written by {storage.VARIABLE}" in said(Path("/proc/none"))
