"""Recurrent layers over a whole sequence: one direction of one layer is one operation (Hochreiter and Schmidhuber,
1997; Cho et al., 2014).

The input's part of all gates comes as one matrix `p` (rows, gates): `batch_sizes[t]` rows for time t, one after the
other, never more than the time before. So a batch of sequences of different lengths is computed without padding; a
sequence that has ended, or has not begun in the reverse direction, keeps its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.autograd.backward import grad
from ddpnet.autograd.grad_mode import enable_grad
from ddpnet.kernels import kernels_for
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.joining import cat
from ddpnet.ops.linalg import same_dtype
from ddpnet.ops.linear import linear
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__: list[str] = []


class _Recurrent(Op):
    """What the cells share: the walk over time, and the second order by recorded steps."""

    recorded: Any
    """The outputs as recorded operations on the inputs; subclasses write it."""
    steps: list[tuple[slice, int]]
    """For each time, in the order of the direction: its rows and how many they are."""

    def _order(self, batch_sizes: Sequence[int], reverse: bool) -> None:
        ends = np.cumsum(batch_sizes).tolist()
        steps = [(slice(end - n, end), n) for end, n in zip(ends, batch_sizes, strict=True)]
        self.steps = steps[::-1] if reverse else steps

    def differentiable_backward(self, *gradients):
        """The layer once more, by recorded steps, and their gradients."""
        inputs = self.saved[: len(self.needs)]
        with enable_grad():
            outputs = self.recorded(*inputs)
        wanted = [x for x, need in zip(inputs, self.needs, strict=True) if need]
        found = iter(grad(outputs, wanted, gradients, create_graph=True, allow_unused=True))
        return tuple(next(found) if need else None for need in self.needs)

    def _unrolled(self, cell: Any, states: tuple[Tensor, ...], p: Tensor) -> tuple[Tensor, ...]:
        """The output (rows, hidden) and final states of `cell(p_t, *states)`, recorded."""
        parts = []
        for rows, n in self.steps:
            new = cell(p[rows], *(state[:n] for state in states))
            states = tuple(y if n == len(old) else cat((y, old[n:])) for y, old in zip(new, states, strict=True))
            parts.append((rows.start, new[0]))
        return cat([y for _, y in sorted(parts, key=lambda part: part[0])]), *states


class Rnn(_Recurrent):
    """h = tanh(p_t + h @ w.T), or relu; p (rows, H), h (B, H), w (H, H); gives (rows, H) and the last h."""

    graph_name = "RnnBackward0"
    differentiable = (True, True)

    def forward(self, p, h, w, batch_sizes, reverse, relu):
        self._order(batch_sizes, reverse)
        self.relu = relu
        kernels = kernels_for(p)
        product = kernels.repeated_product(w.T, len(p))
        y, last = p.copy(), h.copy()
        before, part = np.empty_like(y), np.empty_like(last)
        for rows, n in self.steps:
            before[rows] = last[:n]
            product(last[:n], part[:n])
            a = y[rows]
            if relu:
                a += part[:n]
                np.maximum(a, 0, out=a)
            else:
                kernels.tanh_of_sum(a.reshape(-1), part[:n].reshape(-1))
            last[:n] = a
        self.save(p, h, w, y, before)
        return y, last

    def backward(self, g, g_last):
        _, _, w, y, before = self.saved
        product = kernels_for(g).repeated_product(w, len(g))
        da, dh = np.empty_like(y), g_last.copy()
        slope = (y > 0).astype(y.dtype) if self.relu else 1 - y * y
        for rows, n in reversed(self.steps):
            dh[:n] += g[rows]
            np.multiply(dh[:n], slope[rows], out=da[rows])
            product(da[rows], dh[:n])
        return da, dh, da.T @ before if self.needs[2] else None

    def recorded(self, p, h, w):
        def cell(x, h):
            a = x + h @ w.T
            return (a.relu() if self.relu else a.tanh(),)

        return self._unrolled(cell, (h,), p)


class Lstm(_Recurrent):
    """Long short-term memory: p (rows, 4H) are the gates input, forget, cell, output; h (B, H) or (B, P), c (B, H),
    w (4H, H or P), w_projection (P, H) or None; gives all outputs, the last h and the last c."""

    graph_name = "LstmBackward0"
    differentiable = (True, True, True)

    def forward(self, p, h, c, w, w_projection, batch_sizes, reverse):
        self._order(batch_sizes, reverse)
        kernels = kernels_for(p)
        product, step = kernels.repeated_product(w.T, len(p)), kernels.lstm_step
        gates = p.copy()
        cells, before_c = (np.empty_like(gates, shape=(len(p), c.shape[1])) for _ in range(2))
        y, before_h = (np.empty_like(gates, shape=(len(p), h.shape[1])) for _ in range(2))
        output = y
        if w_projection is not None:
            output, project = np.empty_like(cells), kernels.repeated_product(w_projection.T, len(p))
        last_h, last_c, part = h.copy(), c.copy(), np.empty_like(gates, shape=(len(h), p.shape[1]))
        for rows, n in self.steps:
            before_h[rows] = last_h[:n]
            product(last_h[:n], part[:n])
            step(gates[rows], part[:n], last_c[:n], before_c[rows], cells[rows], output[rows])
            if w_projection is not None:
                project(output[rows], y[rows])
            last_h[:n] = y[rows]
        self.save(p, h, c, w, w_projection, gates, cells, before_h, before_c)
        return y, last_h, last_c

    def backward(self, g, g_h, g_c):
        _, _, _, w, w_projection, gates, cells, before_h, before_c = self.saved
        kernels = kernels_for(g)
        product, step = kernels.repeated_product(w, len(g)), kernels.lstm_step_backward
        da, dh, dc = np.empty_like(gates), g_h.copy(), g_c.copy()
        d_projection = None
        if w_projection is not None:
            outward, inward = np.empty_like(before_h), np.empty_like(dc)  # gradients behind the projection, and before
            project = kernels.repeated_product(w_projection, len(g))
        for rows, n in reversed(self.steps):
            d = dh[:n]
            d += g[rows]
            if w_projection is not None:
                outward[rows] = d
                project(d, inward[:n])
                d = inward[:n]
            step(d, dc[:n], gates[rows], before_c[rows], cells[rows], da[rows])
            product(da[rows], dh[:n])
        if w_projection is not None and self.needs[4]:
            d_projection = outward.T @ (gates[:, -cells.shape[1] :] * cells)
        return da, dh, dc, da.T @ before_h if self.needs[3] else None, d_projection

    def recorded(self, p, h, c, w, w_projection):
        def cell(x, h, c):
            i, f, u, o = (x + h @ w.T).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * u.tanh()
            y = o.sigmoid() * c.tanh()
            return (y if w_projection is None else y @ w_projection.T), c

        return self._unrolled(cell, (h, c), p)


class Gru(_Recurrent):
    """Gated recurrent units: p (rows, 3H) are the gates reset, update, new; h (B, H), w (3H, H), b (3H,) or None, the
    hidden state's bias; gives all outputs and the last h."""

    graph_name = "GruBackward0"
    differentiable = (True, True)

    def forward(self, p, h, w, b, batch_sizes, reverse):
        self._order(batch_sizes, reverse)
        kernels = kernels_for(p)
        product, step = kernels.repeated_product(w.T, len(p)), kernels.gru_step
        gates, last = p.copy(), h.copy()
        part = np.empty_like(gates, shape=(len(h), p.shape[1]))
        y, before, inner = (np.empty_like(gates, shape=(len(p), h.shape[1])) for _ in range(3))
        for rows, n in self.steps:
            product(last[:n], part[:n])
            if b is not None:
                part[:n] += b
            step(gates[rows], part[:n], last[:n], before[rows], inner[rows], y[rows])
        self.save(p, h, w, b, gates, before, inner)
        return y, last

    def backward(self, g, g_last):
        _, _, w, _, gates, before, inner = self.saved
        kernels = kernels_for(g)
        product, step = kernels.repeated_product(w, len(g)), kernels.gru_step_backward
        da, recurrent, dh = np.empty_like(gates), np.empty_like(gates), g_last.copy()
        part = np.empty_like(dh)
        for rows, n in reversed(self.steps):
            d = dh[:n]
            d += g[rows]
            step(d, gates[rows], before[rows], inner[rows], da[rows], recurrent[rows])
            product(recurrent[rows], part[:n])
            d += part[:n]
        return (
            da,
            dh,
            recurrent.T @ before if self.needs[2] else None,
            recurrent.sum(axis=0) if self.needs[3] else None,
        )

    def recorded(self, p, h, w, b):
        def cell(x, h):
            recurrent = linear(h, w, b)
            size = h.shape[1]
            both = (x[:, : 2 * size] + recurrent[:, : 2 * size]).sigmoid()
            z = both[:, size:]
            new = (x[:, 2 * size :] + both[:, :size] * recurrent[:, 2 * size :]).tanh()
            return (new + z * (h - new),)

        return self._unrolled(cell, (h,), p)


def _dtype_of_layer(fast, mode, x, states, *rest):
    """Inside an autocast: its dtype, but GRU has that of the state, as in PyTorch."""
    return states[0].array.dtype if mode == "GRU" else fast


def _dtype_of_cell(fast, mode, x, states, *rest):
    return fast if mode.startswith("RNN") else states[0].array.dtype


@autocasts(_dtype_of_cell)
def through_cell(mode: str, x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One step over x (B, in): the new states; `mode` and `weights` as for `through_layer`."""
    return through_layer(mode, x, states, weights, None, [x.array.shape[0]], False)[1:]


@autocasts(_dtype_of_layer)
def through_layer(
    mode: str,
    x: Tensor,
    states: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    projection: Tensor | None,
    batch_sizes: Sequence[int],
    reverse: bool,
) -> tuple[Tensor, ...]:
    """One direction of one layer over rows x (sum of batch_sizes, in): the outputs of all rows, and the last states.

    `mode` is RNN_TANH, RNN_RELU, LSTM or GRU; `weights` are w_ih, w_hh and, with biases, b_ih, b_hh.
    """
    for tensor in (*states, *weights, *(() if projection is None else (projection,))):
        same_dtype(x, tensor, mode)
    w_ih, w_hh, *biases = weights
    b_ih, b_hh = biases or (None, None)
    if is_half(x.array):  # NumPy multiplies such matrices slowly, and would round after every step
        results = through_layer(
            mode,
            x.float(),
            tuple(state.float() for state in states),
            tuple(weight.float() for weight in weights),
            None if projection is None else projection.float(),
            batch_sizes,
            reverse,
        )
        return tuple(y.to(x.dtype) for y in results)
    if mode == "GRU":
        return Gru.apply(linear(x, w_ih, b_ih), *states, w_hh, b_hh, batch_sizes=batch_sizes, reverse=reverse)
    bias = None if b_ih is None or b_hh is None else b_ih + b_hh
    p = linear(x, w_ih, bias)
    if mode == "LSTM":
        return Lstm.apply(p, *states, w_hh, projection, batch_sizes=batch_sizes, reverse=reverse)
    return Rnn.apply(p, *states, w_hh, batch_sizes=batch_sizes, reverse=reverse, relu=mode == "RNN_RELU")
