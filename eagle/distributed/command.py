"""``eagle distributed``: one process per machine, and one that looks after it.

What mpiexec starts does not compute: it starts a second process that does, waits for it, and has
the last word if that one is killed. Otherwise nobody would learn which one it was: mpiexec ends all
others at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from eagle.distributed.agreement import Facts, agree
from eagle.distributed.api import solve
from eagle.distributed.comm import Comm
from eagle.distributed.mpi import FAILED, GRACE, MPIComm, launched_rank, launched_size, say, world
from eagle.distributed.result import Result
from eagle.distributed.shards import load_shard
from eagle.tables import Table, check_output, write_table

WORKER = "EAGLE_DISTRIBUTED_WORKER"  # set for the process that computes
KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def guard() -> None:
    """Under a launcher: run this very command once more, and leave with its exit status.

    Returns in the process that is to compute, and where there is no launcher.
    """
    if launched_size() is None:
        return
    if WORKER in os.environ:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
        return
    # What the launcher has opened for MPI is for the process that computes.
    worker = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]], env={**os.environ, WORKER: "1"}, close_fds=False
    )
    status = worker.wait()
    if status < 0:
        name = signal.Signals(-status).name
        say(f"rank {launched_rank()} was killed by signal {-status} ({name})")
        status = FAILED
    sys.stdout.flush()
    os._exit(status)  # mpi4py must not start MPI here on the way out


def run(
    folder: Path,
    output: Path,
    *,
    patience: float,
    deadline: float | None,
    options: dict[str, Any],
) -> Result | None:
    """Load this machine's shard, solve, write D on rank 0.

    Returns
    -------
    Result or None
        The result on rank 0, None elsewhere.

    Raises
    ------
    ValueError, TypeError, OSError
        On all machines, for bad input; anything else ends the job.
    """
    guard()
    clock = _watch(deadline)
    try:
        comm = world(patience)
    except RuntimeError as error:  # the same on all machines
        raise ValueError(error) from error
    try:
        result = _run(comm, folder, output, options)
    except Exception as error:
        if isinstance(comm, MPIComm) and not getattr(error, "everywhere", False):
            say(f"rank {comm.rank}: {type(error).__name__}: {error}")
            comm.abort()
        _leave(comm, clock)
        raise
    _leave(comm, clock)
    return result


def _leave(comm: Comm, clock: threading.Timer | None) -> None:
    """No deadline any more, and no MPI, which would take an exit status of 1 or 2 for a crash."""
    if clock is not None:
        clock.cancel()
    if isinstance(comm, MPIComm):
        comm.finalize()


def _run(comm: Comm, folder: Path, output: Path, options: dict[str, Any]) -> Result | None:
    with _Together(comm):
        if comm.rank == 0:
            check_output(output)
        A, B, C = load_shard(folder, comm.rank, comm.size, options.get("axis", "columns"))
    result = solve(A, B, C, comm=comm, **options)
    with _Together(comm):
        if comm.rank == 0:
            write_table(output, Table(result.value), result.value)
    return result if comm.rank == 0 else None


class _Together:
    """What goes wrong inside on one machine is raised on all."""

    def __init__(self, comm: Comm):
        self.comm = comm

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            agree(self.comm, Facts(A=(0,), B=(0,)))
        elif isinstance(error, ValueError | TypeError | OSError):
            known = "OSError" if isinstance(error, OSError) else "ValueError"
            agree(self.comm, Facts(error=(known, str(error))))


def _watch(deadline: float | None) -> threading.Timer | None:
    """End this process, and with it the job, after so many seconds."""
    if deadline is None:
        return None

    def late() -> None:
        if launched_rank() in (None, 0):
            say(f"the deadline of {deadline:g} s has passed")
        else:
            threading.Event().wait(GRACE)
        os._exit(FAILED)

    clock = threading.Timer(deadline, late)
    clock.daemon = True
    clock.start()
    return clock
