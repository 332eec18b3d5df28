"""In-place updates that PyTorch also has as functions: `torch.exp_(x)` is `x.exp_()`."""

from __future__ import annotations

from ddpnet.ops import (  # noqa: F401 - they give Tensor the methods
    arithmetic,
    bessel,
    choice,
    complex_parts,
    division,
    exponential,
    filling,
    inplace_views,
    powers,
    replacement,
    rounding,
    special_functions,
    trigonometry,
)
from ddpnet.tensor import Tensor

_NAMES = (
    "abs_ acos_ acosh_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ ceil_ clamp_ "
    "clamp_max_ clamp_min_ clip_ conj_physical_ cos_ cosh_ deg2rad_ erf_ erfc_ exp2_ exp_ expm1_ fill_ fix_ "
    "floor_ frac_ gcd_ i0_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ "
    "resize_as_ round_ rsqrt_ sin_ sinc_ sinh_ sqrt_ square_ tan_ trunc_ xlogy_ zero_"
).split()

__all__: list[str] = []
__all__ += _NAMES

globals().update({name: getattr(Tensor, name) for name in _NAMES})
