"""The training run behind the command line: data to weights, on any number of ranks."""

from ddpnet.datasets import DATASETS
from ddpnet.training.evaluation import Evaluation, evaluate
from ddpnet.training.loop import train
from ddpnet.training.preflight import preflight
from ddpnet.training.report import Report
from ddpnet.training.settings import MODELS, OPTIMIZERS, SCHEDULES, Settings

__all__ = [
    "DATASETS",
    "MODELS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Evaluation",
    "Report",
    "Settings",
    "evaluate",
    "preflight",
    "train",
]
