"""The exchange of a training step: from the gradients of shards to the mean of the global batch."""
