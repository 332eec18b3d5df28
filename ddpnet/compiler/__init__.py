"""Compilation (`torch.compile`, `torch.compiler`): a function's operations are recorded once and then replayed.

A call of a model spends much of its time between the operations: modules call functions, arguments are checked, a graph
is built. For arguments of the same shapes all of that comes out the same. `compile` records what a call computes
(`recording.py`), while somebody watches whether it does anything beside (`witness.py`), and makes a `Program` of it.
What cannot be replayed runs as it is written: functions that print, look at values, change tensors or attributes, use
hooks, random numbers or custom functions. Nothing else is compiled here: the kernels always are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ddpnet.autograd.grad_mode import mode as _mode
from ddpnet.nn.module import Module

__all__ = ["compile", "disable", "is_compiling"]


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Have the operations of a function or module recorded, and replayed where nothing else is done between them.

    A module is returned itself, and calls a recorded `forward` from now on, a function as a callable like it; without
    `model`, a decorator. Results and gradients are the same bits as without. What else the function reads is watched:
    variables, attributes, elements of lists and dicts; only what lies deeper in those (`configs["a"].size`) must not
    change. Where a call cannot be recorded, it is done as written, or with `fullgraph` is a RuntimeError that says why.
    `disable`, or the backend "eager", leaves everything as it is. `dynamic`, `mode` and `options` change nothing: each
    shape is recorded. A second derivative (`create_graph`) of a replay is a RuntimeError, as in PyTorch.
    """
    from ddpnet.compiler.compiled import Compiled  # 8 of the 165 ms of `import ddpnet`, which few need

    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, backend=backend, disable=disable)
    if disable or backend == "eager":
        return model
    if not isinstance(model, Module):
        return model if isinstance(model, Compiled) else Compiled(model, fullgraph=fullgraph)
    target = model.compiled_part()
    if not isinstance(target.__dict__.get("forward"), Compiled):
        forward = target.__dict__.get("forward")
        recorded = Compiled(type(target).forward, target, fullgraph) if forward is None else Compiled(forward)
        target.__dict__["forward"] = recorded
    return model


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A function that is never part of a recording: what calls it runs as it is written. Without `fn`, a decorator."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)

    @functools.wraps(fn)
    def called(*args: Any, **options: Any) -> Any:
        if _mode.tape is not None:
            _mode.tape.reason = reason or f"it calls {getattr(fn, '__qualname__', fn)}, which is disabled"
        return fn(*args, **options)

    return called


def _compile_module(self: Module, *args: Any, **kwargs: Any) -> None:
    """As `torch.compile`: the calls of this module are recorded."""
    compile(self, *args, **kwargs)


Module.compile = _compile_module


def is_compiling() -> bool:
    """Whether a call is being recorded."""
    return _mode.tape is not None
