"""What `ddpnet doctor` runs on two ranks: they must see each other, and exchange an array."""

import numpy as np

from ddpnet.distributed import connect

comm = connect()
ranks = [int(array[0]) for array in comm.all_gather(np.array([comm.rank]))]
if ranks != list(range(comm.size)):
    raise SystemExit(f"expected ranks {list(range(comm.size))}, got {ranks}")
if comm.rank == 0:
    print(f"started, and exchanged data as ranks {' and '.join(map(str, ranks))}", flush=True)  # noqa: T201
