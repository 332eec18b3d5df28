"""Worker processes of a DataLoader: order, exceptions, and that nothing is left behind however it ends."""

import gc
import os
import random as python_random
import signal
import subprocess
import sys
import time
from multiprocessing import resource_tracker
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ddpnet
from ddpnet.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

DEADLINE = 30.0


@pytest.fixture(autouse=True)
def nothing_left():
    """Each test ends in time, and leaves no process and no file open."""
    resource_tracker.ensure_running()  # multiprocessing's own, which stays
    before = os.listdir("/proc/self/fd")

    def late(number, frame):
        raise AssertionError(f"not over within {DEADLINE} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    state = ddpnet.get_rng_state()
    ddpnet.manual_seed(3)
    yield
    ddpnet.set_rng_state(state)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()  # what pytest holds of exceptions
    assert children(os.getpid()) == []
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and "resource_tracker" not in command:
            found.append(int(folder.name))
    return found


def gone(pids: list[int], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.02)
    return False


class Samples(Dataset):
    """Whatever the function makes of an index."""

    def __init__(self, make, count=20):
        self.make = make
        self.count = count

    def __getitem__(self, index):
        return self.make(index)

    def __len__(self):
        return self.count


def plain(batches):
    return [[tensor.tolist() for tensor in batch] if isinstance(batch, list) else batch.tolist() for batch in batches]


def test_the_same_batches_whatever_the_number_of_workers():
    dataset = TensorDataset(ddpnet.arange(40).reshape(20, 2), ddpnet.arange(20))
    epochs = []
    for workers in (0, 1, 2, 5):
        generator = ddpnet.Generator().manual_seed(1)
        loader = DataLoader(dataset, 3, shuffle=True, num_workers=workers, generator=generator)
        epochs.append([plain(loader), plain(loader)])
        assert len(loader) == 7
    assert all(epoch == epochs[0] for epoch in epochs)


def test_order_is_kept_when_workers_are_of_unequal_speed():
    slow = Samples(lambda index: time.sleep(0.05 * (index % 4 == 0)) or index, 12)
    assert plain(DataLoader(slow, 2, num_workers=3)) == plain(DataLoader(slow, 2))
    pids = Samples(lambda index: time.sleep(1.0 * (index == 0)) or index, 12)
    assert plain(DataLoader(pids, 1, num_workers=2, in_order=False))[0] != [0]


def test_draws_depend_on_the_batch_alone():
    drawing = Samples(lambda index: ddpnet.rand(2))
    epochs = []
    for workers in (0, 1, 3):
        ddpnet.manual_seed(5)
        loader = DataLoader(drawing, 4, num_workers=workers)
        epochs.append(plain(loader) + plain(loader))
        after = ddpnet.rand(1).item()
        assert after == epochs[0] or isinstance(after, float)
    assert epochs[0] == epochs[1] == epochs[2]
    assert len({str(value) for batch in epochs[0] for value in batch}) == 40


def test_seeds_of_workers():
    def seeds(index):
        info = get_worker_info()
        return np.array([info.id, info.num_workers, info.seed % 1000003, np.random.randint(1 << 30)], np.int64)

    def run():
        ddpnet.manual_seed(5)
        return plain(DataLoader(Samples(seeds, 4), 2, num_workers=2))

    first, second = run()
    assert [row[0] for row in first + second] == [0, 0, 1, 1]
    assert {row[1] for row in first + second} == {2}
    assert (second[0][2] - first[0][2]) % 1000003 == 1
    assert len({row[3] for row in first + second}) == 4
    assert run() == [first, second]
    assert get_worker_info() is None


def test_worker_init_fn():
    started = []

    def initialize(number):
        started.append(number)
        ddpnet.manual_seed(100 + number)
        python_random.seed(number)

    def sample(index):
        return np.array([started[0], ddpnet.initial_seed(), python_random.randrange(1000)])

    rows = plain(DataLoader(Samples(sample, 4), 1, num_workers=2, worker_init_fn=initialize))
    assert [row[0][:2] for row in rows] == [[0, 100], [1, 101], [0, 100], [1, 101]]
    assert started == []

    def fails(number):
        raise ValueError("no start")

    with pytest.raises(ValueError, match=r"(?s)Caught ValueError in DataLoader worker process 0.*no start"):
        list(DataLoader(Samples(int), num_workers=1, worker_init_fn=fails))


CONTENTS = [
    ddpnet.arange(6).reshape(2, 3),
    ddpnet.arange(6).reshape(2, 3).T,
    ddpnet.ones(3, 1).expand(3, 4),
    ddpnet.zeros(0, 3),
    ddpnet.tensor(2.5, dtype=ddpnet.float64),
    ddpnet.tensor([True, False]),
    ddpnet.ones(300, 300),
    ddpnet.ones(2, requires_grad=True),
    np.arange(5, dtype=np.int16),
    "text" * 10000,
    None,
]


@pytest.mark.parametrize("number", range(len(CONTENTS)))
def test_what_travels(number):
    sent = CONTENTS[number]
    loader = DataLoader(Samples(lambda index: sent, 2), batch_size=None, num_workers=1, collate_fn=lambda x: x)
    for got in loader:
        assert type(got) is type(sent)
        if sent is None or isinstance(sent, str):
            assert got == sent
            continue
        assert (got.dtype, got.shape, got.tolist()) == (sent.dtype, sent.shape, sent.tolist())
        if isinstance(sent, ddpnet.Tensor):
            assert got.requires_grad == sent.requires_grad
            got.detach().fill_(1)  # it can be written


def test_structures_and_bfloat16_travel():
    def sample(index):
        return {"x": ddpnet.tensor([index], dtype=ddpnet.bfloat16), "y": [np.full(5000, index), "name"]}

    (batch,) = DataLoader(Samples(sample, 3), 3, num_workers=1)
    assert batch["x"].array.dtype == ml_dtypes.bfloat16
    assert batch["x"].tolist() == [[0], [1], [2]]
    assert batch["y"][0][:, 4999].tolist() == [0, 1, 2]
    assert batch["y"][1] == ("name",) * 3


def test_what_cannot_travel():
    def connected(index):
        return ddpnet.ones(2, requires_grad=True) * 2

    with pytest.raises(RuntimeError, match="non-leaf tensor"):
        list(DataLoader(Samples(connected), batch_size=None, num_workers=1))
    with pytest.raises(AttributeError, match=r"(?s)Caught .*pickle"):
        list(DataLoader(Samples(lambda index: lambda: 0), batch_size=None, num_workers=1))


class Strange(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


@pytest.mark.parametrize("kind", [ValueError, KeyError, IndexError, Strange, StopIteration, ZeroDivisionError])
def test_exceptions_of_workers(kind):
    def fails(index):
        if index == 4:
            raise kind("it was", "index 4") if kind is Strange else kind("it was index 4")
        return index

    loader = DataLoader(Samples(fails, 8), 2, num_workers=2)
    batches = iter(loader)
    assert [next(batches).tolist(), next(batches).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(RuntimeError if kind is Strange else kind) as caught:
        next(batches)
    assert f"Caught {kind.__name__} in DataLoader worker process 0" in str(caught.value)
    assert "in fails" in str(caught.value)
    assert next(batches).tolist() == [6, 7]  # as in PyTorch


def test_an_exception_outside_leaves_nothing():
    def use():
        for _ in DataLoader(Samples(int), num_workers=3):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()


def test_a_dropped_iterator_leaves_nothing():
    batches = iter(DataLoader(Samples(lambda index: np.zeros(100_000)), num_workers=3, prefetch_factor=4))
    next(batches)
    pids = children(os.getpid())
    assert len(pids) == 3
    before = time.monotonic()
    del batches
    assert gone(pids, 1)
    assert time.monotonic() - before < 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_is_named(number):
    def killed(index):
        if index == 5:
            os.kill(os.getpid(), number)
        return index

    with pytest.raises(RuntimeError, match=rf"worker 1 \(pid \d+\) is killed by signal: .*{number.name}"):
        list(DataLoader(Samples(killed), num_workers=2))
    batches = iter(DataLoader(Samples(killed), num_workers=2, persistent_workers=True))
    with pytest.raises(RuntimeError, match="is killed"):
        list(batches)
    assert list(batches) == []


def test_a_worker_that_leaves_is_named():
    with pytest.raises(RuntimeError, match=r"worker 0 \(pid \d+\) exited unexpectedly with exit code 7"):
        list(DataLoader(Samples(lambda index: os._exit(7) if index == 0 else index), num_workers=2))


def test_a_worker_that_hangs():
    loader = DataLoader(Samples(lambda index: time.sleep(1000 * (index == 1)) or 0), num_workers=2, timeout=0.5)
    batches = iter(loader)
    next(batches)
    with pytest.raises(RuntimeError, match=r"timed out after 0.5 seconds: no batch from worker 1 \(pid \d+\)"):
        next(batches)


def test_a_stopped_worker_is_ended():
    batches = iter(DataLoader(Samples(int), num_workers=1, timeout=0.5))
    next(batches)
    os.kill(children(os.getpid())[0], signal.SIGSTOP)
    with pytest.raises(RuntimeError, match="timed out"):
        list(batches)


def test_large_lists_of_indices_and_full_pipes():
    dataset = TensorDataset(ddpnet.arange(200_000))
    loader = DataLoader(dataset, 100_000, num_workers=2, prefetch_factor=8)
    assert [batch[0][-1].item() for batch in loader] == [99_999, 199_999]
    texts = DataLoader(Samples(lambda index: "x" * 100_000, 40), batch_size=None, num_workers=1, prefetch_factor=40)
    batches = iter(texts)
    assert len(next(batches)) == 100_000
    del batches


def test_persistent_workers():
    loader = DataLoader(Samples(lambda index: os.getpid(), 6), num_workers=2, persistent_workers=True)
    first, second = ({pid.item() for pid in loader} for _ in range(2))
    assert first == second == set(children(os.getpid()))
    next(iter(loader))
    assert [len(list(loader)) for _ in range(2)] == [6, 6]  # what was left of the epoch is not seen again
    del loader
    assert children(os.getpid()) == []


def test_persistent_workers_draw_anew():
    epochs = []
    for workers in (0, 2):
        ddpnet.manual_seed(8)
        drawing = Samples(lambda index: ddpnet.rand(1), 4)
        loader = DataLoader(drawing, num_workers=workers, persistent_workers=workers > 0)
        epochs += [plain(loader), plain(loader)]
    assert epochs[0] != epochs[1]
    assert epochs[:2] == epochs[2:]


class Stream(IterableDataset):
    def __init__(self, count, shared=True):
        self.count = count
        self.shared = shared

    def __iter__(self):
        info = get_worker_info()
        step, first = (info.num_workers, info.id) if info is not None and self.shared else (1, 0)
        return iter(range(first, self.count, step))

    def __len__(self):
        return self.count


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_streams_are_pytorchs(batch_size, drop_last, workers):
    oracle = pytest.importorskip("torch.utils.data")
    if batch_size is None and drop_last:
        return

    class Theirs(oracle.IterableDataset):
        def __iter__(self):
            info = oracle.get_worker_info()
            return iter(range(*(0, 10, 1) if info is None else (info.id, 10, info.num_workers)))

    options = {"batch_size": batch_size, "drop_last": drop_last, "num_workers": workers}
    ours = list(DataLoader(Stream(10), **options))
    theirs = list(oracle.DataLoader(Theirs(), **options))
    assert [x if batch_size is None else x.tolist() for x in ours] == [
        x if batch_size is None else x.tolist() for x in theirs
    ]


def test_persistent_streams_begin_again():
    loader = DataLoader(Stream(7), 2, num_workers=2, persistent_workers=True)
    first, second = plain(loader), plain(loader)
    assert first == second
    assert sorted(value for batch in first for value in batch) == list(range(7))


def test_a_stream_longer_than_its_length_is_noticed():
    loader = DataLoader(Stream(4, shared=False), num_workers=2)
    assert len(loader) == 4
    with pytest.warns(UserWarning, match="was reported to be 4 .* samples have been fetched") as caught:
        assert len(list(loader)) == 8
    assert len(caught) == 4
    for options in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="IterableDataset"):
            DataLoader(Stream(4), **options)


def test_spawned_workers():
    dataset = TensorDataset(ddpnet.arange(6), ddpnet.ones(6, 2))
    loader = DataLoader(dataset, 2, num_workers=2, multiprocessing_context="spawn")
    assert plain(loader) == plain(DataLoader(dataset, 2))
    with pytest.raises(ValueError, match="fork"):
        DataLoader(dataset, num_workers=1, multiprocessing_context="spoon")
    with pytest.raises(TypeError, match="multiprocessing_context"):
        DataLoader(dataset, num_workers=1, multiprocessing_context=3)


PROGRAM = """
import os, sys, time
import ddpnet
from ddpnet.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __getitem__(self, index):
        if index > 4:
            time.sleep(1000)
        return index
    def __len__(self):
        return 100

loader = DataLoader(Slow(), num_workers=3)
other = iter(DataLoader(Slow(), num_workers=1))
for batch in loader:
    print(batch.item(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(number):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "0\n"
            pids = children(process.pid)
            assert len(pids) == 4
            process.send_signal(number)
            process.wait(15)
            assert gone(pids, 8)
            said = process.stderr.read()
            assert said.count("KeyboardInterrupt") == (number == signal.SIGINT)
        finally:
            process.kill()


def test_ctrl_c_in_a_terminal_reaches_all_and_one_says_so():
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            for _ in range(5):
                process.stdout.readline()
            pids = children(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(15)
            assert gone(pids, 8)
            assert process.stderr.read().count("Traceback") == 1
        finally:
            process.kill()
