"""EAGLE, central: condition ``[A; B]`` from the right, contract C into D.

Notation of arXiv:2509.19702, Algorithm 1 with ``S = I`` and one machine. With ``||A|| <= 1``::

    D <- D + gamma B A^H C,   C <- C - gamma A A^H C
    [A; B] <- [A; B] Q,       Q = (I - eta A^H A) / mu      (or R^-1, see `eagle.conditioning`)

``D + B A^+ C`` never changes, whatever non-singular Q is. The form that conditions ``[A C]`` from
the left is the same code on the adjoint problem. With ``C = I`` the value is ``W = B A^+`` itself,
and C need not be carried: ``W <- W + gamma (B - W A) A^H`` gives ``W C = D`` for every C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.conditioning import Cholesky, Polynomial
from eagle.kernels import blas
from eagle.kernels.blas import norm, product
from eagle.methods.base import State, change_of
from eagle.options import Options
from eagle.problem import Problem
from eagle.schedule import as_schedule

__all__ = ["Eagle", "EagleState"]

LANCZOS_STEPS = 6
RITZ_WEIGHT = 1e-10  # Ritz vectors with less of the start vector are rounding noise
NORM_MARGIN = 1.05  # Ritz values under-estimate the norm


@dataclass(kw_only=True)
class EagleState(State):
    """Arrays of the right form, ``n <= d``."""

    A: np.ndarray  # (d, n)
    B: np.ndarray  # (m, n)
    C: np.ndarray | None  # (d, q); None: C = I and D is W
    D: np.ndarray  # (m, q), or (m, d)
    gram: np.ndarray  # (n, n), upper triangle
    spare: np.ndarray  # (d, n) for the polynomial, empty for Cholesky
    flipped: bool  # these are the blocks of the adjoint problem
    user: tuple[int, int]  # rows and columns of D that the user asked for
    conditioner: Polynomial | Cholesky
    start: float  # ||C|| at the start, user's columns
    rho: float = 0.0  # 1 / ||A||^2; 0 until it is measured
    lower: float | None = None  # smallest relevant singular value of A, the largest being 1
    frozen: bool = False
    restarted: bool = False
    signal: float = np.inf  # ||A^H C|| at the last contraction with this A
    contracted: float = np.inf  # ||C|| relative to its start

    @property
    def noise(self) -> float:
        """Where the rounding noise of the first A, ``||A|| = 1``, has been lifted to by now."""
        return 10 * self.problem.eps * float(np.sqrt(max(self.A.shape))) * self.conditioner.growth


@dataclass(frozen=True)
class Eagle:
    """Emergent Algorithm for Global Low-rank Estimation on one machine.

    Each iteration contracts C along the singular directions of A that are large, and lifts the
    small ones towards them. The value is exact once C has nothing left in the range of A.
    Iterations grow like ``log(condition)`` and the end is quadratic.

    Parameters
    ----------
    schedule : str or tuple of float
        ``"minimax"`` (default): the best pair for the conditioning that is left, estimated at
        each step by a few Lanczos steps; eta runs from 0.9 to 1/3. ``"paper"``: (1/3, 1).
        ``"trained"``: (1, 1.9) with the norm over-estimated by sqrt(1.9). ``(eta, gamma)``: that
        pair. All of these use matrix products alone. ``"cholesky"``: condition with the factor
        of the shifted Gram matrix, one to three times whatever the condition number; the
        fastest choice where a Cholesky factorisation is at hand.

    Notes
    -----
    The side with the smaller Gram matrix is conditioned; an iteration costs ``3 d n^2`` flops
    for ``d >= n``, one and a half products. If A is rank-deficient and B has a part outside its
    row space, that part would be amplified together with the noise of A. This is detected, and
    the method starts again on ``(A_L^H A, B, A_L^H C)`` from the other side, with ``A_L`` the
    conditioned A, an orthonormal basis of the range of A.

    References
    ----------
    .. [1] Lutz, Gangrade, Daneshmand, Saligrama, "Linear Transformers Implicitly Discover
       Unified Numerical Algorithms", arXiv:2509.19702, Algorithm 1 and Theorem 1.
    .. [2] Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa, "Shifted Cholesky QR for computing
       the QR factorization of ill-conditioned matrices", SIAM J. Sci. Comput. 42(1), 2020.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(60, 50, rank=20, condition=1e6, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Eagle(), rng=0)
    >>> bool(problem.error(result.value) < 1e-13), result.status.name
    (True, 'CONVERGED')
    """

    schedule: str | tuple[float, float] = "minimax"

    supports: ClassVar[frozenset[str]] = frozenset()
    default_rtol: ClassVar[float | None] = None
    default_maxiter: ClassVar[int] = 200

    def __post_init__(self) -> None:
        self._conditioner()

    def _conditioner(self) -> Polynomial | Cholesky:
        return Cholesky() if self.schedule == "cholesky" else Polynomial(as_schedule(self.schedule))

    def init(self, problem: Problem, options: Options) -> EagleState:
        """Copy the blocks, the shorter side of A as its columns."""
        flipped = problem.A.shape[0] < problem.A.shape[1]
        work = problem.adjoint() if flipped else problem
        A = np.array(work.A, order="F")
        C = None if work.C is None else work.columns()
        return EagleState(problem=problem, **self._blocks(A, work.rows(), C, flipped, work.shape))

    def _blocks(
        self, A: np.ndarray, B: np.ndarray, C: np.ndarray | None, flipped: bool, user: tuple[int, int]
    ) -> dict[str, object]:
        """Fields of a fresh state for one orientation."""
        d, n = A.shape
        conditioner = self._conditioner()
        return {
            "A": A,
            "B": np.asfortranarray(B),
            "C": C,
            "D": np.zeros((len(B), d if C is None else C.shape[1]), A.dtype),
            "gram": np.zeros((n, n), A.dtype, order="F"),
            "spare": np.empty((d, n) if isinstance(conditioner, Polynomial) else (0, 0), A.dtype, order="F"),
            "flipped": flipped,
            "user": user,
            "conditioner": conditioner,
            "start": norm(B[: user[0]] if C is None else C[:, : user[1]]),
        }

    def step(self, state: EagleState) -> EagleState:
        """One update: contract with A as it is, then condition it."""
        previous = state.change
        pull = _pull(state)
        measured = _must_measure(state, pull)
        if measured:
            _measure(state, pull)
        gamma = state.conditioner.pair(state.lower or 0.0)[1]
        _contract(state, pull, gamma)
        certain = state.frozen or (measured and state.lower is not None and state.lower > 0.5)
        if measured and not state.frozen:
            _condition(state)
        _judge(state, previous, certain)
        if (state.frozen or state.settled) and not state.restarted and _leaks(state):
            self._restart(state)
        return state

    def output(self, state: EagleState) -> np.ndarray:
        """D, turned back if the adjoint problem was solved."""
        D = state.D
        if state.C is None:
            D = (state.problem.adjoint() if state.flipped else state.problem).times_columns(D)
        return D.conj().T if state.flipped else D

    def _restart(self, state: EagleState) -> None:
        """Go on with ``(A_L^H A, B, A_L^H C)`` from the other side; see the Notes."""
        work = state.problem.adjoint() if state.flipped else state.problem
        basis = state.A  # orthonormal basis of the range of A, times a partial isometry
        inner = product(work.A, basis, adjoint="X")  # (A_L^H A)^H, n x n
        if work.C is None:
            columns = np.concatenate([basis, product(work.column_probes, basis, adjoint="X")])
        else:
            columns = product(work.columns(), basis, adjoint="X")
        other = work.adjoint()
        C = None if other.C is None else other.columns()
        blocks = self._blocks(np.asfortranarray(inner), columns, C, not state.flipped, state.user[::-1])
        for name, value in blocks.items():
            setattr(state, name, value)
        d, n = basis.shape
        state.count(n, d, n)
        state.count(len(columns), d, n)
        state.rho, state.lower, state.frozen, state.restarted = 0.0, None, False, True
        state.settled, state.signal, state.change, state.contracted = False, np.inf, np.inf, np.inf


def _pull(state: EagleState) -> np.ndarray:
    """What the next contraction moves: ``A^H C``, or ``(B - W A) A^H`` if ``C = I``."""
    A, B, C, D = state.A, state.B, state.C, state.D
    d, n = A.shape
    if C is not None:
        state.count(n, d, C.shape[1])
        return product(A, C, adjoint="X")
    residual = B - product(D, A)
    state.count(len(B), d, n)
    state.count(len(B), n, d)
    state.contracted = _relative(residual[: state.user[0]], state.start)
    return product(residual, A, adjoint="Y")


def _must_measure(state: EagleState, pull: np.ndarray) -> bool:
    """Whether the spectrum of A has to be looked at, which costs a Gram matrix."""
    if state.frozen:
        return False
    if isinstance(state.conditioner, Polynomial) or not state.conditioner.lifts:
        return True
    # After a Cholesky step, contraction shows by its own speed whether another is needed.
    fast = np.isinf(state.signal) or norm(pull) <= 0.1 * state.signal
    return not fast or state.change <= state.problem.eps


def _measure(state: EagleState, pull: np.ndarray) -> None:
    """Form the Gram matrix and read the relevant ends of its spectrum.

    One Lanczos run starts from a probe row ``z^H A``, which sees every direction of A with its
    singular value as weight; another from what is left to contract, so that a small direction
    that the value still needs cannot hide behind large ones.
    """
    A = state.A
    d, n = A.shape
    state.gram = blas.gram(A, out=state.gram)
    state.count(n, d, n, half=True)
    left = pull if state.C is not None else product(pull, A).conj().T
    sizes = np.linalg.norm(left, axis=0)
    mix = (left / np.where(sizes > 0, sizes, np.inf)).sum(axis=1)
    starts = (state.B[state.user[0]].conj(), mix)
    values = np.concatenate([blas.ritz_values(state.gram, start, LANCZOS_STEPS, RITZ_WEIGHT) for start in starts])
    top = float(values.max(initial=0.0))
    if not state.rho:
        state.rho = 1 / (NORM_MARGIN**2 * top) if top > 0 else 1.0
    singular = np.sqrt(np.clip(values * state.rho, 0.0, 1.0))
    # Nothing above the noise means nothing to lift: A is conditioned down to rounding level, or
    # zero, or not finite and the driver will say so.
    state.lower = float(singular[singular > state.noise].min(initial=1.0))
    state.frozen = state.lower >= state.conditioner.done or state.noise >= 0.5


def _contract(state: EagleState, pull: np.ndarray, gamma: float) -> None:
    """``D += gamma B A^H C``, ``C -= gamma A A^H C``."""
    A, B, C = state.A, state.B, state.C
    d, n = A.shape
    step = A.real.dtype.type(gamma * (state.rho or 1.0))
    if C is not None:
        increment = product(B, pull, scale=step)
        state.C = product(A, pull, scale=-step, add_to=C)
        state.count(len(B), n, C.shape[1])
        state.count(d, n, C.shape[1])
        state.contracted = _relative(state.C[:, : state.user[1]], state.start)
    else:
        increment = step * pull
    state.D += increment
    rows, columns = state.user
    state.change = change_of(increment[:rows, :columns], state.D[:rows, :columns])
    state.signal = norm(pull)


def _condition(state: EagleState) -> None:
    """``[A; B] <- [A; B] Q``."""
    d, n = state.A.shape
    state.A, state.B, state.spare, state.lower = state.conditioner.apply(
        state.A, state.B, state.gram, state.spare, state.lower or 0.0, state.rho
    )
    state.count(d + len(state.B), n, n, half=isinstance(state.conditioner, Cholesky))
    state.rho, state.signal = 1.0, np.inf


def _judge(state: EagleState, previous: float, certain: bool) -> None:
    """Decide whether anything is left to gain.

    A small change alone is not convergence: besides, either every direction of A that matters is
    conditioned (`certain`), or C (for ``C = I`` the residual ``B - W A``) is used up.
    """
    eps = state.problem.eps
    if certain and state.lower and not state.restarted:
        state.condition = 1 / max(state.conditioner.original(state.lower), eps * eps)
    ratio = min(1.0, state.change / previous) if previous > 0 else 0.0
    stalled = state.frozen and ratio > 0.5 and state.change <= 100 * eps * (state.condition or 1.0)
    if state.lower is not None:
        state.remaining = 1 / state.lower if state.lower else np.inf
        gamma = state.conditioner.pair(state.lower)[1]
        ratio = min(ratio, max(1 - gamma * state.lower**2, gamma - 1))
    used_up = state.contracted <= 30 * eps
    state.resolved = certain or used_up
    state.settled = stalled or (state.resolved and state.change * ratio <= (10 * eps if used_up else eps))
    if state.settled:
        state.rank = round(norm(state.A) ** 2 * state.rho)


def _leaks(state: EagleState) -> bool:
    """Whether the part of B outside the row space of A spoils D.

    With A a partial isometry up to noise, ``F = B (I - A^H A)`` is that part, lifted as much as
    the noise of A. It spoils D by ``F A^H C``, through that noise, and by the rounding errors
    of the last lift, ``eps |F| lift |C|``. Both are harmless up to ``eps condition |D|``. Four
    random combinations of rows are enough to measure them.
    """
    A, (rows, columns) = state.A, state.user
    if norm(A) ** 2 * state.rho > A.shape[1] - 0.5:
        return False  # full column rank: nothing is outside
    lift = state.conditioner.last_lift
    # Without an estimate: the last lift was needed, so the condition was above those before it.
    allowed = max(10.0, state.condition or state.conditioner.growth / lift)
    mix = np.random.default_rng(rows).standard_normal((4, rows)) / 2
    mix = mix.astype(A.dtype)
    outside, size = product(mix, state.B[:rows]), np.inf
    whole = norm(product(mix, state.D[:rows, :columns]))
    for passes in range(40):
        noise = product(outside, A, adjoint="Y")
        outside = outside - product(noise, A)
        added = noise if state.C is None else product(noise, state.C[:, :columns])
        last, size = size, norm(added)
        if passes >= 3 and (size <= state.problem.eps * allowed * whole or size > 0.9 * last):
            break
    spoilt = norm(outside) * lift * (1.0 if state.C is None else state.start)
    return size > state.problem.eps * allowed * whole or spoilt > 10 * allowed * whole


def _relative(part: np.ndarray, whole: float) -> float:
    return norm(part) / whole if whole else 0.0
