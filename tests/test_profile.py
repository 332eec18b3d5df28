"""`ddpnet.profiler` and `ddpnet profile`: what they count, what they name, and that they leave nothing behind."""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import ranks

import ddpnet as torch
from ddpnet import nn, spans
from ddpnet.autograd.graph import AccumulateGrad
from ddpnet.ops.op import Op
from ddpnet.profiler import PHASES, Collector, Key, ProfilerActivity, forward_name, profile, record_function

MODEL = """
import time
import ddpnet as torch
from ddpnet import nn

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8 * 4 * 4, 3)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
data = torch.utils.data.TensorDataset(torch.randn(96, 1, 14, 14), torch.randint(0, 3, (96,)))
"""
LOOP = """
for epoch in range(3):
    for images, labels in torch.utils.data.DataLoader(data, batch_size=8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        time.sleep(0.002)
print("the end", flush=True)
"""


def cnn() -> tuple[Any, Any]:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def step(model: Any, optimizer: Any) -> Any:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(torch.ones(8, 1, 14, 14)), torch.zeros(8, dtype=torch.int64))
    loss.backward()
    optimizer.step()
    return loss


def counts(prof: profile) -> dict[str, int]:
    return {event.key: event.count for event in prof.key_averages()}


# The context manager


def test_operations_have_pytorch_s_names_and_counts() -> None:
    model, optimizer = cnn()
    step(model, optimizer)
    with profile(activities=[ProfilerActivity.CPU]) as prof:
        for _ in range(3):
            step(model, optimizer)
            prof.step()
    found = counts(prof)
    for name in ("aten::convolution", "ConvolutionBackward0", "aten::addmm", "AddmmBackward0", "aten::relu"):
        assert found[name] == 3, name
    assert found["aten::max_pool2d_with_indices"] == found["MaxPool2DWithIndicesBackward0"] == 3
    assert found["torch::autograd::AccumulateGrad"] == 3 * len(list(model.parameters()))
    assert found["Optimizer.step#SGD.step"] == found["Optimizer.zero_grad#SGD.zero_grad"] == prof.step_num == 3


def test_phases_are_the_whole_time_and_operations_a_part_of_it() -> None:
    model, optimizer = cnn()
    step(model, optimizer)
    before = time.perf_counter_ns()
    with profile() as prof:
        begun = time.perf_counter_ns()
        for _ in range(20):
            step(model, optimizer)
        took = time.perf_counter_ns() - begun
    whole = time.perf_counter_ns() - before
    phases, inside = prof.collector.phases, prof.collector.in_operations
    assert took <= sum(phases.values()) <= whole
    assert set(phases) <= set(PHASES)
    for phase in ("forward", "backward"):
        assert 0 < inside[phase] < phases[phase]
    events = prof.key_averages()
    assert events.self_cpu_time_total * 1e3 <= took  # in nanoseconds
    for event in events:
        assert event.self_cpu_time_total <= event.cpu_time_total
        assert event.cpu_time * event.count == pytest.approx(event.cpu_time_total)


def test_profiling_changes_no_bit_and_leaves_nothing_behind() -> None:
    methods = [vars(Op)["apply"], vars(Op)["propagate"], vars(AccumulateGrad)["accumulate"], nn.Module.__call__]
    methods += [vars(torch.utils.data.DataLoader)["__iter__"], vars(torch.optim.Optimizer)["zero_grad"]]
    weights = []
    for profiled in (False, True):
        torch.manual_seed(0)
        model, optimizer = cnn()
        prof = profile()
        if profiled:
            prof.start()
        for _ in range(3):
            step(model, optimizer)
        if profiled:
            prof.stop()
        weights.append([p.array.tobytes() for p in model.parameters()])
    assert weights[0] == weights[1]
    after = [vars(Op)["apply"], vars(Op)["propagate"], vars(AccumulateGrad)["accumulate"], nn.Module.__call__]
    after += [vars(torch.utils.data.DataLoader)["__iter__"], vars(torch.optim.Optimizer)["zero_grad"]]
    assert after == methods
    assert spans.recorder() is None
    before = counts(prof)
    step(model, optimizer)
    assert counts(prof) == before


def test_an_exception_within_an_operation_leaves_a_profile_that_goes_on() -> None:
    with profile() as prof:
        with pytest.raises(RuntimeError):
            torch.ones(2, 3) + torch.ones(4, 5)
        assert prof.collector.phase == "other"
        torch.ones(2, 3) + torch.ones(2, 3)
    assert counts(prof)["aten::add"] == 2


def test_loaders_functions_and_parts_that_users_name() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    data = torch.utils.data.TensorDataset(torch.ones(6, 2))
    w = torch.ones(2, requires_grad=True)
    with profile() as prof:
        for (x,) in torch.utils.data.DataLoader(data, batch_size=2):
            with record_function("mine"):
                Twice.apply(x * w).sum().backward()
    found = counts(prof)
    assert found["mine"] == found["Twice"] == found["TwiceBackward"] == 3
    assert found["enumerate(DataLoader)#DataLoader.__next__"] == 4  # the last call ends the loop
    rows = prof.collector.rows
    mine, twice = rows[Key("user", "mine")], rows[Key("forward", "Twice")]
    assert mine.own < mine.total
    assert twice.own < twice.total < mine.total
    assert prof.collector.phases["data"] > 0
    assert w.grad.tolist() == [12.0, 12.0]


def test_what_a_closure_does_is_no_work_of_the_optimizer() -> None:
    model, _ = cnn()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    images, labels = torch.ones(8, 1, 14, 14), torch.zeros(8, dtype=torch.int64)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    with profile() as prof:
        optimizer.step(closure)
    assert all(prof.collector.phases[phase] > 0 for phase in ("forward", "backward", "optimizer"))
    assert prof.collector.phase == "other"
    assert counts(prof)["Optimizer.step#LBFGS.step"] == 1
    assert counts(prof)["aten::convolution"] > 1


def test_shapes_and_threads() -> None:
    with profile(record_shapes=True) as prof:
        thread = threading.Thread(target=lambda: torch.ones(9).exp())
        thread.start()
        thread.join()
        torch.ones(2, 3).exp()
    assert [key for key in prof.collector.rows if key.name == "aten::exp"] == [Key("forward", "aten::exp", (2, 3))]


def test_the_table() -> None:
    model, optimizer = cnn()
    with profile() as prof:
        step(model, optimizer)
    events = prof.key_averages()
    lines = events.table(sort_by="count", row_limit=2).splitlines()
    assert lines[1].split()[:3] == ["Name", "Self", "CPU"]
    assert lines[3].split()[0] == "torch::autograd::AccumulateGrad"
    assert len(lines) == 7
    assert lines[-1].startswith("Self CPU time total: ")
    assert len(events.table(row_limit=-1).splitlines()) == 5 + len(events)
    with pytest.raises(ValueError, match="sort_by: expected one of"):
        events.table(sort_by="color")


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"expected ProfilerActivity\.CPU alone"):
        profile(activities=["CUDA"])  # type: ignore[list-item]
    with profile(), pytest.raises(RuntimeError, match="only one can at a time"):
        profile().start()
    with profile() as prof:
        torch.ones(2).exp()
    assert counts(prof) == {"aten::exp": 1}


def test_names_of_operations() -> None:
    names = {"MaxPool2DWithIndicesBackward0": "max_pool2d_with_indices", "Log1PBackward0": "log1p", "TBackward0": "t"}
    names |= {"Im2ColBackward0": "im2col", "NativeLayerNormBackward0": "native_layer_norm", "Exp2Backward0": "exp2"}
    assert {node: forward_name(node) for node in names} == {node: f"aten::{name}" for node, name in names.items()}


def test_time_is_given_to_phases_without_gap_or_overlap() -> None:
    """By a clock that counts its readings."""
    collector = Collector(count().__next__)
    collector.start()  # 0
    forward = collector.enter("forward")  # 1: one to other
    frame = collector.open()  # 2
    inner = collector.open()  # 3
    collector.close(inner, Key("forward", "b"))  # 4: takes 1
    collector.close(frame, Key("forward", "a"))  # 5: takes 3, of which 1 inside
    collector.enter("data")  # 6: five to forward; an exception leaves it open
    collector.leave(forward)  # 7: one to data
    collector.keep()  # 8: one to other; 9
    collector.enter("backward")
    collector.stop()
    assert dict(collector.phases) == {"other": 3, "forward": 5, "data": 1, "backward": 1}
    assert collector.in_operations["forward"] == 3
    collector.back_to_kept()
    assert dict(collector.phases) == {"other": 2, "forward": 5, "data": 1}
    a, b = (collector.rows[Key("forward", name)] for name in "ab")
    assert ((a.calls, a.total, a.own), (b.calls, b.total, b.own)) == ((1, 3, 2), (1, 1, 1))


# The command


def command(tmp_path: Path, text: str, *options: str) -> tuple[ranks.Result, dict[str, Any]]:
    script, out = tmp_path / "script.py", tmp_path / "profile.json"
    script.write_text(text)
    done = ranks.run([*ranks.DDPNET, "profile", "--json", str(out), *options, str(script)], cwd=tmp_path)
    return done, json.loads(out.read_text()) if out.exists() else {}


def test_the_command_measures_steps_and_ends_the_script(tmp_path: Path) -> None:
    done, found = command(tmp_path, MODEL + LOOP, "--steps", "10", "--skip", "4")
    assert (done.code, "the end" in done.out) == (0, False), done.err
    assert (found["script"], found["steps"], found["skipped"]) == ("script.py", 10, 4)
    phases = found["phases"]
    assert list(phases) == list(PHASES)
    assert sum(phase["ms"] for phase in phases.values()) == pytest.approx(found["step_ms"], rel=0.02)
    assert phases["other"]["ms"] > 2  # it sleeps
    assert phases["exchange"]["ms"] == 0
    assert found["step_unprofiled_ms"] > 2
    by_name = {row["name"]: row for row in found["operations"]}
    for name, calls in {"convolution": 2, "addmm": 1, "relu": 1, "max_pool2d_with_indices": 1}.items():
        row = by_name[name]
        assert (row["calls"], row["output"]) == (calls, None)
        assert row["forward_ms"] > 0
    assert by_name["convolution"]["backward_ms"] > 0
    shares = [row["share"] for row in found["operations"]]
    assert shares == sorted(shares, reverse=True)
    inside = sum(row["forward_ms"] + row["backward_ms"] for row in found["operations"])
    assert inside == pytest.approx(sum(phase["operations_ms"] for phase in phases.values()))
    others = {row["name"]: row["calls"] for row in found["others"]}
    assert others["Optimizer.step#SGD.step"] == 1
    for text in ("convolution", "backward", "Optimizer.step#SGD.step", f"{found['step_ms']:.3f} ms a step"):
        assert text in done.out


def test_a_script_that_ends_by_itself(tmp_path: Path) -> None:
    """What comes after the last step does not count."""
    late = LOOP + "time.sleep(0.5)\n"
    done, found = command(tmp_path, MODEL + late, "--steps", "1000", "--shapes", "--rows", "1")
    assert (done.code, "the end" in done.out) == (0, True), done.err
    assert found["steps"] == 36 - 5
    assert sum(phase["ms"] for phase in found["phases"].values()) == pytest.approx(found["step_ms"], rel=0.02)
    assert sorted(row["output"] for row in found["operations"] if row["name"] == "convolution") == [
        [8, 4, 12, 12],
        [8, 8, 4, 4],
    ]
    assert "more" in done.out


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("print('no step')\n", 1, "script.py: nothing to show: 0 steps were made, and the first 5 are skipped"),
        (MODEL + LOOP.replace("time.sleep(0.002)", "1 / 0"), 1, "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('enough')\n", 1, "enough"),
        ("import sys; sys.exit(3)\n", 3, ""),
    ],
)
def test_scripts_that_fail(tmp_path: Path, text: str, code: int, message: str) -> None:
    done, found = command(tmp_path, text)
    assert (done.code, found) == (code, {})
    assert message in done.err


def test_the_command_on_two_ranks(tmp_path: Path) -> None:
    """Rank 0 tells, and the exchange is a phase of its own."""
    parallel = MODEL + "torch.distributed.init_process_group()\n" + LOOP
    parallel = parallel.replace("model(images)", "parallel(images)")
    parallel = parallel.replace("for epoch", "parallel = nn.parallel.DistributedDataParallel(model)\nfor epoch")
    done, found = command(tmp_path, parallel, "-n", "2", "--steps", "6")
    assert done.code == 0, done.err
    assert done.out.count("a step") == 2  # the title and the head of the table, once
    assert found["phases"]["exchange"]["ms"] > 0
    assert sys.executable not in done.err
