"""Functions that are called around a module's `forward` and backward."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ddpnet.autograd.backward import RemovableHandle
from ddpnet.nn.changes import changes
from ddpnet.ops.passage import Passage
from ddpnet.tensor import Hooks, Tensor

_all_forward_pre: Hooks = {}
_all_forward: Hooks = {}
_all_forward_with_kwargs: dict[int, bool] = {}
_all_forward_always: dict[int, bool] = {}
_all_backward_pre: Hooks = {}
_all_backward: Hooks = {}


class Hooked:
    """What a module does when it is called: hooks, `forward`, hooks."""

    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks
    forward: Any

    def _start_hooks(self) -> None:
        """Places for hooks that the module will have."""
        for name in ("forward_pre_hooks", "forward_hooks", "backward_pre_hooks", "backward_hooks"):
            object.__setattr__(self, f"_{name}", {})
        for name in ("forward_pre_hooks_with_kwargs", "forward_hooks_with_kwargs", "forward_hooks_always_called"):
            object.__setattr__(self, f"_{name}", {})

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not (
            self._forward_pre_hooks
            or self._forward_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _all_forward_pre
            or _all_forward
            or _all_backward
            or _all_backward_pre
        ):
            return self.forward(*inputs, **options)
        called: list[int] = []
        try:
            return self._call_with_hooks(inputs, options, called)
        except Exception:
            self._call_the_rest(inputs, options, called)
            raise

    def _call_with_hooks(self, inputs: tuple[Any, ...], options: dict[str, Any], called: list[int]) -> Any:
        for hook in tuple(_all_forward_pre.values()):
            inputs = _as_inputs(hook(self, inputs), inputs)
        for number, hook in tuple(self._forward_pre_hooks.items()):
            if number in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, inputs, options)
                if changed is not None:
                    if not isinstance(changed, tuple) or len(changed) != 2:
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                            f"{type(changed)}."
                        )
                    inputs, options = changed
            else:
                inputs = _as_inputs(hook(self, inputs), inputs)
        backward = None
        if self._backward_hooks or self._backward_pre_hooks or _all_backward or _all_backward_pre:
            backward = _BackwardHooks(
                self,
                (*_all_backward.values(), *self._backward_hooks.values()),
                (*_all_backward_pre.values(), *self._backward_pre_hooks.values()),
            )
            inputs = backward.watch_inputs(inputs)
        output = self.forward(*inputs, **options)
        for number, hook, with_kwargs in self._all_forward_hooks():
            called.append(number)
            changed = hook(self, inputs, options, output) if with_kwargs else hook(self, inputs, output)
            output = output if changed is None else changed
        return output if backward is None else backward.watch_output(output)

    def _all_forward_hooks(self) -> list[tuple[int, Callable[..., Any], bool]]:
        return [
            *((number, hook, number in _all_forward_with_kwargs) for number, hook in _all_forward.items()),
            *(
                (number, hook, number in self._forward_hooks_with_kwargs)
                for number, hook in self._forward_hooks.items()
            ),
        ]

    def _call_the_rest(self, inputs: tuple[Any, ...], options: dict[str, Any], called: list[int]) -> None:
        """After an error: the forward hooks with `always_call` that have not run, with None as output."""
        for number, hook, with_kwargs in self._all_forward_hooks():
            always = number in self._forward_hooks_always_called or number in _all_forward_always
            if always and number not in called:
                try:
                    hook(self, inputs, options, None) if with_kwargs else hook(self, inputs, None)
                except Exception as error:
                    warnings.warn(
                        f"module forward hook with ``always_call=True`` raised an exception that was silenced as "
                        f"another error was raised in forward: {error}",
                        stacklevel=3,
                    )

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, inputs)` before `forward`; what it returns, if anything, replaces the inputs.

        `with_kwargs`: `hook(module, inputs, options)`, which may return both. `prepend`: before the hooks there are.
        """
        handle = _register(self._forward_pre_hooks, hook, prepend)
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        return handle

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, inputs, output)` after `forward`; what it returns, if anything, replaces the output.

        `with_kwargs`: `hook(module, inputs, options, output)`. `always_call`: also where `forward` raised.
        """
        handle = _register(self._forward_hooks, hook, prepend)
        if with_kwargs:
            self._forward_hooks_with_kwargs[handle.id] = True
        if always_call:
            self._forward_hooks_always_called[handle.id] = True
        return handle

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the backward of the module; what it returns replaces grad_output."""
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` after the gradients of the positional inputs are known; what it
        returns, if anything, replaces grad_input."""
        return _register(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As `register_full_backward_hook`."""
        return self.register_full_backward_hook(hook)


def _as_inputs(changed: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    if changed is None:
        return inputs
    return changed if isinstance(changed, tuple) else (changed,)


def _register(hooks: Hooks, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks, hook)
    changes.count += 1
    if prepend:
        others = {number: other for number, other in hooks.items() if number != handle.id}
        first = hooks[handle.id]
        hooks.clear()
        hooks.update({handle.id: first, **others})
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, inputs)` before the `forward` of every module."""
    return _register(_all_forward_pre, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, inputs, output)` after the `forward` of every module."""
    handle = _register(_all_forward, hook)
    if with_kwargs:
        _all_forward_with_kwargs[handle.id] = True
    if always_call:
        _all_forward_always[handle.id] = True
    return handle


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the backward of every module."""
    return _register(_all_backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` after the backward of every module."""
    return _register(_all_backward, hook)


class _BackwardHooks:
    """One call of a module: its inputs and outputs go through passages."""

    def __init__(
        self, module: Any, hooks: tuple[Callable[..., Any], ...], pre_hooks: tuple[Callable[..., Any], ...]
    ) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: tuple[Any, ...] = ()
        self.inputs, self.places = 0, []  # type: tuple[int, list[int]]

    def watch_inputs(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = len(inputs)
        result, self.places = _through(inputs, self._see_inputs)
        return result

    def watch_output(self, output: Any) -> Any:
        outputs = output if isinstance(output, tuple) else (output,)
        self.outputs = len(outputs)
        result, self.output_places = _through(outputs, self._see_outputs)
        return result if isinstance(output, tuple) else result[0]

    def _see_outputs(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        full = _spread(gradients, self.output_places, self.outputs)
        for hook in self.pre_hooks:
            changed = hook(self.module, full)
            if changed is not None:
                full = changed if isinstance(changed, tuple) else (changed,)
                _same_count(full, self.outputs, "grad_output")
        self.grad_output = full
        if not self.places:  # no input wants a gradient: the hooks' turn is now
            for hook in self.hooks:
                if hook(self.module, (None,) * self.inputs, full) is not None:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
        return tuple(full[place] for place in self.output_places)

    def _see_inputs(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        full = _spread(gradients, self.places, self.inputs)
        for hook in self.hooks:
            changed = hook(self.module, full, self.grad_output)
            if changed is not None:
                full = changed if isinstance(changed, tuple) else (changed,)
                _same_count(full, self.inputs, "grad_input")
        return tuple(full[place] for place in self.places)


def _through(values: tuple[Any, ...], see: Callable[..., Any]) -> tuple[tuple[Any, ...], list[int]]:
    """The values with those that want gradients let through a passage, and their places."""
    places = [place for place, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
    if not places:
        return values, []
    passed = Passage.apply(*(values[place] for place in places), see=see)
    passed = passed if isinstance(passed, tuple) else (passed,)
    if not passed[0].requires_grad:  # no_grad
        return values, []
    result = list(values)
    for place, x in zip(places, passed, strict=True):
        result[place] = x
    return tuple(result), places


def _spread(gradients: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
    full = [None] * count
    for place, g in zip(places, gradients, strict=True):
        full[place] = g
    return tuple(full)


def _same_count(values: tuple[Any, ...], count: int, name: str) -> None:
    if len(values) != count:
        raise RuntimeError(
            f"Backward hook returned an invalid number of {name}, got {len(values)}, but expected {count}"
        )
