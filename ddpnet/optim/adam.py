"""Adam."""

from __future__ import annotations

from typing import Any

from ddpnet.kernels import kernels_for
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_betas, check_fused, check_rate, number
from ddpnet.tensor import Tensor


class Adam(Optimizer):
    """Steps scaled by running moments of the gradient (Kingma and Ba, 2015; amsgrad: Reddi et al., 2018).

    With `decoupled_weight_decay` the decay shrinks the weights themselves instead of joining the gradient.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if foreach and isinstance(lr, Tensor):
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_rate(lr)
        check("epsilon value", eps)
        check_betas(betas)
        check("weight_decay value", weight_decay)
        check_fused(fused, foreach)
        options = {"lr": lr, "betas": _of_one_kind(betas, foreach), "eps": eps, "weight_decay": weight_decay}
        modes = {
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, {**options, "amsgrad": amsgrad, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)
        state["step"].array += 1
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        if not (type(lr) is type(beta1) is float):
            lr, beta1, beta2, decay = map(number, (lr, beta1, beta2, decay))
        kernels_for(p.array).adam_step(
            p.array,
            g.array,
            state["exp_avg"].array,
            state["exp_avg_sq"].array,
            state["max_exp_avg_sq"].array if group["amsgrad"] else None,
            lr,
            beta1,
            beta2,
            group["eps"],
            decay,
            group["decoupled_weight_decay"],
            group["maximize"],
            int(state["step"].array.item()),
        )


def _of_one_kind(betas: tuple[Any, Any], foreach: bool | None) -> tuple[Any, Any]:
    """Two floats, or two tensors made 0-d; ValueError for anything else."""
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if not (all(tensors) or all(isinstance(beta, float) for beta in betas)):
        raise ValueError("betas must be either both floats or both Tensors")
    for index, beta in enumerate(betas):
        if isinstance(beta, Tensor) and foreach:
            raise ValueError(f"betas[{index}] as a Tensor is not supported for capturable=False and foreach=True")
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{index}] must be 1-element")
    return tuple(beta.reshape(()) if isinstance(beta, Tensor) and beta.ndim else beta for beta in betas)
