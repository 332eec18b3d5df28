"""`torch.distributed`'s groups and what their ranks do together."""
