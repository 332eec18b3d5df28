"""Gradients of bounded size (Pascanu et al., 2013)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.creation import tensor
from ddpnet.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of all tensors together, 0-d; with `error_if_nonfinite` RuntimeError if not finite."""
    parts, p = _listed(tensors), float(norm_type)
    if not parts:
        return tensor(0.0)
    norms = [_norm(x, p) for x in parts]
    xp = array_module(norms[0])
    total = _norm(Tensor(xp.stack([x.astype(norms[0].dtype) for x in norms])), p)
    if error_if_nonfinite and not np.isfinite(float(total)):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it cannot be clipped. To "
            "disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return Tensor(total)


def _norm(x: Tensor, p: float) -> np.ndarray:
    """The p-norm of an array, 0-d of its dtype."""
    flat = x.array.reshape(-1)
    wide = flat.astype(np.float32) if flat.dtype.itemsize == 2 else flat
    xp = array_module(wide)
    if not wide.size:
        norm = wide.sum()
    elif p == math.inf:
        norm = abs(wide).max()
    elif p == -math.inf:
        norm = abs(wide).min()
    elif p == 2:
        norm = xp.sqrt(xp.dot(wide, wide))
    elif p == 1:
        norm = abs(wide).sum()
    elif p == 0:
        norm = (wide != 0).sum().astype(wide.dtype)
    else:
        norm = (abs(wide) ** wide.dtype.type(p)).sum() ** wide.dtype.type(1 / p)
    return xp.asarray(norm).astype(flat.dtype)


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiply all gradients by max_norm / total_norm where this is less than 1."""
    gradients = [p.grad for p in _listed(parameters) if p.grad is not None]
    factor = float(max_norm) / (float(total_norm.array) + 1e-6)
    factor = factor if math.isnan(factor) else min(factor, 1.0)
    for gradient in gradients if factor != 1 else ():
        gradient.array *= gradient.array.dtype.type(factor)
        gradient.changed()


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients so that the norm of all of them together is at most `max_norm`; returns what it was, 0-d.

    RuntimeError with `error_if_nonfinite` if the norm is not finite.
    """
    parts = _listed(parameters)
    total = get_total_norm([p.grad for p in parts if p.grad is not None], norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parts, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of the gradients between -clip_value and clip_value."""
    bound = float(clip_value)
    for parameter in _listed(parameters):
        if parameter.grad is not None:
            gradient = parameter.grad.array
            low, high = gradient.dtype.type(-bound), gradient.dtype.type(bound)
            array_module(gradient).clip(gradient, low, high, out=gradient)
            parameter.grad.changed()
