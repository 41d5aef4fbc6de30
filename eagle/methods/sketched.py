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
from typing import ClassVar

import numpy as np

from eagle.certificate import COUNT
from eagle.kernels.blas import norm, product
from eagle.methods.base import State, relative
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
LOST = 1e3  # times what is left of probe rows: a row of B with more left is inconsistent


def default_size(n: int) -> int:
    """Columns per sketch if none are asked for: an eighth, at least eight."""
    return max(1, min(n, max(8, n // 8)))


@dataclass(kw_only=True)
class SketchedState(State):
    """Working copies of the right form, ``n <= d``."""

    work: Problem
    flipped: bool
    base: np.ndarray  # (d, n), where every epoch starts; never written to
    base_B: np.ndarray  # (m, n)
    A: np.ndarray  # (d, n), columns in the order of this epoch
    B: np.ndarray  # (m, n)
    C: np.ndarray  # (d, q)
    D: np.ndarray  # (m, q)
    user: tuple[int, int]
    size: int
    rng: np.random.Generator
    start: float  # ||C||, white probes
    floor: float  # singular values of a sketch that are rounding errors of A
    noise: float = 0.0  # the same after the steps of this epoch
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    position: int = 0  # columns of this epoch that have been sketched
    epoch: int = 0
    moved: float = 0.0  # size of what this epoch has added to the user's block
    left: float = np.inf  # white probes of C after the last epoch, relative
    basis: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # of the range of A
    seen: list[np.ndarray] = field(default_factory=list)  # what this epoch adds to it
    smallest: float = np.inf  # diagonal entry of a triangular factor: about a singular value of A
    restarted: bool = False
    outside: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (m,) of B, squared


@dataclass(frozen=True)
class Sketched:
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
    The shorter side of A is the one that is sketched. An iteration is one sketch, an epoch
    ``n / size`` of them: with exact steps, the default, two epochs reach the accuracy floor of
    well-conditioned problems, and ``2 d n^2`` flops each are a QR factorisation's.

    If A is rank-deficient and B has a part outside its row space, sketches of columns do not lead
    to the least norm. That is seen by what is left of B; the method then goes on from the other
    side with ``(Q^H A, B, Q^H C)``, Q an orthonormal basis of the range of A. Full lift with
    exact steps only.

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

    supports: ClassVar[frozenset[str]] = frozenset()
    default_rtol: ClassVar[float | None] = None
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

    def init(self, problem: Problem, options: Options) -> SketchedState:
        """Copy the blocks, the shorter side of A as its columns."""
        flipped = problem.A.shape[0] < problem.A.shape[1]
        work = problem.adjoint() if flipped else problem
        return self._state(
            problem, work, np.asarray(work.A), work.rows(), work.columns(), flipped, options.rng
        )

    def _state(
        self,
        problem: Problem,
        work: Problem,
        A: np.ndarray,
        B: np.ndarray,
        C: np.ndarray,
        flipped: bool,
        rng: np.random.Generator,
    ) -> SketchedState:
        n = A.shape[1]
        user = work.shape
        C = np.array(C, order="F")
        size = min(n, self.size or default_size(n))
        state = SketchedState(
            problem=problem,
            work=work,
            flipped=flipped,
            base=A,
            base_B=B,
            A=A,
            B=B,
            C=C,
            D=np.zeros((len(B), C.shape[1]), A.dtype, order="F"),
            user=user,
            size=size,
            rng=rng,
            start=norm(C[:, user[1] : user[1] + COUNT]),
            floor=NOISE * problem.eps * norm(A),
            outside=np.zeros(len(B)),
        )
        if self._pair is None:
            _shuffle(state, self.sampling)
        else:
            state.A, state.B = np.array(A, order="F"), np.array(B, order="F")
            state.epoch = 1
        return state

    def step(self, state: SketchedState) -> SketchedState:
        """One sketch."""
        pair, n = self._pair, state.A.shape[1]
        if state.position >= n:
            if pair is not None:
                _rescale(state)
            elif self.sampling != "columns" or norm(state.A) <= state.noise:
                _shuffle(state, self.sampling)
            else:  # columns that were not drawn yet are still there
                state.position = 0
        if pair is None:
            _take_out(state, self.sampling)
        else:
            _move(state, self.sampling, self.lift, *pair)
        if state.position < n:
            return state
        exhausted = self.sampling != "columns" or norm(state.A) <= state.noise
        _judge(state, whole=pair is None and exhausted)
        if state.settled and pair is None and not state.restarted and _leaks(state):
            return self._restart(state)
        return state

    def output(self, state: SketchedState) -> np.ndarray:
        """D, turned back if the adjoint problem was solved."""
        return state.D.conj().T if state.flipped else state.D

    def _restart(self, state: SketchedState) -> SketchedState:
        """Go on with ``(Q^H A, B, Q^H C)`` from the other side; see the Notes."""
        work = state.work
        Q = state.basis
        inner = product(work.A, Q, adjoint="X")  # (Q^H A)^H, n x k
        outer = product(work.columns(), Q, adjoint="X")  # (Q^H C)^H, q x k
        other = work.adjoint()
        fresh = self._state(
            state.problem, other, inner, outer, other.columns(), not state.flipped, state.rng
        )
        fresh.floor = fresh.noise = 0.0  # it has full rank
        fresh.restarted, fresh.rank, fresh.condition = True, state.rank, state.condition
        fresh.flops, fresh.matmuls = state.flops, state.matmuls
        fresh.count(inner.shape[0], len(Q), inner.shape[1])
        fresh.count(len(outer), len(Q), inner.shape[1])
        return fresh


def _shuffle(state: SketchedState, sampling: str) -> None:
    """Start an epoch: fresh copies of A and B, their columns in random order."""
    n = state.base.shape[1]
    if sampling == "orthonormal":
        S = state.rng.standard_normal((n, n)).astype(state.base.dtype)
        S, _ = np.linalg.qr(S)
        state.A, state.B = product(state.base, S), product(state.base_B, S)
        state.count(len(state.base), n, n)
    else:
        draw = state.rng.permutation(n)
        state.A = np.asfortranarray(state.base[:, draw])
        state.B = np.asfortranarray(state.base_B[:, draw])
    state.position, state.moved, state.noise = 0, 0.0, state.floor
    state.seen, state.outside = [], np.zeros(len(state.B))
    state.epoch += 1


def _take_out(state: SketchedState, sampling: str) -> None:
    """Everything in the range of the next columns, out of C and the columns after them."""
    import scipy.linalg

    n = state.A.shape[1]
    start, stop = state.position, min(state.position + state.size, n)
    state.position = stop
    At, Bt = state.A[:, start:stop], state.B[:, start:stop]
    if sampling == "columns":  # any of them may be drawn again
        draw = state.rng.choice(n, stop - start, replace=False)
        At, Bt = np.asfortranarray(state.A[:, draw]), np.asfortranarray(state.B[:, draw])
        stop = 0
    d, r = At.shape
    state.count(d, r, r)
    if not np.isfinite(At).all():
        state.D[:] = np.nan
        return
    Q, R, order = scipy.linalg.qr(At, mode="economic", pivoting=True, check_finite=False)
    kept = int(np.count_nonzero(np.abs(np.diagonal(R)) > state.noise))
    Q, R = np.asfortranarray(Q[:, :kept]), R[:kept, :kept]
    if not kept:
        state.outside += (Bt.real**2 + Bt.imag**2).sum(axis=1)
        state.change = np.inf
        return
    Bq = (
        scipy.linalg.solve_triangular(
            R, Bt[:, order[:kept]].conj().T, trans="C", check_finite=False
        )
        .conj()
        .T
    )
    pull = product(Q, state.C, adjoint="X")
    increment = product(Bq, pull)
    state.C -= product(Q, pull)
    state.D += increment
    rest = state.A[:, stop:]
    push = product(Q, rest, adjoint="X")
    rest -= product(Q, push)
    state.B[:, stop:] -= product(Bq, push)
    own = Bt - product(Bq, product(Q, At, adjoint="X"))
    state.outside += (own.real**2 + own.imag**2).sum(axis=1)
    width = rest.shape[1] + state.C.shape[1]
    state.count(kept, d, width)
    state.count(d + len(Bq), kept, width)
    pivots = np.abs(np.diagonal(R))
    state.seen.append(Q)
    state.smallest = min(state.smallest, float(pivots.min()))
    if push.size:
        # A direction seen at size R_ii has relative rounding errors of eps ||A|| / R_ii, and
        # leaves them in every column that has more of it.
        growth = float((np.abs(push).max(axis=1) / pivots).max())
        state.noise = max(state.noise, growth * state.floor)
    _note(state, increment)


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
    if whole and not state.restarted and state.seen:
        state.basis = _union([state.basis] * bool(state.basis.size) + state.seen, state.epoch > 1)
        state.rank = state.basis.shape[1]
        state.condition = max(1.0, norm(state.base) / state.smallest)
    state.change = relative(state.moved, norm(state.D[:rows, :columns]))
    stalled = state.left > STALLED * before if whole else np.sqrt(eps) > state.left > 0.99 * before
    state.resolved = used_up
    state.settled = used_up or bool(stalled)
    state.moved = 0.0


def _union(bases: list[np.ndarray], several: bool) -> np.ndarray:
    """An orthonormal basis of what orthonormal bases span together.

    Those of one epoch are orthogonal but for rounding errors. Another epoch finds the same range,
    except for directions that one of the two took for noise.
    """
    import scipy.linalg

    together = np.concatenate(bases, axis=1)
    if not np.isfinite(together).all():
        return together
    Q, R, _ = scipy.linalg.qr(together, mode="economic", pivoting=True, check_finite=False)
    kept = np.count_nonzero(np.abs(np.diagonal(R)) > (NEW if several else 0.0))
    return np.asfortranarray(Q[:, :kept])


def _leaks(state: SketchedState) -> bool:
    """Whether B has a part outside the row space of a rank-deficient A.

    What the first epoch left of B is that part, and rounding errors: the white probe rows, which
    are combinations of the rows of A, tell how large those are.
    """
    if state.rank is None or state.rank >= state.base.shape[1]:
        return False
    rows = state.user[0]
    sizes = np.linalg.norm(state.base_B, axis=1)
    left = np.sqrt(state.outside) / np.where(sizes > 0, sizes, 1)
    noise = max(float(left[rows : rows + COUNT].max(initial=0.0)), state.problem.eps)
    return bool((left[:rows] > LOST * noise).any())
