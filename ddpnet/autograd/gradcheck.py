"""`gradcheck`: gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet.autograd.backward import grad
from ddpnet.autograd.grad_mode import enable_grad, no_grad
from ddpnet.backend import host
from ddpnet.random import stream
from ddpnet.tensor import Tensor


class GradcheckError(RuntimeError):
    """The gradient and the finite differences disagree."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compare the Jacobian that backward gives, element by element, with central differences of width `eps`.

    `nondet_tol`, `check_undefined_grad`, `check_grad_dtypes`, `fast_mode` and `masked` are accepted and change nothing:
    every element is compared. Forward mode and batched gradients are a NotImplementedError.

    The inputs that require a gradient should be float64. On a difference: GradcheckError that shows both numbers, or
    False without `raise_exception`.
    """
    if check_batched_grad or check_batched_forward_grad or check_forward_ad or not check_backward_ad:
        raise NotImplementedError("gradcheck: there is no forward mode and there are no batched gradients to check")
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck expects at least one input tensor that requires gradient")
    try:
        for number, output in enumerate(_outputs(func, arguments)):
            if output.requires_grad:
                _check_output(func, arguments, checked, number, output, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    **options: Any,
) -> bool:
    """`gradcheck` of the gradients of `func`, as functions of its inputs and of the gradients of its outputs.

    These are `grad_outputs`, or ones that are drawn.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    count = len(arguments)
    outputs = [y for y in _outputs(func, arguments) if y.requires_grad]
    if grad_outputs is None:
        rng = stream(0)
        vectors = [Tensor(np.asarray(rng.standard_normal(y.array.shape)).astype(y.array.dtype)) for y in outputs]
        vectors = [v.requires_grad_() for v in vectors]
    else:
        vectors = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)

    def gradients(*values: Any) -> tuple[Tensor, ...]:
        xs, vs = values[:count], values[count:]
        with enable_grad():
            tracked = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
            flowing = [y for y in _outputs(func, tuple(xs)) if y.requires_grad]
            found = grad(flowing, tracked, list(vs), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradients, (*arguments, *vectors), eps, atol, rtol, raise_exception, nondet_tol, **options)


def _outputs(func: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Tensor]:
    result = func(*arguments)
    return [result] if isinstance(result, Tensor) else [y for y in result if isinstance(y, Tensor)]


def _check_output(
    func: Callable[..., Any],
    arguments: tuple[Any, ...],
    checked: list[Tensor],
    number: int,
    output: Tensor,
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    analytical = [np.zeros((output.numel(), x.numel())) for x in checked]
    for row in range(output.numel()):
        direction = Tensor(np.zeros_like(output.array))
        direction.array.reshape(-1)[row] = 1
        gradients = grad(output, checked, direction, retain_graph=True, allow_unused=True)
        for jacobian, gradient in zip(analytical, gradients, strict=True):
            if gradient is not None:
                jacobian[row] = host(gradient.array).reshape(-1)
    for position, (x, expected) in enumerate(zip(checked, analytical, strict=True)):
        numerical = _differences(func, arguments, x, number, eps)
        bad = np.argwhere(~np.isclose(expected, numerical, rtol=rtol, atol=atol))
        if len(bad):
            row, column = bad[0]
            raise GradcheckError(
                f"Jacobian mismatch for output {number} with respect to input {position}: d output[{row}] / d "
                f"input[{column}] is {numerical[row, column]:.9g} by differences and {expected[row, column]:.9g} by "
                f"backward ({len(bad)} of {expected.size} entries differ)"
            )


def _differences(
    func: Callable[..., Any], arguments: tuple[Any, ...], x: Tensor, number: int, eps: float
) -> np.ndarray:
    columns = []
    for index in np.ndindex(x.array.shape):
        before = x.array[index].copy()
        values = []
        for change in (eps, -eps):
            x.array[index] = before + change
            with no_grad():
                values.append(host(_outputs(func, arguments)[number].array).reshape(-1).astype(np.float64))
        x.array[index] = before
        columns.append((values[0] - values[1]) / (2 * eps))
    return np.stack(columns, axis=1)
