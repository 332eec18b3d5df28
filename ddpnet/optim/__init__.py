"""Optimizers and learning-rate schedules (`torch.optim`)."""

from ddpnet.optim import lr_scheduler, swa_utils
from ddpnet.optim.adadelta import Adadelta
from ddpnet.optim.adafactor import Adafactor
from ddpnet.optim.adagrad import Adagrad
from ddpnet.optim.adam import Adam
from ddpnet.optim.adamax import Adamax
from ddpnet.optim.adamw import AdamW
from ddpnet.optim.asgd import ASGD
from ddpnet.optim.lbfgs import LBFGS
from ddpnet.optim.muon import Muon
from ddpnet.optim.nadam import NAdam
from ddpnet.optim.optimizer import Optimizer
from ddpnet.optim.radam import RAdam
from ddpnet.optim.rmsprop import RMSprop
from ddpnet.optim.rprop import Rprop
from ddpnet.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
