"""Dropout as modules."""

from __future__ import annotations

from ddpnet.nn.module import Module
from ddpnet.ops import dropouts
from ddpnet.tensor import Tensor


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """While training: zero with probability `p`, else x / (1 - p)."""

    def forward(self, input: Tensor) -> Tensor:
        return dropouts.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """While training: channels of (N, C, L) or (C, L) are zero with probability `p`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropouts.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """While training: channels of (N, C, H, W) are zero with probability `p`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropouts.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """While training: channels of (N, C, D, H, W) or (C, D, H, W) are zero with probability `p`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropouts.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1, for networks of SELUs."""

    def forward(self, input: Tensor) -> Tensor:
        return dropouts.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels (N, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return dropouts.feature_alpha_dropout(input, self.p, self.training)
