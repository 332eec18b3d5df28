"""Batches of sequences of different lengths: packed one time after the other, or padded (`torch.nn.utils.rnn`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ddpnet.ops.creation import full
from ddpnet.ops.joining import cat, stack
from ddpnet.tensor import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences without padding: `data` has the first elements of all sequences, then the second ones, and so on.

    `batch_sizes[t]` sequences reach time t; `sorted_indices` sorts them by falling length, and
    `unsorted_indices` undoes it.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            raise ValueError("PackedSequence: batch_sizes is missing")
        if batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequences in nn.utils.rnn."
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The sequences in another dtype or on another device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [None if x is None else x.to(data.device) for x in (self.sorted_indices, self.unsorted_indices)]
        return PackedSequence(data, self.batch_sizes, *indices)

    def cpu(self) -> PackedSequence:
        """The sequences in host memory."""
        return self.to("cpu")

    def cuda(self) -> PackedSequence:
        """The sequences on a GPU."""
        return self.to("cuda")

    def pin_memory(self) -> PackedSequence:
        """Itself: host memory is not pinned."""
        return self

    def double(self) -> PackedSequence:
        """The sequences as float64."""
        return self._with(self.data.double())

    def float(self) -> PackedSequence:
        """The sequences as float32."""
        return self._with(self.data.float())

    def half(self) -> PackedSequence:
        """The sequences as float16."""
        return self._with(self.data.half())

    def long(self) -> PackedSequence:
        """The sequences as int64."""
        return self._with(self.data.long())

    def int(self) -> PackedSequence:
        """The sequences as int32."""
        return self._with(self.data.int())

    def short(self) -> PackedSequence:
        """The sequences as int16."""
        return self._with(self.data.short())

    def char(self) -> PackedSequence:
        """The sequences as int8."""
        return self._with(self.data.char())

    def byte(self) -> PackedSequence:
        """The sequences as uint8."""
        return self._with(self.data.byte())

    def _with(self, data: Tensor) -> PackedSequence:
        return PackedSequence(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Never: host memory is not pinned."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another, int64; None of None."""
    if permutation is None:
        return None
    return Tensor(permutation.array.argsort(kind="stable"))


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack input (T, B, ...), or (B, T, ...) with `batch_first`, of which sequence b has `lengths[b]` elements.

    RuntimeError for lengths that are not falling with `enforce_sorted`, or not positive.
    """
    extents = np.asarray(lengths.detach().cpu().array if isinstance(lengths, Tensor) else list(lengths), np.int64)
    sorted_indices = None
    if not enforce_sorted:
        order = np.argsort(-extents, kind="stable")
        extents = extents[order]
        sorted_indices = Tensor(order.astype(np.int64)).to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if batch_first:
        input = input.transpose(0, 1)
    batch = input.array.shape[1]
    if not input.array.size:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(extents) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(extents)} (batch_size={batch})"
        )
    if extents[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if (np.diff(extents) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if extents[0] > len(input):
        raise RuntimeError(f"Expected lengths of at most {len(input)}, the padded length, but got {extents[0]}")
    sizes = (extents[None] > np.arange(extents[0])[:, None]).sum(axis=1)
    times, members = np.nonzero(np.arange(batch)[None] < sizes[:, None])
    where = Tensor(times * batch + members).to(input.device)
    data = input.reshape(len(input) * batch, *input.shape[2:]).index_select(0, where)
    return PackedSequence(data, Tensor(sizes.astype(np.int64)), sorted_indices, None)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(padded sequences (T, B, ...), or (B, T, ...) with `batch_first`, and their lengths, int64 (B,)).

    T is the longest length, or `total_length`; ValueError where that is shorter.
    """
    data, sizes = sequence.data, sequence.batch_sizes.array
    length, batch = len(sizes), int(sizes[0])
    if total_length is not None:
        if total_length < length:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {length}"
            )
        length = total_length
    padding = full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    places = np.full((length, batch), len(data), np.int64)  # the row of padding
    starts = np.cumsum(sizes) - sizes
    for t, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        places[t, :size] = np.arange(start, start + size)
    lengths = (sizes[:, None] > np.arange(batch)[None]).sum(axis=0).astype(np.int64)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices.cpu().array
        places, lengths = places[:, order], lengths[order]
    if batch_first:
        places = places.T
    where = Tensor(np.ascontiguousarray(places).reshape(-1)).to(data.device)
    padded = cat((data, padding)).index_select(0, where)
    return padded.reshape(*places.shape, *data.shape[1:]), Tensor(lengths)


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L_b, ...) as one tensor (T, B, ...), or (B, T, ...) with `batch_first`; T is the longest length."""
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    parts = list(sequences)
    if not parts:
        raise RuntimeError("received an empty list of sequences")
    longest = max(len(x) for x in parts)
    padded = []
    for x in parts:
        if len(x) < longest:
            shape = (longest - len(x), *x.shape[1:])
            padding = full(shape, padding_value, dtype=x.dtype, device=x.device)
            x = cat((x, padding) if padding_side == "right" else (padding, x))
        padded.append(x)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, each without its padding."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [x[: int(n)] for x, n in zip(padded_sequences, lengths.tolist(), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L_b, ...)."""
    lengths = [len(x) for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
