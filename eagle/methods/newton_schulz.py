"""Newton-Schulz (Ben-Israel and Cohen) iteration for the pseudo-inverse, then ``B Y C``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.methods.base import Method, State, change_of
from eagle.methods.norms import squared_norm_bound
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

MOVING = 1e-1  # relative change of a value to which something is still to come


@dataclass(kw_only=True)
class NewtonSchulzState(State):
    """The iterate and the value that it gives."""

    Y: np.ndarray  # (n, d)
    value: np.ndarray
    bound: float  # ||A||^2 or more, by which Y_0 was divided


@dataclass(frozen=True)
class NewtonSchulz(Method):
    """Pseudo-inverse by matrix products: ``Y <- Y (2 I - A Y)`` from a multiple of ``A^H``.

    From ``Y = A^H / (||A||_1 ||A||_inf)`` it takes about ``2 log2(condition)`` steps of two
    products, and up to ``log2(d n) / 2`` more, as that divisor exceeds ``||A||^2``; the end is
    quadratic. The explicit pseudo-inverse costs accuracy: the error of ``B Y C`` grows like
    ``eps * condition``.

    References
    ----------
    .. [1] Ben-Israel, Cohen, "On iterative computation of generalized inverses and associated
       projections", SIAM J. Numer. Anal. 3(3), 1966, equation (2).
    .. [2] Pan, Schreiber, "An improved Newton iteration for the generalized inverse of a matrix,
       with applications", SIAM J. Sci. Stat. Comput. 12(5), 1991.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(30, 20, condition=10, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="newton-schulz", rng=0)
    >>> bool(problem.error(result.value) < 1e-12)
    True
    """

    default_maxiter: ClassVar[int] = 200

    def init(self, problem: Problem, options: Options) -> NewtonSchulzState:
        """``Y_0 = A^H / bound`` with bound in ``[||A||^2, sqrt(d n) ||A||^2]``."""
        A = problem.A
        bound = squared_norm_bound(A)
        Y = A.conj().T / A.real.dtype.type(bound or 1.0)
        state = NewtonSchulzState(problem=problem, Y=Y, value=_value(problem, Y), bound=bound)
        state.count(A.shape[1], A.shape[0], A.shape[1])
        return state

    def step(self, state: NewtonSchulzState) -> NewtonSchulzState:
        """``Y <- Y (2 I - A Y)``, the product taken on the shorter side."""
        A, Y = state.problem.A, state.Y
        d, n = A.shape
        inner = product(Y, product(A, Y)) if d <= n else product(product(Y, A), Y)
        state.count(d, n, min(d, n))
        state.count(d, n, min(d, n))
        state.Y = 2 * Y - inner
        value = _value(state.problem, state.Y)
        rows, columns = state.problem.shape
        before = state.change
        state.change = change_of((value - state.value)[:rows, :columns], value[:rows, :columns])
        drift = norm(state.Y - Y)
        state.value = value
        eps = state.problem.eps
        # A direction of singular value s that is still to come has grown to 2^k s / bound in Y, and
        # doubles: it is no larger than the last change. So s is at rounding level, or seen.
        hidden = drift * state.bound / 2.0**state.taken
        level = max(d, n) * eps * norm(A)
        # All of them have had their doublings, up to ``s^2 / bound = 1``, and the quadratic end.
        doublings = np.log2(state.bound) - 2 * np.log2(level) if level else 0.0
        exhausted = state.taken >= doublings + np.log2(-np.log(eps))
        at_rest = state.change <= eps or state.change >= 0.5 * before
        state.resolved = (exhausted or hidden <= level) and state.change <= MOVING
        state.settled = exhausted or (state.resolved and at_rest)
        return state

    def output(self, state: NewtonSchulzState) -> np.ndarray:
        """``[B; rows] Y [C columns]``."""
        return state.value


def _value(problem: Problem, Y: np.ndarray) -> np.ndarray:
    rows, columns = problem.shape
    # Multiply on the thinner side first.
    if rows <= columns:
        return problem.times_columns(problem.rows_times(Y))
    return problem.rows_times(problem.times_columns(Y))
