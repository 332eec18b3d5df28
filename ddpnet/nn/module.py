"""Module: the base of layers and models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from ddpnet.autograd.backward import RemovableHandle
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.dtypes import float16 as _float16
from ddpnet.dtypes import float32 as _float32
from ddpnet.dtypes import float64 as _float64
from ddpnet.nn.parameter import Parameter
from ddpnet.ops.conversion import parse_target
from ddpnet.tensor import Tensor

_Self = TypeVar("_Self", bound="Module")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing, and what it had no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Module:
    """A part of a model, with parameters, buffers and other modules as attributes (`torch.nn.Module`).

    Subclasses call `super().__init__()`, assign their parts, and write `forward`.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        set_plain = super().__setattr__
        set_plain("training", True)
        set_plain("_parameters", {})
        set_plain("_buffers", {})
        set_plain("_modules", {})
        set_plain("_transient", [])
        set_plain("_forward_pre_hooks", {})
        set_plain("_forward_hooks", {})

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The computation; every subclass writes its own."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        for pre_hook in tuple(self._forward_pre_hooks.values()):
            changed = pre_hook(self, inputs)
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*inputs, **options)
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, inputs, output)
            if changed is not None:
                output = changed
        return output

    # Registration: attributes find their place by their type

    def __setattr__(self, name: str, value: Any) -> None:
        places: tuple[tuple[type, str], ...] = ((Parameter, "_parameters"), (Module, "_modules"))
        if "_modules" not in self.__dict__:
            if isinstance(value, Parameter | Module):
                raise AttributeError(f"cannot assign {name} before Module.__init__() call")
            super().__setattr__(name, value)
            return
        for kind, place in places:
            if isinstance(value, kind):
                self._forget(name)
                self.__dict__[place][name] = value
                return
        for place, kinds in (("_parameters", "Parameter"), ("_modules", "Module"), ("_buffers", "Tensor")):
            if name in self.__dict__[place]:
                if value is not None and not (place == "_buffers" and isinstance(value, Tensor)):
                    raise TypeError(
                        f"cannot assign '{type(value).__name__}' as {place[1:-1]} '{name}' ({kinds} or None expected)"
                    )
                self.__dict__[place][name] = value
                return
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for place in ("_parameters", "_buffers", "_modules"):
            if place in own and name in own[place]:
                return own[place][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _forget(self, name: str) -> bool:
        """Take an attribute out of wherever it is."""
        places = (self.__dict__, self._parameters, self._buffers, self._modules)
        found = [place.pop(name) for place in places if name in place]
        return bool(found)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name."""
        self._check_name(name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained but belongs to the module's state, unless it is not `persistent`."""
        self._check_name(name)
        self._buffers[name] = tensor
        if not persistent:
            self._transient.append(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a module under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name(name)
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, name: str) -> None:
        if "." in name or name == "":
            raise KeyError(f"a name can't be empty or contain '.', got: {name!r}")
        if hasattr(self, name) and name not in (*self._parameters, *self._buffers, *self._modules):
            raise KeyError(f"attribute '{name}' already exists")

    # What there is

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with their dotted names."""
        seen = set() if memo is None else memo
        if self in seen:
            return
        if remove_duplicate:
            seen.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(seen, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, each once."""
        seen: list[Module] = []
        for name, module in self._modules.items():
            if module is not None and not any(module is other for other in seen):
                seen.append(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly inside, each once."""
        return (module for _, module in self.named_children())

    def _named(self, place: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, tensor in module.__dict__[place].items():
                if tensor is None or (remove_duplicate and id(tensor) in seen):
                    continue
                seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names; one that is used twice comes once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; AttributeError if there is none."""
        module = self
        for name in filter(None, target.split(".")):
            inner = module._modules.get(name)
            if inner is None:
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = inner
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(f"no parameter `{target}`")
        return parameter

    # State

    def state_dict(self, prefix: str = "") -> OrderedDict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, sharing their memory."""
        state: OrderedDict[str, Tensor] = OrderedDict()
        for path, module in self.named_modules(prefix=prefix.rstrip("."), remove_duplicate=False):
            dot = f"{path}." if path else ""
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    state[dot + name] = parameter.detach()
            for name, buffer in module._buffers.items():
                if buffer is not None and name not in module._transient:
                    state[dot + name] = buffer.detach()
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into the parameters and buffers of the same names.

        RuntimeError, before anything is changed, if shapes differ, or if `strict` and names are missing or unknown.
        """
        if assign:
            raise NotImplementedError("load_state_dict: assign=True is not supported; values are copied")
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if strict and unexpected:
            problems.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        problems += [
            f"size mismatch for {name}: copying a param with shape {state_dict[name].shape} from checkpoint, the shape "
            f"in current model is {tensor.shape}."
            for name, tensor in own.items()
            if name in state_dict and state_dict[name].shape != tensor.shape
        ]
        if problems:
            listing = "\n\t".join(problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listing}")
        with no_grad():
            for name, tensor in own.items():
                if name in state_dict:
                    tensor.copy_(state_dict[name].to(tensor.device))
        return IncompatibleKeys(missing, unexpected)

    # Changes to all of it

    def apply(self: _Self, fn: Callable[[Module], None]) -> _Self:
        """Call `fn` on every module inside and then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self: _Self, mode: bool = True) -> _Self:
        """Training mode for this module and all inside it: dropout drops, batch norm uses the batch."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: _Self) -> _Self:
        """Evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self: _Self, requires_grad: bool = True) -> _Self:
        """Set `requires_grad` of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters: to None, or to zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = parameter.grad.detach()
                parameter.grad.zero_()

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Move parameters and buffers to a device, and those of floating point to a dtype."""
        device, dtype, _ = parse_target(*args, **kwargs)
        for module in self.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    wanted = dtype if tensor.is_floating_point() else None
                    tensor.data = tensor.data.to(device=device, dtype=wanted)
                    if tensor.grad is not None:
                        tensor.grad = tensor.grad.to(device=device, dtype=wanted)
        return self

    def cpu(self: _Self) -> _Self:
        """Move to host memory."""
        return self.to("cpu")

    def cuda(self: _Self, device: int | None = None) -> _Self:
        """Move to a GPU."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def float(self: _Self) -> _Self:
        """Floating-point parameters and buffers as float32."""
        return self.to(dtype=_float32)

    def double(self: _Self) -> _Self:
        """Floating-point parameters and buffers as float64."""
        return self.to(dtype=_float64)

    def half(self: _Self) -> _Self:
        """Floating-point parameters and buffers as float16."""
        return self.to(dtype=_float16)

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call `hook(module, inputs)` before `forward`; what it returns, if anything, replaces the inputs."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Call `hook(module, inputs, output)` after `forward`; what it returns, if anything, replaces the output."""
        return RemovableHandle(self._forward_hooks, hook)

    # Text

    def extra_repr(self) -> str:
        """What `print` shows in the parentheses."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indented(repr(module))}" for name, module in self._modules.items()]
        if len(lines) <= 1 and not children:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*lines, *children]) + "\n)"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
