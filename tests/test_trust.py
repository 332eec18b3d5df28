"""A bit that flips in the memory of one rank of a real run is found in the next step, and can be healed exactly."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ranks import DDPNET, Result, run

SCRIPT = """
import gc
import sys
from pathlib import Path

import numpy as np

from ddpnet import training
from ddpnet.distributed import connect
from ddpnet.nn import Module
from ddpnet.training import Settings
from ddpnet.training.models import LeNet

when, on_desync = int(sys.argv[1]), sys.argv[2]
settings = Settings(steps=30, seed=7, on_desync=on_desync, out=Path(sys.argv[3]))


class Report(training.Report):
    def note(self, text):
        print("note:", text)

    def end(self, digest, *rest):
        print("weights", digest)


comm = connect()
seen = []


def flip(module, inputs):
    seen.append(1)
    if len(seen) == when and comm.rank == 1:
        weight = next(m for m in gc.get_objects() if isinstance(m, LeNet)).conv2.weight.array
        weight.reshape(-1).view(np.uint32)[123] ^= 1 << 12


original = LeNet.__init__


def watched(self, *args):
    original(self, *args)
    self.register_forward_pre_hook(flip)


LeNet.__init__ = watched
training.train(training.preflight(settings) if comm.rank == 0 else settings, comm, Report())
"""


def trained(folder: Path, ranks: int, when: int, on_desync: str, name: str) -> Result:
    (folder / "script.py").write_text(SCRIPT)
    return run([*DDPNET, "run", "-n", str(ranks), "script.py", str(when), on_desync, name], cwd=folder, timeout=60)


def test_a_flipped_bit_is_healed_without_a_trace(tmp_path: Path) -> None:
    """In the 10th shard that rank 1 computes: in the middle of a step."""
    undisturbed, healed = (trained(tmp_path, 3, when, "heal", f"run{when}") for when in (0, 10))
    assert undisturbed.code == healed.code == 0, healed.err
    assert re.findall("weights .*", healed.out) == re.findall("weights .*", undisturbed.out) != []
    (note,) = re.findall("note: (.*)", healed.out)
    assert re.match(r"step 3: rank 1 of 3 \(on \S+\) differs from the other ranks in conv2\.weight: healed", note), note


@pytest.mark.parametrize(("ranks", "who"), [(3, r"rank 1 of 3 \(on .*\) differs"), (2, "rank 0 and rank 1 differ")])
def test_a_flipped_bit_stops_the_run(tmp_path: Path, ranks: int, who: str) -> None:
    done = trained(tmp_path, ranks, 10, "stop", "run")
    assert done.code != 0
    assert re.search(rf"step [23]: {who}.* in conv2\.weight", done.err), done.err


def test_the_timeline_covers_the_run(tmp_path: Path) -> None:
    """Lanes of both ranks; at least 98 % of the time lies in them."""
    command = [*DDPNET, "train", "--steps", "150", "--ranks", "2", "--trace", "trace.json"]
    done = run(command, cwd=tmp_path)
    assert done.code == 0, done.err
    (share,) = re.findall(r"which cover ([0-9.]+)% of the time", done.out)
    assert float(share) >= 98
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    lanes = {(event["pid"], event["name"]) for event in events if event["ph"] == "X"}
    for rank in (0, 1):
        for lane in ("data", "forward", "backward", "exchange", "wait", "optimizer", "evaluate", "checkpoint"):
            assert (rank, lane) in lanes
