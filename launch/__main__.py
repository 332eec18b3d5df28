"""`python -m ddpnet_launch` is `ddpnet`."""

from .cli import main

main()
