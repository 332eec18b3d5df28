"""Checkpoints: directories of safetensors and JSON, whole or absent, checked to the last bit."""

from ddpnet.checkpoint.arrays import weights_digest
from ddpnet.checkpoint.folder import Checkpoint, claimed, find, load, newest, prune, save

__all__ = ["Checkpoint", "claimed", "find", "load", "newest", "prune", "save", "weights_digest"]
