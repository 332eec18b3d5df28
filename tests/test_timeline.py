"""One file of what all ranks did when, on one clock, for next to nothing."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks

from ddpnet import timeline
from ddpnet.distributed import Communicator
from ddpnet.distributed.transport.solo import SoloCommunicator
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.errors import InputError
from ddpnet.timeline import Recording, span
from ddpnet.timeline.trace_events import covered


def events(path: Path, rank: int | None = None) -> list[dict[str, Any]]:
    content = json.loads(path.read_text())
    return [e for e in content["traceEvents"] if e["ph"] == "X" and rank in (None, e["pid"])]


def test_spans_of_all_ranks_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"

    def rank(comm: Communicator) -> timeline.Summary | None:
        recording = Recording(comm)
        for _ in range(comm.rank + 1):
            with recording.span("forward"), recording.span("mine"):
                time.sleep(0.002)
        with pytest.raises(KeyError), recording.span("backward"):
            raise KeyError
        return recording.save(path, comm)

    summary, *others = run_threads(3, rank)
    assert others == [None, None]
    assert summary is not None
    assert (summary.path, summary.spans, summary.full) == (path, 15, [])
    assert summary.coverage == pytest.approx(timeline.coverage(path), abs=1e-3)
    content = json.loads(path.read_text())
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in content["traceEvents"] if e["name"] == "thread_name"}
    for number in range(3):
        lanes = [names[number, e["tid"]] for e in events(path, number)]
        assert sorted(lanes) == sorted(["forward", "mine"] * (number + 1) + ["backward"])
        window = content["otherData"]["ranks"][number]
        for event in events(path, number):
            assert names[number, event["tid"]] == event["name"]
            assert window["start_us"] <= event["ts"] <= event["ts"] + event["dur"] <= window["end_us"]
            assert event["name"] == "backward" or event["dur"] >= 2000
    titles = [e["args"]["name"] for e in content["traceEvents"] if e["name"] == "process_name"]
    assert [title.partition(" (")[0] for title in titles] == ["rank 0", "rank 1", "rank 2"]
    assert os.listdir(tmp_path) == ["run.json"]


def test_the_newest_spans_are_kept(tmp_path: Path) -> None:
    def rank(comm: Communicator) -> timeline.Summary | None:
        recording = Recording(comm, limit=10 if comm.rank else 100)
        for number in range(40):
            with recording.span("forward" if number < 35 else "late"):
                pass
        return recording.save(tmp_path / "run.json", comm)

    summary, _ = run_threads(2, rank)
    assert summary is not None
    assert (summary.spans, summary.full) == (50, [1])
    assert "rank 1 reached the limit" in str(summary)
    assert [e["name"] for e in events(tmp_path / "run.json", 1)] == ["forward"] * 5 + ["late"] * 5
    ranks = json.loads((tmp_path / "run.json").read_text())["otherData"]["ranks"]
    assert [entry["oldest_spans_missing"] for entry in ranks] == [False, True]


def test_coverage_is_that_of_the_union_of_lanes() -> None:
    times = np.array([(10, 20), (12, 15), (18, 30), (40, 50), (90, 120)])
    assert covered(times, (0, 100)) == pytest.approx(0.4)
    assert covered(times[:0], (0, 100)) == 0
    assert covered(times[:0], (5, 5)) == 1


@pytest.mark.parametrize("ahead", [0.0, -7.5, 3600.0])
def test_clocks_are_aligned(tmp_path: Path, ahead: float) -> None:
    """What two ranks do at the same time is at the same time in the file, whatever their clocks say."""

    def rank(comm: Communicator) -> None:
        shift = round(comm.rank * ahead * 1e9)
        recording = Recording(comm, clock=lambda: time.perf_counter_ns() + shift)
        for _ in range(5):
            comm.barrier()
            with recording.span("together"):
                time.sleep(0.02)
        recording.save(tmp_path / "run.json", comm)

    run_threads(2, rank)
    starts = [[e["ts"] for e in events(tmp_path / "run.json", number)] for number in (0, 1)]
    assert np.abs(np.subtract(*starts)).max() < 15_000  # a thread waits up to 5 ms for another one to let go of Python


REAL = """
import sys, time
from pathlib import Path
import numpy as np
from ddpnet import nn, optim, tensor, timeline
from ddpnet import distributed
from ddpnet.distributed.collectives.process_group import current
from ddpnet.timeline.recording import compare_clocks

distributed.init_process_group()
comm, folder = current(), Path(sys.argv[1])
assert compare_clocks(comm)[1] == 0  # one host, one clock

# A loop of the usual kind
model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
optimizer = optim.SGD(model.parameters(), lr=0.1)
images = np.random.default_rng(0).standard_normal((256, 784)).astype(np.float32)
labels = np.arange(256) % 10

def step(span):
    with span("data"):
        x, y = tensor(images), tensor(labels)
    with span("forward"):
        loss = nn.functional.cross_entropy(model(x), y)
    with span("backward"):
        optimizer.zero_grad()
        loss.backward()
    with span("exchange"):
        for parameter in model.parameters():
            parameter.grad = tensor(sum(comm.all_gather(parameter.grad.numpy())) / comm.size)
    with span("optimizer"):
        optimizer.step()

for _ in range(5):
    step(timeline.span)
timeline.start()
for _ in range(40):
    step(timeline.span)
timeline.stop()
step(timeline.span)  # not recorded
summary = timeline.save(folder / "run.json")
if comm.rank == 0:
    print(summary)
assert (comm.rank == 0) == (summary is not None)

# A clock that is 5 s late, and 2 % too fast
def clock():
    now = time.perf_counter_ns()
    return now if comm.rank == 0 else round(1.02 * now) - 5 * 10**9

recording = timeline.Recording(comm, clock=clock)
for _ in range(20):
    comm.barrier()
    with recording.span("together"):
        time.sleep(0.01)
recording.save(folder / "clocks.json", comm)

try:
    timeline.start(comm)
    timeline.save(folder / "no" / "such" / "folder.json", comm)
except Exception as error:
    print(comm.rank, type(error).__name__, str(error).replace(str(folder), ""), flush=True)
"""


def test_two_real_ranks(tmp_path: Path) -> None:
    """A training loop is covered; clocks that go wrong are put right; an impossible file is an error on all ranks."""
    script = tmp_path / "loop.py"
    script.write_text(REAL)
    command = [ranks.MPIEXEC, "-n", "2", sys.executable, script, tmp_path]
    done = ranks.run(command, env={"OPENBLAS_NUM_THREADS": "1"})
    assert done.code == 0, done.err
    assert timeline.coverage(tmp_path / "run.json") >= 0.98, done.out
    for number in (0, 1):
        names = [e["name"] for e in events(tmp_path / "run.json", number)]
        assert {name: names.count(name) for name in names} == dict.fromkeys(
            ("data", "forward", "backward", "exchange", "optimizer"), 40
        )
    starts = [[e["ts"] for e in events(tmp_path / "clocks.json", number)] for number in (0, 1)]
    assert np.median(np.abs(np.subtract(*starts))) < 1500  # without a correction of the drift, up to 4000 and more
    error = "InputError /no/such/folder.json: the timeline could not be written: No such file or directory"
    assert sorted(done.out.splitlines()[1:]) == [f"0 {error}", f"1 {error}"]


def test_recorded_from_any_thread(tmp_path: Path) -> None:
    """Spans of one lane that overlap, as those of two threads can, are shown in two rows."""
    comm, recording = SoloCommunicator(), Recording(SoloCommunicator())
    both = threading.Barrier(2)

    def work(before: float, inside: float) -> None:
        for _ in range(10):
            both.wait()
            time.sleep(before)
            with recording.span("exchange"), recording.span("exchange"):
                time.sleep(inside)

    threads = [threading.Thread(target=work, args=args) for args in ((0.0, 0.010), (0.005, 0.010))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recording.save(tmp_path / "run.json", comm)
    found = events(tmp_path / "run.json")
    assert [event["name"] for event in found] == ["exchange"] * 40
    rows = {event["tid"]: [e for e in found if e["tid"] == event["tid"]] for event in found}
    assert len(rows) == 2
    for row in rows.values():
        spans = [(round(1000 * e["ts"]), round(1000 * (e["ts"] + e["dur"]))) for e in row]
        for (a, b), (c, d) in itertools.combinations(sorted(spans, key=lambda s: (s[0], -s[1])), 2):
            assert c >= b or d <= b, (a, b, c, d)


def test_without_a_group_it_is_a_world_of_one(tmp_path: Path) -> None:
    timeline.start()
    with span("forward"):
        pass
    summary = timeline.save(tmp_path / "run.json")
    assert summary is not None
    assert summary.spans == 1


def test_what_a_place_costs() -> None:
    """Measured: 60 ns while nothing is recorded, 500 ns while it is; a bound that a busy machine keeps, too."""

    def nanoseconds() -> float:
        return 1e9 * min(timeit.repeat("with span('forward'): pass", globals={"span": span}, number=10_000)) / 10_000

    assert nanoseconds() < 1000
    timeline.start(SoloCommunicator())
    try:
        assert nanoseconds() < 10_000
    finally:
        timeline.stop()


def test_misuse_says_what_to_do(tmp_path: Path) -> None:
    comm = SoloCommunicator()
    timeline.start(comm)
    timeline.save(tmp_path / "run.json", comm)
    with pytest.raises(ValueError, match=r"call timeline.start\(\) before"):
        timeline.save(tmp_path / "run.json", comm)
    with pytest.raises(ValueError, match="limit: expected at least 1 span, got 0"):
        timeline.start(comm, limit=0)
    timeline.start(comm)
    with pytest.raises(InputError, match="Is a directory"):
        timeline.save(tmp_path, comm)
    timeline.start(comm)
    with pytest.raises(InputError, match="Not a directory"):
        timeline.save(tmp_path / "run.json" / "run.json", comm)
    assert os.listdir(tmp_path) == ["run.json"]
