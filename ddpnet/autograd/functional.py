"""Derivatives of functions of tensors (`torch.autograd.functional`): Jacobians, Hessians, and products with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ddpnet.autograd.backward import grad
from ddpnet.autograd.grad_mode import enable_grad, mode
from ddpnet.ops import stack
from ddpnet.tensor import Tensor

Function = Callable[..., Any]
Inputs = Tensor | tuple[Tensor, ...]


def vjp(
    func: Function, inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v^T J): the product of a vector of the outputs' shapes with the Jacobian."""
    with enable_grad():
        single, xs = _prepared(inputs, create_graph)
        single_out, ys = _evaluated(func, xs, strict)
        vs = _vector(v, ys, "v", "outputs")
        products = _grad(ys, xs, vs, create_graph, strict)
    return _given_back(ys, single_out, create_graph), _given_back(products, single, create_graph)


def jvp(
    func: Function, inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), J v): the product of the Jacobian with a vector of the inputs' shapes.

    It is computed as the derivative of `w -> w^T J`, which is linear in `w`.
    """
    with enable_grad():
        _, xs = _prepared(inputs, create_graph)
        vs = _vector(v, xs, "v", "inputs")
        single_out, ys = _evaluated(func, xs, strict)
        ws = tuple(_zeros(y).requires_grad_() for y in ys)
        pulled = _grad(ys, xs, ws, True, strict)
        products = _grad(pulled, ws, vs, create_graph, False)
    return _given_back(ys, single_out, create_graph), _given_back(products, single_out, create_graph)


def jacobian(
    func: Function,
    inputs: Inputs,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func`: for each output and input a tensor of shape (*output.shape, *input.shape).

    A tensor for one input and one output, else tuples, the outputs outside. `vectorize` is accepted: it only says how.
    """
    if strategy != "reverse-mode":
        raise NotImplementedError(f"jacobian: strategy {strategy!r} is not supported; use 'reverse-mode'")
    with enable_grad():
        single, xs = _prepared(inputs, create_graph)
        single_out, ys = _evaluated(func, xs, strict)
        rows = tuple(_rows(y, xs, create_graph, strict) for y in ys)
    per_output = tuple(_given_back(row, single, create_graph) for row in rows)
    return per_output[0] if single_out else per_output


def hessian(
    func: Function,
    inputs: Inputs,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a function with one value: (*input.shape, *input.shape), or a tuple of tuples of such blocks."""
    if outer_jacobian_strategy != "reverse-mode":
        raise NotImplementedError(f"hessian: strategy {outer_jacobian_strategy!r} is not supported; use 'reverse-mode'")

    def gradient(*xs: Tensor) -> Any:
        y = _scalar(func(*xs))
        found = _grad((y,), xs, (None,), True, strict)
        return found if isinstance(inputs, tuple) else found[0]

    return jacobian(gradient, inputs, create_graph=create_graph, strict=strict)


def vhp(
    func: Function, inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v^T H) for a function with one value and a vector of the inputs' shapes."""
    with enable_grad():
        single, xs = _prepared(inputs, create_graph)
        vs = _vector(v, xs, "v", "inputs")
        y = _scalar(func(*xs))
        gradients = _grad((y,), xs, (None,), True, strict)
        products = _grad(gradients, xs, vs, create_graph, strict)
    return _given_back((y,), True, create_graph), _given_back(products, single, create_graph)


def hvp(
    func: Function, inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), H v) for a function with one value and a vector of the inputs' shapes; `vhp` is cheaper."""
    with enable_grad():
        single, xs = _prepared(inputs, create_graph)
        vs = _vector(v, xs, "v", "inputs")
        y = _scalar(func(*xs))
        gradients = _grad((y,), xs, (None,), True, strict)
        ws = tuple(_zeros(x).requires_grad_() for x in xs)
        pulled = _grad(gradients, xs, ws, True, False)
        products = _grad(pulled, ws, vs, create_graph, False)
    return _given_back((y,), True, create_graph), _given_back(products, single, create_graph)


def _rows(y: Tensor, xs: tuple[Tensor, ...], create_graph: bool, strict: bool) -> tuple[Tensor, ...]:
    """The Jacobian of one output with respect to all inputs, one element of the output after the other."""
    elements = [y.reshape(-1)[number] for number in range(y.numel())]
    rows = [_grad((element,), xs, (None,), create_graph, strict, retain=True) for element in elements]
    if not rows:
        return tuple(x.new_zeros((*y.shape, *x.shape)) for x in xs)
    return tuple(
        stack(column).reshape((*y.shape, *x.shape)) for column, x in zip(zip(*rows, strict=True), xs, strict=True)
    )


def _prepared(inputs: Inputs, create_graph: bool) -> tuple[bool, tuple[Tensor, ...]]:
    """(whether one tensor was given, the inputs as tensors that require gradients)."""
    xs = inputs if isinstance(inputs, tuple) else (inputs,)
    for position, x in enumerate(xs):
        if not isinstance(x, Tensor):
            raise TypeError(
                "The inputs given to the function must be either a Tensor or a tuple of Tensors but the value at index "
                f"{position} has type {type(x)}."
            )
    if create_graph:
        ready = tuple(x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in xs)
    else:
        ready = tuple(x.detach().requires_grad_() for x in xs)
    return not isinstance(inputs, tuple), ready


def _evaluated(func: Function, xs: tuple[Tensor, ...], strict: bool) -> tuple[bool, tuple[Tensor, ...]]:
    """(whether one tensor came, the outputs)."""
    returned = func(*xs)
    ys = returned if isinstance(returned, tuple) else (returned,)
    for position, y in enumerate(ys):
        if not isinstance(y, Tensor):
            raise TypeError(
                "The outputs of the user-provided function must be either a Tensor or a tuple of Tensors but the value "
                f"at index {position} has type {type(y)}."
            )
        if strict and not y.requires_grad:
            raise RuntimeError(f"Output {position} of the user-provided function does not require gradients.")
    return not isinstance(returned, tuple), ys


def _scalar(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise RuntimeError("The function given to hessian should return a single Tensor")
    if y.numel() != 1:
        raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")
    return y.squeeze()


def _vector(v: Any, like: tuple[Tensor, ...], name: str, what: str) -> tuple[Tensor, ...]:
    """The vector to multiply with: ones if there is but one element, else of the same shapes."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector {name} can only be None if the user-provided function's {what} have one element."
            )
        return tuple(x.new_ones(x.shape) for x in like)
    vs = v if isinstance(v, tuple) else (v,)
    if [tuple(t.shape) for t in vs] != [tuple(x.shape) for x in like]:
        raise RuntimeError(
            f"{name} has shapes {[list(t.shape) for t in vs]}, but the {what} have {[list(x.shape) for x in like]}"
        )
    return vs


def _zeros(x: Tensor) -> Tensor:
    zeros: Tensor = x.new_zeros(x.shape)
    return zeros


def _grad(
    ys: tuple[Tensor, ...],
    xs: tuple[Tensor, ...],
    vs: tuple[Any, ...],
    create_graph: bool,
    strict: bool,
    retain: bool | None = None,
) -> tuple[Tensor, ...]:
    """`grad` with zeros for what does not depend; RuntimeError instead if `strict`."""
    flowing = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    found: tuple[Tensor | None, ...] = (None,) * len(xs)
    if flowing:
        outputs, vectors = zip(*flowing, strict=True)
        found = grad(outputs, xs, vectors, retain_graph=retain, create_graph=create_graph, allow_unused=True)
    if strict and any(g is None for g in found):
        number = [g is None for g in found].index(True)
        raise RuntimeError(
            f"The output of the user-provided function is independent of input {number}. This is not allowed in strict "
            "mode."
        )
    return tuple(_zeros(x) if g is None else g for g, x in zip(found, xs, strict=True))


def _given_back(tensors: tuple[Tensor, ...], single: bool, create_graph: bool) -> Any:
    """In the form in which the user gave them; without history unless a graph was asked for."""
    results = tuple(t if create_graph and mode.enabled else t.detach() for t in tensors)
    return results[0] if single else results
