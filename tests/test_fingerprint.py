"""Fingerprints: equal for equal bits, different for any flipped one, wherever and in whatever array it is."""

from __future__ import annotations

from collections import deque
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed.trust.fingerprint import Fingerprint, same
from ddpnet.kernels.cpu import fingerprints, memory_table

RNG = np.random.default_rng(0)
MASK = 2**64 - 1


def reference(data: bytes) -> int:
    """The word of some memory, one number after the other."""
    data += b"\0" * (-len(data) % 1024)
    numbers = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    total = 0
    for chain in range(len(numbers) // 8):
        x, first = 0x9E3779B97F4A7C15, chain // 16 * 128 + chain % 16
        for number in numbers[first : first + 128 : 16]:
            x = (x ^ number) * 0xC4CEB9FE1A85EC53 & MASK
            x ^= x >> 32
        x ^= chain * 0x9E3779B97F4A7C15 & MASK
        x ^= x >> 33
        x = x * 0xFF51AFD7ED558CCD & MASK
        x ^= x >> 33
        x = x * 0xC4CEB9FE1A85EC53 & MASK
        total += x ^ x >> 33
    return total & MASK


def words(*arrays: np.ndarray) -> list[int]:
    return fingerprints(memory_table(arrays)).tolist()


# The kernel


def test_words_of_the_reference() -> None:
    """Of all short lengths, and some around and above a KiB, in one call."""
    arrays = [RNG.integers(0, 256, size, np.uint8) for size in (*range(40), 1016, 1023, 1024, 1025, 1040, 30_003)]
    assert words(*arrays) == [reference(array.tobytes()) for array in arrays]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_every_flipped_bit_changes_the_word(kind: Any) -> None:
    array = np.asarray(RNG.standard_normal((3, 5)) * 3).astype(kind)
    array[0, 0] = 0
    (before,) = words(array)
    raw = array.reshape(-1).view(np.uint8)
    found = {before}
    for byte in range(raw.size):
        for bit in range(8):
            raw[byte] ^= np.uint8(1 << bit)
            found.update(words(array))
            raw[byte] ^= np.uint8(1 << bit)
    assert len(found) == 1 + 8 * raw.size  # all different from each other, too
    assert words(array) == [before]


def test_words_know_places_signs_and_numbers_that_are_none() -> None:
    a = np.arange(64, dtype=np.float32)
    swapped = a.copy()
    swapped[[10, 40]] = a[[40, 10]]
    assert words(a) != words(swapped)
    assert words(np.zeros(9)) != words(-np.zeros(9))
    quiet, other = np.full(4, 0x7FC00000, np.uint32), np.full(4, 0x7FC00001, np.uint32)
    assert words(quiet.view(np.float32)) != words(other.view(np.float32))
    assert words(quiet.view(np.float32)) == words(quiet.view(np.float32).copy())
    both = np.random.default_rng(3).standard_normal((50_000, 2)).astype(np.float32)  # any two flips of signs
    assert len({*words(*(both * [[s, t]] for s in (-1, 1) for t in (-1, 1)))}) == 4


def test_pairs_of_flips_do_not_cancel() -> None:
    """Such as two signs, or the same bit in two places: sums of products would let half of them pass."""
    array = RNG.standard_normal(256).astype(np.float32)
    (before,) = words(array)
    bits = array.view(np.uint32)
    for bit in (31, 30, 22, 0):
        for first in range(0, 64):
            for second in (first + 1, first + 2, 255 - first):
                bits[[first, second]] ^= np.uint32(1 << bit)
                assert words(array) != [before]
                bits[[first, second]] ^= np.uint32(1 << bit)


def test_memory_that_cannot_be_read_as_it_lies_is_refused() -> None:
    for array in (np.zeros((4, 4)).T[1:], np.zeros(9, np.float32)[1:]):
        with pytest.raises(ValueError, match="expected C-contiguous arrays that begin at a multiple of 8 bytes"):
            memory_table([array])


# Of a module and an optimizer


class Net(nn.Module):
    """Parameters of several types and layouts, buffers, one parameter that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        numbers = np.random.default_rng(1)
        self.first = nn.Linear(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.low = nn.Parameter(torch.tensor(numbers.standard_normal(7), dtype=torch.bfloat16))
        flat = torch.tensor(numbers.standard_normal(13), dtype=torch.float32)
        self.part = nn.Parameter(flat[1:].reshape(3, 4))  # begins between two words
        self.turned = nn.Parameter(torch.tensor(numbers.standard_normal((4, 6)), dtype=torch.float32).t())
        self.unused = nn.Parameter(torch.zeros(0))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        for p in self.first.parameters():
            p.data.copy_(torch.tensor(numbers.standard_normal(p.shape), dtype=torch.float32))


def build(kind: str) -> tuple[Net, torch.optim.Optimizer]:
    net = Net()
    options: dict[str, Any] = {"sgd": {"momentum": 0.9}, "adam": {"amsgrad": True}, "lbfgs": {}}[kind]
    kinds: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "lbfgs": torch.optim.LBFGS}
    parameters = [p for p in net.parameters() if p.numel() and not (kind == "lbfgs" and p.dtype is torch.bfloat16)]
    optimizer = kinds[kind](parameters, lr=0.01, **options)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum(((p.float() - 0.5) ** 2).sum() for p in parameters)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    return net, optimizer


@pytest.mark.parametrize("kind", ["sgd", "adam", "lbfgs"])
def test_equal_states_have_equal_words_and_one_bit_in_any_tensor_is_seen_and_named(kind: str) -> None:
    net, optimizer = build(kind)
    fingerprint, twin = Fingerprint(net, optimizer), Fingerprint(*build(kind))
    before = fingerprint.word()
    assert twin.word() == before
    parts = fingerprint.parts()
    assert parts == twin.parts()
    entries = [entry for entry in fingerprint.tensors() if entry.tensor.array.nbytes]
    assert len(entries) > {"sgd": 15, "adam": 30, "lbfgs": 20}[kind]
    for entry in entries:
        array = entry.tensor.array
        place = tuple(extent - 1 for extent in array.shape)
        changed = bytearray(array[place].tobytes())
        changed[-1] ^= 1
        kept = array[place].copy()
        array[place] = np.frombuffer(bytes(changed), array.dtype)[0]
        fingerprint.begin()
        assert fingerprint.word() != before, entry.name
        assert [name for name, part in fingerprint.parts().items() if part != parts[name]] == [entry.name]
        array[place] = kept
    fingerprint.begin()
    assert fingerprint.word() == before


def test_numbers_of_the_optimizer_are_compared() -> None:
    net, optimizer = build("adam")
    fingerprint = Fingerprint(net, optimizer)
    before, parts = fingerprint.word(), fingerprint.parts()
    optimizer.param_groups[0]["lr"] = 0.011
    assert fingerprint.word() != before
    assert {name for name, part in fingerprint.parts().items() if part != parts[name]} == {"lr of param_groups.0"}
    assert fingerprint.parts()["lr of param_groups.0"] == "0.011"


def test_arrays_may_be_exchanged_and_states_may_grow() -> None:
    """What was remembered of where things lie is of no use then."""
    torch.manual_seed(0)
    net = nn.Linear(40, 30)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    fingerprint = Fingerprint(net, optimizer)
    seen = [fingerprint.word()]
    net(torch.ones(2, 40)).sum().backward()
    optimizer.step()  # the state begins
    seen.append(fingerprint.word())
    for p in net.parameters():
        p.data = p.data.clone()
    assert fingerprint.word() == seen[-1]
    net.weight.data = net.weight.data * 2
    seen.append(fingerprint.word())
    optimizer.load_state_dict(optimizer.state_dict())
    assert fingerprint.word() == seen[-1]
    optimizer.state.clear()
    seen.append(fingerprint.word())
    assert len({*seen}) == 4


def test_buffers_count_as_they_were_at_the_begin_of_the_step() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    fingerprint = Fingerprint(net)
    before = fingerprint.word()
    fingerprint.begin()
    net(torch.ones(3, 4))
    assert fingerprint.word() == before
    assert fingerprint.word() != before


def test_parameters_that_only_the_optimizer_has_are_compared() -> None:
    extra = nn.Parameter(torch.ones(3))
    net = nn.Linear(2, 2)
    fingerprint = Fingerprint(net, torch.optim.SGD([*net.parameters(), extra], lr=0.1))
    before = fingerprint.word()
    extra.data[1] = 2
    assert fingerprint.word() != before
    assert "param_groups.0.params.2" in fingerprint.parts()


def test_what_cannot_be_compared_is_refused() -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.state[net.weight]["queue"] = deque([1.5, torch.ones(2)])
    Fingerprint(net, optimizer).word()
    optimizer.state[net.weight]["names"] = {"a", "b"}
    with pytest.raises(TypeError, match="names of weight: expected tensors, numbers"):
        Fingerprint(net, optimizer).word()


def test_same() -> None:
    assert same(np.array([7, 7, 7], np.uint64))
    assert not same(np.array([7, 7, 8], np.uint64))
    assert same(np.array([[7, 1], [7, 1]], np.uint64))
    assert not same(np.array([[7, 1], [7, 2]], np.uint64))


def test_no_false_alarm_in_100_000_steps() -> None:
    """Two replicas that make the same steps have the same words, of which no two are equal."""
    twins = []
    for _ in range(2):
        net = nn.Linear(6, 3)
        for p in net.parameters():
            p.data.fill_(0.1)
            p.grad = torch.ones_like(p)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
        optimizer.step()
        twins.append(
            (net.weight.array, optimizer.state[net.weight]["momentum_buffer"].array, Fingerprint(net, optimizer))
        )
    gradients = RNG.standard_normal((1000, 3, 6)).astype(np.float32)
    seen = set()
    for step in range(100_000):
        found = []
        for weight, momentum, fingerprint in twins:
            momentum *= 0.9
            momentum += gradients[step % 1000]
            weight -= momentum
            found.append(fingerprint.word())
        assert found[0] == found[1], step
        seen.add(found[0])
    assert len(seen) == 100_000
