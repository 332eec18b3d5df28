"""Special functions (`torch.special`)."""

from ddpnet.ops import log_softmax, logsumexp, softmax
from ddpnet.ops import sigmoid as expit
from ddpnet.ops.bessel import i0, i0e, i1, i1e
from ddpnet.ops.exponential import exp2, expm1, log1p, logit, xlogy
from ddpnet.ops.incomplete_gamma import igamma as gammainc
from ddpnet.ops.incomplete_gamma import igammac as gammaincc
from ddpnet.ops.normal_functions import entr, erfcx, log_ndtr, ndtr, ndtri, xlog1py, zeta
from ddpnet.ops.rounding import round
from ddpnet.ops.special_functions import digamma, erf, erfc, erfinv, polygamma
from ddpnet.ops.special_functions import digamma as psi
from ddpnet.ops.special_functions import lgamma as gammaln
from ddpnet.ops.special_functions import mvlgamma as multigammaln
from ddpnet.ops.trigonometry import sinc

__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "log1p",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
    "zeta",
]
