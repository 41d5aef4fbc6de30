"""Gradient descent on a few columns of A at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.algebra.blas import largest_eigenvalue, product
from eagle.methods.base import Method
from eagle.methods.gradient_descent import GradientState, setup, update_value
from eagle.methods.sketched.method import default_size
from eagle.problem.blocks import Problem
from eagle.problem.options import Options, check_count


@dataclass(kw_only=True)
class StochasticState(GradientState):
    """The iterate, and which columns come next."""

    rng: np.random.Generator
    order: np.ndarray
    position: int = 0


@dataclass(frozen=True)
class StochasticGradientDescent(Method):
    """``W <- W + step (B - W A) S S^H A^H`` with S a choice of columns, value ``W C``.

    The rival of `Sketched`: the same sketches, reshuffled every epoch, and the step
    ``1 / ||A S||^2`` of a block Kaczmarz method. Cheap steps, but as many as the square of the
    condition number asks for; for inconsistent B a constant step does not converge at all, and
    the certificate says so.

    Parameters
    ----------
    size : int, optional
        Columns per step, or rows if those are fewer; an eighth of them by default, at least 8.

    References
    ----------
    .. [1] Needell, Tropp, "Paved with good intentions: analysis of a randomized block Kaczmarz
       method", Linear Algebra Appl. 441, 2014.
    .. [2] Lutz et al., arXiv:2509.19702, figure 18 (the baseline).

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(30, 20, condition=5, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="sgd", rng=0)
    >>> bool(problem.error(result.value) < 1e-7)
    True
    """

    size: int | None = None

    default_rtol: ClassVar[float | None] = 1e-8
    default_maxiter: ClassVar[int] = 100_000

    def __post_init__(self) -> None:
        if self.size is not None:
            check_count("size", self.size)

    def init(self, problem: Problem, options: Options) -> StochasticState:
        """``W = 0``."""
        # Only a consistent side converges; for A of full rank that is the longer one.
        d, n = problem.A.shape
        state = StochasticState(
            **setup(problem, d < n), step_size=0.0, rng=options.rng, order=np.arange(0)
        )
        n = state.work.A.shape[1]
        state.order = state.rng.permutation(n)
        # A passing moment is no convergence: every block gets its say.
        state.confirmations = -(-n // min(n, self.size or default_size(n)))
        return state

    def step(self, state: StochasticState) -> StochasticState:
        """One block of columns, for every row."""
        A = state.work.A
        d, n = A.shape
        size = min(n, self.size or default_size(n))
        columns = state.order[state.position : state.position + size]
        state.position += size
        if state.position >= n:
            state.order, state.position = state.rng.permutation(n), 0
        At = np.asfortranarray(A[:, columns])
        inner = product(At, At, adjoint="X")
        square = largest_eigenvalue(inner)
        residual = state.B[:, columns] - product(state.W, At)
        r = len(columns)
        state.count(r, d, r)
        state.count(len(state.B), d, r)
        state.count(len(state.B), r, d)
        if square > 0:
            move = product(residual, At, adjoint="Y", scale=1 / square)
            state.W += move
            update_value(state, move)
            state.settled = False  # another block may still move it; the certificate decides
        return state

    def output(self, state: StochasticState) -> np.ndarray:
        """``W [C columns]``."""
        return state.value.conj().T if state.flipped else state.value
