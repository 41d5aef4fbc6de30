"""Condition locally, then Krylov on the mean projector.

Once ``A_mu`` is conditioned, ``P_mu = U U^H`` is at hand and ``W P_mu = B_mu A_mu^+``. With the
mean ``P`` of the projectors and ``P Z = C``,

    D = W C = W P Z = (1/M) sum_mu B_mu A_mu^+ Z.

P is positive semidefinite and well-conditioned however ill-conditioned A is: its positive
eigenvalues lie in ``[alpha, 1]`` with the diversity alpha. So a Krylov method needs
``sqrt(lambda_max / alpha)`` rounds where averaging needs ``1 / alpha``, and a round carries
``d`` numbers for every column, where EAGLE's carries ``d + d'``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import Evidence
from eagle.distributed.methods.base import Iterative, State
from eagle.distributed.problem import LocalProblem, normals
from eagle.distributed.residuals import STUCK, MinimalResiduals, basis, left
from eagle.distributed.session import Session


@dataclass(frozen=True)
class Setup:
    """The probe of a projector method, one column ``s = A w`` that rides along with C.

    ``w_mu = V diag(1/s) g_mu`` with Gaussian g: white after conditioning, so that it sees every
    direction of the mean projector with a weight of at least ``sqrt(alpha)``, however small the
    singular values of A are.

    Attributes
    ----------
    columns : ndarray (d, n' + 1)
        ``[C s]``.
    answer : ndarray (d', 1)
        ``B w``, the answer if B is consistent.
    size : float
        Norm of w.
    amplification : float
        Mean size of W on the machines' ranges.
    weight : float
        ``sum_mu ||B_mu A_mu^+||^2 / M``, at least ``alpha ||W||^2``.
    condition : float
        Root of the sum of the squares of those of the machines.
    dropped : bool
        Whether a machine's factors leave out a direction that is only small for its units.
    """

    columns: np.ndarray
    answer: np.ndarray
    size: float
    amplification: float
    weight: float
    condition: float
    dropped: bool

    @classmethod
    def create(cls, problem: LocalProblem, session: Session) -> Setup:
        """One sum of ``d + d' + 5`` numbers."""
        factors = problem.factors
        rank = len(factors.s)
        g = normals(problem.seed, session.comm.rank, 0, rank, 1, problem.A.dtype)
        size = norm(g / factors.s[:, None])
        own = np.array([norm(factors.W) ** 2, rank, size**2, factors.condition**2, problem.dropped])
        s, answer, facts = session.sum(product(factors.U, g), product(factors.W, g), own)
        weight, rank, size, condition, dropped = facts.real.tolist()
        return cls(
            np.asfortranarray(np.concatenate([problem.C, s], axis=1)),
            answer,
            float(np.sqrt(size)),
            float(np.sqrt(weight / max(rank, 1))),
            float(np.sqrt(weight / session.comm.size)),
            float(np.sqrt(condition)),
            dropped > 0,
        )

    def floor(self, left: float, decomposition: float, alpha: float, eps: float) -> float:
        """What rounding of the machines' factors makes of the value, to first order.

        ``B_mu A_mu^+`` is off by ``W E_mu A_mu^+``, ``||E_mu|| <= eps ||A_mu||``, and their ranges
        by eps times their conditions, which lets what C has outside of the range of A look as if
        it were inside: `left` is the norm of that, `decomposition` that of all ``||A_mu|| x_mu``,
        alpha the smallest eigenvalue of the mean projector.
        """
        if self.dropped:
            return np.inf
        W = self.weight / alpha**0.5
        return eps * W * (decomposition + self.condition * left / alpha)


@dataclass(kw_only=True)
class MinimisingState(State):
    """Of a method that minimises residuals: what all machines know, and nothing else."""

    minimiser: MinimalResiduals

    def saved(self) -> dict[str, Any]:
        """The Krylov space; the rest follows from the data."""
        return self.minimiser.saved() | {"left": self.left}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take it back."""
        self.minimiser.restore(saved)
        self.left = float(saved["left"])


@dataclass(kw_only=True)
class KrylovState(MinimisingState):
    """With the probe of the certificate."""

    setup: Setup

    @property
    def diversity(self) -> float | None:
        """The smallest Ritz value."""
        values = self.minimiser.ritz_values()
        return float(values[0]) if len(values) else None


@dataclass(frozen=True)
class Krylov(Iterative):
    """Block minimal residuals on the mean projector; the data are conditioned locally before.

    A round multiplies what is left of every column by P: ``d (n' + 1)`` numbers, one column being
    the probe of the certificate. In exact arithmetic it ends after ``rank A / (n' + 1)`` rounds
    at the latest, and the error falls like that of conjugate gradients,
    ``2 ((sqrt(k) - 1) / (sqrt(k) + 1))^rounds`` with ``k = lambda_max / alpha``.

    Examples
    --------
    >>> import eagle.distributed as many
    >>> shards = many.shards_with_diversity(alpha=0.1, machines=4, rng=0)
    >>> result = many.simulate(shards.A, shards.B, shards.C, method="krylov", rng=0)
    >>> shards.error(result.value) < 1e-9, result.rounds < 40
    (True, True)
    """

    projects = True
    hands_over = True

    def init(self, problem: LocalProblem, session: Session) -> KrylovState:
        """Condition, set up the probe."""
        setup = Setup.create(problem, session)
        return KrylovState(problem=problem, setup=setup, minimiser=MinimalResiduals(setup.columns))

    def step(self, state: KrylovState, session: Session) -> None:
        """Multiply what is left by P."""
        found, U = state.minimiser, state.problem.factors.U
        start = np.linalg.norm(state.setup.columns, axis=0)
        open_ = np.flatnonzero(left(found.R, start, state.problem.eps))
        directions, _ = basis(found.R[:, open_])
        if not directions.shape[1]:
            state.exhausted = True
            return
        own = product(U, product(U, directions, adjoint="X"), scale=1 / session.comm.size)
        (images,) = session.sum(own)
        before = found.R
        new = found.extend(directions, images)
        state.exhausted = not new
        size, whole = norm(found.R), norm(state.setup.columns)
        if size > STUCK * norm(before):
            # Perhaps the rest is outside the range: what is inside is seen by its images.
            size = min(size, norm(product(images, product(directions, before, adjoint="X"))))
        state.left = size / whole if whole else 0.0

    def verify(self, state: KrylovState, session: Session) -> Evidence:
        """``D = (1/M) sum B_mu A_mu^+ Z``, the true residual, and the probe's answer: one sum."""
        problem, setup, found = state.problem, state.setup, state.minimiser
        U, s, W = problem.factors.U, problem.factors.s, problem.factors.W
        M, columns = session.comm.size, problem.shape[1]
        inner = product(U, np.concatenate([found.Z, found.R], axis=1), adjoint="X") / M
        first = np.asfortranarray(inner[:, : columns + 1])
        x = first / s[:, None]
        size = norm(x[:, :columns])
        whole = float(s[0]) * size if len(s) else 0.0
        sizes = np.array([size, norm(x[:, columns:]), size * norm(problem.B), whole]) ** 2
        values, images, sizes = session.sum(product(W, first), product(U, inner), sizes)
        R = setup.columns - images[:, : columns + 1]
        P_R = images[:, columns + 1 :]
        found.R = R
        error = values[:, columns:] - setup.answer
        state.inconsistency = norm(error) / norm(setup.answer) if norm(setup.answer) else 0.0
        return Evidence(
            value=values[:, :columns],
            probe_error=error,
            residual=R[:, :columns],
            probe_residual=R[:, columns:],
            image=P_R[:, :columns],
            probe_image=P_R[:, columns:],
            start=norm(problem.C),
            probe_start=norm(setup.columns[:, columns:]),
            white=(P_R[:, columns:], R[:, columns:]),
            white_start=norm(setup.columns[:, columns:]),
            size=float(np.sqrt(sizes[0].real)),
            probe_size=float(np.hypot(np.sqrt(sizes[1].real), setup.size)),
            amplification=setup.amplification,
            eps=problem.eps,
            floor=problem.eps * float(np.sqrt(sizes[2].real))
            + setup.floor(
                norm(R[:, :columns]), float(np.sqrt(sizes[3].real)), found.smallest, problem.eps
            ),
        )
