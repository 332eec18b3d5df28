"""Adagrad."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import full_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_fused, check_rate, number
from ddpnet.tensor import Tensor


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares (Duchi et al., 2011)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_rate(lr)
        check("lr_decay value", lr_decay)
        check("weight_decay value", weight_decay)
        check("initial_accumulator_value value", initial_accumulator_value)
        check("epsilon value", eps)
        check_fused(fused, foreach)
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        modes = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "fused": fused}
        super().__init__(params, {**options, "initial_accumulator_value": initial_accumulator_value, **modes})
        for p in self._all():
            self._start(p, self.state[p])

    def _start(self, p: Tensor, state: dict[str, Any]) -> None:
        state["step"] = counter()
        state["sum"] = full_like(p, self.defaults["initial_accumulator_value"])

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            self._start(p, state)
        state["step"].array += 1
        rate = number(group["lr"]) / (1 + (state["step"].item() - 1) * group["lr_decay"])
        sign = -1 if group["maximize"] else 1
        _step(p.array, g.array, state["sum"].array, rate, group["weight_decay"], group["eps"], sign)


@in_place_through_float32
def _step(p: Array, g: Array, total: Array, lr: float, weight_decay: float, eps: float, sign: float) -> None:
    d = sign * g + weight_decay * p
    total += d * d
    p -= lr * (d / (np.sqrt(total) + eps))
