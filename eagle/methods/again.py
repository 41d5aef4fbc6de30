"""Other blocks with an A that an earlier solve has factorised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.methods.base import Inverse, Method, State, by_rows
from eagle.problem.blocks import Problem
from eagle.problem.options import Options


@dataclass(kw_only=True)
class AgainState(State):
    """The value after the single step."""

    value: np.ndarray | None = None


@dataclass(frozen=True)
class Again(Method):
    """``B A^+ C`` by a factorisation that is there already.

    It is not among ``METHODS``: whoever uses it has to know that the inverse is that of A. The
    certificate tells if it is not.

    Parameters
    ----------
    known : Inverse
        From `Method.inverse` of the method that factorised A, for a problem of the same scale.
    """

    known: Inverse

    default_maxiter: ClassVar[int] = 1

    def init(self, problem: Problem, options: Options) -> AgainState:
        """Nothing yet."""
        rank, condition = self.known.rank, self.known.condition
        return AgainState(problem=problem, planned=1, rank=rank, condition=condition)

    def step(self, state: AgainState) -> AgainState:
        """Apply the inverse on the side with fewer right-hand sides."""
        problem = state.problem
        if by_rows(problem):
            other = problem.adjoint()
            state.value = other.rows_times(self.known.adjoint_times(other.columns())).conj().T
        else:
            state.value = problem.rows_times(self.known.times(problem.columns()))
        state.change, state.settled, state.resolved = 0.0, True, True
        return state

    def output(self, state: AgainState) -> np.ndarray:
        """The value."""
        assert state.value is not None
        return state.value

    def inverse(self, state: AgainState) -> Inverse:
        """The same."""
        return self.known
