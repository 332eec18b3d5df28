"""How far one distribution is from another (S. Kullback, R. Leibler, 1951)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ddpnet import ops
from ddpnet.distributions.bernoulli import Bernoulli, Geometric
from ddpnet.distributions.categorical import Categorical, OneHotCategorical
from ddpnet.distributions.counts import Binomial, Poisson
from ddpnet.distributions.distribution import Distribution, sum_rightmost
from ddpnet.distributions.elementary import Exponential, Laplace, Uniform
from ddpnet.distributions.gamma import Beta, Dirichlet, Gamma
from ddpnet.distributions.independent import Independent
from ddpnet.distributions.multivariate_normal import MultivariateNormal, kl_of_normals
from ddpnet.distributions.normal import HalfNormal, LogNormal, Normal
from ddpnet.nn import functional
from ddpnet.tensor import Tensor

Divergence = Callable[[Any, Any], Tensor]

_divergences: dict[tuple[type, type], Divergence] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Divergence], Divergence]:
    """Decorator: this function is the divergence of distributions of these types; TypeError for other types."""
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def register(function: Divergence) -> Divergence:
        _divergences[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The Kullback-Leibler divergence of q from p, of the batch's shape; NotImplementedError for an unknown pair."""
    of_p, of_q = type(p).__mro__, type(q).__mro__
    known = [(of_p.index(a) + of_q.index(b), of_p.index(a), a, b) for a, b in _divergences if a in of_p and b in of_q]
    if not known:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    _, _, a, b = min(known, key=lambda pair: pair[:2])
    return _divergences[a, b](p, q)


@register_kl(Normal, Normal)
def _normals(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    distance = ((p.loc - q.loc) / q.scale).square()
    return 0.5 * (ratio + distance - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
@register_kl(HalfNormal, HalfNormal)
def _of_normals(p: Any, q: Any) -> Tensor:
    return _normals(p.base_dist, q.base_dist)


@register_kl(Bernoulli, Bernoulli)
def _bernoullis(p: Bernoulli, q: Bernoulli) -> Tensor:
    yes = p.probs * (functional.softplus(-q.logits) - functional.softplus(-p.logits))
    no = (1 - p.probs) * (functional.softplus(q.logits) - functional.softplus(p.logits))
    yes = ops.where(p.probs == 0, 0.0, ops.where(q.probs == 0, math.inf, yes))
    return yes + ops.where(p.probs == 1, 0.0, ops.where(q.probs == 1, math.inf, no))


@register_kl(Categorical, Categorical)
def _categoricals(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    impossible, certain = (q.probs == 0).expand_as(terms), (p.probs == 0).expand_as(terms)
    return ops.where(certain, 0.0, ops.where(impossible, math.inf, terms)).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hots(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categoricals(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometrics(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Binomial, Binomial)
def _binomials(p: Binomial, q: Binomial) -> Tensor:
    if bool(p.total_count.lt(q.total_count).any()):
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    result = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return ops.where(p.total_count.gt(q.total_count), math.inf, result)


@register_kl(Poisson, Poisson)
def _poissons(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _uniforms(p: Uniform, q: Uniform) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return ops.where(q.low.gt(p.low) | q.high.lt(p.high), math.inf, result)


@register_kl(Exponential, Exponential)
def _exponentials(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Laplace, Laplace)
def _laplaces(p: Laplace, q: Laplace) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Gamma, Gamma)
def _gammas(p: Gamma, q: Gamma) -> Tensor:
    return (
        q.concentration * (p.rate / q.rate).log()
        + q.concentration.lgamma()
        - p.concentration.lgamma()
        + (p.concentration - q.concentration) * p.concentration.digamma()
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )


@register_kl(Beta, Beta)
def _betas(p: Beta, q: Beta) -> Tensor:
    return _dirichlets(p._dirichlet, q._dirichlet)


@register_kl(Dirichlet, Dirichlet)
def _dirichlets(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    norms = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return norms + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normals(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    return kl_of_normals(p, q)


@register_kl(Independent, Independent)
def _independents(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("kl_divergence: Independent distributions of unequal reinterpreted_batch_ndims")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    middle = ((p.high + p.low - 2 * q.loc) / 2).square()
    return (math.sqrt(2 * math.pi) * q.scale / width).log() + (width.square() / 12 + middle) / (2 * q.scale.square())
