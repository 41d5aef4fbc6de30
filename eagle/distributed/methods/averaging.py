"""EAGLE as the paper has it: update locally, average C and D.

Algorithm 1 of arXiv:2509.19702 with ``S = I``: on every machine, with ``||A_mu|| = 1``,

    D_mu <- D + B_mu A_mu^H C         C_mu <- C - A_mu A_mu^H C
    [A_mu; B_mu] <- [A_mu; B_mu] (I - A_mu^H A_mu / 3) 3/2

and then D and C become the means of ``D_mu`` and ``C_mu``. ``D + W C`` never changes if B is
consistent, so what is left of C is the residual. Its part along an eigenvector of the mean
projector with eigenvalue alpha shrinks by ``1 - alpha`` a round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.algebra import blas
from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import Evidence
from eagle.distributed.methods.base import Iterative, State
from eagle.distributed.methods.krylov import Setup
from eagle.distributed.problem import LocalProblem
from eagle.distributed.residuals import USED_UP
from eagle.distributed.session import Session

CONDITIONED = 1e-10  # the paper's criterion for ||I - A^H A||_F^2, per machine


@dataclass(kw_only=True)
class AveragingState(State):
    """A and B are this machine's, C and D everybody's."""

    setup: Setup
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray  # (d, n' + 1)
    D: np.ndarray  # (d', n' + 1)
    step: np.ndarray  # of C in the last round
    conditioned: int = 0
    frozen: bool = False

    def saved(self) -> dict[str, Any]:
        """C, D and how often A and B were conditioned: that can be done again."""
        return {
            "C": self.C, "D": self.D, "step": self.step, "left": self.left,
            "conditioned": self.conditioned,
        }  # fmt: skip

    def restore(self, saved: dict[str, Any]) -> None:
        """Take them back, condition again."""
        self.C, self.D, self.step = (np.asfortranarray(saved[name]) for name in ("C", "D", "step"))
        self.left = float(saved["left"])
        while self.conditioned < int(saved["conditioned"]):
            _condition(self)


@dataclass(frozen=True)
class Averaging(Iterative):
    """Algorithm 1: ``"eagle"``, and with `freeze` its accelerated form ``"eagle-frozen"``.

    While C and D travel, the next conditioning step is computed.

    Parameters
    ----------
    freeze : bool
        Stop conditioning once ``||I - A_mu^H A_mu||_F^2 < 1e-10`` on the range of ``A_mu``; every
        machine decides for itself. The paper waits for the first machine and stops all.
    """

    freeze: bool = False

    free = True
    projects = True
    hands_over = True

    def init(self, problem: LocalProblem, session: Session) -> AveragingState:
        """Reduce a shard with more columns than rows to as many as its rank; normalise."""
        setup = Setup.create(problem, session)
        A, B = problem.A, problem.B
        factors = problem.factors
        if len(factors.s) < A.shape[1]:  # also because noise must not be lifted
            A, B = factors.U * factors.s, product(problem.B, factors.V)
        scale = factors.s[0] if len(factors.s) else 1
        return AveragingState(
            problem=problem,
            setup=setup,
            A=np.asfortranarray(A / scale),
            B=np.asfortranarray(B / scale),
            C=setup.columns.copy(order="F"),
            D=np.zeros((len(B), setup.columns.shape[1]), A.dtype, order="F"),
            step=setup.columns.copy(order="F"),
        )

    def step(self, state: AveragingState, session: Session) -> None:
        """One update of C and D, one conditioning step while they travel."""
        pull = product(state.A, state.C, adjoint="X")
        M = session.comm.size
        under_way = session.start_sum(
            product(state.A, pull, scale=1 / M), product(state.B, pull, scale=1 / M)
        )
        if not state.frozen:
            change = _condition(state, under_way.progress)
            state.frozen = self.freeze and 4 * change**2 < CONDITIONED
        moved, gained = under_way.wait()
        state.C, state.D = state.C - moved, state.D + gained
        whole, before, size = norm(state.setup.columns), norm(state.step), norm(moved)
        state.step = moved
        # What is in the range shrinks in a ratio; what is outside stays, and does not matter.
        ratio = min(size / before, 1 - state.problem.eps) if before else 0.0
        state.left = min(norm(state.C), size / (1 - ratio)) / whole if whole else 0.0
        state.exhausted = size <= 2 * state.problem.eps * whole or state.left <= (
            USED_UP * state.problem.eps
        )

    def verify(self, state: AveragingState, session: Session) -> Evidence:
        """Everything is known to everybody already."""
        problem, setup = state.problem, state.setup
        n = problem.shape[1]
        error = state.D[:, n:] - setup.answer
        state.inconsistency = norm(error) / norm(setup.answer) if norm(setup.answer) else 0.0
        probe_start = norm(setup.columns[:, n:])
        return Evidence(
            value=state.D[:, :n],
            probe_error=error,
            residual=state.C[:, :n],
            probe_residual=state.C[:, n:],
            image=state.step[:, :n],
            probe_image=state.step[:, n:],
            start=norm(problem.C),
            probe_start=probe_start,
            white=(state.step[:, n:], state.C[:, n:]),
            white_start=probe_start,
            # The decompositions themselves are not kept: columns of C stand in for them.
            size=norm(problem.C),
            probe_size=probe_start,
            amplification=setup.amplification,
            eps=problem.eps,
            floor=setup.floor(norm(problem.C), norm(problem.C), 1.0, problem.eps),
        )


def _condition(state: AveragingState, progress: Callable[[], None] = lambda: None) -> float:
    """``[A; B] <- [A; B] (I - A^H A / 3) 3/2``; half of ``||A - A A^H A||_F``, the change of A."""
    A, n = state.A, state.A.shape[1]
    state.conditioned += 1
    if not n:
        return 0.0
    square = blas.gram(A, out=np.zeros((n, n), A.dtype, order="F"))
    progress()
    square[np.diag_indices(n)] -= A.real.dtype.type(3)
    state.A = blas.times_hermitian(A, square, out=np.empty_like(A), scale=-0.5)
    progress()
    state.B = blas.times_hermitian(state.B, square, out=np.empty_like(state.B), scale=-0.5)
    return norm(state.A - A)
