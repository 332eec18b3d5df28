"""Probability distributions (`torch.distributions`)."""

import sys

from ddpnet.alias import missing
from ddpnet.distributions import constraints, transforms
from ddpnet.distributions.bernoulli import Bernoulli, Geometric
from ddpnet.distributions.categorical import Categorical, OneHotCategorical
from ddpnet.distributions.counts import Binomial, Poisson
from ddpnet.distributions.distribution import Distribution
from ddpnet.distributions.elementary import Cauchy, Exponential, Gumbel, Laplace, Uniform
from ddpnet.distributions.gamma import Beta, Chi2, Dirichlet, Gamma
from ddpnet.distributions.independent import Independent
from ddpnet.distributions.kl import kl_divergence, register_kl
from ddpnet.distributions.mixture import MixtureSameFamily
from ddpnet.distributions.multivariate_normal import MultivariateNormal
from ddpnet.distributions.normal import HalfNormal, LogNormal, Normal
from ddpnet.distributions.transformed import TransformedDistribution
from ddpnet.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
)

__all__ = [
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfNormal",
    "Independent",
    "Laplace",
    "LogNormal",
    "MixtureSameFamily",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "Poisson",
    "SigmoidTransform",
    "SoftplusTransform",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "constraints",
    "kl_divergence",
    "register_kl",
    "transforms",
]

missing.explain(sys.modules[__name__], "torch.distributions")
