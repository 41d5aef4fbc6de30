r"""A second opinion that costs no round where all blocks together are few numbers.

Probes tell what an iteration has left, not what rounding has made of it: that takes a decomposition
of A, of which no machine has more than its columns. But while A and B are `SMALL` together,
``(d + d') n`` numbers, they may ride along with the first sum of a solve. Rank 0 solves for itself,
by the complete orthogonal decomposition of the equilibrated A, which bounds its own error (see
``eagle.methods.complete``), and what it finds rides with the next sum. So everybody knows how far a
value is from one of known error, and has that one if his own is worse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import eagle
from eagle.algebra.blas import norm, product
from eagle.distributed.methods.base import Outcome
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.methods.direct import Direct
from eagle.problem.result import ConvergenceError, Status

JUDGED = (Status.CONVERGED, Status.STAGNATED, Status.NONFINITE)  # endings that may be overruled


@dataclass(frozen=True)
class Opinion:
    """A value with a bound of its error.

    Attributes
    ----------
    value : ndarray (d', n')
    error : float
        Absolute.
    natural : float
        ``eps |B| |C| / |A|``: what rounding makes of data of this size, however small the value is.
    inconsistency : float
    rank, condition : float
        NaN if not known.
    """

    value: np.ndarray
    error: float
    natural: float
    inconsistency: float
    rank: float
    condition: float

    @property
    def relative(self) -> float:
        """The error relative to the value."""
        size = max(norm(self.value), self.natural)
        return self.error / size if size else 0.0

    def packed(self, dtype: Any) -> np.ndarray:
        """As one vector."""
        numbers = (self.error, self.natural, self.inconsistency, self.rank, self.condition)
        return np.concatenate([self.value.ravel(), np.array(numbers)]).astype(dtype)

    @classmethod
    def unpacked(cls, vector: np.ndarray, shape: tuple[int, int]) -> Opinion:
        """From `packed`."""
        return cls(vector[:-5].reshape(shape), *vector[-5:].real.tolist())


def opinion(A: np.ndarray, B: np.ndarray, C: np.ndarray, problem: LocalProblem) -> Opinion:
    """`eagle.solve` by what bounds its own error; with rank or cutoff by what it chooses."""
    spectral = problem.spectral

    def solved(C: np.ndarray) -> Any:
        try:  # warnings can only be silenced for all threads at once
            return eagle.solve(
                A, B, C,
                method="auto" if spectral.truncates else Direct("cod"),
                rank=spectral.rank, cutoff=spectral.cutoff, ridge=spectral.ridge,
                rng=problem.seed, raise_on_failure=True,
            )  # fmt: skip
        except ConvergenceError as failure:
            return failure.result

    result = solved(C)
    gap = result.inconsistency
    if spectral.ridge:  # of the blocks themselves
        W = np.asarray(solved(np.eye(len(A), dtype=A.dtype)).value)
        gap = norm(B - product(W, A)) / (norm(B) or 1.0)
    whole = norm(A)
    natural = float(np.finfo(np.float64).eps) * norm(B) * norm(C) / whole if whole else 0.0
    return Opinion(
        value=np.asarray(result.value),
        error=result.error_estimate * max(norm(result.value), natural),
        natural=natural,
        inconsistency=gap,
        rank=np.nan if result.rank is None else result.rank,
        condition=np.nan if result.condition is None else result.condition,
    )


def gathered(problem: LocalProblem) -> np.ndarray:
    """``[A; B]`` of all machines, (d + d', n), of which only this one's columns are not zero."""
    whole = np.zeros((len(problem.A) + len(problem.B), problem.columns), problem.A.dtype, order="F")
    own = slice(problem.offset, problem.offset + problem.A.shape[1])
    whole[: len(problem.A), own], whole[len(problem.A) :, own] = problem.A, problem.B
    return whole


class Judge:
    """Sends the blocks with the next sum and hears the opinion with the one after that."""

    def __init__(self, problem: LocalProblem, session: Session):
        self.problem, self.session = problem, session
        self._opinion: Opinion | None = None
        if problem.small:
            session.load(gathered(problem), self._asked)

    @property
    def opinion(self) -> Opinion | None:
        """None where the problem is not small; after fewer than two sums this is one."""
        while self.problem.small and self._opinion is None:
            self.session.sum(np.zeros(0, self.problem.A.dtype))
        return self._opinion

    def _asked(self, blocks: np.ndarray) -> None:
        problem, (rows, columns) = self.problem, self.problem.shape
        said = np.zeros(rows * columns + 5, blocks.dtype)
        if self.session.comm.rank == 0:
            d = len(problem.A)
            said[:] = opinion(blocks[:d], blocks[d:], problem.C, problem).packed(said.dtype)
        self.session.load(said, self._heard)

    def _heard(self, said: np.ndarray) -> None:
        self._opinion = Opinion.unpacked(said, self.problem.shape)


def compared(
    outcome: Outcome, second: Opinion, problem: LocalProblem, rtol: float
) -> tuple[Outcome, bool]:
    """What is known of a value beside another; the better one, and whether that is the second.

    The distance of the two and the error of the second bound the error of the first. What was cut
    short keeps its value and its status.
    """
    distance = second.error + norm(outcome.value - second.value)
    size = max(norm(second.value), second.natural)
    error = max(distance / size if size else 0.0, problem.eps)
    if not np.isfinite(error):
        error = np.inf
    own = max(second.relative, problem.eps)
    known = replace(
        outcome,
        inconsistency=second.inconsistency,
        rank=None if np.isnan(second.rank) else int(second.rank),
        condition=outcome.condition or (None if np.isnan(second.condition) else second.condition),
    )
    if outcome.status not in JUDGED:
        return replace(known, error_estimate=error), False
    # A value that is good enough is the user's choice of method, and stays.
    takes = error > rtol and own < error
    least = own if takes else error
    status = Status.CONVERGED if least <= max(rtol, problem.enough) else Status.STAGNATED
    value = second.value if takes else outcome.value
    return replace(known, value=value, error_estimate=least, status=status), takes
