"""What a profile puts around the engine while it runs, and takes away again: without a profile nothing is there.

Operations, backward passes, optimizers, modules and data loaders tell a `Collector` when they begin and end. For that
their methods are replaced in their classes; DDP's exchange tells it by `ddpnet.spans`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from typing import Any

from ddpnet import spans
from ddpnet.autograd.backward import backward
from ddpnet.autograd.function import Function, FunctionCtx
from ddpnet.autograd.graph import AccumulateGrad
from ddpnet.nn.module import Module
from ddpnet.ops import activation
from ddpnet.ops.op import Op
from ddpnet.optim.hooks import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from ddpnet.optim.optimizer import Optimizer
from ddpnet.profiler.collector import PHASES, Collector, Key
from ddpnet.spans import Recorder
from ddpnet.utils.data import DataLoader

_WORD = r"[A-Z][a-z]*(?:\d+(?:[A-Z](?=[A-Z]|$)|[a-z]+)?)?"
_LANES = {"wait": "exchange"} | {phase: phase for phase in PHASES}

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]


@cache
def forward_name(node: str) -> str:
    """PyTorch's name of an operation, from that of its node: aten::max_pool2d from MaxPool2DBackward0."""
    name = re.sub(r"Backward\d*$", "", node)
    words = "_".join(re.findall(_WORD, name)).lower().replace("2_", "2")  # im2col
    return f"aten::{words or name}"


@contextmanager
def engine_probes(collector: Collector, *, shapes: bool) -> Iterator[None]:
    """Tell the collector of operations (`shapes`: of each output's, too), modules, backward passes and exchanges.

    They may come and go at any time, also within a step.
    """
    with ExitStack() as undo:
        _operations(undo, collector, shapes)
        _phases(undo, collector)
        before = spans.recorder()
        spans.record(_PhaseRecorder(collector))
        undo.callback(spans.record, before)
        yield


@contextmanager
def loop_probes(collector: Collector, after_step: Callable[[Optimizer], None] | None = None) -> Iterator[None]:
    """Tell the collector of batches and of optimizer steps; `after_step` is called at the end of each.

    Iterators of loaders that are made here tell it for as long as they live.
    """

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self: _Batches(original(self), type(self).__name__, collector)

    with ExitStack() as undo:
        for kind in _tree(DataLoader, "__iter__"):
            _replace(undo, kind, "__iter__", timed)
        _optimizer_steps(undo, collector, after_step)
        yield


def _operations(undo: ExitStack, collector: Collector, shapes: bool) -> None:
    """Rows for operations, and for what the walk back does at their nodes."""
    for base in (Op, Function):
        for kind in _tree(base, "apply"):
            if isinstance(vars(kind)["apply"], classmethod):
                _replace(undo, kind, "apply", _applied(collector, shapes))
    _replace(undo, activation, "postponed", _applied(collector, shapes))
    for name in ("propagate", "propagate_recorded"):
        for kind in _tree(Op, name):
            _replace(undo, kind, name, _propagated(collector, shapes))
    _replace(undo, FunctionCtx, "propagate_recorded", _propagated(collector, shapes))  # which its `propagate` calls
    _replace(undo, AccumulateGrad, "accumulate", _accumulated(collector, shapes))


def _applied(collector: Collector, shapes: bool) -> Wrapper:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def measured(cls: Any, *inputs: Any, **options: Any) -> Any:
            if not collector.watches():
                return original(cls, *inputs, **options)
            phase = collector.enter("forward") if collector.phase == "other" else None
            frame, result = collector.open(), None
            try:
                result = original(cls, *inputs, **options)
                return result
            finally:
                name = forward_name(cls.__name__) if issubclass(cls, Op) else cls.__name__
                collector.close(frame, Key("forward", name, _shape(result) if shapes else None))
                if phase is not None:
                    collector.leave(phase)

        return measured

    return wrap


def _propagated(collector: Collector, shapes: bool) -> Wrapper:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def measured(self: Any, gradients: list[Any]) -> Any:
            if not collector.watches():
                return original(self, gradients)
            shape = _shape([g for g in gradients if g is not None]) if shapes else None
            frame = collector.open()
            try:
                return original(self, gradients)
            finally:
                collector.close(frame, Key("backward", self.name(), shape))

        return measured

    return wrap


def _accumulated(collector: Collector, shapes: bool) -> Wrapper:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def measured(self: Any, gradient: Any, own: bool) -> Any:
            if not collector.watches():
                return original(self, gradient, own)
            frame = collector.open()
            try:
                return original(self, gradient, own)
            finally:
                shape = _shape(gradient) if shapes else None
                collector.close(frame, Key("backward", "torch::autograd::AccumulateGrad", shape))

        return measured

    return wrap


def _shape(result: Any) -> tuple[int, ...] | None:
    """Of a tensor or array, or the first of several."""
    first = result[0] if isinstance(result, tuple | list) and result else result
    return tuple(first.shape) if hasattr(first, "shape") else None


def _phases(undo: ExitStack, collector: Collector) -> None:
    """Phases for calls of modules, backward passes and optimizers."""

    def during(phase: str, only_in: tuple[str, ...] = PHASES) -> Wrapper:
        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(original)
            def measured(*args: Any, **kwargs: Any) -> Any:
                if not collector.watches() or collector.phase not in only_in:
                    return original(*args, **kwargs)
                depth = collector.enter(phase)
                try:
                    return original(*args, **kwargs)
                finally:
                    collector.leave(depth)

            return measured

        return wrap

    calls = next(kind for kind in Module.__mro__ if "__call__" in vars(kind))
    _replace(undo, calls, "__call__", during("forward", ("other", "optimizer")))  # a closure's are in `step`
    _replace(undo, sys.modules[backward.__module__], "run_backward", during("backward"))
    for kind in _tree(Optimizer, "zero_grad"):
        _replace(undo, kind, "zero_grad", _zeroing(collector))


def _zeroing(collector: Collector) -> Wrapper:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def measured(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not collector.watches():
                return original(self, *args, **kwargs)
            name = type(self).__name__
            depth, frame = collector.enter("optimizer"), collector.open()
            try:
                return original(self, *args, **kwargs)
            finally:
                collector.close(frame, Key("optimizer", f"Optimizer.zero_grad#{name}.zero_grad"))
                collector.leave(depth)

        return measured

    return wrap


def _optimizer_steps(undo: ExitStack, collector: Collector, after_step: Callable[[Optimizer], None] | None) -> None:
    """Steps, by the hooks that run around those of every optimizer."""
    running: list[tuple[int, int]] = []

    def before(optimizer: Optimizer, *_: Any) -> None:
        if collector.watches():
            running.append((collector.enter("optimizer"), collector.open()))

    def after(optimizer: Optimizer, *_: Any) -> None:
        if collector.watches() and running:
            depth, frame = running.pop()
            name = type(optimizer).__name__
            collector.close(frame, Key("optimizer", f"Optimizer.step#{name}.step"))
            collector.leave(depth)
        if after_step is not None:
            after_step(optimizer)

    undo.callback(register_optimizer_step_pre_hook(before).remove)
    undo.callback(register_optimizer_step_post_hook(after).remove)


def _tree(kind: type[Any], name: str) -> list[type[Any]]:
    """The class and those below it that define a method themselves."""
    found = [kind] if name in vars(kind) else []
    below: type[Any]
    for below in kind.__subclasses__():
        found += [each for each in _tree(below, name) if each not in found]
    return found


def _replace(undo: ExitStack, owner: Any, name: str, wrap: Wrapper) -> None:
    """Put another function in the place of one, until the end."""
    original = vars(owner)[name]
    is_classmethod = isinstance(original, classmethod)
    new: Any = wrap(original.__func__ if is_classmethod else original)
    setattr(owner, name, classmethod(new) if is_classmethod else new)
    undo.callback(setattr, owner, name, original)


class _Batches:
    """The iterator of a loader, which tells how long each batch took."""

    def __init__(self, batches: Iterator[Any], loader: str, collector: Collector) -> None:
        self._batches, self._collector = batches, collector
        self._key = Key("data", f"enumerate(DataLoader)#{loader}.__next__")

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        if not self._collector.watches():
            return next(self._batches)
        depth, frame = self._collector.enter("data"), self._collector.open()
        try:
            return next(self._batches)
        finally:
            self._collector.close(frame, self._key)
            self._collector.leave(depth)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


class _PhaseRecorder(Recorder):
    """Makes phases of the spans that the library, or the program, marks by `span(lane)`."""

    def __init__(self, collector: Collector) -> None:
        super().__init__(limit=1)
        self._collector = collector

    def span(self, lane: str) -> Any:
        """A context that is a phase."""
        return self._phase(_LANES.get(lane, "other"))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        if not self._collector.watches():
            yield
            return
        depth = self._collector.enter(name)
        try:
            yield
        finally:
            self._collector.leave(depth)
