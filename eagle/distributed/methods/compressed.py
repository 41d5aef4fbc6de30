"""Random sketches add up over machines: for A of low rank.

``A T = sum_mu A_mu T_mu`` with Gaussian T, of which every machine draws its own rows. If
``A T`` has fewer dimensions than columns it has the range of A; with its orthonormal basis Q

    B A^+ C = B (Q^H A)^+ Q^H C,

and ``Q^H A_mu`` is a shard of k rows. Their triangular factors add up too (`reductions`), at
``k (k + d')`` numbers. What Q has missed, ``||A - Q Q^H A||``, is summed before, and the core is
known to that or to rounding. Columns of A are sketched at equal sizes, by powers of two, so that
none is lost for its units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.distributed.judge import compared, gathered, opinion
from eagle.distributed.methods.base import OneShot, Outcome
from eagle.distributed.methods.reductions import (
    opinion_of_core,
    outcome_of,
    reduced,
    told,
)
from eagle.distributed.problem import GRADED, LocalProblem
from eagle.distributed.residuals import basis
from eagle.distributed.session import Session
from eagle.problem.result import Status

FIRST = 32
SPARE = 4  # directions that a sketch must have to spare before its rank is believed
NOISE = 100.0  # in units of eps


@dataclass(frozen=True)
class Compressed(OneShot):
    """One sum of sketches, ``d s`` numbers, and one reduction of ``(k + d') k``.

    Parameters
    ----------
    size : int
        Columns s of the first sketch; doubled until it is larger than the rank of A.
    """

    size: int = FIRST

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """Sketch, enlarge if need be, project, reduce, solve."""
        A, d, eps = problem.A, len(problem.A), problem.eps
        even = A * problem.weights
        limit = min(d, problem.columns) + SPARE
        sketch, steps, blocks = A[:, :0], 0, [gathered(problem)] if problem.small else []
        while True:
            width = min(max(self.size, 2 * sketch.shape[1]), limit) - sketch.shape[1]
            steps += 1
            more, *whole = session.sum(product(even, problem.probes(width, steps)), *blocks)
            if steps == 1:
                blocks, gathered_blocks = [], whole
            sketch = np.asfortranarray(np.concatenate([sketch, more], axis=1))
            Q = _range(sketch, eps)
            spare = Q.shape[1] <= sketch.shape[1] - SPARE
            if spare or sketch.shape[1] >= limit or session.overtime:
                break
        inner = product(Q, A, adjoint="X")
        squares = np.array([norm(A - product(Q, inner)) ** 2, norm(A) ** 2], A.real.dtype)
        missed, size = np.sqrt(session.sum(squares)[0])
        missed = float(missed / size) if size else 0.0
        L, BN, lost, total = reduced(inner, problem.B, session)
        small = product(Q, problem.C, adjoint="X")
        left = norm(problem.C - product(Q, small))
        # Of rows that are graded some may be below the noise of the others.
        unseen = not problem.spectral.given() and _hides(sketch, Q.shape[1], eps)
        found = told(
            problem,
            session,
            lambda: opinion_of_core(L, BN, small, lost, total, problem, eps=missed, left=left),
        )
        outcome = replace(outcome_of(found, problem), iterations=steps)
        # A sketch with directions to spare misses rounding errors only; this is the proof.
        if unseen or missed > NOISE * eps * d**0.5:
            error = np.inf if unseen else max(outcome.error_estimate, missed)
            status = Status.TIME_LIMIT if session.overtime else Status.STAGNATED
            outcome = replace(outcome, status=status, error_estimate=error)
        if gathered_blocks:
            both = gathered_blocks[0]
            second = told(problem, session, lambda: opinion(both[:d], both[d:], problem.C, problem))
            outcome, _ = compared(outcome, second, problem, rtol)
        return outcome


def _hides(X: np.ndarray, rank: int, eps: float) -> bool:
    """Whether rows of X are graded, and there are more directions than `rank` without that."""
    sizes = np.abs(X).max(axis=1, initial=0.0)
    X, sizes = X[sizes > 0], sizes[sizes > 0]
    if not len(sizes) or sizes.max() <= 2.0**GRADED * sizes.min():
        return False
    return bool(_range(np.asfortranarray(X / sizes[:, None]), eps).shape[1] > rank)


def _range(X: np.ndarray, eps: float) -> np.ndarray:
    """Orthonormal basis of the columns of X, as far as they are more than rounding errors."""
    return basis(X, NOISE * eps * np.sqrt(X.shape[1]))[0]
