"""What the operands and options of a convolution have to be."""

from __future__ import annotations

from functools import lru_cache

from ddpnet.dtypes import category
from ddpnet.tensor import Tensor


def same_padding(
    padding: str, kernel: tuple[int, ...], dilation: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The zeros to add on each side, and those to add behind in addition."""
    none = (0,) * len(kernel)
    if padding == "valid":
        return none, none
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'; expected 'valid' or 'same'")
    if any(step != 1 for step in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [gap * (extent - 1) for gap, extent in zip(dilation, kernel, strict=True)]
    return tuple(zeros // 2 for zeros in total), tuple(zeros % 2 for zeros in total)


def check_operands(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    dims: int,
) -> None:
    """RuntimeError for dimensions, dtypes and options that no convolution has."""
    if input.array.ndim != dims + 2 or weight.array.ndim != dims + 2:
        raise RuntimeError(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to conv{dims}d with a weight of "
            f"{dims + 2} dimensions, but got input of size: {list(input.shape)}, weight of size {list(weight.shape)}"
        )
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if min(stride) < 1:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) < 1:
        raise RuntimeError("dilation should be greater than zero")
    for other, name in ((weight, "weight"), (bias, "bias")):
        if other is not None and other.array.dtype != input.array.dtype:
            raise RuntimeError(f"Input type ({input.dtype}) and {name} type ({other.dtype}) should be the same")
    if category(input.array.dtype) < 2 and input.dtype.name != "int64":
        raise NotImplementedError(f'"convolution" not implemented for {input.dtype.scalar_name!r}')


@lru_cache(1024)  # the shapes of a step are those of the step before
def check_channels(
    input: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
    padding: tuple[int, ...],
    groups: int,
    channels: int,
    outputs: int,
) -> None:
    """RuntimeError where the channels of operands of these shapes do not fit `groups`."""
    x, w = list(input), list(weight)
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if w[0] < groups or w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0 and divisible by {groups}, "
            f"but got weight of size {w} instead"
        )
    if x[1] != channels:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {w}, expected input{x} to have {channels} channels, but got {x[1]} "
            "channels instead"
        )
    if bias is not None and bias != (outputs,):
        raise RuntimeError(
            f"Given weight of size {w}, expected bias to be 1-dimensional with {outputs} elements, but got bias of "
            f"size {list(bias)} instead"
        )


@lru_cache(1024)
def check_window(
    extents: tuple[int, ...], kernel: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    """RuntimeError for a kernel that is larger than the padded input."""
    padded = [extent + 2 * zeros for extent, zeros in zip(extents, padding, strict=True)]
    window = [gap * (extent - 1) + 1 for gap, extent in zip(dilation, kernel, strict=True)]
    if min(kernel) < 1:
        raise RuntimeError(f"kernel size should be greater than zero, but got kernel of size {list(kernel)}")
    if any(have < need for have, need in zip(padded, window, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
            f"({' x '.join(map(str, window))}). Kernel size can't be greater than actual input size"
        )
