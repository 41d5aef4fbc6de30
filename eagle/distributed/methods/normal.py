"""First-order methods on the pooled normal equations ``A A^H y = C``, ``x = A^H y``.

A decomposition ``x_mu = A_mu^H y`` lies in the row space of A, so the value ``sum B_mu x_mu`` is
that of the pooled data whether B is consistent or not. Three ways to y:

* ``"gd"``: steepest descent with a fixed step, ``kappa^2`` rounds.
* ``"cg"``: conjugate gradients (CGLS), ``kappa`` rounds. The two inner products and the product
  with A travel in one message [1]_.
* ``"pooled"``: minimal residuals with a preconditioner, the mean of the machines' inverse Gram
  matrices, which are small and at hand after conditioning. Two rounds an iteration, and few
  of them where machines have similar data. This is what finishes where B is inconsistent.

.. [1] Chronopoulos, Gear, "s-step iterative methods for symmetric linear systems", J. Comput. Appl.
   Math. 25(2), 1989.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.distributed.certificate import Evidence, unseen
from eagle.distributed.methods.base import Iterative, State
from eagle.distributed.methods.krylov import MinimisingState
from eagle.distributed.problem import LocalProblem
from eagle.distributed.residuals import STUCK, USED_UP, MinimalResiduals, basis, left
from eagle.distributed.session import Session

POWER_ROUNDS = 8  # of power iteration; a norm that is half too small would still do
PROBES = 2  # of either kind
GROSS = 1e-3  # a misfit beyond this is B's
GONE = 1e-6  # once the residual is below this


@dataclass(frozen=True)
class PooledProbes:
    """Columns ``[C  A w  A A^H v]``: white and range probes, and what B makes of them.

    Attributes
    ----------
    columns : ndarray (d, n' + 2 p)
    answers : ndarray (d', 2 p)
        ``[B w  B A^H v]``: the first if B is consistent, the second always.
    scale : float
        ``||A||_F^2``.
    """

    columns: np.ndarray
    answers: np.ndarray
    scale: float

    @property
    def amplification(self) -> float:
        """How large W is, as the probes see it."""
        sizes = np.linalg.norm(self.columns[:, -2 * PROBES :], axis=0)
        answers = np.linalg.norm(self.answers, axis=0)
        return float((answers / np.where(sizes > 0, sizes, 1)).max(initial=0.0))

    @classmethod
    def create(cls, problem: LocalProblem, session: Session) -> PooledProbes:
        """One sum."""
        A = problem.A
        v = np.random.default_rng(problem.seed).standard_normal((len(A), PROBES)).astype(A.dtype)
        x = np.concatenate([problem.probes(PROBES), product(A, v, adjoint="X")], axis=1)
        own = np.array([norm(A) ** 2])
        columns, answers, square = session.sum(product(A, x), product(problem.B, x), own)
        sizes = np.linalg.norm(columns, axis=0)
        scale = 1 / np.where(sizes > 0, sizes, 1)
        return cls(
            np.asfortranarray(np.concatenate([problem.C, columns * scale], axis=1)),
            answers * scale,
            float(square[0].real),
        )

    def evidence(
        self,
        problem: LocalProblem,
        session: Session,
        x: np.ndarray,
        believed: np.ndarray,
        gradient: np.ndarray,
        exhausted: bool,
    ) -> tuple[Evidence, np.ndarray, float]:
        """Value, evidence, true residual and inconsistency of a decomposition: one sum.

        `believed` is the residual R that the iteration has updated, `gradient` is ``A_mu^H R`` of
        this machine; `exhausted` if no further round would help.
        """
        A, n = problem.A, problem.shape[1]
        sizes = np.array([norm(x[:, :n]), norm(problem.B)], A.real.dtype) ** 2
        values, images, more, sizes = session.sum(
            product(problem.B, x), product(A, x), product(A, gradient), sizes
        )
        R = self.columns - images
        # What rounding has made of R is inside the range of A, with an image of this size at most.
        drift = A.real.dtype.type(self.scale) * (R - believed)
        errors = values[:, n:] - self.answers
        white, ranged, both = slice(n, n + PROBES), slice(n + PROBES, None), slice(n, None)
        answer = norm(self.answers[:, :PROBES])
        misfit = norm(errors[:, :PROBES]) / answer if answer else 0.0
        # White probes see small singular directions better, but only if B is consistent. A misfit
        # that is still there when their residual is gone, or nothing moves any more, is B's.
        gone = norm(R[:, white]) <= GONE * norm(self.columns[:, white])
        start = norm(self.columns[:, white])
        stuck = unseen(more[:, white], R[:, white], start, self.scale, problem.eps)
        used = ranged if (exhausted and not stuck) or (gone and misfit > GROSS) else both
        used = used if problem.explained else ranged
        size_x, size_B = np.sqrt(sizes.real)
        floor = problem.eps * float(size_x * (size_B + self.amplification * self.scale**0.5))
        found = Evidence(
            value=values[:, :n],
            probe_error=errors[:, used.start - n :],
            residual=R[:, :n],
            probe_residual=R[:, used],
            image=more[:, :n] + drift[:, :n],
            probe_image=more[:, used],
            start=norm(problem.C),
            probe_start=norm(self.columns[:, used]),
            white=(more[:, white], R[:, white]),
            white_start=start,
            size=0.0,
            probe_size=0.0,
            amplification=0.0,
            eps=problem.eps,
            scale=self.scale,
            floor=floor,
        )
        return found, R, misfit if problem.explained else float("nan")


@dataclass(kw_only=True)
class LocalState(State):
    """x is this machine's, residuals are everybody's."""

    probes: PooledProbes
    x: np.ndarray  # (n_mu, k)
    R: np.ndarray  # (d, k)
    gradient: np.ndarray  # (n_mu, k) A_mu^H R
    energy: np.ndarray  # (k,) ||A^H R||^2 by column

    def saved(self) -> dict[str, Any]:
        """All arrays but those of the problem and its probes."""
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray | float)
        }


@dataclass(frozen=True)
class _FirstOrder(Iterative):
    """What gradient descent and conjugate gradients have in common: x and R are updated."""

    supports: ClassVar[frozenset[str]] = frozenset({"ridge"})

    def verify(self, state: Any, session: Session) -> Evidence:
        """The value, the true residual, and the probes' errors: one sum."""
        evidence, state.R, state.inconsistency = state.probes.evidence(
            state.problem, session, state.x, state.R, state.gradient, state.exhausted
        )
        state.gradient = product(state.problem.A, state.R, adjoint="X")
        return evidence


def _energy(gradient: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", gradient, gradient.conj()).real


def _judge(state: LocalState, first: np.ndarray) -> None:
    """How small the gradient is, relative to the first one; nothing is left at rounding level."""
    ratios = np.sqrt(state.energy / np.where(first > 0, first, 1))
    state.left = float(ratios.max(initial=0.0))
    state.exhausted = bool(state.left <= USED_UP * state.problem.eps)


@dataclass(kw_only=True)
class ConjugateState(LocalState):
    """Vectors of CGLS, one set per column."""

    direction: np.ndarray  # (n_mu, k)
    image: np.ndarray  # (d, k) A direction
    first: np.ndarray  # energy at the start


@dataclass(frozen=True)
class ConjugateGradient(_FirstOrder):
    """CGLS on the pooled data: ``min ||A x - c||`` for every column by itself.

    A round carries ``d + 1`` numbers for every column of C and four probes.

    References
    ----------
    .. [1] Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, algorithm 7.4.1.
    """

    def init(self, problem: LocalProblem, session: Session) -> ConjugateState:
        """``x = 0``."""
        probes = PooledProbes.create(problem, session)
        k, n = probes.columns.shape[1], problem.A.shape[1]
        zeros = np.zeros((n, k), problem.A.dtype, order="F")
        return ConjugateState(
            problem=problem,
            probes=probes,
            x=zeros.copy(),
            R=probes.columns.copy(order="F"),
            gradient=product(problem.A, probes.columns, adjoint="X"),
            energy=np.zeros(k),
            direction=zeros.copy(),
            image=np.zeros_like(probes.columns),
            first=np.zeros(k),
        )

    def step(self, state: ConjugateState, session: Session) -> None:
        """One iteration with one message: ``A gradient`` and the gradient's size."""
        A, gradient = state.problem.A, state.gradient
        push, energy = session.sum(product(A, gradient), _energy(gradient))
        energy = energy.real
        if not state.first.any():
            state.first = energy
        ratio = np.where(state.energy > 0, energy / np.where(state.energy > 0, state.energy, 1), 0)
        ratio = ratio.astype(A.real.dtype)
        state.direction = gradient + ratio * state.direction
        state.image = push + ratio * state.image
        state.energy = energy
        size = _energy(state.image)
        move = np.where(size > 0, energy / np.where(size > 0, size, 1), 0).astype(A.real.dtype)
        state.x = state.x + move * state.direction
        state.R = state.R - move * state.image
        state.gradient = product(A, state.R, adjoint="X")
        _judge(state, state.first)


@dataclass(kw_only=True)
class DescentState(LocalState):
    """Gradient descent with a fixed step."""

    size: float  # of a step
    first: np.ndarray


@dataclass(frozen=True)
class GradientDescent(_FirstOrder):
    """``x <- x + A^H (c - A x) / ||A||^2``; the norm by power iteration, some rounds."""

    def init(self, problem: LocalProblem, session: Session) -> DescentState:
        """``x = 0``; power iteration from a probe."""
        probes = PooledProbes.create(problem, session)
        A, k = problem.A, probes.columns.shape[1]
        v, square = probes.columns[:, -1:], 1.0
        for _ in range(POWER_ROUNDS):
            own = product(A, product(A, v, adjoint="X"))
            (v,) = session.sum(own)
            square = norm(v)
            v = v / A.real.dtype.type(square or 1)
        return DescentState(
            problem=problem,
            probes=probes,
            x=np.zeros((A.shape[1], k), A.dtype, order="F"),
            R=probes.columns.copy(order="F"),
            gradient=product(A, probes.columns, adjoint="X"),
            energy=np.zeros(k),
            size=1 / square if square else 0.0,
            first=np.zeros(k),
        )

    def step(self, state: DescentState, session: Session) -> None:
        """One message: ``A gradient`` and the gradient's size."""
        A = state.problem.A
        push, energy = session.sum(product(A, state.gradient), _energy(state.gradient))
        state.energy = energy.real
        if not state.first.any():
            state.first = state.energy
        size = A.real.dtype.type(state.size)
        state.x = state.x + size * state.gradient
        state.R = state.R - size * push
        state.gradient = product(A, state.R, adjoint="X")
        _judge(state, state.first)


@dataclass(kw_only=True)
class PooledState(MinimisingState):
    """With the probes of the certificate."""

    probes: PooledProbes

    @property
    def inverse(self) -> float:
        """``1 / ||A||_F^2``: the operator that is iterated with has a norm of at most 1."""
        return 1 / self.probes.scale if self.probes.scale else 0.0


@dataclass(frozen=True)
class Pooled(Iterative):
    """Minimal residuals on ``A A^H``, preconditioned by ``N = (1/M) sum (A_mu A_mu^H)^+``.

    N has the range of A, so that what C has outside of it does no harm. Two messages an iteration,
    one for N and one for ``A A^H``.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"ridge"})

    def init(self, problem: LocalProblem, session: Session) -> PooledState:
        """Condition, set up the probes."""
        probes = PooledProbes.create(problem, session)
        return PooledState(
            problem=problem, probes=probes, minimiser=MinimalResiduals(probes.columns)
        )

    def step(self, state: PooledState, session: Session) -> None:
        """Two sums: N and then ``A A^H``, on what is left."""
        problem, found = state.problem, state.minimiser
        A, U, s = problem.A, problem.factors.U, problem.factors.s
        start = np.linalg.norm(state.probes.columns, axis=0)
        open_ = np.flatnonzero(left(found.R, start, problem.eps))
        block, _ = basis(found.R[:, open_])
        if not block.shape[1]:
            state.exhausted = True
            return
        own = product(U, product(U, block, adjoint="X") / (s**2)[:, None])
        (directions,) = session.sum(own)
        directions, _ = basis(directions)
        own = product(A, product(A, directions, adjoint="X"), scale=state.inverse)
        (images,) = session.sum(own)
        before = norm(found.R)
        new = found.extend(directions, images)
        state.exhausted = not new
        size, whole = norm(found.R), norm(state.probes.columns)
        if size > STUCK * before and new:
            # Perhaps the rest is outside the range of A, where nothing can be done.
            size = 0.0
        state.left = size / whole if whole else 0.0

    def verify(self, state: PooledState, session: Session) -> Evidence:
        """``x = A^H Z``: one sum."""
        found, A = state.minimiser, state.problem.A
        evidence, found.R, state.inconsistency = state.probes.evidence(
            state.problem,
            session,
            product(A, found.Z, adjoint="X", scale=state.inverse),
            found.R,
            product(A, found.R, adjoint="X"),
            state.exhausted,
        )
        return evidence
