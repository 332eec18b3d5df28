"""The command line: starts ranks, watches over them, and says how they fare.

Nothing here imports NumPy at its top: what must be set before NumPy loads is set first (`environment.prepare`).
Modules import each other relatively: they lie in `launch`, and are installed as `ddpnet_launch`.
"""
