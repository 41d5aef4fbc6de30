"""What machines say to each other: sums, reductions, broadcasts and gathers of buffers, counted.

Every method is written once against `Comm`: the same code runs on one process, on threads that
play machines, and under MPI.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Network:
    """Seconds of a collective operation from latency and bandwidth.

    An allreduce of k bytes over M machines by recursive doubling takes
    ``ceil(log2 M) (latency + k / bandwidth)``, by reduce-scatter and allgather
    ``2 ceil(log2 M) latency + 2 (1 - 1/M) k / bandwidth`` [1]_; the shorter counts.

    Attributes
    ----------
    latency : float
        Seconds that a message takes however short it is.
    bandwidth : float
        Bytes per second; infinite by default.

    References
    ----------
    .. [1] Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in
       MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005, section 4.5.

    Examples
    --------
    >>> from eagle.distributed import Network
    >>> Network(latency=0.005).allreduce(8, 1e6)
    0.015
    """

    latency: float = 0.0
    bandwidth: float = math.inf

    def allreduce(self, size: int, nbytes: float, *, divisible: bool = True) -> float:
        """Seconds of one allreduce; `divisible` if the buffer may be cut into pieces."""
        if size < 2:
            return 0.0
        steps = math.ceil(math.log2(size))
        whole = steps * (self.latency + nbytes / self.bandwidth)
        pieces = 2 * steps * self.latency + 2 * (1 - 1 / size) * nbytes / self.bandwidth
        return min(whole, pieces) if divisible else whole

    def gather(self, size: int, nbytes: float) -> float:
        """Seconds until every machine has `nbytes` from each other (recursive doubling)."""
        if size < 2:
            return 0.0
        steps = math.ceil(math.log2(size))
        return steps * self.latency + (size - 1) * nbytes / self.bandwidth

    def broadcast(self, size: int, nbytes: float) -> float:
        """Seconds of one broadcast (binomial tree)."""
        if size < 2:
            return 0.0
        return math.ceil(math.log2(size)) * (self.latency + nbytes / self.bandwidth)


class Pending(Protocol):
    """A sum under way."""

    def progress(self) -> None:
        """Let the network work, between two pieces of one's own work."""

    def wait(self) -> np.ndarray:
        """The sum, once it is there."""


@dataclass
class _Done:
    """A sum that is there already."""

    value: np.ndarray

    def progress(self) -> None:
        """Nothing to do."""

    def wait(self) -> np.ndarray:
        """The sum."""
        return self.value


class Comm(ABC):
    """Collective operations among machines, on buffers that are equally large on all of them.

    A machine that enters an operation must find all others entering the same one. What comes
    back is equal on all of them, to the bit. A new kind of communication implements the methods
    with an underscore; `rounds` and `bytes_sent` are counted here.

    Attributes
    ----------
    rank, size : int
        Which machine this is, and how many there are.
    rounds : int
        Collective operations so far.
    bytes_sent : int
        Bytes that this machine put into them.
    seconds : float
        Spent in them: waited for, or simulated.
    """

    def __init__(self, rank: int, size: int):
        self.rank = rank
        self.size = size
        self.rounds = 0
        self.bytes_sent = 0
        self.seconds = 0.0

    def sum(self, buffer: np.ndarray) -> np.ndarray:
        """Elementwise sum of everybody's buffer, on everybody."""
        return self.start_sum(buffer).wait()

    def start_sum(self, buffer: np.ndarray) -> Pending:
        """The same without waiting for it; `buffer` is lent until then."""
        self._count(buffer)
        return self._start_sum(buffer)

    def reduce(self, buffer: np.ndarray, combine: Combine) -> np.ndarray:
        """Fold everybody's buffer with an associative `combine` in the order of ranks."""
        self._count(buffer)
        return self._reduce(buffer, combine)

    def broadcast(self, buffer: np.ndarray, root: int = 0) -> np.ndarray:
        """The buffer of rank `root`, on everybody."""
        self._count(buffer)
        return self._broadcast(buffer, root)

    def gather(self, buffer: np.ndarray) -> np.ndarray:
        """Everybody's buffer on everybody, ``(size, *buffer.shape)``."""
        self._count(buffer)
        return self._gather(buffer)

    @property
    def network(self) -> Network:
        """Latency and bandwidth, for planning; measured once if they are not known."""
        return Network()

    def _count(self, buffer: np.ndarray) -> None:
        self.rounds += 1
        self.bytes_sent += buffer.nbytes

    @abstractmethod
    def _start_sum(self, buffer: np.ndarray) -> Pending: ...

    @abstractmethod
    def _reduce(self, buffer: np.ndarray, combine: Combine) -> np.ndarray: ...

    @abstractmethod
    def _broadcast(self, buffer: np.ndarray, root: int) -> np.ndarray: ...

    @abstractmethod
    def _gather(self, buffer: np.ndarray) -> np.ndarray: ...


class SerialComm(Comm):
    """One machine, which has nobody to talk to."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def _start_sum(self, buffer: np.ndarray) -> Pending:
        return _Done(buffer.copy())

    def _reduce(self, buffer: np.ndarray, combine: Combine) -> np.ndarray:
        return buffer.copy()

    def _broadcast(self, buffer: np.ndarray, root: int) -> np.ndarray:
        return buffer.copy()

    def _gather(self, buffer: np.ndarray) -> np.ndarray:
        return buffer[None].copy()


@dataclass
class _Room:
    """Where the threads of `run_local` meet."""

    size: int
    model: Network
    barrier: threading.Barrier = field(init=False)
    buffers: list[Any] = field(init=False)
    clocks: list[float] = field(init=False)
    shared: Any = None

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size)
        self.buffers = [None] * self.size
        self.clocks = [0.0] * self.size


class LocalComm(Comm):
    """One of M threads that play machines; see `run_local`.

    Operations add and combine in the order of ranks, so that results do not depend on how threads
    are scheduled. ``seconds`` is simulated: the `Network` model for the messages. ``clock`` adds
    the processor time of the computation in between, the slowest machine's counting.
    """

    def __init__(self, rank: int, room: _Room):
        super().__init__(rank, room.size)
        self._room = room
        self._mark = time.thread_time()

    @property
    def network(self) -> Network:
        """What was given."""
        return self._room.model

    @property
    def clock(self) -> float:
        """Simulated seconds since the start, as of the last operation."""
        return self._room.clocks[self.rank]

    def _meet(self, entry: tuple[Any, ...], buffer: np.ndarray, seconds: float) -> list[np.ndarray]:
        """Everybody's buffers, once all have entered the same operation."""
        room = self._room
        room.clocks[self.rank] += time.thread_time() - self._mark
        room.buffers[self.rank] = (*entry, buffer.shape, buffer.dtype, buffer)
        room.barrier.wait()
        found = list(room.buffers)
        clock = max(room.clocks) + seconds
        room.barrier.wait()
        if len({each[:-1] for each in found}) > 1:
            raise RuntimeError(f"machines entered different operations: {[e[:-1] for e in found]}")
        room.clocks[self.rank] = clock
        self.seconds += seconds
        self._mark = time.thread_time()
        return [each[-1] for each in found]

    def _leave(self, value: np.ndarray) -> np.ndarray:
        self._room.barrier.wait()  # nobody may change a buffer that others still read
        return value

    def _start_sum(self, buffer: np.ndarray) -> Pending:
        seconds = self.network.allreduce(self.size, buffer.nbytes)
        buffers = self._meet(("sum",), buffer, seconds)
        total = buffers[0].copy()
        for each in buffers[1:]:
            total += each
        return _Done(self._leave(total))

    def _reduce(self, buffer: np.ndarray, combine: Combine) -> np.ndarray:
        seconds = self.network.allreduce(self.size, buffer.nbytes, divisible=False)
        buffers = self._meet(("reduce",), buffer, seconds)
        room = self._room
        if self.rank == 0:  # once is enough
            total = buffers[0].copy()
            for each in buffers[1:]:
                total = combine(total, each)
            room.shared = total
        room.barrier.wait()
        return self._leave(room.shared.copy())

    def _broadcast(self, buffer: np.ndarray, root: int) -> np.ndarray:
        seconds = self.network.broadcast(self.size, buffer.nbytes)
        return self._leave(self._meet(("broadcast", root), buffer, seconds)[root].copy())

    def _gather(self, buffer: np.ndarray) -> np.ndarray:
        seconds = self.network.gather(self.size, buffer.nbytes)
        return self._leave(np.stack(self._meet(("gather",), buffer, seconds)))


def run_local(
    size: int, function: Callable[[LocalComm], Any], network: Network | None = None
) -> list[Any]:
    """Call ``function(comm)`` on `size` threads that play machines.

    Parameters
    ----------
    size : int
    function : callable
        The program of every machine.
    network : Network, optional
        What messages cost; nothing by default.

    Returns
    -------
    list
        What each machine returned.

    Raises
    ------
    Exception
        The first one that a machine raised; the others are stopped.

    Examples
    --------
    >>> import numpy as np
    >>> from eagle.distributed import run_local
    >>> run_local(3, lambda comm: comm.sum(np.array([comm.rank])).item())
    [3, 3, 3]
    """
    room = _Room(size, network or Network())
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def work(rank: int) -> None:
        try:
            results[rank] = function(LocalComm(rank, room))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            errors[rank] = error
            room.barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    for error in raised:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    if raised:
        raise raised[0]
    return results
