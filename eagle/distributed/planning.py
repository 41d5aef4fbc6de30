"""Which method, from a model of network and machines with measured parameters."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.algebra.blas import product
from eagle.distributed.comm import Network
from eagle.distributed.methods import METHODS
from eagle.distributed.methods.base import Outcome
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.problem.result import Status

GUESS = 0.01  # diversity, which nobody knows beforehand
SIMILAR = 60  # iterations of the preconditioned finish, likewise
LONG = 2  # columns of a shard for each row from which on Gram matrices are in the race
CORRECTIONS = 3
CALL = 3e-4  # seconds of Python in a round
TOGETHER = "all blocks are so few numbers that they rode along"
UNITS = "rows or columns of A are in quite different units"
FULL = 4e9  # bytes of a triangular factor beyond which no machine is asked to hold three


@dataclass(frozen=True)
class Job:
    """What the model knows.

    Attributes
    ----------
    d, rows, columns : int
        Size of C and of the value.
    shard : int
        Columns of A on one machine, in the mean.
    size : int
        Machines.
    network : Network
    rate : float
        Floating-point operations per second and machine.
    word : int
        Bytes of a number.
    rtol : float
    """

    d: int
    rows: int
    columns: int
    shard: float
    size: int
    network: Network
    rate: float
    word: int
    rtol: float

    @classmethod
    def measured(cls, problem: LocalProblem, session: Session, rtol: float) -> Job:
        """The rate of a small product in the mean over machines: one sum."""
        size = session.comm.size
        (rate,) = session.sum(np.array([_rate(problem.A.dtype)]))
        return cls(
            d=len(problem.A),
            rows=problem.shape[0],
            columns=problem.shape[1],
            shard=problem.columns / size,
            size=size,
            network=session.comm.network,
            rate=float(rate[0]) / size,
            word=problem.A.itemsize,
            rtol=rtol,
        )

    def seconds(self) -> dict[str, float]:
        """Predicted time by method."""
        names = ("tsqr", "krylov", "compressed", "seminormal")
        return {name: getattr(self, name)() for name in names}

    def tsqr(self) -> float:
        """One reduction of ``d (d + d')`` numbers; a QR factorisation wherever two factors meet."""
        d, levels = self.d, math.ceil(math.log2(self.size)) if self.size > 1 else 0
        nbytes = self.word * (d + 1) * (d + self.rows + 1)
        if nbytes > FULL:
            return math.inf
        work = 4 * max(self.shard - d, 0) * d**2 + levels * 8 * d**3 + 6 * d**3
        return self.network.allreduce(self.size, nbytes, divisible=False) + work / self.rate

    def krylov(self) -> float:
        """As many rounds as theory needs for the guessed diversity, or as there are dimensions."""
        d, k = self.d, self.columns + 1
        rank = min(d, self.shard)
        theory = 0.5 * math.sqrt(1 / GUESS) * math.log(2 / self.rtol)
        rounds = 3 + min(math.ceil(min(d, self.shard * self.size) / k), math.ceil(theory))
        condition = 14 * self.shard * d * rank
        work = condition + rounds * 4 * d * rank * k + 2 * d * (rounds * k) ** 2
        message = self.network.allreduce(self.size, self.word * d * k)
        return rounds * (message + CALL) + work / self.rate

    def compressed(self) -> float:
        """A sketch as large as the number of columns, if that is less than d."""
        d, s = self.d, min(self.d, self.shard * self.size)
        if s >= d:
            return math.inf
        message = self.network.allreduce(self.size, self.word * d * s)
        core = self.network.allreduce(self.size, self.word * s * (s + self.rows), divisible=False)
        work = 4 * d * self.shard * s + 4 * d * s**2 + 14 * s**3 * math.log2(2 * self.size)
        return message + core + work / self.rate

    def seminormal(self) -> float:
        """A sum of Gram matrices and three of W; for long shards, as A is likely of full rank."""
        d = self.d
        if self.shard < LONG * d or self.word * d**2 > FULL:
            return math.inf
        first = self.network.allreduce(self.size, self.word * d * (d + self.rows))
        more = self.network.allreduce(self.size, self.word * d * self.rows)
        work = self.shard * d**2 + d**3 + CORRECTIONS * 4 * d * self.shard * self.rows
        return first + CORRECTIONS * (more + CALL) + work / self.rate

    def pooled(self) -> float:
        """Two rounds an iteration, as many as it takes where machines have similar data."""
        d, k = self.d, self.columns + 4
        message = self.network.allreduce(self.size, self.word * d * k)
        return SIMILAR * (2 * message + 2 * CALL + 8 * d * min(self.shard, d) * k / self.rate)


def plan(
    problem: LocalProblem, session: Session, rtol: float, *, iterative: bool = False
) -> tuple[str, str]:
    """The method that the model finds fastest, and why; `iterative` if it must be an iteration.

    A Gram matrix alone is never chosen, as it loses digits; with corrections it is where shards are
    long. If A turns out to be too ill-conditioned for it, ``tsqr`` finishes.
    """
    ridge = bool(problem.spectral.ridge)
    if iterative and ridge:
        return "pooled", "auto: pooled, an iteration with few rounds that a ridge does not disturb"
    if iterative:
        return "krylov", "auto: krylov, the iteration with the fewest rounds"
    if session.comm.size == 1:
        return "tsqr", "auto: tsqr, as one machine has all"
    job = Job.measured(problem, session, rtol)
    seconds = job.seconds()
    if ridge and not problem.spectral.truncates:
        seconds["pooled"] = job.pooled()
    given = set(problem.spectral.given())
    seconds = {name: time for name, time in seconds.items() if given <= METHODS[name].supports}
    first, second, *_ = sorted(seconds.items(), key=lambda item: item[1])
    return first[0], (
        f"auto: {first[0]} in about {first[1]:.1g} s, {second[0]} in {second[1]:.1g} s "
        f"({_described(job)})"
    )


def finisher(problem: LocalProblem, session: Session, rtol: float) -> tuple[str, str]:
    """What computes the value of the pooled data after a projector method could not."""
    if session.comm.size == 1:
        return "tsqr", "one machine has all"
    job = Job.measured(problem, session, rtol)
    reduction, iteration = job.tsqr(), job.pooled()
    name = "tsqr" if reduction <= iteration else "pooled"
    return name, (
        f"tsqr in about {reduction:.1g} s, pooled in {iteration:.1g} s ({_described(job)})"
    )


def doubtful(problem: LocalProblem, method: Any, outcome: Outcome) -> bool:
    """Whether a converged value needs a second opinion, of a triangular factor: two rounds.

    An iteration on pooled data sees nothing of a direction that is small for its units, nor do
    its probes. (Projector methods see all that their machines' factorisations do.)
    """
    converged = outcome.status is Status.CONVERGED
    affordable = problem.A.itemsize * len(problem.A) ** 2 <= FULL
    return converged and problem.uneven and affordable and not method.hands_over


def _described(job: Job) -> str:
    return (
        f"{job.size} machines, latency {job.network.latency:.1g} s, "
        f"{job.network.bandwidth:.1g} B/s, {job.rate:.1g} flop/s"
    )


def _rate(dtype: np.dtype) -> float:
    """Of one product of 128 x 128 matrices, the best of four."""
    n = 128
    X = np.ones((n, n), dtype, order="F")
    best = math.inf
    for _ in range(4):
        start = time.perf_counter()
        product(X, X)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 * (4 if dtype.kind == "c" else 1) / best
