"""What can be done to gradients and models besides adding them up (`torch.distributed.algorithms`)."""
