"""`python -m ddpnet_launch` is `ddpnet`."""

from ddpnet_launch.cli import main

main()
