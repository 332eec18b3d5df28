"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_rate, number
from ddpnet.tensor import Tensor


class ASGD(Optimizer):
    """Gradient descent with a decreasing rate, and the average `ax` of the parameters from step `t0` on (Polyak and
    Juditsky, 1992)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_rate(lr)
        check("weight_decay value", weight_decay)
        options = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        modes = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, {**options, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, lambd = number(group["lr"]), group["lambd"]
        if not state:
            state["step"], state["eta"], state["mu"] = counter(), counter(lr), counter(1.0)
            state["ax"] = zeros_like(p)
        state["step"].array += 1
        step, sign = state["step"].item(), -1 if group["maximize"] else 1
        eta, mu = state["eta"].item(), state["mu"].item()
        _step(p.array, g.array, state["ax"].array, eta, mu, lambd, group["weight_decay"], sign)
        state["eta"].array[...] = lr / ((1 + lambd * lr * step) ** group["alpha"])
        state["mu"].array[...] = 1 / max(1, step - group["t0"])


@in_place_through_float32
def _step(p: Array, g: Array, ax: Array, eta: float, mu: float, lambd: float, weight_decay: float, sign: float) -> None:
    d = sign * g + weight_decay * p
    p *= 1 - lambd * eta
    p -= eta * d
    if mu == 1:
        ax[...] = p
    else:
        ax += mu * (p - ax)
