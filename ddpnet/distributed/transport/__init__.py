"""How messages and memory get from rank to rank: one process, MPI, or threads."""
