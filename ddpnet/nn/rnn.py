"""Recurrent layers: stacks of RNN, LSTM and GRU in one or both directions."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ddpnet.dtypes import DType
from ddpnet.nn import init
from ddpnet.nn.module import Module
from ddpnet.nn.parameter import Parameter
from ddpnet.nn.utils.rnn import PackedSequence
from ddpnet.ops.creation import DeviceLike, empty, zeros
from ddpnet.ops.dropouts import dropout as drop
from ddpnet.ops.joining import cat, stack
from ddpnet.ops.recurrent import through_layer
from ddpnet.tensor import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: weights named `weight_ih_l0`, `weight_hh_l0_reverse` and so on, and the way
    through layers and directions.

    Input (T, N, input_size), (N, T, input_size) with `batch_first`, (T, input_size), or a PackedSequence.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        _check(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._all_weights: list[list[str]] = []
        gates, width = _GATES[mode] * hidden_size, proj_size or hidden_size
        place = {"device": device, "dtype": dtype}
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else width * (2 if bidirectional else 1)
            for suffix in ("", "_reverse")[: 2 if bidirectional else 1]:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, inputs), "weight_hh": (gates, width)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, f"{name}_l{layer}{suffix}", Parameter(empty(shape, **place)))
                self._all_weights.append([f"{name}_l{layer}{suffix}" for name in shapes])
        self.reset_parameters()

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [weight for weights in self.all_weights for weight in weights]

    def flatten_parameters(self) -> None:
        """Nothing to do: weights need not lie side by side in memory."""

    def reset_parameters(self) -> None:
        """Draw new initial values, even in ±1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        name = self._get_name()
        if input.ndim not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        single = input.ndim == 2
        states = None if hx is None else self._states(hx)
        if states is not None:
            for state in states:
                if state.ndim != input.ndim:
                    kind, dims = ("unbatched 2-D", 2) if single else ("batched 3-D", 3)
                    raise RuntimeError(f"For {kind} input, hx should also be {dims}-D but got {state.ndim}-D tensor")
        if single:
            input = input.unsqueeze(1)
            states = None if states is None else tuple(state.unsqueeze(1) for state in states)
        elif self.batch_first:
            input = input.transpose(0, 1)
        self._check_input(input)
        length, batch = input.array.shape[:2]
        if length == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        states = self._initial(input, batch) if states is None else states
        self._check_states(states, batch)
        y, states = self._through(input.reshape(length * batch, -1), states, [batch] * length)
        y = y.reshape(length, batch, -1)
        if single:
            y, states = y.squeeze(1), tuple(state.squeeze(1) for state in states)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, self._result(states)

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, sorted_indices, unsorted_indices = input
        sizes = batch_sizes.tolist()
        if data.ndim != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {data.ndim}")
        self._check_input(data)
        states = self._initial(data, sizes[0]) if hx is None else self._states(hx)
        if hx is not None and sorted_indices is not None:
            states = tuple(state.index_select(1, sorted_indices) for state in states)
        self._check_states(states, sizes[0])
        y, states = self._through(data, states, sizes)
        if unsorted_indices is not None:
            states = tuple(state.index_select(1, unsorted_indices) for state in states)
        return PackedSequence(y, batch_sizes, sorted_indices, unsorted_indices), self._result(states)

    def _through(
        self, x: Tensor, states: tuple[Tensor, ...], batch_sizes: list[int]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The last layer's outputs for rows x, and the last states of all layers and directions."""
        last: list[tuple[Tensor, ...]] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                number = layer * directions + direction
                weights = tuple(getattr(self, name) for name in self._all_weights[number])
                projection = weights[-1] if self.proj_size else None
                y, *new = through_layer(
                    self.mode,
                    x,
                    tuple(state[number] for state in states),
                    weights[:-1] if self.proj_size else weights,
                    projection,
                    batch_sizes,
                    direction == 1,
                )
                outputs.append(y)
                last.append(tuple(new))
            x = outputs[0] if directions == 1 else cat(outputs, 1)
            if self.dropout and layer < self.num_layers - 1:
                x = drop(x, self.dropout, self.training)
        return x, tuple(stack(parts) for parts in zip(*last, strict=True))

    # An LSTM has two states, the others one

    def _states(self, hx: Any) -> tuple[Tensor, ...]:
        return (hx,)

    def _result(self, states: tuple[Tensor, ...]) -> Any:
        return states[0]

    def _widths(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def _initial(self, input: Tensor, batch: int) -> tuple[Tensor, ...]:
        count = self.num_layers * (2 if self.bidirectional else 1)
        return tuple(zeros(count, batch, width, dtype=input.dtype, device=input.device) for width in self._widths())

    def _check_states(self, states: tuple[Tensor, ...], batch: int) -> None:
        count = self.num_layers * (2 if self.bidirectional else 1)
        for number, (state, width) in enumerate(zip(states, self._widths(), strict=True)):
            if state.array.shape != (count, batch, width):
                which = f"hidden[{number}]" if len(states) > 1 else "hidden"
                raise RuntimeError(f"Expected {which} size {(count, batch, width)}, got {list(state.array.shape)}")

    def _check_input(self, input: Tensor) -> None:
        weight = getattr(self, self._all_weights[0][0])
        if input.dtype is not weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                f"input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        if input.array.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.array.shape[-1]}"
            )

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        for name, default in (defaults | {"bidirectional": False}).items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


def _check(
    mode: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
    proj_size: int,
) -> None:
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value, kind in (
        ("bias", bias, bool),
        ("batch_first", batch_first, bool),
        ("input_size", input_size, int),
        ("hidden_size", hidden_size, int),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    if mode not in _GATES:
        raise ValueError(f"Unrecognized RNN mode: {mode}")


class RNN(RNNBase):
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman, 1990)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            self_nonlinearity, args = args[3], args[:3] + args[4:]
            if "nonlinearity" in kwargs:
                raise TypeError("RNN.__init__() got multiple values for argument 'nonlinearity'")
        else:
            self_nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self_nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{self_nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{self_nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = self_nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); the states are a pair (h, c)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def _states(self, hx: Any) -> tuple[Tensor, ...]:
        return tuple(hx)

    def _result(self, states: tuple[Tensor, ...]) -> Any:
        return states

    def _widths(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
