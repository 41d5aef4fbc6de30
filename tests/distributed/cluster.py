"""A Dask cluster of two processes, one of which is killed: ``python -m tests.distributed.cluster``.

In a process of its own with a time limit, as pytest turns warnings into errors, which the threads
of a scheduler do not survive.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import eagle
from eagle import chunks
from tests.systems import system
from tests.tolerances import relative_error, tolerance


def slowly(block: np.ndarray) -> np.ndarray:
    """A chunk that takes a while to make."""
    time.sleep(0.3)
    return block


def killed(client: Client, method: str) -> dict[str, Any]:
    """Whether the answer is the same, up to rounding, after a worker was killed in the middle.

    Not to the last bit: what a kernel of BLAS rounds depends on where in memory a chunk lies.
    """
    given = system((320, 12), kind="inconsistent C")
    A, C = (da.from_array(X, chunks=(40, -1)) for X in (given.A, given.C))
    with dask.config.set(scheduler="synchronous"):
        wanted = eagle.lstsq(A, C, method=method, rng=0).value
    victim = min(client.run(os.getpid).values())
    killer = threading.Timer(0.7, os.kill, (victim, signal.SIGKILL))
    killer.start()
    result = eagle.lstsq(A.map_blocks(slowly, dtype=A.dtype), C, method=method, rng=0)
    in_the_middle = not killer.is_alive()
    killer.join()
    return {
        "same": relative_error(result.value, wanted) <= tolerance(float, 100),
        "in_the_middle": in_the_middle,
        "gone": victim not in client.run(os.getpid).values(),
    }


def small(client: Client) -> dict[str, Any]:
    """What is fetched, in units of the data."""
    A = da.random.default_rng(0).standard_normal((200_000, 10), chunks=(20_000, -1)).persist()
    b = A.sum(axis=1)
    stream = chunks.reduced(A, b[:, None], ("A", "B", "b"))
    error = np.abs(eagle.lstsq(A, b, rng=0).value - 1).max()
    return {"share": len(pickle.dumps(stream)) / A.nbytes, "error": float(error)}


def on_two_workers(work: Any, *arguments: Any) -> dict[str, Any]:
    """On a cluster of its own."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        found: dict[str, Any] = work(client, *arguments)
        return found


def main() -> None:
    """One line of JSON."""
    found = {method: on_two_workers(killed, method) for method in ("tsqr", "gram", "compressed")}
    print(json.dumps(found | {"small": on_two_workers(small)}), flush=True)


if __name__ == "__main__":
    main()
