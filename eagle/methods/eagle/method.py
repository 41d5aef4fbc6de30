"""EAGLE, central: condition ``[A; B]`` from the right, contract C into D.

Notation of arXiv:2509.19702, Algorithm 1 with ``S = I`` and one machine. With ``||A|| <= 1``::

    D <- D + gamma B A^H C,   C <- C - gamma A A^H C
    [A; B] <- [A; B] Q,       Q = (I - eta A^H A) / mu      (or R^-1, see `conditioning`)

``D + B A^+ C`` never changes, whatever non-singular Q is. The form that conditions ``[A C]`` from
the left is the same code on the adjoint problem. With ``C = I`` the value is ``W = B A^+`` itself,
and C need not be carried: ``W <- W + gamma (B - W A) A^H`` gives ``W C = D`` for every C.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np

from eagle.algebra import KERNELS, blas, choose
from eagle.algebra.blas import norm, product
from eagle.methods.base import Method, State, relative
from eagle.methods.eagle.conditioning import Cholesky, Polynomial
from eagle.methods.eagle.schedule import as_schedule
from eagle.problem.blocks import Problem
from eagle.problem.certificate import COUNT
from eagle.problem.options import Options

__all__ = ["Eagle", "EagleState"]

LANCZOS_STEPS = 6
RITZ_WEIGHT = 1e-10  # Ritz vectors with less of the start vector are rounding noise
GRAM_NOISE = 20.0  # in units of sqrt(n eps): singular values that a Gram matrix cannot show
USED_UP = 30.0  # in units of eps: what rounding leaves of a contracted C
SURE = 0.5  # a smallest Ritz value above this is taken at its word
MARGIN = 0.8  # one below is lowered by this
PAYS = 0.6  # smallest singular value seen at which waiting contractions begin
LARGE = 400  # from this size of A on, contractions wait until they pay
WORTH = 0.3  # smallest singular value below which steps in single precision are many enough
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
    kernel: ModuleType
    start: tuple[float, float]  # ||C|| at the start, the user's columns and the white probes
    rho: float = 0.0  # 1 / ||A||^2; 0 until it is measured
    lower: float | None = None  # smallest relevant singular value of A, the largest being 1
    seen: bool = False  # every Ritz value of this A or the last lies above 1/2, or noise does
    ratio: float = 1.0  # of the last two changes
    peak: float = 0.0  # size of the largest increment
    frozen: bool = False  # A and B are not worth conditioning further, as far as is known
    waiting: bool = False  # no contraction before A is conditioned as far as a probe row sees
    restarted: bool = False
    left: float = np.inf  # ||C|| relative to its start, white probe columns
    single: bool = False  # condition in single precision as far as that goes
    left_before: float = np.inf  # the same one contraction earlier, if A was the same
    user_left: float = np.inf  # the same for the user's columns

    @property
    def noise(self) -> float:
        """Where the rounding noise of the first A, ``||A|| = 1``, has been lifted to by now."""
        return 10 * self.problem.eps * float(np.sqrt(max(self.A.shape))) * self.conditioner.growth

    @property
    def tolerance(self) -> float:
        """Where probes count as used up; a residual of the conditioned A has its noise in it."""
        used_up = USED_UP * self.problem.eps
        return used_up if self.C is not None else max(used_up, self.noise)

    @property
    def cautious(self) -> float:
        """`lower` for choosing step sizes: Ritz values lie inside the spectrum."""
        lower = self.lower or 0.0
        return lower if lower > SURE else MARGIN * lower

    @property
    def complete(self) -> bool:
        """No direction of A above rounding level is left out.

        The probes are used up, or what is left of them is in directions as small as the noise.
        """
        exhausted = self.noise >= 0.5 and 0.5 * self.left_before <= self.left < np.inf
        return self.left <= self.tolerance or exhausted


@dataclass(frozen=True)
class Eagle(Method):
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
    kernel : {"blas", "numba"}
        What iterates. ``"numba"``: compiled loops for matrices with sides up to 64, where they
        are 1.1 to 1.4 times as fast, and BLAS for larger ones. Worth its start-up, seconds the
        first time, for hundreds of small solves. The results agree to rounding.
    precision : {"double", "mixed"}
        ``"mixed"``: condition A in single precision, a few steps in an iteration, and apply
        their product to A and B in double. The error is the same, as any Q will do. Not the
        default: where single precision is twice as fast, as on a CPU, carrying Q along takes
        what that saves. For devices where it is many times as fast.

    Notes
    -----
    The side with the smaller Gram matrix is conditioned; an iteration costs ``3 d n^2`` flops
    for ``d >= n``, one and a half products. If A is rank-deficient and B has a part outside its
    row space, that part would be amplified together with the noise of A. This is detected, and
    the method starts again on ``(A_L^H A, B, A_L^H C)`` from the other side, with ``A_L`` the
    conditioned A, an orthonormal basis of the range of A.

    From order 400 on, contractions wait until A is conditioned: the value is zero until then.
    With an `rtol`, a callback or a progress bar they do not, as somebody looks at the value.

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
    kernel: str = "blas"
    precision: str = "double"

    default_maxiter: ClassVar[int] = 200

    def __post_init__(self) -> None:
        self._conditioner()
        if self.kernel not in KERNELS:
            raise ValueError(
                f"kernel must be one of {', '.join(map(repr, KERNELS))}, got {self.kernel!r}"
            )
        if self.precision not in ("double", "mixed"):
            raise ValueError(f"precision must be 'double' or 'mixed', got {self.precision!r}")
        if self.precision == "mixed" and self.schedule == "cholesky":
            raise ValueError(
                "precision='mixed' is for schedules of matrix products: in single precision a "
                "Gram matrix has no Cholesky factor worth having"
            )

    def _conditioner(self) -> Polynomial | Cholesky:
        return Cholesky() if self.schedule == "cholesky" else Polynomial(as_schedule(self.schedule))

    def init(self, problem: Problem, options: Options) -> EagleState:
        """Copy the blocks, the shorter side of A as its columns."""
        d, n = problem.A.shape
        # Of two identities the one that need not be carried: W = B A^+ has no C.
        flipped = d < n or (d == n and problem.B is None and problem.C is not None)
        work = problem.adjoint() if flipped else problem
        A = np.array(work.A, order="F")
        C = None if work.C is None else work.columns()
        state = self._state(problem, A, work.rows(), C, flipped, work.shape)
        # Contracting with an unconditioned A gains nothing, unless someone looks on.
        unwatched = options.rtol is None and options.callback is None and not options.progress
        state.waiting = unwatched and A.shape[1] >= LARGE
        state.single = self.precision == "mixed" and A.real.dtype == np.float64
        return state

    def _state(
        self,
        problem: Problem,
        A: np.ndarray,
        B: np.ndarray,
        C: np.ndarray | None,
        flipped: bool,
        user: tuple[int, int],
    ) -> EagleState:
        """A fresh state for blocks in one orientation."""
        d, n = A.shape
        conditioner = self._conditioner()
        spare = (d, n) if isinstance(conditioner, Polynomial) else (0, 0)
        start = (0.0, 0.0)
        if C is not None:
            start = (norm(C[:, : user[1]]), norm(_white(C.T, user[1])))
        return EagleState(
            problem=problem,
            A=A,
            B=np.asfortranarray(B),
            C=C,
            D=np.zeros((len(B), d if C is None else C.shape[1]), A.dtype, order="F"),
            gram=np.zeros((n, n), A.dtype, order="F"),
            spare=np.empty(spare, A.dtype, order="F"),
            flipped=flipped,
            user=user,
            conditioner=conditioner,
            kernel=choose(self.kernel, A),
            start=start,
        )

    def step(self, state: EagleState) -> EagleState:
        """One update: contract with A as it is, then condition it."""
        before = state.change
        pull, push = (None, None) if state.waiting else _pull(state)
        measured = self._is_due(state)
        if measured:
            _measure(state, pull, push)
        if state.waiting and state.lower is not None and state.lower > PAYS:
            state.waiting = False
            pull, push = _pull(state)
        if pull is not None and push is not None:
            _contract(state, pull, push, state.conditioner.pair(state.cautious)[1])
        if measured and not state.frozen:
            _condition(state)
        _judge(state, before)
        done = state.complete and (state.frozen or state.settled)
        if done and not state.restarted and _leaks(state):
            return self._restart(state)
        return state

    def _is_due(self, state: EagleState) -> bool:
        """Whether to look at the spectrum of A, which costs a Gram matrix, and condition it."""
        polynomial = isinstance(state.conditioner, Polynomial)
        if not state.rho or (polynomial and not state.frozen):
            return True
        if state.noise >= 0.5:
            return False
        # Contraction tells by its own speed whether a direction is still out of reach.
        slow = (
            not state.complete
            and (0.5 if polynomial else 0.1) * state.left_before < state.left < np.inf
        )
        unseen = not state.seen and state.complete and state.ratio > 0.5
        return slow or unseen

    def output(self, state: EagleState) -> np.ndarray:
        """D, turned back if the adjoint problem was solved."""
        D = state.D
        if state.C is None:
            D = (state.problem.adjoint() if state.flipped else state.problem).times_columns(D)
        return D.conj().T if state.flipped else D

    def _restart(self, state: EagleState) -> EagleState:
        """Go on with ``(A_L^H A, B, A_L^H C)`` from the other side; see the Notes."""
        work = state.problem.adjoint() if state.flipped else state.problem
        basis = state.A  # of the range of A: orthonormal, times a partial isometry
        inner = product(work.A, basis, adjoint="X")  # (A_L^H A)^H, n x n
        if work.C is None:
            outer = [basis, product(work.column_probes, basis, adjoint="X")]
            columns = np.concatenate(outer)
        else:
            columns = product(work.columns(), basis, adjoint="X")
        other = work.adjoint()
        C = None if other.C is None else other.columns()
        user = state.user[::-1]
        fresh = self._state(state.problem, inner, columns, C, not state.flipped, user)
        fresh.restarted, fresh.condition = True, state.condition
        fresh.flops, fresh.matmuls = state.flops, state.matmuls
        d, n = basis.shape
        fresh.count(len(inner), d, n)
        fresh.count(len(columns), d, n)
        return fresh


def _white(rows: np.ndarray, user: int) -> np.ndarray:
    """The white probes among extended rows; they come right after the user's."""
    return rows[user : user + COUNT]


def _pull(state: EagleState) -> tuple[np.ndarray, np.ndarray]:
    """What the next contraction moves, before and after its last product.

    ``A^H C`` and ``A A^H C``; for ``C = I`` the residual ``B - W A`` and that times ``A^H``.
    """
    A, B, C, D = state.A, state.B, state.C, state.D
    d, n = A.shape
    if C is not None:
        pull = product(A, C, adjoint="X")
        state.count(n, d, pull.shape[1])
        state.count(d, n, pull.shape[1])
        return pull, product(A, pull)
    residual = B - product(D, A)
    state.count(len(B), d, n)
    state.count(len(B), n, d)
    return residual, product(residual, A, adjoint="Y")


def _measure(state: EagleState, pull: np.ndarray | None, push: np.ndarray | None) -> None:
    """Form the Gram matrix and read the relevant ends of the spectrum of A.

    One Lanczos run starts from a probe row ``z^H A``, which sees every direction of A with its
    singular value as weight; another from what is left to contract. A direction that hides from
    both shows as a probe column that no longer contracts: then the Rayleigh quotient of what is
    left of that column is its singular value.
    """
    A = state.A
    d, n = A.shape
    state.gram = blas.gram(A, out=state.gram)
    state.count(n, d, n, half=True)
    starts = [state.B[state.user[0]].conj()]
    left = moved = np.zeros((0, n), A.dtype)
    if pull is not None and push is not None:
        if state.C is not None:
            source, left, moved = state.C.T, pull.T, push.T
            mix = _unit_sum(_informative(left, source, state)).astype(A.dtype)
        else:
            source, left, moved = pull, pull, push
            mix = product(_unit_sum(_informative(moved, source, state))[None], A)[0].conj()
        starts.append(mix)
    ritz = np.concatenate(
        [
            state.kernel.ritz_values(state.gram, start, LANCZOS_STEPS, RITZ_WEIGHT)
            for start in starts
        ]
    )
    top = float(ritz.max(initial=0.0))
    if not state.rho:
        state.rho = 1 / (NORM_MARGIN**2 * top) if top > 0 else 1.0
    singular = np.sqrt(np.maximum(ritz, 0) * state.rho)
    # Rounding errors of the Gram matrix hide what is smaller.
    singular = singular[singular > GRAM_NOISE * np.sqrt(n * state.problem.eps)]
    if not state.complete:
        user = state.user[1] if state.C is not None else state.user[0]
        sizes = np.linalg.norm(_white(left, user), axis=1)
        quotients = np.linalg.norm(_white(moved, user), axis=1)[sizes > 0] / sizes[sizes > 0]
        singular = np.concatenate([singular, np.sqrt(state.rho) * quotients])
    # Nothing above the noise means nothing to lift: A is conditioned down to rounding level, or
    # zero, or not finite and the driver will say so.
    state.lower = min(1.0, float(singular[singular > state.noise].min(initial=1.0)))
    state.frozen = state.lower >= state.conditioner.done
    seen = state.frozen or state.lower > 0.5
    if seen and not state.seen and not state.restarted:
        state.condition = 1 / max(state.conditioner.original(state.lower), state.problem.eps**2)
    state.seen = seen


def _informative(rows: np.ndarray, source: np.ndarray, state: EagleState) -> np.ndarray:
    """Those rows of ``source A`` that are more than rounding errors and noise of A."""
    level = max(USED_UP * state.problem.eps, state.noise) / np.sqrt(state.rho or np.inf)
    return rows[np.linalg.norm(rows, axis=1) > level * np.linalg.norm(source, axis=1)]


def _unit_sum(rows: np.ndarray) -> np.ndarray:
    """Sum of the rows, each scaled to length one."""
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(sizes > 0, sizes, np.inf)).sum(axis=0)


def _contract(state: EagleState, pull: np.ndarray, push: np.ndarray, gamma: float) -> None:
    """``D += gamma B A^H C``, ``C -= gamma A A^H C``."""
    B, C, D = state.B, state.C, state.D
    rows, columns = state.user
    step = gamma * (state.rho or 1.0)
    state.left_before = state.left
    user_start, start = state.start
    if C is not None:
        moved, size, user_left, left = state.kernel.contract(
            B, C, D, pull, push, step, rows, columns, COUNT
        )
        state.count(len(B), *pull.shape)
    else:
        increment = B.real.dtype.type(step) * push
        D += increment
        moved, size = norm(increment[:rows, :columns]), norm(D[:rows, :columns])
        user_left, left = norm(pull[:rows]), norm(_white(pull, rows))
        user_start, start = norm(B[:rows]), norm(_white(B, rows))
    # A value that cancels to zero has no relative change; what was moved at most is its scale.
    state.peak = max(state.peak, moved)
    state.change = relative(moved, max(size, state.problem.eps * state.peak))
    state.user_left, state.left = relative(user_left, user_start), relative(left, start)


def _condition(state: EagleState) -> None:
    """``[A; B] <- [A; B] Q``."""
    d, n = state.A.shape
    if state.single and state.cautious < WORTH:
        _condition_in_single(state)
        return
    state.A, state.B, state.spare, state.lower = state.conditioner.apply(
        state.A, state.B, state.gram, state.spare, state.user[0], state.cautious, state.rho
    )
    state.count(d + len(state.B), n, n, half=isinstance(state.conditioner, Cholesky))
    state.rho = 1.0
    if isinstance(state.conditioner, Cholesky):
        state.seen, state.waiting, state.left = False, False, np.inf
        if state.conditioner.seen and not state.restarted:
            state.condition = 1 / state.conditioner.seen


def _condition_in_single(state: EagleState) -> None:
    """The same for many steps at once."""
    assert isinstance(state.conditioner, Polynomial)
    d, n = state.A.shape
    state.A, state.B, steps = state.conditioner.apply_single(
        state.A, state.B, state.user[0], state.cautious, state.rho
    )
    state.rho, state.lower = 1.0, None
    for _ in range(steps):
        state.count(n, d, n, half=True)
        state.count(d + n, n, n)
    state.count(d + len(state.B), n, n)


def _judge(state: EagleState, before: float) -> None:
    """Decide whether anything is left to gain.

    A small change is not convergence. Besides, the white probe columns, which lie in the range of
    A whatever the user's do, must be used up: no direction of A above rounding level is left
    out. And either the user's columns are used up too, or what is left of them is in no
    direction that was not seen.
    """
    eps = state.problem.eps
    ratio = min(1.0, state.change / before) if 0 < before < np.inf else 1.0
    state.ratio = ratio
    if state.noise >= 0.5:
        state.seen = state.frozen = True
    if state.waiting:
        return
    stalled = state.frozen and ratio > 0.5 and state.change <= 100 * eps * (state.condition or 1.0)
    if state.lower is not None:
        state.remaining = 1 / state.lower if state.lower else np.inf
        gamma = state.conditioner.pair(state.lower)[1]
        ratio = min(ratio, max(1 - gamma * state.lower**2, gamma - 1))
    used_up = state.user_left <= USED_UP * eps
    state.resolved = state.complete and (state.seen or used_up)
    done = stalled or state.change * ratio <= (2 * eps if used_up else eps)
    state.settled = state.resolved and done
    gathered = state.lower is None or state.lower > 0.9 * state.conditioner.top
    if state.settled and gathered:
        state.rank = _rank(state)


def _rank(state: EagleState) -> int:
    """How many singular values of a partial isometry are 1 rather than 0, from traces.

    With t the squared singular values, ``t`` sums to the rank if all are near 1, and
    ``1 - (1 - t)^3 = 3 t - 3 t^2 + t^3`` also if some are not so near.
    """
    A, scale = state.A, state.rho / state.conditioner.top**2
    first = norm(A) ** 2 * scale
    lower = 1.0 if state.lower is None else state.cautious / state.conditioner.top
    if first * (1 - lower**2) < 0.1:
        return round(first)
    out = state.spare if state.spare.size else np.empty_like(A)
    AG = blas.times_hermitian(A, blas.gram(A, out=state.gram), out=out, scale=scale)
    second, third = blas.trace(A, AG) * scale, norm(AG) ** 2 * scale
    d, n = A.shape
    state.count(n, d, n, half=True)
    state.count(d, n, n)
    return round(3 * first - 3 * second + third)


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
    spoilt = norm(outside) * lift * (1.0 if state.C is None else state.start[0])
    return size > state.problem.eps * allowed * whole or spoilt > 10 * allowed * whole
