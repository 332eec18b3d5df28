"""One flipped bit on one rank is found within a step, by rank and name, and healed without a trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import run

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed import Communicator
from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.distributed.trust.desync import DesyncError, heal, locate
from ddpnet.distributed.trust.fingerprint import Fingerprint
from ddpnet.distributed.trust.watch import Watch
from ddpnet.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 8, 4, 5)).astype(np.float32)  # steps, ranks, samples
NAMES = [
    "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "3.weight",
    "exp_avg of 0.weight", "exp_avg_sq of 3.weight", "step of 1.bias",
]  # fmt: skip
START = {
    name: torch.tensor(RNG.standard_normal(value.shape), dtype=value.dtype).abs()
    for name, value in nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    .state_dict()
    .items()
}


def build() -> tuple[nn.Module, torch.optim.Optimizer]:
    net = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    net.load_state_dict(START)
    return net, torch.optim.Adam(net.parameters(), lr=0.01)


class Loop:
    """Adam on the mean of the ranks' gradients; one bit of `name` is flipped on a rank at a step and `moment`."""

    def __init__(self, comm: Communicator, on_desync: str = "heal", every: int = 1) -> None:
        self.comm = comm
        self.net, self.optimizer = build()
        self.watch = Watch(self.net, self.optimizer, comm, on_desync, every)
        self.step, self.notes = 0, list[str]()
        self.flip: tuple[int, str, int, str] | None = None
        self.again = False

    def run(self, steps: int = 5) -> Loop:
        while self.step < steps:
            if self.compute():
                self.step += 1
        return self

    def compute(self) -> bool:
        """A step; False if it has to be computed again."""
        self.disturb("before")
        self.watch.begin(self.step)
        before = [buffer.array.copy() for buffer in self.net.buffers()]
        self.optimizer.zero_grad()
        self.net(torch.tensor(IMAGES[self.step, self.comm.rank])).square().sum().backward()
        self.disturb("during")
        words = self.comm.all_gather(np.array([self.watch.word()], np.uint64))
        self.disturb("after")
        desync = self.watch.check(np.concatenate(words))
        if desync is not None:
            for buffer, array in zip(self.net.buffers(), before, strict=True):
                buffer.array[...] = array
            self.notes.append(self.watch.heal(desync))
            return False
        for array in (*(p.grad.array for p in self.net.parameters()), *(b.array for b in self.net.buffers())):
            total = np.stack(self.comm.all_gather(array)).sum(0)
            array[...] = total // self.comm.size if array.dtype == np.int64 else total / self.comm.size
        self.optimizer.step()
        return True

    def disturb(self, moment: str) -> None:
        if self.flip is None or self.flip[0] != self.step or self.flip[2:] != (self.comm.rank, moment):
            return
        entries = {entry.name: entry.tensor.array for entry in Fingerprint(self.net, self.optimizer).tensors()}
        flip_a_bit(entries[self.flip[1]])
        if not self.again:
            self.flip = None

    def bits(self) -> list[bytes]:
        return [entry.tensor.array.tobytes() for entry in Fingerprint(self.net, self.optimizer).tensors()]


def flip_a_bit(array: np.ndarray) -> None:
    array.reshape(-1).view(np.uint32)[-1] ^= np.uint32(1 << 12)


def disturbed(comm: Communicator, step: int, name: str, rank: int, moment: str = "before", **options: Any) -> Loop:
    loop = Loop(comm, **options)
    loop.flip = step, name, rank, moment
    return loop


def failed(comm: Communicator, loop: Loop) -> DesyncError:
    with pytest.raises(DesyncError) as caught:
        loop.run()
    return caught.value


@pytest.mark.parametrize("size", [3, 4, 8])
def test_any_flip_is_healed_without_a_trace(size: int) -> None:
    """In each tensor, on each rank, at each moment, the bits at the end are those of an undisturbed run."""
    expected = [loop.bits() for loop in run_threads(size, lambda comm: Loop(comm).run())]
    assert all(bits == expected[0] for bits in expected)
    for number, name in enumerate(NAMES):
        rank, moment = number % size, ["before", "during", "after"][number % 3]
        if "running" in name:
            moment = "before"  # after forward they are, like gradients, what a step computes, and no state yet
        for loop in run_threads(size, lambda comm, a=(2, name, rank, moment): disturbed(comm, *a).run()):
            assert loop.bits() == expected[0], (name, rank, moment, loop.notes)
            (note,) = loop.notes
            late = moment == "after" or (moment == "during" and " of " in name)  # the state is read at the begin
            found = 3 if late else 2
            assert note.startswith(f"step {found}: rank {rank} of {size} (on "), note
            assert name in note.partition(" differs from the other ranks in ")[2], note
            assert note.endswith(f"healed with the state of rank {int(rank == 0)}"), note


@pytest.mark.parametrize("size", [3, 4, 8])
def test_stop_names_rank_and_parameter_on_every_rank(size: int) -> None:
    for name in ("3.weight", "exp_avg of 0.weight", "1.running_var"):
        errors = run_threads(
            size, lambda comm, name=name: failed(comm, disturbed(comm, 3, name, size - 1, on_desync="stop"))
        )
        for error in errors:
            assert (error.desync.step, error.desync.reference, error.desync.odd) == (3, 0, [size - 1])
            assert error.desync.names == {size - 1: [name]}
            assert f"rank {size - 1} of {size}" in str(error)
            assert "go on from the last checkpoint" in str(error)
            assert isinstance(error, InputError)


@pytest.mark.parametrize("on_desync", ["stop", "heal"])
def test_two_ranks_cannot_tell_who_is_right(on_desync: str) -> None:
    errors = run_threads(2, lambda comm: failed(comm, disturbed(comm, 1, "0.weight", 1, on_desync=on_desync)))
    for error in errors:
        assert error.desync.reference is None
        assert error.desync.odd == [0, 1]
        assert "rank 0 and rank 1 differ in 0.weight, and cannot tell which of them is right" in str(error)
        assert ("two ranks have no majority" in str(error)) == (on_desync == "heal")


def test_several_odd_ranks() -> None:
    """Two of five differ, each in its own way; two of four do so in the same way, which is no majority."""

    def found(comm: Communicator, flips: dict[int, int]) -> Any:
        net, optimizer = build()
        fingerprint = Fingerprint(net, optimizer)
        if comm.rank in flips:
            flip_a_bit(list(net.parameters())[flips[comm.rank]].array)
        fingerprint.word()
        desync = locate(fingerprint, comm)
        if desync is not None and desync.reference is not None:
            heal(desync, fingerprint, comm)
            fingerprint.begin()
            fingerprint.word()
            assert locate(fingerprint, comm) is None
        return desync

    assert run_threads(5, lambda comm: found(comm, {})) == [None] * 5
    for desync in run_threads(5, lambda comm: found(comm, {0: 0, 3: 1})):
        assert desync.reference == 1
        assert desync.names == {0: ["0.weight"], 3: ["0.bias"]}
        assert "; rank 3 of 5 (on" in str(desync)
    for desync in run_threads(4, lambda comm: found(comm, {1: 2, 2: 2})):
        assert (desync.reference, desync.groups) == (None, [[0, 3], [1, 2]])
        assert str(desync).startswith("ranks 0, 3 and ranks 1, 2 differ in 1.weight, and cannot tell")
        assert desync.refusal() == "no state is that of most ranks"
    for desync in run_threads(3, lambda comm: found(comm, {1: 2, 2: 1})):
        assert desync.reference is None


def test_the_numbers_of_the_world_are_told() -> None:
    def found(comm: Communicator) -> Any:
        part = comm.subgroup([4, 2, 3])
        if part is None:
            return None
        net, optimizer = build()
        fingerprint = Fingerprint(net, optimizer)
        if comm.rank == 3:
            flip_a_bit(net[0].weight.array)
        fingerprint.word()
        desync = locate(fingerprint, part)
        assert desync is not None
        heal(desync, fingerprint, part)
        return desync.odd, desync.reference, net[0].weight.array.tobytes()

    right = START["0.weight"].array.tobytes()
    assert run_threads(5, found) == [None, None, *[([3], 4, right)] * 3]


def test_what_no_flipped_bit_explains_is_not_healed() -> None:
    """Another learning rate, or a state that one rank does not have."""

    def other_rate(comm: Communicator) -> DesyncError:
        loop = Loop(comm)
        if comm.rank == 2:
            loop.optimizer.param_groups[0]["lr"] = 0.02
        return failed(comm, loop)

    def no_state(comm: Communicator) -> DesyncError:
        loop = Loop(comm).run(2)
        if comm.rank == 1:
            del loop.optimizer.state[loop.net[3].weight]["exp_avg_sq"]
        return failed(comm, loop)

    for error in run_threads(3, other_rate):
        assert "lr of param_groups.0 is 0.02 instead of 0.01, so the program does not do the same" in str(error)
        assert "cannot be healed" in str(error)
    for error in run_threads(3, no_state):
        assert "exp_avg_sq of 3.weight is not there on every rank" in str(error)


def test_a_step_is_healed_once() -> None:
    """What comes back at once is no accident; what comes back later is healed again."""

    def stubborn(comm: Communicator) -> DesyncError:
        loop = disturbed(comm, 2, "0.bias", 1)
        loop.again = True
        return failed(comm, loop)

    def twice(comm: Communicator) -> Loop:
        loop = disturbed(comm, 2, "0.bias", 1).run(3)
        loop.flip = 4, "0.bias", 2, "before"
        return loop.run()

    for error in run_threads(3, stubborn):
        assert "it was healed in this step already" in str(error)
    for loop in run_threads(3, twice):
        assert [note[:14] for note in loop.notes] == ["step 2: rank 1", "step 4: rank 2"]


def test_every_second_step() -> None:
    """Found a step later, and healed with a word about the steps before."""
    for loop in run_threads(3, lambda comm: disturbed(comm, 1, "0.weight", 1, every=2).run()):
        (note,) = loop.notes
        assert note.startswith("step 2: rank 1 of 3")
        assert "up to 2 steps were computed with it" in note


@pytest.mark.parametrize("every", [1, 2])
def test_the_part_of_a_state_that_no_other_rank_has(every: int) -> None:
    """ZeRO: it must be what the last step has left, and options must be the same on every rank."""

    def rank(comm: Communicator, change: str) -> None:
        net, _ = build()
        optimizer = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam, comm, lr=0.01)
        watch = Watch(net, optimizer, comm, "heal", every)
        for step in range(5):
            if step == 4 and comm.rank == 1 and change == "lr":
                optimizer.param_groups[0]["lr"] = 0.02
            watch.begin(step)
            optimizer.zero_grad()
            net(torch.tensor(IMAGES[step, 0])).square().sum().backward()
            words = comm.all_gather(np.array([watch.word()], np.uint64))
            if step == 4 and comm.rank == 1 and change == "state":
                (_, state), *_ = optimizer.local_state()
                flip_a_bit(state["exp_avg_sq"].array)
            assert watch.check(np.concatenate(words)) is None
            optimizer.step()
            watch.end()

    run_threads(3, lambda comm: rank(comm, "nothing"))
    with pytest.raises(DesyncError, match=r"step 4: rank 1 of 3 \(.*\): exp_avg_sq of 0\.weight changed .*\(ZeRO\)"):
        run_threads(3, lambda comm: rank(comm, "state"))
    with pytest.raises(DesyncError, match=r"lr of param_groups\.0 is 0\.02 instead of 0\.01"):
        run_threads(3, lambda comm: rank(comm, "lr"))


def test_a_world_of_one_and_a_loop_that_is_never_watched() -> None:
    (alone,) = run_threads(1, lambda comm: Loop(comm))
    alone.watch.begin(0)
    assert alone.watch.word() == 0
    loops = run_threads(3, lambda comm: disturbed(comm, 1, "0.weight", 1, every=0).run())
    assert len({tuple(loop.bits()) for loop in loops}) > 1


def test_options_are_checked() -> None:
    (alone,) = run_threads(1, lambda comm: comm)
    with pytest.raises(ValueError, match="on_desync: expected one of stop, heal, got 'ignore'"):
        Watch(*build(), alone, "ignore")
    with pytest.raises(ValueError, match="every: expected a number of steps, or 0 for never, got -1"):
        Watch(*build(), alone, every=-1)


SCRIPT = """
import numpy as np
import ddpnet as torch
from ddpnet import distributed as dist, nn
from ddpnet.distributed.trust.desync import DesyncError
from ddpnet.distributed.trust.watch import Watch

comm = dist.connect()


def train(on_desync, flip):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    for p in model.parameters():
        p.data.copy_(torch.arange(p.numel()).reshape(p.shape) * 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    watch = Watch(model, optimizer, comm, on_desync)
    step = 0
    while step < 10:
        watch.begin(step)
        optimizer.zero_grad()
        model(torch.full((2, 6), 0.1 * (step + comm.rank))).sum().backward()
        words = comm.all_gather(np.array([watch.word()], np.uint64))
        if step == 4 and comm.rank == 1 and flip:
            model[2].weight.data.numpy().view(np.uint32)[0, 3] ^= 1 << 20  # one bit of memory
            flip = False
        desync = watch.check(np.concatenate(words))
        if desync is not None:
            note = watch.heal(desync)
            if comm.rank == 0:
                print(note, flush=True)
            continue
        for p in model.parameters():
            p.grad.data.copy_(torch.tensor(sum(comm.all_gather(p.grad.numpy()))))
        optimizer.step()
        step += 1
    return [p.data.numpy().tobytes() for p in model.parameters()]


assert train("heal", True) == train("stop", False)
comm.barrier()
try:
    train("stop", True)
except DesyncError as error:
    print(f"rank {comm.rank}: {error}", flush=True)
"""


def test_on_real_ranks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run([Path(sys.executable).parent / "mpirun", "-n", "3", sys.executable, "script.py"], cwd=tmp_path)
    assert done.code == 0, done.err
    note, *errors = done.out.splitlines()
    assert note.startswith("step 5: rank 1 of 3 (on ")
    assert "differs from the other ranks in 2.weight: healed with the state of rank 0" in note
    assert sorted(line.partition(" (on")[0] for line in errors) == [f"rank {r}: step 5: rank 1 of 3" for r in range(3)]
