"""MPI: buffer collectives through mpi4py, with somebody looking at the clock.

Every operation is started without blocking and waited for in short steps, so that a machine that
does not come is noticed and named instead of waited for for ever.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from eagle.distributed.comm import Combine, Comm, Network, Pending, SerialComm

PATIENCE = 60.0  # seconds that a machine may be late
EAGER = 5e-3  # seconds of waiting without sleep
GRACE = 1.0  # seconds in which those who wait find out who does not
FAILED = 3  # exit status of a job that a machine has failed
# What launchers tell the processes that they start: how many there are.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MPI_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "MPI_WORLD_RANK", "SLURM_PROCID")


def launched_size() -> int | None:
    """How many processes the launcher says it has started; None without one."""
    return next((int(os.environ[name]) for name in SIZES if name in os.environ), None)


def launched_rank() -> int | None:
    """Which of them this is, by the launcher's word; None without one."""
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), None)


def world(patience: float = PATIENCE) -> Comm:
    """All processes that the launcher started, or one process if there was none.

    Raises
    ------
    RuntimeError
        The launcher belongs to another MPI than the one that mpi4py uses, so that each process
        believes to be alone; or mpi4py is missing.
    """
    size = launched_size() or 1
    if size == 1 and "mpi4py.MPI" not in sys.modules:
        return SerialComm()
    try:
        comm = MPIComm(patience=patience)
    except ImportError as error:
        raise RuntimeError(f"the launcher started {size} processes, and {error}") from error
    if comm.size != size > 1:
        from mpi4py import MPI

        library = MPI.Get_library_version().split("\n", 1)[0].strip("\0 ")
        raise RuntimeError(
            f"the launcher started {size} processes but MPI knows of {comm.size}: mpiexec does not "
            f"belong to the MPI that mpi4py uses ({library})"
        )
    return comm


class MPIComm(Comm):
    """Collective operations of MPI through mpi4py, which is imported here and not before.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        ``MPI.COMM_WORLD`` by default.
    patience : float
        Seconds to wait for a machine that does not come to an operation that others have
        entered. Then one of them says which one it is and ends the job.

    Raises
    ------
    ImportError
        Without mpi4py, or with one that finds no MPI.
    """

    def __init__(self, comm: Any = None, *, patience: float = PATIENCE):
        try:
            from mpi4py import MPI
        except ImportError as error:
            install = "pip install 'eagle-solver[mpi]'"
            raise ImportError(f"MPIComm needs mpi4py ({error}): {install}") from error

        self._mpi = MPI
        self._comm = (MPI.COMM_WORLD if comm is None else comm).Dup()
        self._talk = self._comm.Dup()  # about who is late
        super().__init__(self._comm.Get_rank(), self._comm.Get_size())
        self.patience = patience
        self._network: Network | None = None
        self._comm.Barrier()
        _unlink_shared_memory()

    @property
    def network(self) -> Network:
        """Measured at the first call, which all machines have to make together."""
        if self._network is None:
            self._network = self._measured()
        return self._network

    def _measured(self) -> Network:
        """From the shortest of a few sums of 8 bytes and of half a megabyte, in the mean."""
        steps = max(1, int(np.ceil(np.log2(self.size))))
        seconds = []
        for words in (1, 1 << 16):
            buffer, best = np.zeros(words), np.inf
            for _ in range(4):
                start = time.perf_counter()
                self._wait(*self._sum(buffer.copy()))
                best = min(best, time.perf_counter() - start)
            seconds.append(best)
        short, long = self._wait(*self._sum(np.array(seconds))) / self.size
        slope = max(long - short, 1e-9) / (2 * (1 - 1 / max(self.size, 2)) * 8 * (1 << 16))
        return Network(latency=float(short) / steps, bandwidth=1 / float(slope))

    def _sum(self, buffer: np.ndarray) -> tuple[Any, np.ndarray]:
        out = np.ascontiguousarray(buffer)
        out = out.copy() if out is buffer else out
        return self._comm.Iallreduce(self._mpi.IN_PLACE, out, op=self._mpi.SUM), out

    def _start_sum(self, buffer: np.ndarray) -> Pending:
        return _Sum(self, *self._sum(buffer))

    def _reduce(self, buffer: np.ndarray, combine: Combine) -> np.ndarray:
        out = np.ascontiguousarray(buffer).copy()

        def fold(first: Any, second: Any, datatype: Any) -> None:
            x = np.frombuffer(first, out.dtype).reshape(out.shape)
            y = np.frombuffer(second, out.dtype).reshape(out.shape)
            y[...] = combine(x, y)

        # One element of a type as large as the buffer: MPI must not cut it into pieces.
        whole = self._mpi.BYTE.Create_contiguous(out.nbytes).Commit()
        op = self._mpi.Op.Create(fold, commute=False)
        try:
            request = self._comm.Iallreduce(self._mpi.IN_PLACE, [out, 1, whole], op=op)
            return self._wait(request, out)
        finally:
            op.Free()
            whole.Free()

    def _broadcast(self, buffer: np.ndarray, root: int) -> np.ndarray:
        out = np.ascontiguousarray(buffer).copy()
        return self._wait(self._comm.Ibcast(out, root=root), out)

    def _gather(self, buffer: np.ndarray) -> np.ndarray:
        mine = np.ascontiguousarray(buffer)
        out = np.empty((self.size, *mine.shape), mine.dtype)
        return self._wait(self._comm.Iallgather(mine, out), out)

    def _wait(self, request: Any, out: np.ndarray) -> np.ndarray:
        """`out` when the request is done; ends the job if a machine does not come to it."""
        start = time.perf_counter()
        while not request.Test():
            waited = time.perf_counter() - start
            if waited > self.patience:
                self._give_up(waited)
            # Free the processor, at first only if somebody else wants it.
            if waited < EAGER:
                _yield()
            else:
                time.sleep(min(1e-3, waited / 20))
        self.seconds += time.perf_counter() - start
        return out

    def _give_up(self, waited: float) -> None:
        """Find out who does not wait, say so, end the job."""
        note = np.array([self.rounds])
        others = [rank for rank in range(self.size) if rank != self.rank]
        notes = [self._talk.Isend(note, rank) for rank in others]
        here = {self.rank}
        status, end = self._mpi.Status(), time.perf_counter() + GRACE
        while time.perf_counter() < end:
            if self._talk.Iprobe(status=status):
                self._talk.Recv(np.empty_like(note), source=status.Get_source())
                here.add(status.Get_source())
            time.sleep(0.01)
        missing = [rank for rank in others if rank not in here]
        if self.rank == min(here):
            who = f"rank {', '.join(map(str, missing))}" if missing else "the network"
            say(f"{who} stalled: nothing for {waited:.0f} s in round {self.rounds}")
        else:
            time.sleep(GRACE)  # so that the one who speaks is heard
        del notes
        self.abort()

    def finalize(self) -> None:
        """End MPI in this process: nothing can be said after it."""
        self._talk.Free()
        self._comm.Free()
        self._mpi.Finalize()

    def abort(self, status: int = FAILED) -> None:
        """End every process of the job, now."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(status)


class _Sum:
    """A sum that MPI is working at."""

    def __init__(self, comm: MPIComm, request: Any, out: np.ndarray):
        self._comm = comm
        self._request = request
        self._out = out

    def progress(self) -> None:
        """MPI works while one of its functions is being called."""
        self._request.Test()

    def wait(self) -> np.ndarray:
        """The sum."""
        return self._comm._wait(self._request, self._out)


def _yield() -> None:
    """Let another process run, if one wants to."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)


def say(message: str) -> None:
    """One line on standard error, in one piece."""
    os.write(2, f"eagle distributed: error: {' '.join(message.split())}\n".encode())


def _unlink_shared_memory() -> None:
    """Take away the names of MPICH's shared memory, which all processes here have opened by now.

    The memory lives as long as they do. With the name it would outlive a job that was killed.
    """
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    for line in maps.read_text().splitlines():
        name = line.split()[-1]
        if name.startswith("/dev/shm/mpich"):
            Path(name).unlink(missing_ok=True)
