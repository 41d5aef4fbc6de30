"""What the singular factors of A answer directly."""

from __future__ import annotations

import numpy as np

from eagle.algebra.blas import product
from eagle.problem.blocks import Problem


def solve_factored(problem: Problem) -> np.ndarray:
    """The extended value of a problem whose `factors` are known.

    With ``A = U S V^H`` and a ridge ``mu^2``, A being ``[A mu I]`` in the problem::

        B A^+ C = B V S^-1 U^H C                                                  (mu = 0)
        (A A^H + mu^2 I)^-1 C = U (S^2 + mu^2)^-1 U^H C + (C - U U^H C) / mu^2
    """
    assert problem.factors is not None
    U, s, Vh = problem.factors
    if not problem.mu:
        inner = product(U, problem.columns(), adjoint="X") / s[:, None]
        return problem.rows_times(product(Vh, inner, adjoint="X"))
    if len(U) != len(problem.columns()):  # the identity stands below A
        return solve_factored(problem.adjoint()).conj().T
    C = problem.columns()
    mu = s.dtype.type(problem.mu)
    inner = product(U, C, adjoint="X")
    outside = C - product(U, inner)
    outside -= product(U, product(U, outside, adjoint="X"))  # what rounding left of the inside
    size = np.hypot(s, mu)[:, None]
    top = product(Vh, s[:, None] / size * (inner / size), adjoint="X")
    bottom = product(U, mu / size * (inner / size)) + outside / mu
    return problem.rows_times(np.concatenate([top, bottom], axis=0))


def condition_of(problem: Problem) -> tuple[int, float]:
    """Rank and condition number of a problem whose `factors` are known, ridge included."""
    assert problem.factors is not None
    s = problem.factors[1]
    if problem.mu:
        return min(problem.A.shape), float(np.hypot(s[0], problem.mu) / problem.mu)
    return len(s), float(s[0] / s[-1])
