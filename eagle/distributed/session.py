"""One solve's conversation: several arrays in one message, and a clock that all agree on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from eagle.distributed.comm import Comm, Pending

__all__ = ["Parcel", "Session"]


class Session:
    """Sums of several arrays at once.

    With a time limit every sum carries one number more: how many machines are over it. So all of
    them learn it in the same round, and stop together.

    Parameters
    ----------
    comm : Comm
    time_limit : float, optional
        Seconds.
    """

    def __init__(self, comm: Comm, time_limit: float | None = None):
        self.comm = comm
        self.time_limit = time_limit
        self.started = time.perf_counter()
        self.overtime = False
        self._before = comm.rounds, comm.bytes_sent

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def rounds(self) -> int:
        """Operations of this session."""
        return self.comm.rounds - self._before[0]

    @property
    def bytes_sent(self) -> int:
        """Bytes that this machine put into them."""
        return self.comm.bytes_sent - self._before[1]

    def sum(self, *arrays: Any) -> list[np.ndarray]:
        """Sums of the arrays, of one dtype, over all machines."""
        return self.start_sum(*arrays).wait()

    def start_sum(self, *arrays: Any) -> Parcel:
        """The same without waiting."""
        arrays = tuple(np.asarray(array) for array in arrays)
        dtype = arrays[0].dtype
        parts = [array.ravel(order="F") for array in arrays]
        if self.time_limit is not None:
            parts.append(np.array([self.elapsed > self.time_limit]))
        buffer = np.concatenate(parts, dtype=dtype, casting="same_kind")
        return Parcel(self, self.comm.start_sum(buffer), [array.shape for array in arrays])


class Parcel:
    """Sums under way."""

    def __init__(self, session: Session, pending: Pending, shapes: Sequence[tuple[int, ...]]):
        self._session = session
        self._pending = pending
        self._shapes = shapes

    def progress(self) -> None:
        """Let the network work."""
        self._pending.progress()

    def wait(self) -> list[np.ndarray]:
        """The sums in the shapes of what went in."""
        buffer = self._pending.wait()
        if self._session.time_limit is not None:
            self._session.overtime |= bool(buffer[-1].real > 0.5)
        out, start = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            out.append(buffer[start : start + size].reshape(shape, order="F"))
            start += size
        return out
