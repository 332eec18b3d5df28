"""One time step of the recurrent cells, but for the matrix products: all gates of a row while they are in the cache."""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.exponential import sigmoid, tanh


@compiled
def sigmoid_of_sum(x: np.ndarray, y: np.ndarray) -> None:
    """x = sigmoid(x + y) in place, (n,)."""
    for j in range(x.size):
        x[j] = sigmoid(x[j] + y[j])


@compiled
def tanh_of_sum(x: np.ndarray, y: np.ndarray) -> None:
    """x = tanh(x + y) in place, (n,)."""
    for j in range(x.size):
        x[j] = tanh(x[j] + y[j])


@compiled
def lstm_step(
    gates: np.ndarray,
    recurrent: np.ndarray,
    c: np.ndarray,
    before: np.ndarray,
    squashed: np.ndarray,
    y: np.ndarray,
) -> None:
    """From the input's and the hidden state's part of the gates (n, 4H) and the cells c (n, H): the gates and the cells
    in place, the cells `before`, their tanh `squashed` and the output `y` (n, H).

    20 x 1024 gates take 11 us; the loop over a row that has all of it takes 15.
    """
    hidden = c.shape[1]
    for n in range(c.shape[0]):
        a, part = gates[n], recurrent[n]
        i, f, u, o = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden : 3 * hidden], a[3 * hidden :]
        sigmoid_of_sum(a[: 2 * hidden], part[: 2 * hidden])
        tanh_of_sum(u, part[2 * hidden : 3 * hidden])
        sigmoid_of_sum(o, part[3 * hidden :])
        memory, old, flat, out = c[n], before[n], squashed[n], y[n]
        for j in range(hidden):
            old[j] = memory[j]
            memory[j] = f[j] * memory[j] + i[j] * u[j]
            flat[j] = tanh(memory[j])
            out[j] = o[j] * flat[j]


@compiled
def lstm_step_backward(
    d: np.ndarray, dc: np.ndarray, gates: np.ndarray, before: np.ndarray, squashed: np.ndarray, da: np.ndarray
) -> None:
    """From the gradients of the output and of the cells (n, H): those of the gates' sums `da` (n, 4H), and, in place of
    `dc`, that of the cells before."""
    hidden, one = dc.shape[1], d.dtype.type(1)
    for n in range(dc.shape[0]):
        a, out = gates[n], da[n]
        i, f, u, o = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden : 3 * hidden], a[3 * hidden :]
        di, df, du, do = out[:hidden], out[hidden : 2 * hidden], out[2 * hidden : 3 * hidden], out[3 * hidden :]
        g, memory, old, flat = d[n], dc[n], before[n], squashed[n]
        for j in range(hidden):
            do[j] = g[j] * flat[j] * (o[j] * (one - o[j]))
            t = memory[j] + g[j] * o[j] * (one - flat[j] * flat[j])
            di[j] = t * u[j] * (i[j] * (one - i[j]))
            df[j] = t * old[j] * (f[j] * (one - f[j]))
            du[j] = t * i[j] * (one - u[j] * u[j])
            memory[j] = t * f[j]


@compiled
def gru_step(
    gates: np.ndarray,
    recurrent: np.ndarray,
    h: np.ndarray,
    before: np.ndarray,
    inner: np.ndarray,
    y: np.ndarray,
) -> None:
    """From the input's and the hidden state's part of the gates (n, 3H) and the state h (n, H): the gates and the state
    in place, the state `before`, the hidden state's part of the last gate `inner`, and the output `y` (n, H)."""
    hidden = h.shape[1]
    for n in range(h.shape[0]):
        a, part = gates[n], recurrent[n]
        r, z, new = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden :]
        state, old, kept, out = h[n], before[n], inner[n], y[n]
        sigmoid_of_sum(a[: 2 * hidden], part[: 2 * hidden])
        inside = part[2 * hidden :]
        for j in range(hidden):
            kept[j] = inside[j]
            new[j] = tanh(new[j] + r[j] * inside[j])
        for j in range(hidden):
            old[j] = state[j]
            state[j] = new[j] + z[j] * (state[j] - new[j])
            out[j] = state[j]


@compiled
def gru_step_backward(
    d: np.ndarray, gates: np.ndarray, before: np.ndarray, inner: np.ndarray, da: np.ndarray, recurrent: np.ndarray
) -> None:
    """From the gradient of the output (n, H): those of the gates' sums `da` and of the hidden state's part of them
    `recurrent` (n, 3H), and, in place of `d`, what the state before gets at once."""
    hidden, one = d.shape[1], d.dtype.type(1)
    for n in range(d.shape[0]):
        a, out = gates[n], da[n]
        r, z, new = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden :]
        dr, dz, dnew = out[:hidden], out[hidden : 2 * hidden], out[2 * hidden :]
        g, old, kept, part = d[n], before[n], inner[n], recurrent[n, 2 * hidden :]
        for j in range(hidden):
            t = g[j] * (one - z[j]) * (one - new[j] * new[j])
            dnew[j] = t
            dz[j] = g[j] * (old[j] - new[j]) * (z[j] * (one - z[j]))
            dr[j] = t * kept[j] * (r[j] * (one - r[j]))
            part[j] = t * r[j]
            g[j] *= z[j]
        both = recurrent[n, : 2 * hidden]
        for j in range(2 * hidden):  # Numba takes 2 s to compile the copy of a slice
            both[j] = out[j]
