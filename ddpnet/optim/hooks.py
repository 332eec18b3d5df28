"""Hooks around an optimizer's steps and state dicts, for one optimizer and for all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import chain
from typing import Any

from ddpnet.autograd.backward import RemovableHandle
from ddpnet.tensor import Hooks

_every_pre_hook: Hooks = {}
_every_post_hook: Hooks = {}

Hook = Callable[..., Any]


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return RemovableHandle(_every_pre_hook, hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return RemovableHandle(_every_post_hook, hook)


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with the hooks around it."""

    @functools.wraps(step)
    def wrapper(self: Any, *arguments: Any, **kwargs: Any) -> Any:
        args = (self, *arguments)
        for before in chain(_every_pre_hook.values(), self._step_pre_hooks.values()):
            result = before(self, args, kwargs)
            if result is not None:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        if self._opt_called is False:
            self._opt_called = True
        out = step(*args, **kwargs)
        for after in chain(self._step_post_hooks.values(), _every_post_hook.values()):
            after(self, args, kwargs)
        return out

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class Hooked:
    """The hooks of an optimizer: where they are kept, and how they are registered."""

    def __init__(self) -> None:
        self._step_pre_hooks: Hooks = {}
        self._step_post_hooks: Hooks = {}
        self._state_dict_pre_hooks: Hooks = {}
        self._state_dict_post_hooks: Hooks = {}
        self._load_state_dict_pre_hooks: Hooks = {}
        self._load_state_dict_post_hooks: Hooks = {}

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return other (args, kwargs)."""
        return RemovableHandle(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return RemovableHandle(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return _registered(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; it may return another one."""
        return _registered(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before `load_state_dict`; it may return another one."""
        return _registered(self._load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after `load_state_dict`."""
        return _registered(self._load_state_dict_post_hooks, hook, prepend)


def _registered(hooks: Hooks, hook: Hook, prepend: bool) -> RemovableHandle:
    others = dict(hooks)
    handle = RemovableHandle(hooks, hook)
    if prepend:
        for number in others:
            hooks[number] = hooks.pop(number)
    return handle
