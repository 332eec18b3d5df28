"""The normal distribution of vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ddpnet import ops
from ddpnet.distributions import constraints
from ddpnet.distributions.distribution import Constraints, Distribution, Shape, lazy_property
from ddpnet.ops.solving import inverse, linalg_cholesky, solve_triangular
from ddpnet.tensor import Tensor


class MultivariateNormal(Distribution):
    """With mean `loc` (..., K) and `covariance_matrix`, its inverse, or its lower Cholesky factor (..., K, K)."""

    arg_constraints: ClassVar[Constraints] = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    loc: Tensor
    _unbroadcasted_scale_tril: Tensor

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = {
            name: value
            for name, value in (
                ("covariance_matrix", covariance_matrix),
                ("precision_matrix", precision_matrix),
                ("scale_tril", scale_tril),
            )
            if value is not None
        }
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = ops.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        vars(self)[name] = matrix.expand(*batch, *matrix.shape[-2:])
        self.loc = loc.expand(*batch, loc.shape[-1])
        super().__init__(batch, loc.shape[-1:], validate_args)
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = matrix
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = linalg_cholesky(matrix)
        else:
            self._unbroadcasted_scale_tril = _root_of_inverse(matrix)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return self._unbroadcasted_scale_tril.expand(*self._batch_shape, *self._event_shape, *self._event_shape)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        return self.scale_tril @ self.scale_tril.mT

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return inverse(self.covariance_matrix)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        squares = self._unbroadcasted_scale_tril.square().sum(-1)
        return squares.expand(*self._batch_shape, *self._event_shape)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        drawn = ops.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self._unbroadcasted_scale_tril @ drawn.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        root = self._unbroadcasted_scale_tril
        distance = _square_distance(root, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - _half_log_det(root)

    def entropy(self) -> Tensor:
        half = _half_log_det(self._unbroadcasted_scale_tril)
        result = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + half
        return result.expand(*self._batch_shape)


def _root_of_inverse(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor of the inverse."""
    flipped = linalg_cholesky(matrix.flip(-2, -1)).flip(-2, -1).mT
    identity = ops.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return solve_triangular(flipped, identity, upper=False)


def _half_log_det(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _square_distance(root: Tensor, difference: Tensor) -> Tensor:
    """|root⁻¹ difference|² for vectors (..., K)."""
    column = difference.unsqueeze(-1)
    if column.dim() > root.dim():
        root = root.expand(*column.shape[: column.dim() - root.dim()], *root.shape)
    return solve_triangular(root, column, upper=False).square().sum((-2, -1))


def kl_of_normals(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    """The divergence of q from p; ValueError for vectors of unequal length."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    ours, theirs = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    ours, theirs = (x.expand(*ops.broadcast_shapes(ours.shape, theirs.shape)) for x in (ours, theirs))
    spread = solve_triangular(theirs, ours, upper=False).square().sum((-2, -1))
    distance = _square_distance(theirs, q.loc - p.loc)
    return _half_log_det(theirs) - _half_log_det(ours) + 0.5 * (spread + distance - p.event_shape[0])
