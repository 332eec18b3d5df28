"""Copies of what the view functions give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ddpnet.ops.dims import one_axis
from ddpnet.ops.indexing import Slice
from ddpnet.ops.shape import expand, permute, squeeze, t, transpose, unsqueeze
from ddpnet.ops.splitting import narrow, select, split, split_with_sizes, unbind
from ddpnet.tensor import Tensor, method

__all__ = [
    "alias_copy",
    "detach_copy",
    "diagonal_copy",
    "expand_copy",
    "narrow_copy",
    "permute_copy",
    "select_copy",
    "slice_copy",
    "split_copy",
    "split_with_sizes_copy",
    "squeeze_copy",
    "t_copy",
    "transpose_copy",
    "unbind_copy",
    "unsqueeze_copy",
]


def _copy(function: Callable[..., Any], name: str) -> Any:
    def copied(input: Tensor, *args: Any, **options: Any) -> Any:
        result = function(input, *args, **options)
        return tuple(part.clone() for part in result) if isinstance(result, tuple) else result.clone()

    copied.__name__ = copied.__qualname__ = f"{name}_copy"
    copied.__doc__ = f"`{name}` as a copy instead of a view."
    return copied


def _slice(input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    before = (slice(None),) * one_axis(dim, input.ndim)
    return Slice.apply(input, key=(*before, slice(start, end, step), Ellipsis))


alias_copy = _copy(lambda input: input, "alias")
detach_copy = _copy(lambda input: input.detach(), "detach")
diagonal_copy = _copy(lambda input, *args, **options: input.diagonal(*args, **options), "diagonal")
expand_copy, permute_copy, squeeze_copy = _copy(expand, "expand"), _copy(permute, "permute"), _copy(squeeze, "squeeze")
t_copy, transpose_copy, unsqueeze_copy = _copy(t, "t"), _copy(transpose, "transpose"), _copy(unsqueeze, "unsqueeze")
narrow_copy = method(_copy(narrow, "narrow"))
select_copy, slice_copy = _copy(select, "select"), _copy(_slice, "slice")
split_copy, split_with_sizes_copy = _copy(split, "split"), _copy(split_with_sizes, "split_with_sizes")
unbind_copy = _copy(unbind, "unbind")
