"""Layers, losses, and what models are made of (`torch.nn`)."""

from ddpnet.nn import functional, init
from ddpnet.nn.activation import Dropout, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from ddpnet.nn.batchnorm import BatchNorm1d, BatchNorm2d
from ddpnet.nn.containers import ModuleList, Sequential
from ddpnet.nn.conv import Conv2d
from ddpnet.nn.linear import Flatten, Identity, Linear
from ddpnet.nn.loss import CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from ddpnet.nn.module import Module
from ddpnet.nn.parameter import Parameter
from ddpnet.nn.pooling import AvgPool2d, MaxPool2d

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "init",
]
