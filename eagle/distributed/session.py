"""One solve's conversation: several arrays in one message, and votes that all learn at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eagle.distributed.comm import Comm, Pending


class Session:
    """Sums of several arrays at once.

    With a time limit, or if somebody has a callback, every sum carries two numbers more: how many
    machines are over the limit, and how many want to stop. So all of them learn it in the same
    round, and stop together.

    Parameters
    ----------
    comm : Comm
    time_limit : float, optional
        Seconds.
    heard : bool
        Whether somebody has a callback.

    Attributes
    ----------
    overtime, stopped : bool
        Whether somebody is over the limit, or has asked to stop, as far as all know.
    stop : bool
        Whether this machine asks to.
    """

    def __init__(self, comm: Comm, time_limit: float | None = None, *, heard: bool = False):
        self.comm = comm
        self.time_limit = time_limit
        self.votes = heard or time_limit is not None
        self.started = time.perf_counter()
        self.overtime = self.stopped = self.stop = False
        self._freight: tuple[np.ndarray, Callable[[np.ndarray], None]] | None = None
        self._before = comm.rounds, comm.bytes_sent

    def load(self, array: np.ndarray, deliver: Callable[[np.ndarray], None]) -> None:
        """Let an array ride with the next sum; its own sum is given to `deliver`."""
        self._freight = array, deliver

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
        dtype, deliver = arrays[0].dtype, None
        if self._freight is not None:
            (freight, deliver), self._freight = self._freight, None
            arrays += (freight,)
        parts = [array.ravel(order="F") for array in arrays]
        if self.votes:
            late = self.time_limit is not None and self.elapsed > self.time_limit
            parts.append(np.array([late, self.stop], np.float32))
        buffer = np.concatenate(parts, dtype=dtype, casting="same_kind")
        return Parcel(self, self.comm.start_sum(buffer), [x.shape for x in arrays], deliver)


class Parcel:
    """Sums under way."""

    def __init__(
        self,
        session: Session,
        pending: Pending,
        shapes: Sequence[tuple[int, ...]],
        deliver: Callable[[np.ndarray], None] | None,
    ):
        self._session = session
        self._pending = pending
        self._shapes = shapes
        self._deliver = deliver

    def progress(self) -> None:
        """Let the network work."""
        self._pending.progress()

    def wait(self) -> list[np.ndarray]:
        """The sums in the shapes of what went in."""
        buffer = self._pending.wait()
        if self._session.votes:
            late, stop = (bool(vote > 0.5) for vote in buffer[-2:].real)
            self._session.overtime |= late
            self._session.stopped |= stop
        out, start = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            out.append(buffer[start : start + size].reshape(shape, order="F"))
            start += size
        if self._deliver is not None:
            self._deliver(out.pop())
        return out
