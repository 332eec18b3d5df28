"""Modules without their initial values."""

from __future__ import annotations

import inspect
from typing import Any

from ddpnet.nn.module import Module


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module whose values are to be loaded; RuntimeError for a class without `device`.

    The values are drawn nevertheless: devices without memory are not supported.
    """
    if not isinstance(module_cls, type) or not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    return module_cls(*args, **kwargs)
