"""A program for several groups of rows at once has the bits of a run for each group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_compile import deep, language, programs, vision

import ddpnet as torch
from ddpnet import nn
from ddpnet.compiler.together import Together
from ddpnet.nn import functional as F


def grey() -> Any:
    """Few channels, convolutions of which one is unfolded (stride 2), and pooling without ReLU."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(4, 16, 3, stride=2), nn.ReLU(),
        nn.Conv2d(16, 16, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    return model, lambda n: [torch.randn(n, 1, 16, 16)]


def shared() -> Any:
    """One weight used twice, once on rows and once on a result of all groups' rows."""
    weight = nn.Parameter(torch.randn(1, 1, 3, 3))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.head = weight, nn.Linear(144, 10)

        def forward(self, x: Any) -> Any:
            y = torch.relu(F.conv2d(x, self.weight, padding=1))
            return self.head(F.conv2d(y + x, self.weight, padding=1).flatten(1))

    return Net(), lambda n: [torch.randn(n, 1, 12, 12)]


@pytest.mark.parametrize(("rows", "groups"), [(8, 4), (5, 3), (1, 8), (7, 1), (40, 2)])
@pytest.mark.parametrize("make", [vision, language, deep, grey, shared])
def test_bits_of_each_group(make, rows, groups):
    torch.manual_seed(rows)
    model, batch = make()
    (x,), y = batch(rows * groups), torch.randint(0, 10, (rows * groups,))

    def loss_and_output(x: Any, y: Any) -> Any:
        output = model(x)
        return F.cross_entropy(output, y), output

    compiled = torch.compile(loss_and_output)
    parts = [slice(start, start + rows) for start in range(0, rows * groups, rows)]
    for _ in range(3):
        compiled(x[parts[0]].clone(), y[parts[0]].clone())
    assert not compiled.reasons
    (program,) = programs(compiled)
    run = Together(program, [x.array, y.array], groups)
    losses, outputs = run.result(0), run.result(1)
    found = {id(leaf): values for leaf, values in run.gradients(0)}
    trained = [p for p in model.parameters() if p.requires_grad]
    for group, part in enumerate(parts):
        model.zero_grad()
        loss, output = loss_and_output(x[part].clone(), y[part].clone())
        loss.backward()
        assert np.array_equal(loss.array, losses[group])
        assert np.array_equal(output.array, outputs[group])
        for p in trained:
            values = found.get(id(p))
            assert (values is None) == (p.grad is None)
            assert values is None or np.array_equal(values[group], p.grad.array)
