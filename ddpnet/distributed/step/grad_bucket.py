"""GradBucket: what a communication hook of DistributedDataParallel gets, and what it gives back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ddpnet.distributed.collectives.work import Future
from ddpnet.tensor import Tensor

Hook = Callable[[Any, "GradBucket"], Future]
"""Called as `hook(state, bucket)` when this rank has all gradients of a bucket; the Future is of the new buffer."""


class GradBucket:
    """Gradients of one dtype, side by side in a flat tensor (`torch.distributed.GradBucket`)."""

    def __init__(self, index: int, buffer: Tensor, places: Sequence[slice], parameters: Sequence[Tensor], last: bool):
        self._index, self._buffer, self._last = index, buffer, last
        self._places, self._parameters = list(places), list(parameters)

    def index(self) -> int:
        """The number of the bucket; the gradients that come first are in bucket 0."""
        return self._index

    def buffer(self) -> Tensor:
        """The flat tensor of all gradients: this rank's own, not divided by anything."""
        return self._buffer

    def gradients(self) -> list[Tensor]:
        """The parts of the buffer, each in the shape of its parameter; they share its memory."""
        parts = zip(self._places, self._parameters, strict=True)
        return [self._buffer[place].view(*parameter.shape) for place, parameter in parts]

    def parameters(self) -> list[Tensor]:
        """The parameters, in the order of their gradients."""
        return list(self._parameters)

    def is_last(self) -> bool:
        """Whether this is the last bucket of the step."""
        return self._last

    def set_buffer(self, buffer: Tensor) -> None:
        """Put another flat tensor of as many elements in place of the buffer."""
        self._buffer = buffer


def check_hook(hook: Any) -> None:
    """TypeError for what cannot be called; ValueError for annotations of another kind of hook."""
    if not callable(hook):
        raise TypeError("Communication hook must be callable.")
    signature = inspect.signature(hook)
    if len(signature.parameters) != 2:
        raise ValueError(f"Communication hook: expected a function of (state, bucket), got {signature}")
    bucket = list(signature.parameters.values())[1].annotation
    if bucket is not inspect.Parameter.empty and not _is_meant(bucket, GradBucket):
        raise ValueError("Communication hook: bucket annotation should be dist.GradBucket.")
    returned = signature.return_annotation
    if returned is not inspect.Signature.empty and not _is_meant(returned, Future):
        raise ValueError("Communication hook: return annotation should be torch.futures.Future[torch.Tensor].")


def run_hook(hook: Hook, state: Any, bucket: GradBucket) -> Callable[[], None]:
    """Call a hook; the function that is returned waits for its Future, and copies what came into the bucket's memory.

    RuntimeError if the hook returns something else, or if the Future is not of one tensor that fills the buffer.
    """
    memory = bucket.buffer()
    future = hook(state, bucket)
    if not isinstance(future, Future):
        raise RuntimeError(
            "DDP communication hook's callback must return a torch.futures.Future object, but got "
            f"{type(future).__name__}"
        )

    def finish() -> None:
        result = future.wait()
        if not isinstance(result, Tensor) or result.array.size != memory.array.size:
            told = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise RuntimeError(
                f"DDP communication hook: expected a Future of one tensor with {memory.array.size} elements, got {told}"
            )
        if result.array is not memory.array:
            memory.array[...] = result.array.reshape(-1)

    return finish


def _is_meant(annotation: Any, kind: type) -> bool:
    """Whether an annotation, which may be a text, names a class."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))
    return annotation is kind or text.partition("[")[0].rpartition(".")[2] == kind.__name__
