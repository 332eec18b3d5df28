"""Optimizers and learning-rate schedules (`torch.optim`)."""

from ddpnet.optim import lr_scheduler
from ddpnet.optim.adam import Adam, AdamW
from ddpnet.optim.optimizer import Optimizer
from ddpnet.optim.rmsprop import RMSprop
from ddpnet.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
