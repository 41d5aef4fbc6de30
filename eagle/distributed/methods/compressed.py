"""Random sketches add up over machines: for A of low rank.

``A T = sum_mu A_mu T_mu`` with Gaussian T, of which every machine draws its own rows. If
``A T`` has fewer dimensions than columns it has the range of A; with its orthonormal basis Q

    B A^+ C = B (Q^H A)^+ Q^H C,

and ``Q^H A_mu`` is a shard of k rows. Their triangular factors add up too (`reductions`), at
``k (k + d')`` numbers. That second message also carries what Q has missed, ``||A - Q Q^H A||``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.distributed.methods.base import Outcome
from eagle.distributed.methods.reductions import reduced, solved_by_root
from eagle.distributed.problem import LocalProblem
from eagle.distributed.residuals import basis
from eagle.distributed.session import Session
from eagle.problem.result import Status

__all__ = ["Compressed"]

FIRST = 32
SPARE = 4  # directions that a sketch must have to spare before its rank is believed
NOISE = 100.0  # in units of eps


@dataclass(frozen=True)
class Compressed:
    """One sum of sketches, ``d s`` numbers, and one reduction of ``(k + d') k``.

    Parameters
    ----------
    size : int
        Columns s of the first sketch; doubled until it is larger than the rank of A.
    """

    size: int = FIRST

    def run(self, problem: LocalProblem, session: Session, rtol: float) -> Outcome:
        """Sketch, enlarge if need be, project, reduce, solve."""
        A, eps = problem.A, problem.eps
        limit = min(len(A), problem.columns) + SPARE
        sketch, steps = A[:, :0], 0
        while True:
            width = min(max(self.size, 2 * sketch.shape[1]), limit) - sketch.shape[1]
            steps += 1
            (more,) = session.sum(product(A, problem.probes(width, steps)))
            sketch = np.asfortranarray(np.concatenate([sketch, more], axis=1))
            Q = _range(sketch, eps)
            if Q.shape[1] <= sketch.shape[1] - SPARE or sketch.shape[1] >= limit:
                break
        inner = product(Q, A, adjoint="X")
        missed = np.array([norm(A - product(Q, inner)) ** 2, norm(A) ** 2], A.real.dtype)
        missed, whole = session.sum(missed)[0]
        L, BN, lost, total = reduced(inner, problem.B, session)
        small = product(Q, problem.C, adjoint="X")
        outcome = solved_by_root(L, BN, small, lost, total, problem, session, rtol)
        # A sketch with directions to spare misses rounding errors only; this is the proof.
        if missed > (NOISE * eps) ** 2 * len(A) * whole:
            lost = max(outcome.error_estimate, float(np.sqrt(missed / whole)))
            outcome = replace(outcome, status=Status.STAGNATED, error_estimate=lost)
        return replace(outcome, iterations=steps)


def _range(X: np.ndarray, eps: float) -> np.ndarray:
    """Orthonormal basis of the columns of X, as far as they are more than rounding errors."""
    return basis(X, NOISE * eps * np.sqrt(X.shape[1]))[0]
