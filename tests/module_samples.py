"""PyTorch's own sample inputs for modules, `module_db`: built, called and derived on both.

From the command line: `python tests/module_samples.py nn.Conv2d nn.LSTM` prints what differs.
"""

from __future__ import annotations

import copy
import re
import sys
import types
import warnings
from typing import Any

import samples
import torch
from samples import _brief, backward_difference, difference, leaves
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import ddpnet

RANDOM = {name for name in dir(torch.nn) if "Dropout" in name} | {"RReLU"}
"""Of these, in training, only shapes and dtypes can agree."""

DTYPES = (torch.float32, torch.float64)


def name_of(info: Any) -> str:
    """nn.Linear, however PyTorch's table calls it."""
    return f"nn.{info.module_cls.__name__}"


def ours_of(info: Any) -> Any:
    """Our class of the same name, or None."""
    plain = info.module_cls.__module__.startswith("torch.nn.modules") and not info.is_lazy
    return getattr(ddpnet.nn, info.module_cls.__name__, None) if plain else None


def translated(value: Any) -> Any:
    """`samples.translated`, and modules, functions and packed sequences of PyTorch as ours."""
    if isinstance(value, torch.nn.Module):
        return module_like(value)
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return ddpnet.nn.utils.rnn.PackedSequence(*map(translated, value))
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        for theirs, ours in ((torch.nn.functional, ddpnet.nn.functional), (torch, ddpnet)):
            if getattr(theirs, value.__name__, None) is value:
                return getattr(ours, value.__name__)
        return value
    if type(value) in (tuple, list):
        return type(value)(translated(part) for part in value)
    if type(value) is dict:
        return {key: translated(part) for key, part in value.items()}
    return samples.translated(value)


def module_like(module: torch.nn.Module) -> Any:
    """Our module of the class and with the constructor arguments that PyTorch keeps in `__constants__`."""
    ours = getattr(ddpnet.nn, type(module).__name__)
    if isinstance(module, torch.nn.TransformerEncoderLayer | torch.nn.TransformerDecoderLayer):
        sizes = module.self_attn.embed_dim, module.self_attn.num_heads, module.linear1.out_features, module.dropout.p
        return ours(
            *sizes,
            translated(module.activation),
            module.norm1.eps,
            module.self_attn.batch_first,
            module.norm_first,
            module.linear1.bias is not None,
        )
    arguments = ours.__init__.__code__.co_varnames[1 : ours.__init__.__code__.co_argcount]
    options = {name: translated(getattr(module, name)) for name in arguments if hasattr(module, name)}
    return ours(**options)


def copy_state(ours: Any, theirs: torch.nn.Module) -> str | None:
    """Give our module PyTorch's parameters and buffers; what is different in their names, or None."""
    state = theirs.state_dict()
    have, want = list(ours.state_dict()), list(state)
    if have != want:
        return f"state_dict keys {have}, expected {want}"
    for key, value in ours.state_dict().items():
        if isinstance(value, ddpnet.Tensor) and tuple(value.shape) != tuple(state[key].shape):
            return f"{key} has shape {tuple(value.shape)}, expected {tuple(state[key].shape)}"
    ours.load_state_dict({key: samples.translated(value) for key, value in state.items()})
    return None


def _parts(value: Any, kind: type) -> list[Any]:
    """The tensors in a result, also in packed sequences."""
    return list(leaves(value, kind))


def _gradients(own: Any, result: Any, our_inputs: list[Any], their_inputs: list[Any], second: bool) -> str | None:
    """What differs between the gradients; of the first order where PyTorch has no second."""
    try:
        return backward_difference(own, result, our_inputs, their_inputs, second)
    except RuntimeError as error:
        if not second or "derivative for aten::" not in str(error):
            raise
    return None


def check(info: Any, dtype: torch.dtype, training: bool = True, limit: int = 40) -> list[str]:
    """What differs for the samples of one module."""
    ours_class = ours_of(info)
    if ours_class is None:
        return ["missing"]
    second = dtype == torch.float64 and info.supports_gradgrad
    problems = []
    torch.manual_seed(0)
    cases = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
    for number, case in enumerate(cases[:limit]):
        build, call = case.constructor_input, case.forward_input
        where = f"{name_of(info)} {dtype} {'train' if training else 'eval'} sample {number} "
        where += f"{_brief(build.args, build.kwargs)} | {_brief(call.args, call.kwargs)}"
        values = not (training and info.module_cls.__name__ in RANDOM)
        try:
            theirs = info.module_cls(*build.args, **build.kwargs).to(dtype).train(training)
            options = {key: value for key, value in build.kwargs.items() if key not in ("device", "dtype")}
            result = theirs(*copy.deepcopy(call.args), **copy.deepcopy(call.kwargs))
        except Exception:
            continue
        try:
            ours = ours_class(*translated(build.args), **translated(options)).to(samples.DTYPES[dtype]).train(training)
            problem = None if repr(ours) == repr(theirs) else f"repr {ours!r}, expected {theirs!r}"
            problem = problem or copy_state(ours, theirs)
            if not problem:
                their_args, their_kwargs = copy.deepcopy(call.args), copy.deepcopy(call.kwargs)
                our_args, our_kwargs = translated(call.args), translated(call.kwargs)
                result = theirs(*their_args, **their_kwargs)
                own = ours(*our_args, **our_kwargs)
                problem = difference(own, result, values=values, scale=5)
            if not problem and values:
                their_inputs = [t for t in _parts([their_args, their_kwargs], torch.Tensor) if t.requires_grad]
                our_inputs = [t for t in _parts([our_args, our_kwargs], ddpnet.Tensor) if t.requires_grad]
                their_inputs += list(theirs.parameters())
                our_inputs += list(ours.parameters())
                if their_inputs:
                    problem = _gradients(own, result, our_inputs, their_inputs, second)
            if not problem:
                problem = difference(list(ours.buffers()), list(theirs.buffers()), scale=5)
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        if problem:
            problems.append(f"{where}: {problem}")
    return problems


def check_errors(info: Any) -> list[str]:
    """Constructor arguments and inputs at which PyTorch raises: ours raises the same class."""
    ours_class = ours_of(info)
    if info.module_error_inputs_func is None or ours_class is None:
        return []
    problems = []
    cases = info.module_error_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=False, training=True)
    for number, case in enumerate(cases):
        build, call = case.module_error_input.constructor_input, case.module_error_input.forward_input
        where = f"{name_of(info)} error {number} {_brief(build.args, build.kwargs)}"
        try:
            options = {key: value for key, value in build.kwargs.items() if key not in ("device", "dtype")}
            ours = ours_class(*translated(build.args), **translated(options))
            if case.error_on == ModuleErrorEnum.FORWARD_ERROR:
                ours(*translated(call.args), **translated(call.kwargs))
        except case.error_type:
            continue
        except Exception as error:
            problems.append(f"{where}: {type(error).__name__} instead of {case.error_type}: {str(error)[:100]}")
        else:
            problems.append(f"{where}: no error instead of {case.error_type} {case.error_regex[:80]}")
    return problems


def check_all(info: Any, limit: int = 40) -> list[str]:
    """What differs for one module: float32 and float64, in training and, where that differs, in evaluation."""
    problems = []
    for dtype in DTYPES:
        if dtype in info.dtypes:
            for training in (True, False) if info.train_and_eval_differ else (True,):
                problems += check(info, dtype, training, limit)
    return problems + check_errors(info)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    for info in module_db:
        if name_of(info) in names or (not names and ours_of(info)):
            problems = check_all(info)
            print(f"{name_of(info)}: {len(problems)} problems")
            for problem in problems[:6]:
                print("   ", re.sub(r"\s+", " ", problem))


if __name__ == "__main__":
    main(sys.argv[1:])
