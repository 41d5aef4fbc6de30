"""APC, accelerated projection-based consensus: the published rival.

Machine mu knows ``W A_mu = B_mu``, so its guess ``W_mu`` may only move in the null space of
``A_mu^H``, where ``I - P_mu`` projects:

    W_mu <- W_mu + gamma (mean - W_mu) (I - P_mu)
    mean <- eta (1/M) sum_mu W_mu + (1 - eta) mean

The best gamma and eta follow from both ends of the spectrum of the mean projector; then the error
falls by ``(sqrt(k) - 1) / (sqrt(k) + 1)`` a round, ``k = lambda_max / alpha``. The ends are not
given in practice and are measured here, in rounds that count. W travels, ``d' d`` numbers a round.

.. [1] Azizan-Ruhi, Lahouti, Avestimehr, Hassibi, "Distributed solution of large-scale linear
   systems via accelerated projection-based consensus", IEEE Trans. Signal Process. 67(14), 2019,
   algorithm 1 and theorem 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import Evidence
from eagle.distributed.methods.base import Iterative, State
from eagle.distributed.problem import LocalProblem, normals
from eagle.distributed.residuals import USED_UP, MinimalResiduals, basis
from eagle.distributed.session import Session

PROBES = 4  # columns of either kind; two of the first also make rows, which travel
SAME = 1e-2  # relative change of the smallest Ritz value in three rounds that is none


def parameters(alpha: float, largest: float) -> tuple[float, float]:
    """``(gamma, eta)`` of theorem 1 for positive eigenvalues in ``[alpha, largest]``.

    Examples
    --------
    >>> from eagle.distributed.methods.apc import parameters
    >>> parameters(1, 1)
    (1.0, 1.0)
    """
    root = np.sqrt(largest / alpha)
    rate = (root - 1) / (root + 1)
    both = (1 + rate) ** 2 / largest  # gamma eta
    half = (both + 1 - rate**2) / 2  # (gamma + eta) / 2
    gap = np.sqrt(max(half**2 - both, 0.0))
    return float(half - gap), float(half + gap)


@dataclass(kw_only=True)
class ConsensusState(State):
    """W is this machine's, the mean everybody's."""

    columns: np.ndarray  # (d, 2 p) [A w  U g], of size 1
    answers: np.ndarray  # (d', 2 p) what B makes of them
    rows: np.ndarray  # (2, d) z^H, z in the range of A
    W: np.ndarray  # (d' + 2, d)
    mean: np.ndarray
    move: float = np.inf
    gamma: float
    eta: float
    alpha: float
    condition: float  # root of the sum of the squares of those of the machines
    dropped: bool  # a machine's factors leave out a direction that is only small for its units

    @property
    def diversity(self) -> float:
        """Alpha as it was measured or given."""
        return self.alpha

    def saved(self) -> dict[str, Any]:
        """Both W and what was measured."""
        names = ("W", "mean", "move", "gamma", "eta", "alpha", "left")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class APC(Iterative):
    """Accelerated projection-based consensus.

    Parameters
    ----------
    spectrum : tuple of float, optional
        ``(alpha, lambda_max)`` of the mean projector. Measured by a Krylov method if not given, in
        rounds that count.
    """

    spectrum: tuple[float, float] | None = None

    free = True
    projects = True
    hands_over = True

    def init(self, problem: LocalProblem, session: Session) -> ConsensusState:
        """Probes, the spectrum, and everybody's own solution.

        ``A w`` has the sizes that A gives to directions, as C may have; ``U g`` is white after
        conditioning, and sees what B has along directions that are small in A.
        """
        w, M = problem.probes(PROBES), session.comm.size
        factors, stream = problem.factors, session.comm.rank + 1
        g = normals(problem.seed, stream, 0, len(factors.s), PROBES, problem.A.dtype)
        columns, answers, facts = session.sum(
            np.concatenate([product(problem.A, w), product(factors.U, g)], axis=1),
            np.concatenate([product(problem.B, w), product(factors.W, g)], axis=1),
            np.array([factors.condition**2, problem.dropped]),
        )
        sizes = np.linalg.norm(columns, axis=0)
        scale = 1 / np.where(sizes > 0, sizes, 1)
        columns, answers = columns * scale, answers * scale
        alpha, largest = self.spectrum or _measured(problem, session, columns[:, :1])
        gamma, eta = parameters(alpha, largest)
        rows = columns[:, :2].conj().T
        own = np.concatenate([factors.W, product(rows, factors.U)])
        W = product(own, factors.U, adjoint="Y")  # [B; z^H A] A^+
        (mean,) = session.sum(W / M)
        return ConsensusState(
            problem=problem, columns=columns, answers=answers, rows=rows, W=W, mean=mean,
            gamma=gamma, eta=eta, alpha=alpha,
            condition=float(np.sqrt(facts[0].real)), dropped=bool(facts[1].real > 0),
        )  # fmt: skip

    def step(self, state: ConsensusState, session: Session) -> None:
        """One sum of ``(d' + 2) d`` numbers."""
        U = state.problem.factors.U
        apart = state.mean - state.W
        inside = product(product(apart, U), U, adjoint="Y")
        real = U.real.dtype.type
        state.W = state.W + real(state.gamma) * (apart - inside)
        (total,) = session.sum(state.W / session.comm.size)
        before, state.mean = state.mean, real(state.eta) * total + real(1 - state.eta) * state.mean
        move, whole = norm(state.mean - before), norm(state.mean)
        ratio = move / state.move if state.move else 0.0
        state.move = move
        state.left = move / max(1 - ratio, state.alpha**0.5) / whole if whole else 0.0
        state.exhausted = move <= state.alpha**0.5 * USED_UP * state.problem.eps * whole

    def verify(self, state: ConsensusState, session: Session) -> Evidence:
        """Everybody knows the mean; probes are columns and rows with known answers."""
        problem, d = state.problem, len(state.answers)
        values = product(state.mean, problem.C)
        probes = product(state.mean, state.columns)
        rows = values[d:] - product(state.rows, problem.C)
        corner = probes[d:] - product(state.rows, state.columns)
        errors = probes[:d] - state.answers
        answer = norm(state.answers[:, :PROBES])
        state.inconsistency = norm(errors[:, :PROBES]) / answer if answer else 0.0
        start, probe_start = norm(problem.C), norm(state.columns)
        return Evidence(
            value=values[:d],
            probe_error=errors,
            residual=rows,
            probe_residual=corner,
            image=rows,
            probe_image=corner,
            start=start,
            probe_start=probe_start,
            white=(corner, corner),
            white_start=probe_start,
            size=start,
            probe_size=PROBES**0.5,  # of either kind: the larger misfit counts
            amplification=0.0,
            eps=problem.eps,
            floor=np.inf
            if state.dropped
            else problem.eps * state.condition * norm(state.mean[:d]) * start,
        )


def _measured(problem: LocalProblem, session: Session, probe: np.ndarray) -> tuple[float, float]:
    """Ends of the spectrum by a Krylov method on one column, until the lower one stands."""
    U, M = problem.factors.U, session.comm.size
    found, lowest = MinimalResiduals(probe), [np.inf] * 4
    while norm(found.R) > USED_UP * problem.eps * norm(probe):
        direction, _ = basis(found.R, 0.0)
        (image,) = session.sum(product(U, product(U, direction, adjoint="X"), scale=1 / M))
        if not found.extend(direction, image):
            break
        lowest.append(float(found.ritz_values()[0]))
        if lowest[-4] - lowest[-1] <= SAME * lowest[-1] and norm(found.R) < 1e-3 * norm(probe):
            break
    values = found.ritz_values()
    return (float(values[0]), min(1.0, float(values[-1]))) if len(values) else (1.0, 1.0)
