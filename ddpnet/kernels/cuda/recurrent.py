"""One time step of the recurrent cells, but for the matrix products."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + cupy.exp(-x))


def tanh_of_sum(x: Array, y: Array) -> None:
    """x = tanh(x + y) in place, (n,)."""
    x += y
    cupy.tanh(x, out=x)


def lstm_step(gates: Array, recurrent: Array, c: Array, before: Array, squashed: Array, y: Array) -> None:
    """From the input's and the hidden state's part of the gates (n, 4H) and the cells c (n, H): the gates and the cells
    in place, the cells `before`, their tanh `squashed` and the output `y` (n, H)."""
    hidden = c.shape[1]
    gates += recurrent
    i, f, u, o = (gates[:, k * hidden : (k + 1) * hidden] for k in range(4))
    for gate in (i, f, o):
        gate[...] = _sigmoid(gate)
    cupy.tanh(u, out=u)
    before[...] = c
    c *= f
    c += i * u
    cupy.tanh(c, out=squashed)
    cupy.multiply(o, squashed, out=y)


def lstm_step_backward(d: Array, dc: Array, gates: Array, before: Array, squashed: Array, da: Array) -> None:
    """From the gradients of the output and of the cells (n, H): those of the gates' sums `da` (n, 4H), and, in place of
    `dc`, that of the cells before."""
    hidden = dc.shape[1]
    i, f, u, o = (gates[:, k * hidden : (k + 1) * hidden] for k in range(4))
    dc += d * o * (1 - squashed * squashed)
    da[:, :hidden] = dc * u * (i * (1 - i))
    da[:, hidden : 2 * hidden] = dc * before * (f * (1 - f))
    da[:, 2 * hidden : 3 * hidden] = dc * i * (1 - u * u)
    da[:, 3 * hidden :] = d * squashed * (o * (1 - o))
    dc *= f


def gru_step(gates: Array, recurrent: Array, h: Array, before: Array, inner: Array, y: Array) -> None:
    """From the input's and the hidden state's part of the gates (n, 3H) and the state h (n, H): the gates and the state
    in place, the state `before`, the hidden state's part of the last gate `inner`, and the output `y` (n, H)."""
    hidden = h.shape[1]
    both, new = gates[:, : 2 * hidden], gates[:, 2 * hidden :]
    both[...] = _sigmoid(both + recurrent[:, : 2 * hidden])
    inner[...] = recurrent[:, 2 * hidden :]
    new += both[:, :hidden] * inner
    cupy.tanh(new, out=new)
    before[...] = h
    h -= new
    h *= both[:, hidden:]
    h += new
    y[...] = h


def gru_step_backward(d: Array, gates: Array, before: Array, inner: Array, da: Array, recurrent: Array) -> None:
    """From the gradient of the output (n, H): those of the gates' sums `da` and of the hidden state's part of them
    `recurrent` (n, 3H), and, in place of `d`, what the state before gets at once."""
    hidden = d.shape[1]
    r, z, new = (gates[:, k * hidden : (k + 1) * hidden] for k in range(3))
    slope = d * (1 - z) * (1 - new * new)
    da[:, :hidden] = slope * inner * (r * (1 - r))
    da[:, hidden : 2 * hidden] = d * (before - new) * (z * (1 - z))
    da[:, 2 * hidden :] = slope
    recurrent[:, : 2 * hidden] = da[:, : 2 * hidden]
    recurrent[:, 2 * hidden :] = slope * r
    d *= z
