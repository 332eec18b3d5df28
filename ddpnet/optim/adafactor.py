"""Adafactor."""

from __future__ import annotations

from typing import Any

from ddpnet import dtypes
from ddpnet.backend import Array, array_module
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros, zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import number
from ddpnet.tensor import Tensor

EPSILONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""The distance from 1 to the next number."""


class Adafactor(Optimizer):
    """Adaptive steps whose second moments are kept as a row and a column of each matrix (Shazeer and Stern, 2018)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        limits: dict[str, Any] = {"Learning rate": lr, "epsilon2": eps[1], "weight_decay": weight_decay}
        for name, value in limits.items():
            if not value >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        options = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, {**options, "foreach": foreach, "maximize": maximize})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            if p.ndim > 1:
                state["row_var"] = zeros((*p.shape[:-1], 1), dtype=p.dtype, device=p.device)
                state["col_var"] = zeros((*p.shape[:-2], 1, p.shape[-1]), dtype=p.dtype, device=p.device)
            else:
                state["variance"] = zeros_like(p)
        state["step"].array += 1
        step, lr = state["step"].item(), number(group["lr"])
        first, second = group["eps"]
        rows, columns, variance = (
            state[name].array if name in state else None for name in ("row_var", "col_var", "variance")
        )
        _step(
            p.array,
            g.array,
            rows,
            columns,
            variance,
            min(lr, 1 / step**0.5),
            step ** group["beta2_decay"],
            EPSILONS[dtypes.from_numpy(p.array.dtype).name] if first is None else first,
            second,
            group["d"],
            1 - lr * group["weight_decay"],
            -1 if group["maximize"] else 1,
        )


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    rows: Array | None,
    columns: Array | None,
    variance: Array | None,
    rate: float,
    part: float,
    eps1: float,
    eps2: float,
    threshold: float,
    shrink: float,
    sign: float,
) -> None:
    xp = array_module(p)
    alpha = max(eps2, _root_mean_square(p)) * rate
    p *= shrink
    square = g * g
    if variance is None:
        rows += part * (square.mean(axis=-1, keepdims=True) - rows)
        columns += part * (square.mean(axis=-2, keepdims=True) - columns)
        estimate = rows @ columns / xp.maximum(rows.mean(axis=-2, keepdims=True), eps1)
    else:
        variance += part * (square - variance)
        estimate = variance
    change = sign * g / xp.sqrt(xp.maximum(estimate, eps1 * eps1))
    p -= alpha / max(1.0, _root_mean_square(change) / threshold) * change


def _root_mean_square(x: Array) -> float:
    return float((x * x).sum()) ** 0.5 / x.size**0.5
