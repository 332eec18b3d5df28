"""PyTorch's own sample inputs, called on both: `op_db` for operators.

From the command line: `python tests/samples.py add softmax nn.functional.conv2d` prints what differs.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_utils import SEED

import ddpnet

OURS = {name: getattr(ddpnet, name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64")}
OURS |= {name: getattr(ddpnet, name) for name in ("float16", "bfloat16", "float32", "float64")}
DTYPES = {getattr(torch, name): dtype for name, dtype in OURS.items()}
TOLERANCE = {
    torch.float16: (2e-3, 2e-3),
    torch.bfloat16: (2e-2, 2e-2),
    torch.float32: (1e-5, 2e-5),
    torch.float64: (1e-7, 1e-7),
}
RANDOM = {
    "bernoulli", "cauchy", "empty", "empty_like", "exponential", "geometric", "log_normal", "multinomial", "new_empty",
    "nn.functional.alpha_dropout", "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d",
    "nn.functional.feature_alpha_dropout", "nn.functional.rrelu", "normal", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "uniform", "empty_strided", "new_empty_strided", "empty_permuted", "native_dropout_backward",
}  # fmt: skip
"""Of these only shapes and dtypes can agree."""


UNSTABLE = {"sort", "argsort", "msort", "mode"}
"""Of equal elements of a long tensor PyTorch takes any."""
PARTIAL = {"partial_views"}
"""Variants of which the inputs are views that reach beyond themselves; they are copied here without their base."""


def to_numpy(x: torch.Tensor) -> np.ndarray:
    x = x.detach()
    if torch._is_zerotensor(x):
        x = torch.zeros(x.shape, dtype=x.dtype)
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(OURS["bfloat16"].numpy)
    return x.resolve_conj().resolve_neg().numpy()


def translated(value: Any) -> Any:
    """PyTorch's value as ours: tensors with the same strides, dtypes, devices, and containers of them."""
    if isinstance(value, torch.Tensor):
        result = ddpnet.Tensor(to_numpy(value).copy() if value.is_contiguous() else like_strides(value))
        return result.requires_grad_(value.requires_grad) if value.requires_grad else result
    if isinstance(value, torch.Size):
        return ddpnet.Size(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(translated, value))
    if isinstance(value, tuple | list):
        return type(value)(translated(x) for x in value)
    if isinstance(value, dict):
        return {key: translated(x) for key, x in value.items()}
    if isinstance(value, slice):
        return slice(translated(value.start), translated(value.stop), translated(value.step))
    if isinstance(value, torch.dtype):
        return DTYPES[value]
    if isinstance(value, torch.device):
        return ddpnet.device(str(value))
    if isinstance(value, torch.nn.Module):
        return getattr(ddpnet.nn, type(value).__name__)()
    if isinstance(value, torch.memory_format | torch.layout):
        return getattr(ddpnet, str(value).removeprefix("torch."))
    return value


def like_strides(x: torch.Tensor) -> np.ndarray:
    """A copy of the values with dimensions in the same order in memory, and expanded where `x` is."""
    values = to_numpy(x)
    if 0 in x.stride() and x.numel() > 1:
        one = values[tuple(slice(0, 1) if step == 0 else slice(None) for step in x.stride())]
        return np.broadcast_to(one.copy(), values.shape)
    order = np.argsort([-abs(step) for step in values.strides], kind="stable")
    return values.transpose(order).copy().transpose(np.argsort(order))


def resolve(root: Any, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), root)
    except AttributeError:
        return None


def leaves(value: Any, kind: type) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part, kind)
    elif isinstance(value, dict):
        for part in value.values():
            yield from leaves(part, kind)


def difference(ours: Any, theirs: Any, values: bool = True, scale: float = 1.0) -> str | None:
    """What differs between two results, or None."""
    if isinstance(theirs, torch.Tensor):
        if not isinstance(ours, ddpnet.Tensor):
            return f"a {type(ours).__name__} instead of a tensor"
        if tuple(ours.shape) != tuple(theirs.shape):
            return f"shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
        if repr(ours.dtype) != repr(theirs.dtype):
            return f"dtype {ours.dtype}, expected {theirs.dtype}"
        if not values or theirs.numel() == 0:
            return None
        a, b = ours.detach().array, to_numpy(theirs)
        if theirs.dtype.is_floating_point:
            rtol, atol = TOLERANCE[theirs.dtype]
            a, b = a.astype(np.float64), b.astype(np.float64)
            if not np.allclose(a, b, rtol * scale, atol * scale, equal_nan=True):
                with np.errstate(all="ignore"):
                    return f"values differ by {np.nanmax(np.abs(a - b)):.3g}: {a.ravel()[:4]}, expected {b.ravel()[:4]}"
        elif not np.array_equal(a, b):
            return f"values {a.ravel()[:6]}, expected {b.ravel()[:6]}"
        return None
    if isinstance(theirs, tuple | list):
        if not isinstance(ours, tuple | list) or len(ours) != len(theirs):
            return (
                f"{type(ours).__name__} {len(ours) if isinstance(ours, tuple | list) else ''} for {len(theirs)} results"
            )
        return next(filter(None, (difference(a, b, values, scale) for a, b in zip(ours, theirs, strict=True))), None)
    if isinstance(theirs, float):
        return None if np.allclose(ours, theirs, equal_nan=True) else f"{ours}, expected {theirs}"
    if isinstance(theirs, torch.dtype | torch.device):
        return None if repr(ours) == repr(theirs) else f"{ours!r}, expected {theirs!r}"
    return None if ours == theirs else f"{ours!r}, expected {theirs!r}"


def backward_difference(
    ours: Any, theirs: Any, our_inputs: list[Any], their_inputs: list[Any], second: bool
) -> str | None:
    """What differs between the gradients (and, if asked for, the gradients of the gradients)."""
    our_outputs = [t for t in leaves(ours, ddpnet.Tensor) if t.requires_grad]
    outputs = [t for t in leaves(theirs, torch.Tensor) if t.requires_grad]
    if len(our_outputs) != len(outputs):
        return f"{len(our_outputs)} outputs require grad, expected {len(outputs)}"
    if not outputs:
        return None
    rng = np.random.default_rng(0)
    for order in (1, 2) if second else (1,):
        seeds = [torch.tensor(rng.uniform(0.5, 1.5, tuple(t.shape))).to(t.dtype) for t in outputs]
        wants = torch.autograd.grad(outputs, their_inputs, seeds, create_graph=order < 2 and second, allow_unused=True)
        have = ddpnet.autograd.grad(
            our_outputs,
            our_inputs,
            [translated(s) for s in seeds],
            create_graph=order < 2 and second,
            allow_unused=True,
        )
        for number, (a, b) in enumerate(zip(have, wants, strict=True)):
            if (a is None) != (b is None):
                zero = (a is None and not b.any()) or (b is None and not a.array.any())
                if order == 2 and zero:
                    continue
                return f"order {order}: gradient {number} is {a}, expected {b}"
            problem = None if b is None else difference(a, b, scale=10)
            if problem:
                return f"order {order}: gradient {number}: {problem}"
        pairs = [(a, b) for a, b in zip(have, wants, strict=True) if b is not None and b.requires_grad]
        our_outputs, outputs = [a for a, _ in pairs], [b for _, b in pairs]
        if any(not a.requires_grad for a in our_outputs):
            return "order 2: a gradient that should require grad does not"
        if not outputs:
            return None
    return None


def exists(name: str) -> bool:
    """Whether ddpnet has an operator, as a function or as a method."""
    return resolve(ddpnet, name) is not None or hasattr(ddpnet.Tensor, name)


def counterpart(op: Any) -> Any:
    """What `op.op` is to PyTorch, for ddpnet; a lambda of the test suite is the same one with ddpnet for torch."""
    call = op.op
    if isinstance(call, FunctionType) and call.__module__.startswith("torch.testing"):
        return FunctionType(
            call.__code__, {**call.__globals__, "torch": ddpnet}, None, call.__defaults__, call.__closure__
        )
    found, attribute = resolve(ddpnet, op.name), getattr(ddpnet.Tensor, op.name, None)
    if found is None or isinstance(found, ddpnet.dtype):
        found = attribute
    return found.fget if isinstance(found, property) else found


def first_samples(op: Any, dtype: torch.dtype, gradients: bool, limit: int) -> list[Any]:
    """What `op.sample_inputs` has first, each from PyTorch's seed.

    It also looks up the source of all its callers and seeds devices that are not there: with it, and with all samples
    made instead of the first, `test_samples.py` took 195 s, now 13.
    """
    samples: list[Any] = []
    made = iter(op.sample_inputs_func(op, "cpu", dtype, gradients))
    for number in range(limit):
        for seed in (torch.default_generator.manual_seed, random.seed, np.random.seed):
            seed(SEED)
        samples += islice(made, 1)
        if len(samples) == number:
            break
    return samples


def check(op: Any, dtype: torch.dtype, second: bool = False, limit: int = 60) -> list[str]:
    """What differs for the samples of one operator."""
    function, their_function = counterpart(op), op.op
    if function is None:
        return ["missing"]
    gradients = dtype.is_floating_point and op.supports_autograd
    problems = []
    samples = first_samples(op, dtype, gradients, limit)
    for number, sample in enumerate(samples):
        args, kwargs = (sample.input, *sample.args), sample.kwargs
        where = f"{op.name} {op.variant_test_name} {dtype} sample {number} {_brief(args, kwargs)}"
        try:
            theirs = their_function(*args, **kwargs)
        except Exception:
            continue
        if any(t.is_complex() or t.is_sparse for t in leaves([args, theirs], torch.Tensor)):
            continue
        if (op.name in UNSTABLE and args[0].numel() > 1000) or op.variant_test_name in PARTIAL:
            continue
        drawn = op.name in RANDOM or 0.5 in (kwargs.get("dropout_p"), *(a for a in args if isinstance(a, float)))
        try:
            our_args, our_kwargs = translated(args), translated(kwargs)
            ours = function(*our_args, **our_kwargs)
            problem = difference(ours, theirs, values=not drawn)
            if not problem and gradients and not drawn:
                their_inputs = [t for t in leaves([args, kwargs], torch.Tensor) if t.requires_grad]
                our_inputs = [t for t in leaves([our_args, our_kwargs], ddpnet.Tensor) if t.requires_grad]
                if their_inputs:
                    both = second and op.supports_gradgrad
                    problem = backward_difference(ours, theirs, our_inputs, their_inputs, both)
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        if problem:
            problems.append(f"{where}: {problem}")
    return problems


def check_errors(op: Any) -> list[str]:
    """Sample inputs at which PyTorch raises: ours raises the same class."""
    if op.error_inputs_func is None:
        return []
    function = counterpart(op)
    problems = []
    for number, case in enumerate(op.error_inputs("cpu")):
        args, kwargs = (case.sample_input.input, *case.sample_input.args), case.sample_input.kwargs
        if any(t.is_complex() or t.is_sparse for t in leaves([args, kwargs], torch.Tensor)):
            continue
        where = f"{op.name} error {number} {_brief(args, kwargs)}"
        try:
            function(*translated(args), **translated(kwargs))
        except case.error_type:
            continue
        except Exception as error:
            problems.append(f"{where}: {type(error).__name__} instead of {case.error_type}: {str(error)[:100]}")
        else:
            problems.append(f"{where}: no error instead of {case.error_type} {case.error_regex[:80]}")
    return problems


def _brief(*values: Any) -> str:
    def brief(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype)[6:]}{list(value.shape)}"
        if isinstance(value, tuple | list):
            return f"({', '.join(map(brief, value))})"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{k}={brief(v)}' for k, v in value.items())}}}" if value else ""
        return repr(value)

    return " ".join(map(brief, values))[:160]


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    for op in op_db:
        if op.name in names:
            for dtype in DTYPES:
                if dtype in op.dtypes:
                    problems = check(op, dtype, second=dtype == torch.float64)
                    print(f"{op.name} {op.variant_test_name} {dtype}: {len(problems)} problems")
                    for problem in problems[:5]:
                        print("   ", problem)
            for problem in check_errors(op):
                print("   ", problem)


if __name__ == "__main__":
    main(sys.argv[1:])
