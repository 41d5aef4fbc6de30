"""EAGLE, central: condition ``[A; B]`` from the right, contract C into D.

Notation of arXiv:2509.19702, Algorithm 1 with ``S = I`` and one machine. With ``||A|| <= 1``::

    D <- D + gamma B A^H C,   C <- C - gamma A A^H C
    [A; B] <- [A; B] Q,       Q = (I - eta A^H A) / mu      (or R^-1, see `conditioning`)

``D + B A^+ C`` never changes, whatever non-singular Q is. The form that conditions ``[A C]`` from
the left is the same code on the adjoint problem. With ``C = I`` the value is ``W = B A^+`` itself,
and C need not be carried: ``W <- W + gamma (B - W A) A^H`` gives ``W C = D`` for every C.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra.base import COUNT, lanczos, ritz_values
from eagle.algebra.numbers import Number, One
from eagle.methods.base import Method
from eagle.methods.eagle import rules
from eagle.methods.eagle.conditioning import Cholesky, Polynomial
from eagle.methods.eagle.rules import NUMBERS, EagleState
from eagle.methods.eagle.schedule import as_schedule
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

LARGE = 400  # from this size of A on, contractions wait until they pay
PASSES = 40  # at most, that look for what leaks; 3 at least
COMBINATIONS = 4  # of rows of B that are looked at


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
    precision: str = "double"

    default_maxiter: ClassVar[int] = 200

    def __post_init__(self) -> None:
        self._conditioner()
        if self.precision not in ("double", "mixed"):
            raise ValueError(f"precision must be 'double' or 'mixed', got {self.precision!r}")
        if self.precision == "mixed" and self.schedule == "cholesky":
            raise ValueError(
                "precision='mixed' is for schedules of matrix products: in single precision a "
                "Gram matrix has no Cholesky factor worth having"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Factorisations, for the schedule that takes them."""
        return frozenset({"cholesky"} if self.schedule == "cholesky" else ())

    def _conditioner(self) -> Polynomial | Cholesky:
        return Cholesky() if self.schedule == "cholesky" else Polynomial(as_schedule(self.schedule))

    def init(self, problem: Problem, options: Options) -> EagleState:
        """Copy the blocks, the shorter side of A as its columns."""
        d, n = problem.A.shape[-2:]
        # Of two identities the one that need not be carried: W = B A^+ has no C.
        flipped = d < n or (d == n and problem.B is None and problem.C is not None)
        work = problem.adjoint() if flipped else problem
        C = None if work.C is None else work.columns()
        A = problem.algebra.copied(work.A)
        state = self._state(problem, A, work.rows(), C, flipped, work.shape)
        # Contracting with an unconditioned A gains nothing, unless someone looks on.
        unwatched = options.rtol is None and options.callback is None and not options.progress
        state.waiting = unwatched and min(d, n) >= LARGE and state.num is One
        state.single = self.precision == "mixed" and "64" in str(problem.algebra.real)
        return state

    def _state(
        self,
        problem: Problem,
        A: Any,
        B: Any,
        C: Any,
        flipped: bool,
        user: tuple[int, int],
    ) -> EagleState:
        """A fresh state for blocks in one orientation."""
        algebra, (d, n) = problem.algebra, A.shape[-2:]
        num, like = algebra.num, problem.scale
        columns = d if C is None else C.shape[-1]
        start = [0.0, 0.0]
        if C is not None:
            start = algebra.norms(C[..., : user[1]], C[..., user[1] : user[1] + COUNT])
        conditioner = self._conditioner()
        return EagleState(
            problem=problem,
            conditioner=conditioner,
            A=A,
            B=B,
            C=C,
            D=algebra.blank(A, B.shape[-2], columns),
            gram=algebra.zeros(n, n),
            spare=algebra.room(d, n) if conditioner.eager else None,
            flipped=flipped,
            user=user,
            start=start,
            lifts=[],
            **{name: num.full(value, like) for name, value in NUMBERS.items()},
        )

    def step(self, state: EagleState) -> EagleState:
        """One update: contract with A as it is, then condition it."""
        before, any_of = state.change, state.num.some
        moves = None if state.waiting else _pull(state)
        due = rules.is_due(state)
        if any_of(due):
            _measure(state, due, moves)
        if state.waiting and state.lower > rules.PAYS:
            state.waiting, moves = False, _pull(state)
        if moves is not None:
            _contract(state, *moves)
        due = due & state.num.invert(state.conditioned)
        in_single = rules.to_single(state, due)
        in_double = due & state.num.invert(in_single)
        if any_of(in_double):
            state.conditioner.apply(state, in_double)
        if any_of(in_single):
            state.conditioner.apply_in_single(state, in_single)
        rules.judge(state, before)
        countable = rules.countable(state)
        if any_of(countable):
            state.rank = state.num.where(countable, _rank(state), state.rank)
        return state

    def output(self, state: EagleState) -> Any:
        """D, turned back if the adjoint problem was solved."""
        D, problem = state.D, state.problem
        if state.C is None:
            D = (problem.adjoint() if state.flipped else problem).times_columns(D)
        return problem.algebra.adjoint(D) if state.flipped else D

    def parted(self, state: EagleState) -> list[EagleState]:
        """Matrices that leak start again from the other side, the others go on."""
        num, leaking = state.num, _leaking(state)
        if not num.some(leaking):
            return [state]
        if num.every(leaking):
            return [self._restart(state)]
        going = self.keep(state, num.invert(leaking))
        return [going, self._restart(self.keep(state, leaking))]

    def keep(self, state: EagleState, which: np.ndarray) -> EagleState:
        """A state of some of many matrices."""
        places, take = np.flatnonzero(which), state.problem.algebra.take
        kept = copy.copy(state)
        kept.problem, kept.places = state.problem.take(places), state.places[places]
        kept.A, kept.B, kept.C, kept.D = (
            None if X is None else take(X, places) for X in (state.A, state.B, state.C, state.D)
        )
        kept.gram = kept.spare = None
        kept.start = [each if np.ndim(each) == 0 else each[places] for each in state.start]
        kept.lifts = [lift[places] for lift in state.lifts]
        for name in (*NUMBERS, "within"):
            setattr(kept, name, getattr(state, name)[places])
        return kept

    def _restart(self, state: EagleState) -> EagleState:
        """Go on with ``(A_L^H A, B, A_L^H C)`` from the other side; see the Notes."""
        work = state.problem.adjoint() if state.flipped else state.problem
        product, join = work.algebra.product, work.algebra.join
        basis = state.A  # of the range of A: orthonormal, times a partial isometry
        inner = product(work.A, basis, adjoint="X")  # (A_L^H A)^H, n x n
        if work.C is None:
            columns = join([basis, product(work.column_probes, basis, adjoint="X")], -2)
        else:
            columns = product(work.columns(), basis, adjoint="X")
        other = work.adjoint()
        C = None if other.C is None else other.columns()
        user = state.user[::-1]
        fresh = self._state(state.problem, inner, columns, C, not state.flipped, user)
        fresh.restarted, fresh.condition = True, state.condition
        for name in ("flops", "matmuls", "places", "taken", "within"):
            setattr(fresh, name, getattr(state, name))
        d, n = basis.shape[-2:]
        fresh.count(inner.shape[-2], d, n)
        fresh.count(columns.shape[-2], d, n)
        return fresh


def _pull(state: EagleState) -> tuple[Any, Any]:
    """What the next contraction moves, before and after its last product.

    ``A^H C`` and ``A A^H C``; for ``C = I`` the residual ``B - W A`` and that times ``A^H``.
    """
    A, product = state.A, state.problem.algebra.product
    d, n = A.shape[-2:]
    if state.C is not None:
        pull = product(A, state.C, adjoint="X")
        state.count(d, *pull.shape[-2:])
        state.count(d, *pull.shape[-2:])
        return pull, product(A, pull)
    residual = state.B - product(state.D, A)
    state.count(residual.shape[-2], d, n)
    state.count(residual.shape[-2], n, d)
    return residual, product(residual, A, adjoint="Y")


def _measure(state: EagleState, due: Number, moves: tuple[Any, Any] | None) -> None:
    """Form the Gram matrix and read the relevant ends of the spectrum of A.

    One Lanczos run starts from a probe row ``z^H A``, which sees every direction of A with its
    singular value as weight; another from what is left to contract. A direction that hides from
    both shows as a probe column that no longer contracts: then the Rayleigh quotient of what is
    left of that column is its singular value.
    """
    algebra, A, (rows, columns) = state.problem.algebra, state.A, state.user
    d, n = A.shape[-2:]
    state.gram = algebra.gram(A, state.gram)
    state.count(n, d, n, half=algebra.symmetric)
    starts, sizes = [algebra.adjoint(state.B[..., rows : rows + 1, :])], []
    if moves is not None:
        pull, push = moves
        if state.C is not None:
            left, moved = algebra.lengths(pull, -2), algebra.lengths(push, -2)
            starts.append(_unit_sum(state, pull, left, algebra.lengths(state.C, -2), -1))
            probes: Any = (..., slice(columns, columns + COUNT))
        else:
            left, moved = algebra.lengths(pull, -1), algebra.lengths(push, -1)
            mixed = algebra.product(_unit_sum(state, push, moved, left, -2), A)
            starts.append(algebra.adjoint(mixed))
            probes = (..., slice(rows, rows + COUNT), slice(None))
        sizes = [left[probes], moved[probes]]
    coefficients = lanczos(algebra, state.gram, algebra.join(starts, -1), rules.LANCZOS_STEPS)
    alphas, betas, *sizes = algebra.fetch(*coefficients, *sizes)
    ritz = ritz_values(alphas, betas, rules.RITZ_WEIGHT)
    quotients = None
    if sizes:
        left, moved = (size.reshape(*size.shape[:-2], -1) for size in sizes)
        quotients = np.divide(moved, left, out=np.full(left.shape, np.nan), where=left > 0)
    rules.read_spectrum(state, due, ritz, quotients)


def _unit_sum(state: EagleState, X: Any, sizes: Any, sources: Any, axis: int) -> Any:
    """Sum over an axis of columns or rows of length 1, where they are more than noise."""
    algebra = state.problem.algebra
    kept = sizes > algebra.each(rules.informative(state)) * sources
    unit = algebra.xp.where(kept, algebra.over(X, sizes), algebra.none)
    return algebra.xp.sum(unit, axis=axis, keepdims=True)


def _contract(state: EagleState, pull: Any, push: Any) -> None:
    """``D += gamma B A^H C``, ``C -= gamma A A^H C``."""
    algebra, num, (rows, columns) = state.problem.algebra, state.num, state.user
    gamma = state.conditioner.pair(state.cautious, num)[1]
    step = gamma * num.where(state.rho > 0, state.rho, 1.0)
    start: list[Any] = []
    if state.C is not None:
        increment = algebra.product(state.B, pull, scale=step)
        state.C = algebra.add(state.C, -algebra.each(step) * push)
        state.count(state.B.shape[-2], *pull.shape[-2:])
        left = state.C[..., :columns], state.C[..., columns : columns + COUNT]
    else:
        increment = algebra.each(step) * push
        left = pull[..., :rows, :], pull[..., rows : rows + COUNT, :]
        start = [state.B[..., :rows, :], state.B[..., rows : rows + COUNT, :]]
    state.D = algebra.add(state.D, increment)
    user = (..., slice(0, rows), slice(0, columns))
    moved, size, user_left, white_left, *start = algebra.norms(
        increment[user], state.D[user], *left, *start
    )
    user_start, white_start = start or state.start
    # A value that cancels to zero has no relative change; what was moved at most is its scale.
    state.peak = num.maximum(state.peak, moved)
    state.change = num.over(moved, num.maximum(size, algebra.eps * state.peak))
    state.left_before = state.left
    state.user_left, state.left = num.over(user_left, user_start), num.over(white_left, white_start)


def _rank(state: EagleState) -> Number:
    """The rank of A, which has become a partial isometry, from traces."""
    algebra, num, (d, n) = state.problem.algebra, state.num, state.A.shape[-2:]
    scale = state.rho / state.conditioner.top**2
    (size,) = algebra.norms(state.A)
    first = size**2 * scale
    plain = rules.plain_rank(state, first)
    if num.every(plain):
        return np.rint(first)
    second, third = algebra.cubes(state.A, state.gram, state.spare)
    state.count(n, d, n, half=algebra.symmetric)
    state.count(d, n, n)
    counted = rules.rank(num, first, second * scale**2, third * scale**3)
    return num.where(plain, np.rint(first), counted)


def _leaking(state: EagleState) -> Number:
    """Whether the part of B outside the row space of A spoils D.

    With A a partial isometry up to noise, ``F = B (I - A^H A)`` is that part, lifted as much as
    the noise of A. It spoils D by ``F A^H C``, through that noise, and by the rounding errors
    of the last lift, ``eps |F| lift |C|``. Both are harmless up to ``eps condition |D|``. A few
    random combinations of rows are enough to measure them.
    """
    algebra, num, (rows, columns) = state.problem.algebra, state.num, state.user
    open_ = state.used_up & (state.conditioned | state.settled)
    if state.restarted or not num.some(open_):
        return num.full(False, open_)
    (size,) = algebra.norms(state.A)
    open_ = open_ & (size**2 * state.rho <= state.A.shape[-1] - 0.5)  # else nothing is outside
    if not num.some(open_):
        return open_
    asked, A, product = open_, state.A, algebra.product
    mix = np.random.default_rng(rows).standard_normal((COMBINATIONS, rows)) / COMBINATIONS**0.5
    mix = algebra.shared(mix)
    outside, size = product(mix, state.B[..., :rows, :]), num.full(np.inf, open_)
    (whole,) = algebra.norms(product(mix, state.D[..., :rows, :columns]))
    harmless = algebra.eps * rules.allowed_error(state) * whole
    final = beyond = size
    for passes in range(PASSES):
        noise = product(outside, A, adjoint="Y")
        outside = outside - product(noise, A)
        added = noise if state.C is None else product(noise, state.C[..., :columns])
        last = size
        size, rest = algebra.norms(added, outside)
        final, beyond = num.where(open_, size, final), num.where(open_, rest, beyond)
        if passes >= 3:
            open_ = open_ & (size > harmless) & (size <= 0.9 * last)
        if not num.some(open_):
            break
    start = 1.0 if state.C is None else state.start[0]
    spoilt = beyond * state.lift * start * algebra.eps > 10 * harmless
    return asked & ((final > harmless) | spoilt)
