"""Module: the base of layers and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ddpnet import dtypes
from ddpnet.dtypes import DType
from ddpnet.nn.changes import changes
from ddpnet.nn.hooks import Hooked
from ddpnet.nn.parameter import Buffer, Parameter
from ddpnet.nn.state import IncompatibleKeys, Stateful
from ddpnet.nn.tree import Tree
from ddpnet.ops.conversion import parse_target
from ddpnet.ops.creation import DeviceLike, empty
from ddpnet.tensor import Tensor

__all__ = ["IncompatibleKeys", "Module"]

_Self = TypeVar("_Self", bound="Module")


class Module(Tree, Hooked, Stateful):
    """A part of a model, with parameters, buffers and other modules as attributes (`torch.nn.Module`).

    Subclasses call `super().__init__()`, assign their parts, and write `forward`.
    """

    training: bool
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        set_plain = super().__setattr__
        set_plain("training", True)
        set_plain("_parameters", {})
        set_plain("_buffers", {})
        set_plain("_modules", {})
        set_plain("_non_persistent_buffers_set", [])
        self._start_hooks()
        self._start_state()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The computation; every subclass writes its own."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # Registration: attributes find their place by their type

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            if isinstance(value, Parameter | Module | Buffer):
                kind = "parameters" if isinstance(value, Parameter) else "module"
                raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
            super().__setattr__(name, value)
            return
        if self.__dict__.get(name, changes) is not value and self._buffers.get(name, changes) is not value:
            changes.count += 1  # but not for `self.seen += 1`, which sets a buffer to itself
        if isinstance(value, Parameter):
            self._forget(name, self._parameters)
            self.register_parameter(name, value)
            return
        if isinstance(value, Module):
            self._forget(name, self._modules)
            self._modules[name] = value
            return
        if isinstance(value, Buffer):
            self._forget(name, self._buffers)
            self.register_buffer(name, value, value.persistent)
            return
        places: tuple[tuple[dict[str, Any], str], ...] = (
            (self._parameters, "torch.nn.Parameter"),
            (self._modules, "torch.nn.Module"),
            (self._buffers, "torch.Tensor"),
        )
        for place, kinds in places:
            if name in place:
                if value is not None and not (place is self._buffers and isinstance(value, Tensor)):
                    kind = {"torch.nn.Parameter": "parameter", "torch.nn.Module": "child module"}.get(kinds, "buffer")
                    raise TypeError(
                        f"cannot assign '{type(value).__name__}' as {kind} '{name}' ({kinds} or None expected)"
                    )
                place[name] = value
                return
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" in own:  # set by `__init__`, as the others
            if name in own["_parameters"]:
                return own["_parameters"][name]
            if name in own["_modules"]:
                return own["_modules"][name]
            if name in own["_buffers"]:
                return own["_buffers"][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        if any(name in place for place in (self._parameters, self._buffers, self._modules)):
            self._forget(name)
            changes.count += 1
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[0].isdigit())

    def compiled_part(self) -> Module:
        """The module whose `forward` is recorded where this one is compiled."""
        return self

    def _forget(self, name: str, kept: dict[str, Any] | None = None) -> None:
        """Take an attribute out of wherever it is, unless it is in `kept`, where it will keep its place."""
        for place in (self.__dict__, self._parameters, self._buffers, self._modules):
            if place is not kept:
                place.pop(name, None)
        if name in self._non_persistent_buffers_set:
            self._non_persistent_buffers_set.remove(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name."""
        self._check_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = param
        changes.count += 1

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained but belongs to the module's state, unless it is not `persistent`."""
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        changes.count += 1
        transient = self._non_persistent_buffers_set
        if persistent and name in transient:
            transient.remove(name)
        elif not persistent and name not in transient:
            transient.append(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a module under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        self._modules[name] = module
        changes.count += 1

    def register_module(self, name: str, module: Module | None) -> None:
        """As `add_module`."""
        self.add_module(name, module)

    def _check_name(self, name: str, kind: str, place: dict[str, Any]) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in place:
            raise KeyError(f"attribute '{name}' already exists")

    # Changes to all of it

    def apply(self: _Self, fn: Callable[[Module], None]) -> _Self:
        """Call `fn` on every module inside and then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: _Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Self:
        """Replace the values of parameters, their gradients and buffers by what `fn` gives; parameters stay objects."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for tensor in (*self._parameters.values(), *self._buffers.values()):
            if tensor is not None:
                tensor.data = fn(tensor.data)
                if tensor.grad is not None:
                    tensor.grad = fn(tensor.grad)
        return self

    def train(self: _Self, mode: bool = True) -> _Self:
        """Training mode for this module and all inside it: dropout drops, batch norm uses the batch."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: _Self) -> _Self:
        """Evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self: _Self, requires_grad: bool = True) -> _Self:
        """Set `requires_grad` of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
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
        device, dtype, _ = parse_target(*args, **kwargs)[:3]
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )
        return self._apply(lambda x: x.to(device=device, dtype=dtype if x.is_floating_point() else None))

    def to_empty(self: _Self, *, device: DeviceLike, recurse: bool = True) -> _Self:
        """Move to a device without the values."""
        return self._apply(lambda x: empty(x.shape, dtype=x.dtype, device=device), recurse)

    def type(self: _Self, dst_type: DType) -> _Self:
        """All parameters and buffers in one dtype."""
        return self._apply(lambda x: x.to(dst_type))

    def cpu(self: _Self) -> _Self:
        """Move to host memory."""
        return self.to("cpu")

    def cuda(self: _Self, device: Any = None) -> _Self:
        """Move to a GPU."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device or "cuda")

    def float(self: _Self) -> _Self:
        """Floating-point parameters and buffers as float32."""
        return self.to(dtypes.float32)

    def double(self: _Self) -> _Self:
        """Floating-point parameters and buffers as float64."""
        return self.to(dtypes.float64)

    def half(self: _Self) -> _Self:
        """Floating-point parameters and buffers as float16."""
        return self.to(dtypes.float16)

    def bfloat16(self: _Self) -> _Self:
        """Floating-point parameters and buffers as bfloat16."""
        return self.to(dtypes.bfloat16)

    def share_memory(self: _Self) -> _Self:
        """Not supported: NotImplementedError."""
        raise NotImplementedError("Module.share_memory: parameters are not shared between processes; use ddpnet run")

    compile: Callable[..., None]
    """As `torch.compile`, in place: `compiler/` gives it."""

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
