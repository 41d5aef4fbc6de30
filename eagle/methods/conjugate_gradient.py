"""Conjugate gradients on the normal equations ``W A A^H = B A^H``, all rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.algebra.blas import energies, norm, product
from eagle.methods.base import Method
from eagle.methods.gradient_descent import GradientState, setup, update_value
from eagle.problem.blocks import Problem
from eagle.problem.options import Options


@dataclass(kw_only=True)
class ConjugateState(GradientState):
    """CGLS vectors, one row per right-hand side."""

    residual: np.ndarray  # B - W A, (m, n)
    direction: np.ndarray  # (m, d)
    energy: np.ndarray  # |residual A^H|^2 by row, (m,); 0 once it is rounding noise
    noise: float  # eps ||A||, what rounding leaves of a residual's product with A^H


@dataclass(frozen=True)
class ConjugateGradient(Method):
    """CGLS (conjugate gradients on the normal equations, without forming ``A A^H``).

    Every row of B has its own scalars; the products with A are shared. In exact arithmetic it
    ends after as many steps as A has distinct non-zero singular values; otherwise about
    ``condition log(1 / rtol)`` iterations of two products with A.

    References
    ----------
    .. [1] Hestenes, Stiefel, "Methods of conjugate gradients for solving linear systems", J. Res.
       Natl. Bur. Stand. 49, 1952, section 10.
    .. [2] Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, algorithm 7.4.1
       (CGLS).

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(30, 20, condition=100, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="cg", rng=0)
    >>> bool(problem.error(result.value) < 1e-7)
    True
    """

    matrix_free: ClassVar[bool] = True
    default_rtol: ClassVar[float | None] = 1e-8
    default_maxiter: ClassVar[int] = 10_000

    def init(self, problem: Problem, options: Options) -> ConjugateState:
        """``W = 0``, ``direction = B A^H``."""
        fields = setup(problem)
        B, A = fields["B"], fields["work"].A
        gradient = product(B, A, adjoint="Y")
        noise = problem.eps * norm(A)
        state = ConjugateState(
            **fields,
            abrupt=True,
            step_size=0.0,
            residual=np.array(B, order="F"),
            direction=gradient,
            energy=_signal(gradient, B, noise),
            noise=noise,
        )
        state.count(len(B), A.shape[1], A.shape[0])
        return state

    def step(self, state: ConjugateState) -> ConjugateState:
        """Björck's algorithm 7.4.1, with rows for columns."""
        A, direction = state.work.A, state.direction
        d, n = A.shape
        image = product(direction, A)
        alpha = _ratio(state.energy, energies(image))
        move = alpha * direction
        state.W += move
        state.residual -= alpha * image
        gradient = product(state.residual, A, adjoint="Y")
        energy = _signal(gradient, state.residual, state.noise)
        state.direction = gradient + _ratio(energy, state.energy) * direction
        state.energy = energy
        state.count(len(direction), d, n)
        state.count(len(direction), n, d)
        update_value(state, move)
        return state

    def output(self, state: ConjugateState) -> np.ndarray:
        """``W [C columns]``."""
        return state.value.conj().T if state.flipped else state.value


def _signal(gradient: np.ndarray, residual: np.ndarray, noise: float) -> np.ndarray:
    """Energy of the gradient by row; 0 at rounding level, where a step would go anywhere."""
    energy = energies(gradient)
    return np.where(energy > noise**2 * energies(residual), energy, 0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """By row, as a column; 0 where a right-hand side is already solved."""
    safe = denominator > 0
    return np.where(safe, numerator / np.where(safe, denominator, 1), 0)[:, None]
