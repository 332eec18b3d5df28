"""Rows of the family `creation`."""

from __future__ import annotations

import numpy as np

from tables import Table, real

TABLE = Table()
row = TABLE.row

# New tensors

row("tensor of floats", lambda torch: (torch.tensor([[1.0, 2], [3, 4]]), torch.tensor(2.5), torch.tensor([])))
row("tensor of integers", lambda torch: (torch.tensor([1, 2]), torch.tensor(3), torch.tensor([True, False])))
row(
    "tensor with dtype", lambda torch: (torch.tensor([1, 2], dtype=torch.float64), torch.tensor(1.7, dtype=torch.int32))
)
row(
    "tensor of arrays",
    lambda torch: (torch.tensor(np.ones(2)), torch.tensor([np.float32(1), 2.0]), torch.tensor(np.int16(3))),
)
row("as tensor", lambda torch: (torch.as_tensor([1.5]), torch.as_tensor(np.arange(3)), torch.as_tensor(torch.ones(2))))
row("Tensor", lambda torch: (torch.Tensor([1, 2]), torch.Tensor([[1.5]]), torch.zeros(2).new_tensor([1, 2])))
row(
    "zeros, ones",
    lambda torch: (torch.zeros(2, 3), torch.ones((2,)), torch.zeros(()), torch.ones(2, dtype=torch.int64)),
)
row(
    "like",
    lambda torch, x: (torch.zeros_like(x), torch.ones_like(x, dtype=torch.int32), torch.full_like(x, 3)),
    real(2),
)
row("new zeros", lambda torch, x: (x.new_zeros(2, 3), x.new_zeros((2,), dtype=torch.int64)), real(2))
row("full", lambda torch: (torch.full((2,), 3), torch.full((2,), 3.5), torch.full((), True)))
row("empty", lambda torch: torch.empty(2, 3).fill_(1))
row("arange", lambda torch: (torch.arange(5), torch.arange(1, 7, 2), torch.arange(0.0, 1, 0.25), torch.arange(3.0)))
row("linspace", lambda torch: torch.linspace(0, 1, 5))
row("eye", lambda torch: (torch.eye(2), torch.eye(2, 3)))
row("requires grad", lambda torch: torch.ones(2, requires_grad=True) * 2)
row("shapes of random", lambda torch: tuple(x * 0 for x in (
    torch.rand(2, 3), torch.randn((2,)), torch.rand_like(torch.ones(2)), torch.randint(5, (3,)),
    torch.randint(2, 5, (2,)), torch.randperm(4), torch.normal(0.0, 1.0, (3,)), torch.randn(2, dtype=torch.float64),
)))  # fmt: skip
