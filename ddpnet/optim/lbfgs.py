"""L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ddpnet.autograd.grad_mode import enable_grad, no_grad
from ddpnet.backend import array_module
from ddpnet.optim.line_search import strong_wolfe
from ddpnet.optim.optimizer import Optimizer, Parameters
from ddpnet.optim.options import check_rate, number
from ddpnet.tensor import Tensor


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal and Wright, 2006, chapter 7) over one group of parameters.

    `step` needs a closure, which clears the gradients, computes the loss and its gradients, and returns the loss.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_rate(lr)
        options = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, options)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """At most `max_iter` iterations and about `max_eval` evaluations; returns the loss that it started from."""
        group, params = self.param_groups[0], self._all()
        state = self.state[params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        evaluate = enable_grad()(closure)
        first_loss = evaluate()
        loss, evaluations = float(first_loss), 1
        state["func_evals"] += 1
        g = _flat_gradient(params)
        if g.abs().max() <= group["tolerance_grad"]:
            return first_loss
        search = group["line_search_fn"]
        iteration = 0
        while iteration < group["max_iter"]:
            iteration += 1
            state["n_iter"] += 1
            d = _direction(state, g, group["history_size"])
            state["d"], state["prev_flat_grad"], previous_loss = d, g.clone(), loss
            t = number(group["lr"])
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / g.abs().sum()) * t
            state["t"], state["prev_loss"] = t, previous_loss
            slope = g.dot(d)
            if slope > -group["tolerance_change"]:
                break
            done, used = False, 0
            if search is not None:
                if search != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = [p.array.copy() for p in params]

                def value(t: Any, d: Tensor, start: list[Any] = start) -> tuple[float, Tensor]:
                    _move(params, t, d)
                    found = float(evaluate()), _flat_gradient(params)
                    for p, array in zip(params, start, strict=True):
                        p.array[...] = array
                        p.changed()
                    return found

                remaining = group["max_eval"] - evaluations
                loss, g, t, used = strong_wolfe(value, t, d, loss, g, slope, max_evaluations=remaining)
                state["t"] = t
                _move(params, t, d)
                done = bool(g.abs().max() <= group["tolerance_grad"])
            else:
                _move(params, t, d)
                if iteration != group["max_iter"]:  # the loss after the last one is the next step's first
                    loss, g, used = float(evaluate()), _flat_gradient(params), 1
                    done = bool(g.abs().max() <= group["tolerance_grad"])
            evaluations += used
            state["func_evals"] += used
            if iteration == group["max_iter"] or evaluations >= group["max_eval"] or done:
                break
            if (d * t).abs().max() <= group["tolerance_change"]:
                break
            if abs(loss - previous_loss) < group["tolerance_change"]:
                break
        return first_loss


def _direction(state: dict[str, Any], g: Tensor, history_size: int) -> Tensor:
    """Where to go: minus the gradient times the inverse Hessian that the last changes suggest."""
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return -g
    y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
    changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
    ys = y.dot(s)
    if ys > 1e-10:
        if len(changes) == history_size:
            for memory in (changes, steps, inverses):
                memory.pop(0)
        changes.append(y)
        steps.append(s)
        inverses.append(1.0 / ys)
        state["H_diag"] = ys / y.dot(y)
    along = state.setdefault("al", [None] * history_size)
    q = -g
    for i in reversed(range(len(changes))):
        along[i] = steps[i].dot(q) * inverses[i]
        q = q - changes[i] * along[i]
    d: Tensor = q * state["H_diag"]
    for i in range(len(changes)):
        d = d + steps[i] * (along[i] - changes[i].dot(d) * inverses[i])
    return d


def _flat_gradient(params: list[Tensor]) -> Tensor:
    """The gradients of all parameters in one vector; zeros where there is none."""
    xp = array_module(params[0].array)
    parts = [xp.zeros(p.array.size, p.array.dtype) if p.grad is None else p.grad.array.reshape(-1) for p in params]
    return Tensor(xp.concatenate(parts))


def _move(params: list[Tensor], t: Any, d: Tensor) -> None:
    """Add `t` times the direction to the parameters."""
    offset, rate = 0, number(t)
    for p in params:
        part = d.array[offset : offset + p.array.size].reshape(p.array.shape)
        p.array[...] += p.array.dtype.type(rate) * part
        p.changed()
        offset += p.array.size
