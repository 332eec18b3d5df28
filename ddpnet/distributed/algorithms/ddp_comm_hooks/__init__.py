"""Communication hooks for `DistributedDataParallel.register_comm_hook`
(`torch.distributed.algorithms.ddp_comm_hooks`)."""
