"""Initial weights that do not depend on the framework: drawn by NumPy, in the order of `model.parameters()`."""

import math

import numpy as np
import torch


def draw(model, seed, gain=1.0):
    """Normal numbers of deviation gain / sqrt(fan in) for what has several dimensions; drawn biases become 0."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                fan_in = parameter.numel() // parameter.shape[0]
                values = rng.normal(0, gain / math.sqrt(fan_in), tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))
            elif not parameter.eq(parameter[0]).all():
                parameter.zero_()
