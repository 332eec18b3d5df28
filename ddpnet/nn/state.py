"""What a module saves and loads: parameters, persistent buffers and extra state by dotted name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ddpnet.autograd.backward import RemovableHandle
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.nn.parameter import Parameter
from ddpnet.tensor import Hooks, Tensor

_EXTRA = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing, and what it had no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class _State(OrderedDict[str, Any]):
    """A state dict; `_metadata` has the version of each module by its dotted name."""

    _metadata: OrderedDict[str, dict[str, Any]]


class _Problems(list[str]):
    """Messages of what does not fit, and the values that are to be copied if there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[Tensor, Tensor]] = []


class Stateful:
    """The part of Module that saves and loads."""

    _version = 1
    """Of the module's state; a class that changes its keys counts up and looks at `local_metadata["version"]`."""
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: list[str]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks

    def _start_state(self) -> None:
        """Places for hooks that the module will have."""
        for name in ("state_dict", "state_dict_pre", "load_state_dict_pre", "load_state_dict_post"):
            object.__setattr__(self, f"_{name}_hooks", {})

    def get_extra_state(self) -> Any:
        """State beside the tensors, saved under `_extra_state`; a module that has some overrides it."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called. Please file an issue."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Please file an issue."
        )

    def _has_extra(self, which: str) -> bool:
        return getattr(type(self), which) is not getattr(Stateful, which)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Parameters and persistent buffers by dotted name, sharing their memory; with `keep_vars` themselves.

        They are put into `destination`, under names that begin with `prefix`.
        """
        for name, value in zip(("destination", "prefix", "keep_vars"), args, strict=False):
            if name == "destination" and destination is None:
                destination = value
            elif name == "prefix" and prefix == "":
                prefix = value
            elif name == "keep_vars" and keep_vars is False:
                keep_vars = value
        if destination is None:
            destination = _State()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in tuple(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in tuple(self._state_dict_hooks.values()):
            changed = hook(self, destination, prefix, local_metadata)
            destination = destination if changed is None else changed
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put this module's own state into `destination`."""
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            if tensor is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._has_extra("get_extra_state"):
            destination[prefix + _EXTRA] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into the parameters and buffers of the same names, or with `assign` put them in their place.

        RuntimeError, before anything is copied, if shapes differ, or if `strict` and names are missing or unknown.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)
        missing: list[str] = []
        unexpected: list[str] = []
        problems = _Problems()
        loaded: list[Any] = []

        def load(module: Any, own: Any, prefix: str) -> None:
            local_metadata = dict({} if metadata is None else metadata.get(prefix[:-1], {}))
            if assign:
                local_metadata["assign_to_params_buffers"] = True
            module._load_from_state_dict(own, prefix, local_metadata, True, missing, unexpected, problems)
            for name, child in module._modules.items():
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, OrderedDict((key, x) for key, x in own.items() if key.startswith(inner)), inner)
            loaded.append(module)

        load(self, state, "")
        incompatible = IncompatibleKeys(missing, unexpected)
        fits = not problems and not (strict and (missing or unexpected))
        if fits or any(module._load_state_dict_post_hooks for module in loaded):  # these may change what is missing
            with no_grad():
                for target, value in problems.copies:
                    target.copy_(value.to(target.device))
            for module in loaded:
                module._call_post_hooks(incompatible)
        texts = []
        if strict and missing:
            texts.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if strict and unexpected:
            texts.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        texts += problems
        if texts:
            listing = "\n\t".join(texts)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listing}")
        return incompatible

    def _call_post_hooks(self, incompatible: IncompatibleKeys) -> None:
        for hook in tuple(self._load_state_dict_post_hooks.values()):
            if hook(self, incompatible) is not None:
                raise RuntimeError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                    "values, if incompatible_keys need to be modified, it should be done inplace."
                )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take this module's own state out of `state_dict`, and note what does not fit in the three lists."""
        for hook in tuple(self._load_state_dict_pre_hooks.values()):
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        persistent = {k: x for k, x in self._buffers.items() if k not in self._non_persistent_buffers_set}
        own = {name: x for name, x in (*self._parameters.items(), *persistent.items()) if x is not None}
        for name, tensor in own.items():
            if prefix + name in state_dict:
                self._take(name, tensor, prefix + name, state_dict[prefix + name], local_metadata, error_msgs)
            elif strict:
                missing_keys.append(prefix + name)
        extra = prefix + _EXTRA
        if self._has_extra("set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, *rest = key[len(prefix) :].split(".", 1)
                    if name not in self._modules if rest else name not in own:
                        unexpected_keys.append(key)

    def _take(
        self, name: str, tensor: Tensor, key: str, value: Any, local_metadata: dict[str, Any], error_msgs: list[str]
    ) -> None:
        if not isinstance(value, Tensor):
            error_msgs.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(value)}"
            )
            return
        if value.shape != tensor.shape:
            error_msgs.append(
                f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in "
                f"current model is {tensor.shape}."
            )
        elif local_metadata.get("assign_to_params_buffers"):
            if isinstance(tensor, Parameter):
                if not isinstance(value, Parameter):
                    value = Parameter(value, requires_grad=tensor.requires_grad)
                else:
                    value.requires_grad = tensor.requires_grad
            setattr(self, name, value)
        elif isinstance(error_msgs, _Problems):
            error_msgs.copies.append((tensor, value))
        else:
            with no_grad():
                tensor.copy_(value.to(tensor.device))

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before the module's state is taken."""
        return RemovableHandle(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` when the module's state has been taken."""

        def post(*args: Any) -> None:
            if hook(*args) is not None:
                raise RuntimeError("state_dict post-hook must return None")

        return RemovableHandle(self._state_dict_hooks, post)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As `register_state_dict_post_hook`; what the hook returns, if anything, replaces the state dict."""
        return RemovableHandle(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`
        before the module takes its own state."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """As `register_load_state_dict_pre_hook`; without `with_module` the hook is not given the module."""
        return RemovableHandle(self._load_state_dict_pre_hooks, _WithModule(self, hook) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` when all has been loaded; it may change the lists of keys."""
        return RemovableHandle(self._load_state_dict_post_hooks, hook)


class _WithModule:
    """A hook whose first argument is a module; of a copied module it is the copy."""

    def __init__(self, module: Any, hook: Callable[..., Any]) -> None:
        self.module, self.hook = module, hook

    def __call__(self, *args: Any) -> Any:
        return self.hook(self.module, *args)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
