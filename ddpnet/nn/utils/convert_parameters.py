"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ddpnet.ops.joining import cat
from ddpnet.tensor import Tensor


def _same_place(parameters: list[Tensor]) -> None:
    places = {str(p.device) for p in parameters}
    if len(places) > 1:
        raise TypeError(f"Found two parameters on different devices, this is currently not supported: {sorted(places)}")


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other, with their history."""
    parts = list(parameters)
    _same_place(parts)
    return cat([p.reshape(-1) for p in parts])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Let parameters share the memory of the parts of a vector that belong to them; TypeError if it is none."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    parts = list(parameters)
    _same_place(parts)
    start = 0
    for parameter in parts:
        end = start + parameter.numel()
        parameter.data = vec.data[start:end].reshape(parameter.shape)
        start = end
