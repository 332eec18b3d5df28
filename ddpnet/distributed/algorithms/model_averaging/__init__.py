"""Averages of the parameters of all ranks, for local SGD (`torch.distributed.algorithms.model_averaging`)."""
