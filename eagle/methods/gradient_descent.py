"""Gradient descent on ``||W A - B||^2 / 2``, all rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra.blas import lengths, product
from eagle.methods.base import Method, State, change_of, solve_columns
from eagle.methods.norms import squared_norm
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

REST = 10.0  # in units of eps: relative moves of a row of W that are rounding errors


@dataclass(kw_only=True)
class GradientState(State):
    """The iterate, on the side with fewer right-hand sides."""

    work: Problem
    flipped: bool
    B: np.ndarray  # (m, n)
    W: np.ndarray  # (m, d)
    value: np.ndarray
    step_size: float


@dataclass(frozen=True)
class GradientDescent(Method):
    """``W <- W + step (B - W A) A^H`` with ``step = 1 / ||A||^2``, value ``W C``.

    The error along a singular direction shrinks by ``1 - (s / ||A||)^2`` a step: about
    ``condition^2 log(1 / rtol)`` iterations of two products with A. The norm comes from power
    iteration, and the step keeps clear of ``2 / ||A||^2``, so that the residual never grows.

    References
    ----------
    .. [1] Landweber, "An iteration formula for Fredholm integral equations of the first kind",
       Amer. J. Math. 73(3), 1951.
    .. [2] Lutz et al., arXiv:2509.19702, section 5 (baselines): step ``1 / sigma_max^2``.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(30, 20, condition=5, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="gd", rng=0)
    >>> bool(problem.error(result.value) < 1e-7)
    True
    """

    matrix_free: ClassVar[bool] = True
    default_rtol: ClassVar[float | None] = 1e-8
    default_maxiter: ClassVar[int] = 100_000

    def init(self, problem: Problem, options: Options) -> GradientState:
        """``W = 0``."""
        size = 1.01 * squared_norm(problem.A) or 1.0
        return GradientState(**setup(problem), step_size=1 / size)

    def step(self, state: GradientState) -> GradientState:
        """One step for every row."""
        A = state.work.A
        d, n = A.shape
        residual = state.B - product(state.W, A)
        move = state.W.real.dtype.type(state.step_size) * product(residual, A, adjoint="Y")
        state.count(len(state.B), d, n)
        state.count(len(state.B), n, d)
        state.W += move
        update_value(state, move)
        return state

    def output(self, state: GradientState) -> np.ndarray:
        """``W [C columns]``."""
        return state.value.conj().T if state.flipped else state.value


def setup(problem: Problem, flipped: bool | None = None) -> dict[str, Any]:
    """Common fields of the row-wise methods; the side to solve for, or the one with less work."""
    if flipped is None:
        flipped = solve_columns(problem)
    work = problem.adjoint() if flipped else problem
    B = work.rows()
    W = np.zeros((len(B), work.A.shape[0]), work.A.dtype, order="F")
    return {
        "problem": problem,
        "work": work,
        "flipped": flipped,
        "own": "columns" if flipped else "rows",
        "B": B,
        "W": W,
        "value": work.times_columns(W),
    }


def update_value(state: GradientState, move: np.ndarray) -> None:
    """Value and change after W has moved; settled once that is lost in rounding."""
    difference = state.work.times_columns(move)
    state.value = state.value + difference
    rows, columns = state.work.shape
    state.change = change_of(difference[:rows, :columns], state.value[:rows, :columns])
    # A direction still to come moves W by its singular value, however little it moves the value.
    sizes, moves = lengths(state.W), lengths(move)
    state.resolved = bool((moves <= REST * state.problem.eps * sizes).all())
    state.settled = state.resolved and change_of(difference, state.value) <= 0.5 * state.problem.eps
