"""Gradient checkpoints (Chen et al., 2016): what a part of the model saves for backward is computed again instead of
kept (`torch.utils.checkpoint`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ddpnet import random
from ddpnet.autograd.autocast_mode import restored, snapshot
from ddpnet.autograd.grad_mode import enable_grad, mode
from ddpnet.autograd.graph import AccumulateGrad, Node
from ddpnet.nn import Module, Sequential
from ddpnet.tensor import Tensor


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    context_fn: Any = None,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose nodes forget what they saved and compute it again at backward.

    The second run draws the same random numbers (with `preserve_rng_state`) and has to record the same operations:
    RuntimeError if it does not. `use_reentrant` is accepted: there is one way here, which serves both.
    """
    if context_fn is not None:
        raise NotImplementedError("checkpoint: context_fn is not supported")
    if not mode.enabled:
        return function(*args, **kwargs)
    segment = _Segment(function, args, kwargs, preserve_rng_state)
    return segment.run()


def checkpoint_sequential(
    functions: Sequential | Sequence[Module],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """A sequence of modules in `segments` parts, each of which is a checkpoint except the last."""
    modules = list(functions)
    size = len(modules) // segments
    if size == 0:
        raise ValueError(f"checkpoint_sequential: {segments} segments of {len(modules)} modules")

    def part(first: int, last: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for module in modules[first:last]:
                x = module(x)
            return x

        return run

    for number in range(segments - 1):
        input = checkpoint(part(number * size, (number + 1) * size), input, use_reentrant=use_reentrant, **kwargs)
    return part((segments - 1) * size, len(modules))(input)


class _Segment:
    """One call of a function: its nodes, and how to run it again."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], preserve: bool
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.state = random.get_rng_state() if preserve else None
        self.autocast = snapshot()
        self.nodes: list[Node] = []

    def run(self) -> Any:
        """The first run: its nodes drop what they saved."""
        with restored(self.autocast):
            result, self.nodes = _recorded(self.function, self.args, self.kwargs)
        for node in self.nodes:
            if getattr(node, "saved", ()):
                node.saved, node._kept = None, ()  # type: ignore[attr-defined]
                node.restore = self.restore  # type: ignore[attr-defined]
        return result

    def restore(self) -> None:
        """Run again, and give each node of the first run what its counterpart has saved."""
        here = random.get_rng_state()
        if self.state is not None:
            random.set_rng_state(self.state)
        try:
            with enable_grad(), restored(self.autocast):
                args, kwargs = (_detached(value) for value in (self.args, self.kwargs))
                _, again = _recorded(self.function, args, kwargs)
        finally:
            if self.state is not None:
                random.set_rng_state(here)
        if [node.name() for node in again] != [node.name() for node in self.nodes]:
            raise RuntimeError(
                "checkpoint: the second run recorded other operations than the first: the function depends on "
                f"something that changed ({len(self.nodes)} operations, then {len(again)})"
            )
        for node, counterpart in zip(self.nodes, again, strict=True):
            if getattr(node, "restore", None) is not None:
                node.saved, node._kept = counterpart.saved, counterpart._kept  # type: ignore[attr-defined]
                node.restore = None  # type: ignore[attr-defined]


def _recorded(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, list[Node]]:
    """The result of a call, and the nodes that it recorded."""
    nodes: list[Node] = []
    outer = mode.observer

    def observe(node: Node) -> None:
        if not isinstance(node, AccumulateGrad):
            nodes.append(node)
        if outer is not None:
            outer(node)

    mode.observer = observe
    try:
        return function(*args, **kwargs), nodes
    finally:
        mode.observer = outer


def _detached(value: Any) -> Any:
    """The same arguments, with tensors cut off from their history."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad) if value.grad_fn is not None else value
    if isinstance(value, tuple | list):
        return type(value)(_detached(part) for part in value)
    if isinstance(value, dict):
        return {key: _detached(part) for key, part in value.items()}
    return value
