"""Rprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import full_like, zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check_rate, number
from ddpnet.tensor import Tensor


class Rprop(Optimizer):
    """Steps by the sign of the gradient, of sizes that grow while it stays and shrink when it turns (Riedmiller and
    Braun, 1993)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        options = {"lr": lr, "etas": etas, "step_sizes": step_sizes}
        modes = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, {**options, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            state["prev"] = zeros_like(p)
            state["step_size"] = full_like(p, number(group["lr"]))
        state["step"].array += 1
        sign = -1 if group["maximize"] else 1
        (down, up), (smallest, largest) = group["etas"], group["step_sizes"]
        memory = state["prev"].array, state["step_size"].array
        _step(p.array, g.array, *memory, down, up, smallest, largest, sign)


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    prev: Array,
    size: Array,
    down: float,
    up: float,
    smallest: float,
    largest: float,
    sign: float,
) -> None:
    d = sign * g
    turn = d * prev
    size *= (turn > 0) * p.dtype.type(up) + (turn < 0) * p.dtype.type(down) + (turn == 0) * p.dtype.type(1)
    size[...] = np.minimum(np.maximum(size, smallest), largest)
    d = d * (turn >= 0)  # no step, and no comparison next time, where the sign has turned
    p -= np.sign(d) * size
    prev[...] = d
