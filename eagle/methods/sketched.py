"""EAGLE with sketches: every step sees r columns of A and no more.

Notation of arXiv:2509.19702, Algorithm 1, with ``At = A S``, ``Bt = B S`` and S of r columns::

    C <- C - gamma At At^H C,           D <- D + gamma Bt At^H C
    A <- A - eta At At^H A,             B <- B - eta Bt At^H A          (full lift)
    A <- A - eta At At^H At S^H,        B <- B - eta Bt At^H At S^H     (the paper's)

The full lift multiplies A from the left, so what it does to the columns that were not sketched is
what it does to C: later sketches no longer see what earlier ones have dealt with. With ``At``
orthonormal, ``eta = gamma = 1``, that is block Gram-Schmidt, and one pass over the columns, an
*epoch*, uses C up. Rounding leaves ``eps condition`` of it, which further epochs, each from the
user's A, remove.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from eagle.certificate import COUNT
from eagle.kernels.blas import norm, product
from eagle.methods.base import Method, State, relative
from eagle.operand import PIECE, Mapped, Matrix, Operand
from eagle.options import Options, check_count
from eagle.problem import Problem
from eagle.schedule import as_schedule
from eagle.update import LIFTS

__all__ = ["SAMPLINGS", "Sketched", "SketchedState", "default_size"]

SAMPLINGS = ("reshuffled", "columns", "orthonormal")
PAIR = (0.95, 1.0)  # eta, gamma relative to ||At||^2, where sketches are not orthonormalised
USED_UP = 30.0  # in units of eps: what rounding leaves of a contracted C
NOISE = 30.0  # in units of eps ||A||_F: columns of a sketch that are nothing but rounding errors
STALLED = 0.5  # an epoch that leaves more than this of what it found gains nothing
NEW = 0.1  # part of a direction outside a basis from which on it is another direction
WORK = 6  # copies of a sketch that a step makes
LOST = 1e3  # times what is left of probe rows: a row of B with more left is inconsistent


def default_size(n: int) -> int:
    """Columns per sketch if none are asked for: an eighth, at least eight."""
    return max(1, min(n, max(8, n // 8)))


@dataclass(kw_only=True)
class SketchedState(State):
    """The blocks, oriented; and where the epoch is."""

    work: Problem
    flipped: bool
    A: Any  # (d, n); a copy if the steps write to it
    B: np.ndarray  # (m, n), the same
    C: np.ndarray  # (d, q) what is left of it
    D: np.ndarray  # (m, q)
    user: tuple[int, int]
    size: int
    rng: np.random.Generator
    limit: int | None  # bytes
    start: float  # ||C||, white probes
    floor: float  # singular values of a sketch that are rounding errors of A
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    position: int = 0  # columns of this epoch that have been sketched
    epoch: int = 1
    moved: float = 0.0  # size of what this epoch has added to the user's block
    left: float = np.inf  # white probes of C after the last epoch, relative
    restarted: bool = False


@dataclass(kw_only=True)
class ExactState(SketchedState):
    """What exact steps have seen of A in this epoch: ``Q``, and ``B`` along it."""

    Q: np.ndarray  # (d, capacity), the first `seen` columns orthonormal
    along: np.ndarray  # (m, capacity) W Q
    pivots: np.ndarray  # (capacity,) sizes at which directions were seen
    seen: int = 0
    drawn: np.ndarray  # (n,) whether a column was in a sketch of this epoch
    exhausted: bool = False  # the last sketch found fewer directions than it has columns
    outside: np.ndarray  # (m,) of B outside the row space of A, squared
    basis: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # of earlier epochs
    smallest: float = np.inf  # pivot: about the least singular value of A


@dataclass(frozen=True)
class Sketched(Method):
    """Compute-limited EAGLE: a step sees ``size`` columns of A and costs O(n d size).

    Parameters
    ----------
    size : int, optional
        r, columns per sketch; an eighth of the shorter side of A by default, at least 8.
    lift : {"full", "paper"}
        ``"full"``: all of A is conditioned by what the sketch sees. ``"paper"``: only the
        sketched part, as Algorithm 1 prints it; a sketch of n / 4 or less then hardly converges.
    sampling : {"reshuffled", "columns", "orthonormal"}
        ``"reshuffled"``: random columns, every one once per epoch. ``"columns"``: random columns,
        drawn anew each time. ``"orthonormal"``: random orthonormal combinations of columns.
    step_sizes : "exact" or tuple of float, optional
        ``"exact"``: sketches are orthonormalised, and a step takes all of what they see out of C
        and A; for the full lift, where it is the default. ``(eta, gamma)``: relative to
        ``||At||^2``, as printed; ``(0.95, 1)`` is the default for the paper's lift.

    Notes
    -----
    The shorter side of A is the one that is sketched; of a mapped file, which is read a sketch at
    a time, the one that is contiguous. An iteration is one sketch, an epoch ``n / size`` of them:
    with exact steps, the default, one epoch reaches the accuracy floor, at the ``4 d n k`` flops
    of a QR factorisation with rank k. Exact steps never write to A: beyond the data they need
    ``d (k + size)`` numbers, which `memory_limit` bounds; the others work on a copy of A.

    If A is rank-deficient and B has a part outside its row space, sketches of columns do not lead
    to the least norm. That is seen by what is left of B; the method then goes on from the other
    side with ``(Q^H A, B, Q^H C)``, Q an orthonormal basis of the range of A. Steps that are not
    exact leave a bias there: once they have nothing left to gain, exact ones start over.

    References
    ----------
    .. [1] Lutz, Gangrade, Daneshmand, Saligrama, arXiv:2509.19702, Algorithm 1 and figure 18.
    .. [2] Björck, "Numerics of Gram-Schmidt orthogonalization", Linear Algebra Appl. 197, 1994.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(60, 50, rank=20, condition=1e6, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Sketched(10), rng=0)
    >>> bool(problem.error(result.value) < 1e-12), result.rank
    (True, 20)
    """

    size: int | None = None
    lift: str = "full"
    sampling: str = "reshuffled"
    step_sizes: str | tuple[float, float] | None = None

    out_of_core: ClassVar[bool] = True
    default_maxiter: ClassVar[int] = 10_000

    def __post_init__(self) -> None:
        if self.size is not None:
            check_count("size", self.size)
        for name, choices in (("lift", LIFTS), ("sampling", SAMPLINGS)):
            if getattr(self, name) not in choices:
                names = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {names}, got {getattr(self, name)!r}")
        if self.step_sizes == "exact" and self.lift != "full":
            raise ValueError("step_sizes can be 'exact' for the full lift only")
        if self.step_sizes not in (None, "exact"):
            as_schedule(self.step_sizes)

    @property
    def _pair(self) -> tuple[float, float] | None:
        """(eta, gamma), or None for exact steps."""
        if self.step_sizes == "exact" or (self.step_sizes is None and self.lift == "full"):
            return None
        return as_schedule(self.step_sizes or PAIR).pair(0.0)

    @property
    def supports(self) -> frozenset[str]:
        """A limit to the memory that bases take."""
        return frozenset({"memory_limit"})

    def init(self, problem: Problem, options: Options) -> SketchedState:
        """Orient the blocks."""
        d, n = problem.A.shape
        flipped = problem.A.by_rows if isinstance(problem.A, Mapped) else d < n
        work = problem.adjoint() if flipped else problem
        exact = self._pair is None
        blocks = work.A, work.rows(), work.columns()
        return self._state(problem, work, *blocks, flipped, options, exact)

    def _state(
        self,
        problem: Problem,
        work: Problem,
        A: Matrix,
        B: np.ndarray,
        C: np.ndarray,
        flipped: bool,
        options: Options,
        exact: bool,
    ) -> SketchedState:
        (d, n), user = A.shape, work.shape
        size = min(n, self.size or _affordable(A, options.memory_limit, exact))
        _refuse_if_small(options.memory_limit, A, size, exact)
        C = np.array(C, order="F")
        common: dict[str, Any] = {
            "problem": problem,
            "work": work,
            "flipped": flipped,
            "B": B,
            "C": C,
            "D": np.zeros((len(B), C.shape[1]), A.dtype, order="F"),
            "user": user,
            "size": size,
            "rng": options.rng,
            "limit": options.memory_limit,
            "start": norm(C[:, user[1] : user[1] + COUNT]),
            "floor": NOISE * problem.eps * norm(A),
        }
        if not exact:
            dense = A.dense() if isinstance(A, Operand) else A
            common["B"] = np.array(B, order="F")
            return SketchedState(**common, A=np.array(dense, order="F"))
        return ExactState(
            **common,
            A=A,
            Q=np.zeros((d, 0), A.dtype, order="F"),
            along=np.zeros((len(B), 0), A.dtype, order="F"),
            pivots=np.zeros(0),
            drawn=np.zeros(n, bool),
            outside=np.zeros(len(B)),
            order=options.rng.permutation(n),
        )

    def step(self, state: SketchedState) -> SketchedState:
        """One sketch."""
        if not isinstance(state, ExactState):
            assert self._pair is not None
            if state.position >= state.A.shape[1]:
                _rescale(state)
            _move(state, self.sampling, self.lift, *self._pair)
            if state.position >= state.A.shape[1]:
                _judge(state, whole=False)
            return self._finish(state) if state.settled else state
        n = state.A.shape[1]
        if state.position >= n:
            _begin(state, self.sampling)
        _take_out(state, self.sampling)
        if state.position < n and not state.out_of_memory:
            return state
        whole = bool(state.drawn.all()) or state.exhausted or state.seen >= min(state.A.shape)
        if whole:
            _remember(state)
        _judge(state, whole=whole)
        if state.settled and not state.restarted and _leaks(state):
            return self._restart(state)
        return state

    def output(self, state: SketchedState) -> np.ndarray:
        """D, turned back if the adjoint problem was solved."""
        return state.D.conj().T if state.flipped else state.D

    def _finish(self, state: SketchedState) -> SketchedState:
        """Exact steps from the start, once others have nothing left to gain; see the Notes."""
        work = state.work
        options = Options(rng=state.rng, memory_limit=state.limit)
        blocks = work.A, work.rows(), work.columns()
        fresh = self._state(state.problem, work, *blocks, state.flipped, options, exact=True)
        fresh.flops, fresh.matmuls = state.flops, state.matmuls
        return fresh

    def _restart(self, state: ExactState) -> SketchedState:
        """Go on with ``(Q^H A, B, Q^H C)`` from the other side; see the Notes."""
        work = state.work
        Q = state.basis
        inner = product(work.A, Q, adjoint="X")  # (Q^H A)^H, n x k
        outer = product(work.columns(), Q, adjoint="X")  # (Q^H C)^H, q x k
        other = work.adjoint()
        options = Options(rng=state.rng, memory_limit=state.limit)
        fresh = self._state(
            state.problem,
            other,
            inner,
            outer,
            other.columns(),
            not state.flipped,
            options,
            exact=True,
        )
        fresh.floor = 0.0  # it has full rank
        fresh.restarted, fresh.rank, fresh.condition = True, state.rank, state.condition
        fresh.flops, fresh.matmuls = state.flops, state.matmuls
        fresh.count(inner.shape[0], len(Q), inner.shape[1])
        fresh.count(len(outer), len(Q), inner.shape[1])
        return fresh


def _affordable(A: Matrix, limit: int | None, exact: bool) -> int:
    """Columns per sketch if none are asked for; fewer if they would not fit."""
    size = default_size(min(A.shape))
    column = A.shape[0] * A.dtype.itemsize
    if isinstance(A, Mapped):
        size = min(size, max(1, PIECE // column))
    if limit is not None and exact:
        size = min(size, max(1, limit // (4 * WORK * column)))
    return size


def _refuse_if_small(limit: int | None, A: Matrix, size: int, exact: bool) -> None:
    """ValueError for a memory limit under which not even the first step is possible."""
    d, n = A.shape
    least = A.dtype.itemsize * (2 * WORK * d * size if exact else 2 * d * n)
    if limit is not None and limit < least:
        what = f"sketches of {size} columns" if exact else "steps that work on a copy"
        raise ValueError(
            f"memory_limit must be at least {least} bytes for {what} of A with shape {(d, n)}, "
            f"got {limit}"
        )


def _begin(state: ExactState, sampling: str) -> None:
    """Start another epoch from the user's A, with what is left of C."""
    n = state.A.shape[1]
    state.position, state.moved = 0, 0.0
    state.epoch += 1
    if sampling == "columns" and not state.drawn.all():
        return  # columns that were not drawn yet are still to come
    state.order = state.rng.permutation(n)
    state.drawn[:] = False
    state.exhausted, state.seen = False, 0
    state.outside[:] = 0


def _take_out(state: ExactState, sampling: str) -> None:
    """Everything in the range of the next columns, out of C.

    They are first made orthogonal to what was seen before, twice, which is enough. That is what
    the full lift does to all of A at every step.
    """
    import scipy.linalg

    n = state.A.shape[1]
    start, stop = state.position, min(state.position + state.size, n)
    state.position = stop
    if sampling == "orthonormal":
        S = state.rng.standard_normal((n, stop - start)).astype(state.A.dtype)
        S = np.asfortranarray(scipy.linalg.qr(S, mode="economic", check_finite=False)[0])
        At, Bt = product(state.A, S), product(state.B, S)
        state.count(len(state.C), n, stop - start)
    else:
        chosen = state.order[start:stop]
        if sampling == "columns":  # any of them may be drawn again
            chosen = state.rng.choice(n, stop - start, replace=False)
        At, Bt = _columns(state.A, chosen), np.asfortranarray(state.B[:, chosen])
        state.drawn[chosen] = True
    if not np.isfinite(At).all():
        state.D[:] = np.nan
        return
    k = state.seen
    before, along = state.Q[:, :k], state.along[:, :k]
    noise = state.floor
    for _ in range(2):
        pull = product(before, At, adjoint="X")
        At -= product(before, pull)
        Bt -= product(along, pull)
        state.count(k, len(At), 2 * At.shape[1])
        if pull.size:
            # A direction seen at size R_ii has relative rounding errors of eps ||A|| / R_ii, and
            # leaves them in every column that has more of it.
            growth = float((np.abs(pull).max(axis=1) / state.pivots[:k]).max())
            noise = max(noise, growth * state.floor)
    d, r = At.shape
    state.count(d, r, 1)
    kept = 0
    if np.linalg.norm(At, axis=0).max() > noise:  # otherwise there is nothing new
        Q, R, order = scipy.linalg.qr(At, mode="economic", pivoting=True, check_finite=False)
        state.count(d, r, r)
        kept = int(np.count_nonzero(np.abs(np.diagonal(R)) > noise))
    if sampling == "orthonormal":  # it sees everything that there is
        state.exhausted = state.exhausted or kept < At.shape[1]
    if not kept:
        state.outside += (Bt.real**2 + Bt.imag**2).sum(axis=1)
        state.change = np.inf
        return
    Q, R = np.asfortranarray(Q[:, :kept]), R[:kept, :kept]
    new = scipy.linalg.solve_triangular(
        R, Bt[:, order[:kept]].conj().T, trans="C", check_finite=False
    ).conj()
    Bq = np.asfortranarray(new.T)
    own = Bt - product(Bq, product(Q, At, adjoint="X"))
    state.outside += (own.real**2 + own.imag**2).sum(axis=1)
    pull = product(Q, state.C, adjoint="X")
    increment = product(Bq, pull)
    state.C -= product(Q, pull)
    state.D += increment
    state.count(kept, len(At), 2 * state.C.shape[1])
    _append(state, Q, Bq, np.abs(np.diagonal(R)))
    _note(state, increment)


def _columns(A: Any, chosen: np.ndarray) -> np.ndarray:
    """Some columns, as a copy."""
    return A.columns(chosen) if isinstance(A, Mapped) else np.array(A[:, chosen], order="F")


def _append(state: ExactState, Q: np.ndarray, along: np.ndarray, pivots: np.ndarray) -> None:
    """Keep new directions for the rest of the epoch, if there is memory for them."""
    d, k, new = len(Q), state.seen, Q.shape[1]
    if k + new > state.Q.shape[1]:
        capacity = min(max(2 * k, k + new), min(state.A.shape) + state.size)
        if state.limit is not None:
            numbers = d * (k + capacity + WORK * state.size + state.basis.shape[1])
            if numbers * Q.dtype.itemsize > state.limit:
                state.out_of_memory = True
                return
        for name, block in (("Q", state.Q), ("along", state.along)):
            larger = np.zeros((len(block), capacity), block.dtype, order="F")
            larger[:, :k] = block[:, :k]
            setattr(state, name, larger)
        state.pivots = np.concatenate([state.pivots[:k], np.zeros(capacity - k)])
    state.Q[:, k : k + new], state.along[:, k : k + new] = Q, along
    state.pivots[k : k + new] = pivots
    state.seen += new


def _remember(state: ExactState) -> None:
    """Rank and condition of A, after an epoch that has seen all of it."""
    if state.restarted or not state.seen:
        return
    found = state.Q[:, : state.seen]
    state.basis = _union(state.basis, found) if state.basis.size else found.copy(order="F")
    state.smallest = min(state.smallest, float(state.pivots[: state.seen].min()))
    state.rank = state.basis.shape[1]
    state.condition = max(1.0, norm(state.A) / state.smallest)


def _move(state: SketchedState, sampling: str, lift: str, eta: float, gamma: float) -> None:
    """One UPDATE of Algorithm 1, and A rescaled so that repeated steps do not underflow."""
    n = state.A.shape[1]
    start, stop = state.position, min(state.position + state.size, n)
    state.position = stop
    S: np.ndarray | None = None
    if sampling == "orthonormal":
        draw = state.rng.standard_normal((n, stop - start)).astype(state.A.dtype)
        S = np.linalg.qr(draw)[0]
        At, Bt = product(state.A, S), product(state.B, S)
        columns = np.arange(0)
        state.count(len(state.A), n, stop - start)
    else:
        if start == 0 and sampling == "reshuffled":
            state.order = state.rng.permutation(n)
        columns = state.order[start:stop]
        if sampling == "columns":
            columns = state.rng.choice(n, stop - start, replace=False)
        At, Bt = np.asfortranarray(state.A[:, columns]), np.asfortranarray(state.B[:, columns])
    d, r = At.shape
    inner = product(At, At, adjoint="X")
    square = float(np.linalg.eigvalsh(inner)[-1]) if np.isfinite(inner).all() else np.nan
    if square == 0:
        return
    real = At.real.dtype.type
    pull = product(At, state.C, adjoint="X")
    increment = product(Bt, pull, scale=gamma / square)
    state.C -= real(gamma / square) * product(At, pull)
    state.D += increment
    step = real(eta / square)
    if lift == "full":
        push = product(At, state.A, adjoint="X")
        state.A -= step * product(At, push)
        state.B -= step * product(Bt, push)
        state.count(r, d, n)
        state.count(d + len(Bt), r, n)
    elif S is None:
        state.A[:, columns] -= step * product(At, inner)
        state.B[:, columns] -= step * product(Bt, inner)
    else:
        lifted = product(inner, S, adjoint="Y")
        state.A -= step * product(At, lifted)
        state.B -= step * product(Bt, lifted)
        state.count(d + len(Bt), r, n)
    state.count(r, d, r + state.C.shape[1])
    state.count(d + len(Bt), r, state.C.shape[1])
    _note(state, increment)


def _rescale(state: SketchedState) -> None:
    """Start the next epoch with A of size one; B follows."""
    size = norm(state.A)
    if 0 < size < np.inf:
        scale = state.A.real.dtype.type(1 / size)
        state.A *= scale
        state.B *= scale
    state.position = 0
    state.epoch += 1


def _note(state: SketchedState, increment: np.ndarray) -> None:
    rows, columns = state.user
    size = norm(increment[:rows, :columns])
    state.moved = float(np.hypot(state.moved, size))
    state.change = relative(size, norm(state.D[:rows, :columns]))


def _judge(state: SketchedState, *, whole: bool) -> None:
    """At the end of an epoch: is anything left to gain? `whole`: it took all of A out."""
    rows, columns = state.user
    eps = state.problem.eps
    before, state.left = (
        state.left,
        relative(norm(state.C[:, columns : columns + COUNT]), state.start),
    )
    used_up = state.left <= USED_UP * eps
    state.change = relative(state.moved, norm(state.D[:rows, :columns]))
    stalled = state.left > STALLED * before if whole else np.sqrt(eps) > state.left > 0.99 * before
    state.resolved = used_up
    state.settled = used_up or bool(stalled)
    state.moved = 0.0


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what two orthonormal bases span together.

    Another epoch finds the same range, except for directions that one of the two took for noise.
    """
    import scipy.linalg

    together = np.concatenate([first, second], axis=1)
    if not np.isfinite(together).all():
        return together
    Q, R, _ = scipy.linalg.qr(together, mode="economic", pivoting=True, check_finite=False)
    kept = np.count_nonzero(np.abs(np.diagonal(R)) > NEW)
    return np.asfortranarray(Q[:, :kept])


def _leaks(state: ExactState) -> bool:
    """Whether B has a part outside the row space of a rank-deficient A.

    What the epoch left of B is that part, and rounding errors: the white probe rows, which are
    combinations of the rows of A, tell how large those are.
    """
    if state.rank is None or state.rank >= state.A.shape[1]:
        return False
    rows = state.user[0]
    sizes = np.linalg.norm(state.B, axis=1)
    left = np.sqrt(state.outside) / np.where(sizes > 0, sizes, 1)
    noise = max(float(left[rows : rows + COUNT].max(initial=0.0)), state.problem.eps)
    return bool((left[:rows] > LOST * noise).any())
