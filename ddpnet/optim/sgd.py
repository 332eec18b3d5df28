"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ddpnet.kernels import kernels_for
from ddpnet.optim.optimizer import Optimizer, Parameters, check
from ddpnet.tensor import Tensor


class SGD(Optimizer):
    """p -= lr * v, with v = momentum * v + (1 - dampening) * g (Sutskever et al., 2013)."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        check("learning rate", lr)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        first = "momentum_buffer" not in state
        if group["momentum"] and first:
            state["momentum_buffer"] = g.clone()
        kernels_for(p.array).sgd_step(
            p.array,
            g.array,
            state["momentum_buffer"].array if group["momentum"] else None,
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
            first,
        )
