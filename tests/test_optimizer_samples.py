"""Every optimizer with PyTorch's own sample options: the same steps, the same state, the same errors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import ddpnet
from ddpnet import optim

torch = pytest.importorskip("torch")
optimizers = pytest.importorskip("torch.testing._internal.common_optimizers")

INFOS = [info for info in optimizers.optim_db if hasattr(optim, info.name)]
SHAPES = ((3, 4), (5,), ())
RNG = np.random.default_rng(3)
STARTS = [RNG.standard_normal(shape) for shape in SHAPES]
GRADIENTS = [[RNG.standard_normal(shape) for shape in SHAPES] for _ in range(16)]
TOLERANCES = {"float64": 1e-7, "float32": 2e-5, "float16": 2e-2, "bfloat16": 1e-1}


def tolerance_for(options: dict[str, Any], dtype: str) -> float:
    """PyTorch computes with a rate that is a tensor in the dtype of that."""
    return max(TOLERANCES[dtype], 1e-6 if isinstance(options.get("lr"), torch.Tensor) else 0)


def shapes_for(name: str) -> slice:
    """Muon takes matrices only."""
    return slice(0, 1) if name == "Muon" else slice(None)


def ours(value: Any) -> Any:
    """A value of PyTorch's with its tensors converted."""
    if isinstance(value, torch.Tensor):
        kind = getattr(ddpnet, str(value.dtype).removeprefix("torch."))
        return ddpnet.tensor(value.detach().to(torch.float64).numpy(), dtype=kind)
    if isinstance(value, dict):
        return {key: ours(entry) for key, entry in value.items()}
    return type(value)(ours(entry) for entry in value) if isinstance(value, list | tuple) else value


def theirs(value: Any) -> Any:
    """A value of ours with its tensors converted."""
    if isinstance(value, ddpnet.Tensor):
        kind = getattr(torch, str(value.dtype).removeprefix("torch."))
        return torch.tensor(value.detach().to(ddpnet.float64).numpy(), dtype=kind)
    if isinstance(value, dict):
        return {key: theirs(entry) for key, entry in value.items()}
    return type(value)(theirs(entry) for entry in value) if isinstance(value, list | tuple) else value


def samples() -> Iterator[Any]:
    for info in INFOS:
        for sample in info.optim_inputs_func(device="cpu"):
            for mode in ({}, {"foreach": True}, *([{"fused": True}] if "cpu" in info.supports_fused_on else [])):
                if mode and ("lr" in sample.kwargs or next(iter(mode)) not in info.supported_impls):
                    continue
                name = f"{info.name} {sample.desc} {' '.join(mode)}".strip()
                yield pytest.param(info.name, {**sample.kwargs, **mode}, id=name)


SAMPLES = list(samples())


def parameters(library: Any, name: str, dtype: str) -> list[Any]:
    kind = getattr(library, dtype)
    return [library.nn.Parameter(library.tensor(part, dtype=kind)) for part in STARTS[shapes_for(name)]]


def walk(library: Any, name: str, optimizer: Any, params: list[Any], steps: range) -> None:
    """Steps with the gradients of the table; for LBFGS, those of a loss."""
    for step in steps:
        if name == "LBFGS":
            optimizer.step(lambda: loss_of(library, optimizer, params))
            continue
        for p, g in zip(params, GRADIENTS[step], strict=False):
            p.grad = library.tensor(g, dtype=p.dtype)
        optimizer.step()


def loss_of(library: Any, optimizer: Any, params: list[Any]) -> Any:
    optimizer.zero_grad()
    loss = sum(((p - number) ** 4 + 0.5 * (p * p)).sum() for number, p in enumerate(params))
    loss.backward()
    return loss


def agree(a: Any, b: Any, tolerance: float, where: str) -> None:
    """Two values of state dicts, ours and theirs."""
    if isinstance(b, dict):
        assert set(a) == set(b), where
        for key in b:
            agree(a[key], b[key], tolerance, f"{where}.{key}")
    elif isinstance(b, list | tuple):
        assert len(a) == len(b), where
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            agree(x, y, tolerance, f"{where}[{number}]")
    elif isinstance(b, torch.Tensor) and isinstance(a, ddpnet.Tensor):
        assert a.shape == tuple(b.shape), where
        assert str(a.dtype) == str(b.dtype), where
        first, second = a.detach().to(ddpnet.float64).numpy(), b.detach().to(torch.float64).numpy()
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance * 0.1, err_msg=where)
    elif isinstance(b, float | torch.Tensor) and b is not None:
        np.testing.assert_allclose(float(a), float(b), rtol=tolerance, atol=tolerance * 0.1, err_msg=where)
    else:
        assert a == b, where


def pair(name: str, options: dict[str, Any], dtype: str) -> list[Any]:
    """(library, optimizer, parameters) of both."""
    made = []
    for library in (ddpnet, torch):
        params = parameters(library, name, dtype)
        given = options if library is torch else ours(options)
        made.append((library, getattr(library.optim, name)(params, **given), params))
    return made


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("name", "options"), SAMPLES)
def test_steps(name: str, options: dict[str, Any], dtype: str) -> None:
    if name == "LBFGS" and "16" in dtype:
        pytest.skip("the line search of PyTorch does not converge in half precision")
    made = pair(name, options, dtype)
    steps = (1 if dtype == "float32" else 3) if name == "LBFGS" else 8
    for library, optimizer, params in made:
        walk(library, name, optimizer, params, range(steps))
    for number, (a, b) in enumerate(zip(made[0][2], made[1][2], strict=True)):
        agree(a, b, tolerance_for(options, dtype), f"parameter {number}")
    if name != "LBFGS" or dtype == "float64":  # whose memory of a search near the minimum is rounding in float32
        agree(made[0][1].state_dict(), made[1][1].state_dict(), 10 * tolerance_for(options, dtype), "state")
    if dtype == "float64":
        assert [list(group) for group in made[0][1].param_groups] == [list(group) for group in made[1][1].param_groups]


@pytest.mark.parametrize(("name", "options"), SAMPLES)
def test_state_is_exchanged(name: str, options: dict[str, Any]) -> None:
    """Each goes on from what the other saved."""
    (_, mine, p), (_, other, q) = pair(name, options, "float64")
    steps = 2 if name == "LBFGS" else 5
    walk(ddpnet, name, mine, p, range(steps))
    walk(torch, name, other, q, range(steps))
    saved = mine.state_dict(), other.state_dict()
    mine.load_state_dict(ours(saved[1]))
    other.load_state_dict(theirs(saved[0]))
    for library, optimizer, params in ((ddpnet, mine, p), (torch, other, q)):
        walk(library, name, optimizer, params, range(steps, 2 * steps))
    for number, (a, b) in enumerate(zip(p, q, strict=True)):
        agree(a, b, tolerance_for(options, "float64"), f"parameter {number}")


def errors() -> Iterator[Any]:
    for info in INFOS:
        for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32) or ():
            sample = error.optimizer_error_input
            if "complex" not in sample.desc and "sparse" not in sample.desc:
                yield pytest.param(info, error, id=f"{info.name} {sample.desc}")


@pytest.mark.parametrize(("info", "error"), list(errors()))
def test_errors(info: Any, error: Any) -> None:
    sample = error.optimizer_error_input
    params = sample.params
    if params is None:
        params = [torch.nn.Parameter(torch.randn(2, 3)) for _ in range(2)]
    given: dict[int, Any] = {}

    def converted(value: Any) -> Any:  # a parameter that comes twice is one of ours twice
        if isinstance(value, torch.nn.Parameter):
            return given.setdefault(id(value), ddpnet.nn.Parameter(ours(value)))
        if isinstance(value, dict):
            return {key: converted(entry) for key, entry in value.items()}
        return type(value)(map(converted, value)) if isinstance(value, list | tuple) else ours(value)

    warnings.simplefilter("error")
    with pytest.raises(error.error_type, match=error.error_regex) as found:
        getattr(optim, info.name)(converted(params), **ours(sample.kwargs))
    assert re.search(error.error_regex, str(found.value))


@pytest.mark.parametrize("name", [info.name for info in INFOS])
def test_text_and_arguments(name: str) -> None:
    (_, mine, _), (_, other, _) = pair(name, {}, "float32")
    assert repr(mine) == repr(other)
    assert mine.defaults == other.defaults
