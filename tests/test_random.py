"""Random numbers are a function of (seed, purpose, step, shard, call)."""

from __future__ import annotations

import numpy as np

import ddpnet as torch
from ddpnet import nn, random
from ddpnet.random import Purpose, permutation, stream


def test_streams_do_not_overlap() -> None:
    places = [
        {"seed": seed, "purpose": purpose, "step": step, "shard": shard, "call": call}
        for seed in (0, 1, 2**64 - 1)
        for purpose in Purpose
        for step in (0, 1, 2**40)
        for shard in (0, 1)
        for call in (0, 1)
    ]
    drawn = {stream(**place).bit_generator.random_raw(4).tobytes() for place in places}
    assert len(drawn) == len(places)


def test_a_shard_draws_the_same_wherever_it_is_computed() -> None:
    torch.manual_seed(5)
    torch.randn(3)
    with random.default_generator().at(step=7, shard=2):
        first = torch.rand(4)
    torch.manual_seed(5)
    with random.default_generator().at(step=7, shard=2):
        again = torch.rand(4)
    assert torch.equal(first, again)


def test_initial_weights_and_the_first_dropout_share_no_numbers() -> None:
    torch.manual_seed(0)
    first = torch.rand(8)
    torch.manual_seed(0)
    with random.default_generator().at(step=0, shard=0):
        assert not torch.equal(torch.rand(8), first)


def test_the_caller_goes_on_where_it_was() -> None:
    torch.manual_seed(3)
    expected = [torch.rand(2), torch.rand(2)]
    torch.manual_seed(3)
    found = [torch.rand(2)]
    with random.default_generator().at(step=1, shard=1):
        torch.rand(5)
    found.append(torch.rand(2))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_state_can_be_put_back() -> None:
    generator = torch.Generator().manual_seed(11)
    torch.rand(3, generator=generator)
    state = generator.get_state()
    values = torch.randn(5, generator=generator)
    assert torch.equal(torch.randn(5, generator=generator.set_state(state)), values)
    assert generator.initial_seed() == 11


def test_an_epoch_has_each_sample_once_in_an_order_of_its_own() -> None:
    orders = [permutation(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({order.tobytes() for order in orders}) == 4
    np.testing.assert_array_equal(permutation(100, 1, 0), orders[2])


def test_dropout_keeps_the_expected_share() -> None:
    torch.manual_seed(0)
    y = nn.functional.dropout(torch.ones(100_000), 0.3)
    assert abs((y == 0).float().mean().item() - 0.3) < 0.01
    assert abs(y.mean().item() - 1) < 0.02
