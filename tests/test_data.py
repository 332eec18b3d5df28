"""utils.data: datasets, samplers, collation and the DataLoader; PyTorch is asked where it is installed."""

import itertools
from collections import OrderedDict, namedtuple
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import backend, random
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.transport.solo import SoloCommunicator
from ddpnet.utils import data
from ddpnet.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


@pytest.fixture(autouse=True)
def seeded():
    state = random.get_rng_state()
    random.manual_seed(5)
    yield
    random.set_rng_state(state)


class Squares(Dataset[int]):
    def __init__(self, count: int = 10) -> None:
        self.count = count

    def __getitem__(self, index: int) -> int:
        return index**2

    def __len__(self) -> int:
        return self.count


def pair(count: int = 10) -> TensorDataset:
    return TensorDataset(ddpnet.arange(2 * count).reshape(count, 2), ddpnet.arange(count))


# Datasets


def test_tensor_dataset():
    x, y = pair()[3]
    assert (x.tolist(), y.item()) == ([6, 7], 3)
    assert len(pair()) == 10
    with pytest.raises(AssertionError, match=r"\[2, 3\]"):
        TensorDataset(ddpnet.zeros(2), ddpnet.zeros(3, 2))


def test_concat_dataset():
    joined = Squares(3) + Squares(2)
    assert isinstance(joined, ConcatDataset)
    assert [joined[i] for i in range(5)] == [0, 1, 4, 0, 1]
    assert [joined[-1], joined[-5], len(joined), joined.cumulative_sizes] == [1, 0, 5, [3, 5]]
    with pytest.raises(IndexError):
        joined[5]
    with pytest.raises(ValueError, match="out of range"):
        joined[-6]
    with pytest.raises(AssertionError):
        ConcatDataset([])


def test_subset():
    subset = Subset(Squares(), [9, 0, 2])
    assert [subset[i] for i in range(len(subset))] == [81, 0, 4]
    assert subset.__getitems__([2, 0]) == [4, 81]
    assert Subset(subset, [0, 2]).__getitems__([1]) == [4]


def test_random_split():
    parts = random_split(Squares(), [7, 3])
    assert [len(part) for part in parts] == [7, 3]
    assert sorted(i for part in parts for i in part.indices) == list(range(10))
    assert [len(part) for part in random_split(Squares(), [0.33, 0.33, 0.34])] == [4, 3, 3]
    first, second = (random_split(Squares(), [5, 5], random.Generator().manual_seed(1))[0].indices for _ in range(2))
    assert first == second
    assert random_split(Squares(), [10])[0].indices != random_split(Squares(), [10])[0].indices
    with pytest.raises(ValueError, match="add up to 10 samples, got 9"):
        random_split(Squares(), [5, 4])
    with pytest.raises(ValueError, match="fractions from 0 to 1"):
        random_split(Squares(), [1.5, -0.5])
    with pytest.warns(UserWarning, match="index 1 is empty"):
        random_split(Squares(1), [0.5, 0.5])


# Samplers


def test_orders_are_functions_of_seed_and_epoch():
    sampler = RandomSampler(Squares())
    epochs = [list(sampler) for _ in range(3)]
    assert epochs == [random.permutation(10, 5, epoch).tolist() for epoch in range(3)]
    again = RandomSampler(Squares(), generator=random.Generator().manual_seed(5))
    ddpnet.rand(3)  # what else is drawn does not matter
    assert [list(again) for _ in range(3)] == epochs
    before = random.get_rng_state()
    list(RandomSampler(Squares()))
    assert random.get_rng_state() == before


def test_random_sampler():
    assert sorted(RandomSampler(Squares())) == list(range(10))
    twice = list(RandomSampler(Squares(4), num_samples=10))
    assert sorted(twice[:4]) == sorted(twice[4:8]) == [0, 1, 2, 3]
    assert twice[:4] != twice[4:8]
    drawn = list(RandomSampler(Squares(4), replacement=True, num_samples=1000))
    assert np.bincount(drawn).min() > 200
    assert len(RandomSampler(Squares(4), num_samples=10)) == 10
    with pytest.raises(TypeError, match="replacement"):
        RandomSampler(Squares(), replacement=1)
    for number in (0, -1, 2.5):
        with pytest.raises(ValueError, match="num_samples"):
            RandomSampler(Squares(), num_samples=number)
    with pytest.raises(ValueError, match="num_samples"):
        RandomSampler(Squares(0))


def test_subset_random_sampler():
    sampler = SubsetRandomSampler([5, 7, 9])
    assert sorted(sampler) == [5, 7, 9]
    assert len({tuple(sampler) for _ in range(20)}) > 1


def test_weighted_random_sampler():
    drawn = list(WeightedRandomSampler([1, 0, 3], 4000))
    assert drawn.count(1) == 0
    assert 2.5 < drawn.count(2) / drawn.count(0) < 3.5
    assert sorted(WeightedRandomSampler(ddpnet.tensor([1.0, 2.0, 0.0, 3.0]), 3, replacement=False)) == [0, 1, 3]
    for weights in ([1, -1], [0, 0], [1, float("nan")], [1, float("inf")]):
        with pytest.raises(RuntimeError, match="weights"):
            WeightedRandomSampler(weights, 1)
    with pytest.raises(RuntimeError, match="2 are positive, too few for 3"):
        WeightedRandomSampler([1, 1, 0], 3, replacement=False)
    for arguments in (([[1]], 1), ([1], 0), ([1], True), ([1], 1, 2)):
        with pytest.raises(ValueError, match="expected"):
            WeightedRandomSampler(*arguments)


def test_batch_sampler():
    assert list(BatchSampler(range(7), 3, False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(BatchSampler(SequentialSampler(Squares(7)), 3, True)) == [[0, 1, 2], [3, 4, 5]]
    for drop_last in (False, True):
        for count in range(8):
            sampler = BatchSampler(range(count), 3, drop_last)
            assert len(sampler) == len(list(sampler))
    for arguments in ((0, False), (True, False), (1.5, False), (3, 1)):
        with pytest.raises(ValueError, match="expected"):
            BatchSampler(range(7), *arguments)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5, 12, 13])
@pytest.mark.parametrize("world", [1, 2, 3, 7, 30])
def test_distributed_sampler_is_pytorchs(world, count, drop_last):
    oracle = pytest.importorskip("torch.utils.data")
    for rank, shuffle in itertools.product(range(world), (False, True)):
        options = {"num_replicas": world, "rank": rank, "shuffle": shuffle, "drop_last": drop_last, "seed": 2**32 - 1}
        ours, theirs = (kind(range(count), **options) for kind in (DistributedSampler, oracle.DistributedSampler))
        for epoch in range(3):
            ours.set_epoch(epoch), theirs.set_epoch(epoch)
            assert list(ours) == list(theirs)
            assert len(ours) == len(theirs)


def test_distributed_sampler():
    parts = [DistributedSampler(range(12), 3, rank, seed=4) for rank in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(12))
    before = list(parts[0])
    assert list(parts[0]) == before
    parts[0].set_epoch(1)
    assert list(parts[0]) != before
    assert list(DistributedSampler(range(10), 2, 0)) == [4, 7, 3, 0, 6]  # PyTorch's order
    for rank in (-1, 3):
        with pytest.raises(ValueError, match=f"Invalid rank {rank}"):
            DistributedSampler(range(12), 3, rank)
    with using(SoloCommunicator()):
        assert sorted(DistributedSampler(range(12))) == list(range(12))


@pytest.mark.parametrize(("samples", "batch"), [(10, 3), (12, 4), (1, 1), (5, 64)])
def test_batches_visit_each_sample_once_an_epoch(samples, batch):
    batches = data.Batches(samples, batch, seed=3)
    steps = range(3 * batches.per_epoch)
    rows = [batches[step] for step in steps]
    for epoch in range(3):
        mine = [rows[step] for step in steps if batches.epoch_of(step) == epoch]
        assert [len(row) for row in mine[:-1]] == [batch] * (batches.per_epoch - 1)
        order = np.concatenate(mine)
        assert order.dtype == np.int64
        assert order.tolist() == random.permutation(samples, 3, epoch).tolist()
    for step in reversed(steps):  # a pure function, in whatever order it is asked
        np.testing.assert_array_equal(batches[step], rows[step])
    with pytest.raises(IndexError):
        batches[-1]
    with pytest.raises(ValueError, match="at least 1"):
        data.Batches(0, 1, 0)


# Collation

Point = namedtuple("Point", ["x", "y"])

SAMPLES = [
    [1, 2, 3],
    [True, False],
    [1.5, 2.5],
    [1, 2.5],
    ["a", "b"],
    [b"a", b"b"],
    [np.float64(1), np.float64(2)],
    [np.float32(1), np.float32(2)],
    [np.int32(1), np.int32(2)],
    [np.bool_(True), np.bool_(False)],
    [np.zeros(2, np.float32), np.ones(2, np.float32)],
    [np.zeros((2, 3), np.uint8)],
    [np.array(1.5), np.array(2.5)],
    [(1, "a", 2.0), (2, "b", 3.0)],
    [[1, [2, 3]], [4, [5, 6]]],
    [{"x": 1, "y": {"z": 1.0}}, {"x": 2, "y": {"z": 2.0}}],
    [OrderedDict(a=1), OrderedDict(a=2)],
    [Point(1, 2.0), Point(3, 4.0)],
    [range(3), range(3)],
    [(), ()],
]


def described(value: Any) -> Any:
    """Structure, types, dtypes, shapes and values of a batch of ours or PyTorch's."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return (str(value.dtype), tuple(value.shape), value.tolist())
    if isinstance(value, dict):
        return (type(value), {key: described(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return (type(value), [described(item) for item in value])
    return value


@pytest.mark.parametrize("samples", SAMPLES, ids=repr)
def test_collation_is_pytorchs(samples):
    oracle = pytest.importorskip("torch.utils.data")
    assert described(default_collate(samples)) == described(oracle.default_collate(samples))
    assert described(default_convert(samples)) == described(oracle.default_convert(samples))


def test_collation_of_tensors():
    batch = default_collate([ddpnet.zeros(2, 3), ddpnet.ones(2, 3)])
    assert (batch.shape, batch.dtype) == ((2, 2, 3), ddpnet.float32)
    frozen = default_collate([MappingProxyType({"a": 1})])
    assert frozen["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        ([None, None], TypeError),
        ([{1}, {2}], TypeError),
        ([np.array(["text"])], TypeError),
        ([np.array([None])], TypeError),
        ([[1, 2], [3]], RuntimeError),
        ([np.zeros(2), np.zeros(3)], RuntimeError),
    ],
)
def test_collation_refuses(samples, error):
    with pytest.raises(error):
        default_collate(samples)


# DataLoader


def test_data_loader():
    batches = list(DataLoader(Squares(5), batch_size=2))
    assert [batch.tolist() for batch in batches] == [[0, 1], [4, 9], [16]]
    assert len(DataLoader(Squares(5), batch_size=2)) == 3
    assert len(list(DataLoader(Squares(5), batch_size=2, drop_last=True))) == 2
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert [x.tolist() for x in DataLoader(Squares(3), batch_sampler=[[2], [0, 1]])] == [[4], [0, 1]]
    assert [x.tolist() for x in DataLoader(Squares(5), sampler=[4, 1])] == [[16], [1]]
    assert list(DataLoader(Squares(4), 2, collate_fn=sum)) == [1, 13]


def test_shuffled_epochs():
    loader = DataLoader(pair(), batch_size=4, shuffle=True)
    epochs = [[y for _, batch in loader for y in batch.tolist()] for _ in range(2)]
    assert epochs == [random.permutation(10, 5, epoch).tolist() for epoch in range(2)]
    other = DataLoader(pair(), shuffle=True, generator=random.Generator().manual_seed(6))
    assert [y.item() for _, y in other] == random.permutation(10, 6, 0).tolist()


@pytest.mark.parametrize("wrap", [lambda dataset: dataset, lambda dataset: Subset(dataset, [7, 7, 1, 0])])
def test_batches_of_tensors_are_the_collated_samples(wrap):
    dataset = wrap(pair())
    for batch, indices in zip(DataLoader(dataset, 3), BatchSampler(range(len(dataset)), 3, False), strict=True):
        expected = default_collate([dataset[i] for i in indices])
        assert described(batch) == described(expected)


def test_overridden_samples_are_not_bypassed():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * tensor for tensor in super().__getitem__(index))

    class Negated(Subset):
        def __getitem__(self, index):
            return tuple(-tensor for tensor in super().__getitem__(index))

    doubled = Doubled(ddpnet.arange(4))
    assert next(iter(DataLoader(doubled, 4)))[0].tolist() == [0, 2, 4, 6]
    assert next(iter(DataLoader(Negated(doubled, [3, 1]), 4)))[0].tolist() == [-6, -2]
    assert next(iter(DataLoader(pair(2), 2, collate_fn=lambda samples: samples)))[1][1].item() == 1


def test_getitems():
    class Together(Squares):
        def __getitems__(self, indices):
            return [-index for index in indices]

    class Short(Squares):
        def __getitems__(self, indices):
            return [0]

    assert next(iter(DataLoader(Together(), 3))).tolist() == [0, -1, -2]
    with pytest.raises(ValueError, match=r"Short\.__getitems__: expected 3 samples, got 1"):
        next(iter(DataLoader(Short(), 3)))


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": [0], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "sampler": [0]},
        {"batch_sampler": [[0]], "drop_last": True},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"num_workers": -1},
        {"timeout": -1},
        {"prefetch_factor": 0},
        {"prefetch_factor": 2},
        {"persistent_workers": True},
        {"multiprocessing_context": "spawn"},
    ],
    ids=str,
)
def test_options_that_exclude_each_other(options):
    with pytest.raises(ValueError, match=r"|".join(options)):
        DataLoader(Squares(), **options)
    oracle = pytest.importorskip("torch.utils.data")
    with pytest.raises(ValueError, match=r"should be|mutually exclusive|could only|can only|needs"):
        oracle.DataLoader(Squares(), **options)


def test_what_is_not_supported_says_so():
    if backend.cuda_device_count() == 0:
        with pytest.warns(UserWarning, match="pin_memory"):
            list(DataLoader(Squares(), pin_memory=True))
    loader = DataLoader(Squares())
    with pytest.raises(ValueError, match="batch_size"):
        loader.batch_size = 3


def test_every_name_is_public():
    assert all(hasattr(data, name) for name in data.__all__)
