"""Learning rates that change with the step (`torch.optim.lr_scheduler`)."""

from ddpnet.optim.lr_scheduler.base import LRScheduler, _LRScheduler
from ddpnet.optim.lr_scheduler.compositions import ChainedScheduler, SequentialLR
from ddpnet.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from ddpnet.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from ddpnet.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from ddpnet.optim.lr_scheduler.functions import LambdaLR, MultiplicativeLR
from ddpnet.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "_LRScheduler",
]
