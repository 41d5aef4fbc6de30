"""LSMR of scipy, one right-hand side at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.algebra.operand import Operand, adjoint
from eagle.methods.base import Method, State, solve_columns
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

GAVE_UP = 7  # scipy's reason to stop: the maximum number of iterations


@dataclass(kw_only=True)
class LSMRState(State):
    """Solutions so far; one step solves one right-hand side."""

    work: Problem
    flipped: bool
    rows: np.ndarray  # (m, n)
    value: np.ndarray  # (m, q)
    limit: int
    solved: int = 0
    failed: bool = False  # a right-hand side took more iterations than it may


@dataclass(frozen=True)
class LSMR(Method):
    """Golub-Kahan bidiagonalisation with monotone normal residuals (`scipy.sparse.linalg.lsmr`).

    One step of the driver solves one row of ``W A = B``; scipy takes one right-hand side a call.
    `iterations` of the result is the most that any of them needed; `maxiter` bounds each.

    References
    ----------
    .. [1] Fong, Saunders, "LSMR: an iterative algorithm for sparse least-squares problems", SIAM
       J. Sci. Comput. 33(5), 2011.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(30, 20, condition=100, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="lsmr", rng=0)
    >>> bool(problem.error(result.value) < 1e-7)
    True
    """

    matrix_free: ClassVar[bool] = True
    default_rtol: ClassVar[float | None] = 1e-8
    default_maxiter: ClassVar[int] = 10_000

    def init(self, problem: Problem, options: Options) -> LSMRState:
        """Nothing solved yet."""
        flipped = solve_columns(problem)
        work = problem.adjoint() if flipped else problem
        B = work.rows()
        value = work.times_columns(np.zeros((len(B), work.A.shape[0]), work.A.dtype))
        return LSMRState(
            problem=problem,
            work=work,
            flipped=flipped,
            own="columns" if flipped else "rows",
            abrupt=True,
            rows=B,
            value=value,
            planned=len(B),
            limit=options.maxiter or self.default_maxiter,
        )

    def step(self, state: LSMRState) -> LSMRState:
        """Solve the next right-hand side: ``A^H w = b^H``."""
        from scipy.sparse.linalg import lsmr

        A = state.work.A
        d, n = A.shape
        turned = adjoint(A)
        if state.solved < len(state.rows):
            b = state.rows[state.solved].conj()
            # scipy's tolerances bound a residual, which a small singular direction hardly shows in.
            w, reason, iterations, *_, condition, _ = lsmr(
                turned.as_operator() if isinstance(turned, Operand) else turned,
                b,
                atol=state.problem.eps,
                btol=state.problem.eps,
                conlim=0,
                maxiter=state.limit,
            )
            row = w.conj()[None, :].astype(A.dtype)
            state.value[state.solved] = state.work.times_columns(row)[0]
            state.iterations = max(state.iterations, int(iterations))
            state.condition = max(state.condition or 1.0, float(condition))
            for _ in range(iterations):
                state.count(1, d, n)
                state.count(1, n, d)
            state.solved += 1
            if reason == GAVE_UP:  # then probes that did better tell nothing
                state.failed, state.own = True, None
        state.settled = state.solved == len(state.rows)
        state.resolved = state.settled and not state.failed
        state.change = 0.0 if state.resolved else 1.0
        return state

    def output(self, state: LSMRState) -> np.ndarray:
        """Rows not yet solved are zero."""
        return state.value.conj().T if state.flipped else state.value
