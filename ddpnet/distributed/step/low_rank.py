"""PowerSGD (Vogels, Karimireddy and Jaggi, 2019) over shards, so that its bits do not depend on the number of ranks.

The gradient of a matrix is M, the sum of what each shard s gives: M_s, its weighted gradient and what was left of it in
the steps before. With Q from the last step, P = sum of M_s Q is added in the order of the tree, and made orthonormal by
every rank; then Q = sum of M_s^T P likewise. All ranks take P Q^T for the gradient, and each shard keeps what the
projection lost of its own: M_s - P (M_s^T P)^T. These add up to M - P Q^T: nothing is lost, only late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module, host
from ddpnet.distributed.step.compression import PowerSGD, matrix_shape
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.random import Purpose, stream
from ddpnet.tensor import Tensor

_SEED = 1905_13727
"""Of the first Q: the paper's number."""
_NOTHING = 1e-6
"""A column that keeps less than this of its length beside the others is theirs, but for rounding."""


class Matrix:
    """The gradient of one parameter: what its shards on this rank hold, the last Q, and the product."""

    def __init__(self, name: str, number: int, parameter: Tensor, rank: int, shards: Sequence[int]) -> None:
        xp = array_module(parameter.array)
        self.name, self._number, self._xp = name, number, xp
        self.rows, self.columns = matrix_shape(tuple(parameter.shape))
        self.rank = min(rank, self.rows, self.columns)
        self.held = {shard: xp.zeros((self.rows, self.columns), np.float32) for shard in shards}
        """M_s while a step is computed, else what is left of it, by shard."""
        self.q = self._first_q()
        self.product = xp.zeros((self.rows, self.columns), np.float32)
        """The gradient, from the end of a step to the next one, which works in this memory, too."""
        self._back: dict[int, Array] = {}
        self._p: Array = None
        self._before: tuple[dict[int, Array], np.ndarray] = {}, self.q

    def add(self, shard: int, gradient: Array, weight: float) -> None:
        """Take the gradient of a shard."""
        np.multiply(gradient.reshape(self.rows, self.columns), np.float32(weight), out=self.product)
        self.held[shard] += self.product

    def project(self, shard: int) -> Array:
        """M_s Q, (rows, rank)."""
        with np.errstate(all="ignore"):
            return self.held[shard] @ self._xp.asarray(self.q)

    def take_p(self, p: np.ndarray) -> None:
        """The sum of the projections is there."""
        self._p = self._xp.asarray(orthonormal(p))

    def project_back(self, shard: int) -> Array:
        """M_s^T P, (columns, rank)."""
        with np.errstate(all="ignore"):
            self._back[shard] = self.held[shard].T @ self._p
        return self._back[shard]

    def take_q(self, q: np.ndarray) -> None:
        """The sum of the projections back is there: make the product, and keep what it leaves of each shard."""
        if not np.isfinite(q).all():  # some gradient is not finite: say so, and keep nothing of it
            self.product[...] = np.nan
            for rest in self.held.values():
                rest[...] = 0
            self.q = self._first_q()
            return
        for shard, rest in self.held.items():
            rest -= self._xp.matmul(self._p, self._back[shard].T, out=self.product)
        self._xp.matmul(self._p, self._xp.asarray(q).T, out=self.product)
        self.q = orthonormal(q, self._first_q())

    def remember(self) -> None:
        """Keep a copy of what the next step will change."""
        self._before = {shard: rest.copy() for shard, rest in self.held.items()}, self.q

    def recall(self) -> None:
        """Go back to the copy."""
        for shard, rest in self._before[0].items():
            self.held[shard][...] = rest
        self.q = self._before[1]

    def _first_q(self) -> np.ndarray:
        rng = stream(_SEED, Purpose.DRAW, step=self._number)
        return orthonormal(rng.standard_normal((self.columns, self.rank), np.float32))


class LowRank:
    """The matrices of a model, by the number of their parameter, for the shards of one rank."""

    def __init__(self, settings: PowerSGD, parameters: Mapping[str, Tensor], shards: range) -> None:
        self.start_step, self._shards = settings.start_step, shards
        self.matrices = {
            number: Matrix(name, number, parameter, settings.rank, shards)
            for number, (name, parameter) in enumerate(parameters.items())
            if parameter.array.dtype == np.float32 and settings.shrinks(tuple(parameter.shape))
        }

    def remember(self) -> None:
        """Keep a copy of what the next step will change."""
        for matrix in self.matrices.values():
            matrix.remember()

    def recall(self) -> None:
        """Go back to the copy."""
        for matrix in self.matrices.values():
            matrix.recall()

    def state_dict(self, comm: Communicator, shards: Sequence[range]) -> dict[str, np.ndarray]:
        """On rank 0 what the next step needs, by name: Q of each matrix, and what is left of it in each shard.

        All ranks make the call; `shards` are those of each rank.
        """
        mine = [(m, shard) for m in self.matrices.values() for shard in self._shards]
        if comm.rank > 0:
            comm.exchange(
                [(0, np.ascontiguousarray(host(m.held[shard]))) for m, shard in mine], [], "state of PowerSGD"
            )
            return {}
        state = {f"{m.name}.q": m.q.copy() for m in self.matrices.values()}
        state |= {f"{m.name}.rest.{shard}": host(m.held[shard]).copy() for m, shard in mine}
        receives = []
        for peer in range(1, comm.size):
            for m in self.matrices.values():
                for shard in shards[peer]:
                    came = state[f"{m.name}.rest.{shard}"] = np.empty((m.rows, m.columns), np.float32)
                    receives.append((peer, came))
        comm.exchange([], receives, "state of PowerSGD")
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take what `state_dict` gave on rank 0, on any number of ranks with as many shards.

        ValueError for an array that is missing, or has another shape.
        """
        for matrix in self.matrices.values():
            matrix.q = _taken(state, f"{matrix.name}.q", matrix.q.shape).copy()
            for shard, rest in matrix.held.items():
                rest[...] = matrix._xp.asarray(_taken(state, f"{matrix.name}.rest.{shard}", rest.shape))


def orthonormal(matrix: np.ndarray, spare: np.ndarray | None = None) -> np.ndarray:
    """Orthonormal columns, float32, that span those of `matrix` (n, rank), by Gram-Schmidt, twice, in float64.

    A column that depends on those before it becomes that of `spare`, or zero. Sums are NumPy's own: no BLAS or LAPACK
    has a part in the bits. Columns that are not finite come back as nan.
    """
    columns = matrix.astype(np.float64).T.copy()
    with np.errstate(all="ignore"):
        for i, column in enumerate(columns):
            if not _straighten(column, columns[:i]):
                column[...] = 0 if spare is None else spare[:, i]
                if spare is not None and not _straighten(column, columns[:i]):
                    column[...] = 0
    return np.ascontiguousarray(columns.T.astype(np.float32))


def _straighten(column: np.ndarray, others: np.ndarray) -> bool:
    """Make a column orthogonal to the others and of length 1, in place; whether anything of it is left."""
    largest = np.abs(column).max()
    if largest == 0:
        return False
    column /= largest  # squares neither overflow nor vanish
    before = np.sqrt(np.sum(column * column))
    for _ in range(2):
        for other in others:
            column -= np.sum(other * column) * other
    length = np.sqrt(np.sum(column * column))
    column /= length if length else 1.0
    return not length <= _NOTHING * before


def _taken(state: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in state:
        raise ValueError(f"state of PowerSGD: {name} is missing: it was saved with other shards, or another rank")
    array = np.asarray(state[name], np.float32)
    if array.shape != shape:
        raise ValueError(f"state of PowerSGD: {name}: expected shape {shape}, got {array.shape}")
    return array
