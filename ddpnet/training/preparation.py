"""What a run starts from: its data, its model, its optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet import datasets, optim, random
from ddpnet.backend import Device, host
from ddpnet.checkpoint import Checkpoint
from ddpnet.distributed import Communicator
from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.errors import InputError
from ddpnet.nn.module import Module
from ddpnet.nn.sync_batchnorm import SyncBatchNorm
from ddpnet.ops.creation import as_tensor
from ddpnet.optim.optimizer import Optimizer
from ddpnet.tensor import Tensor
from ddpnet.training import models
from ddpnet.training.images import Split
from ddpnet.training.settings import Settings

CLASSES = 10
"""MNIST, Fashion-MNIST and KMNIST have ten classes each."""


@dataclass(frozen=True)
class Prepared:
    """The images, and a model for them with its initial weights."""

    train: Split
    test: Split
    model: Module


def prepare(settings: Settings) -> Prepared:
    """Load the data and build the model from the seed; InputError where they cannot be had or do not fit."""
    images = datasets.load(settings.data)
    for name, labels in (("training", images.train_labels), ("test", images.test_labels)):
        datasets.check_labels(labels, CLASSES, f"{images.name}: {name} labels")
    height, width = images.train_images.shape[1:]
    random.manual_seed(settings.seed)
    model = models.build(settings.model, height, width, CLASSES).to(settings.device)
    if settings.sync_batchnorm:
        model = SyncBatchNorm.convert_sync_batchnorm(model)
    extent, device = models.padded_extent(settings.model, height, width), Device(settings.device)
    return Prepared(
        Split(images.train_images, images.train_labels, extent, device),
        Split(images.test_images, images.test_labels, extent, device),
        model,
    )


def build_optimizer(settings: Settings, model: Module, comm: Communicator) -> Optimizer:
    """The optimizer that the settings name, over the parameters of a model; with `zero` its state is cut over ranks."""
    kinds = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}
    options: dict[str, Any] = {"lr": settings.rate, "weight_decay": settings.weight_decay}
    if settings.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = settings.momentum
    parameters, kind = list(model.parameters()), kinds[settings.optimizer]
    if settings.zero:
        return ZeroRedundancyOptimizer(parameters, kind, comm, **options)
    return kind(parameters, **options)


def arrays(model: Module) -> dict[str, np.ndarray]:
    """The state of a model as NumPy arrays."""
    return {name: host(tensor.array) for name, tensor in model.state_dict().items()}


def load_model(model: Module, saved: Checkpoint) -> None:
    """Give a model the weights of a checkpoint; InputError if they are another model's."""
    try:
        model.load_state_dict({name: as_tensor(array) for name, array in saved.model.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{saved.path}: the weights are those of another model: {reason}") from error


def optimizer_arrays(optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimizer with NumPy arrays in place of tensors; all ranks call it, rank 0 gets all of it."""
    saved = optimizer.consolidated(to=0) if isinstance(optimizer, ZeroRedundancyOptimizer) else optimizer.state_dict()
    if saved is None:
        return {}
    state = {
        number: {name: host(value.array) if isinstance(value, Tensor) else value for name, value in entry.items()}
        for number, entry in saved["state"].items()
    }
    return {"state": state, "param_groups": saved["param_groups"]}


def load_optimizer(optimizer: Optimizer, saved: Checkpoint) -> None:
    """Give an optimizer the state of a checkpoint; InputError if it is another optimizer's."""
    state = {
        number: {name: Tensor(value) if isinstance(value, np.ndarray) else value for name, value in entry.items()}
        for number, entry in saved.optimizer["state"].items()
    }
    try:
        optimizer.load_state_dict({"state": state, "param_groups": saved.optimizer["param_groups"]})
    except ValueError as error:
        raise InputError(f"{saved.path}: the optimizer's state does not fit: {error}") from error
