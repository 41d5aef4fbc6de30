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

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import norm, product
from eagle.algebra.operand import PIECE, Mapped, Matrix, Operand
from eagle.methods.base import Method
from eagle.methods.eagle.schedule import as_schedule
from eagle.methods.sketched.epochs import SketchedState, judge, move, rescale
from eagle.methods.sketched.orthogonal import WORK, ExactState, begin, leaks, remember, take_out
from eagle.problem.blocks import Problem
from eagle.problem.options import Options, check_count
from eagle.update import LIFTS

SAMPLINGS = ("reshuffled", "columns", "orthonormal")
PAIR = (0.95, 1.0)  # eta, gamma relative to ||At||^2, where sketches are not orthonormalised
NOISE = 30.0  # in units of eps ||A||_F: columns of a sketch that are nothing but rounding errors


def default_size(n: int) -> int:
    """Columns per sketch if none are asked for: an eighth, at least eight."""
    return max(1, min(n, max(8, n // 8)))


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
    with exact steps, the default, one epoch reaches the accuracy floor, at ``4 d k (2 n - k)``
    flops for A of rank k. Exact steps never write to A: beyond the data they need
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
            "noise": NOISE * problem.eps * norm(A),
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
                rescale(state)
            move(state, self.sampling, self.lift, *self._pair)
            if state.position >= state.A.shape[1]:
                judge(state, whole=False)
            return self._finish(state) if state.settled else state
        n = state.A.shape[1]
        if state.position >= n:
            begin(state, self.sampling)
        take_out(state, self.sampling)
        if state.position < n and not state.out_of_memory:
            return state
        whole = bool(state.drawn.all()) or state.exhausted or state.seen >= min(state.A.shape)
        if whole:
            remember(state)
        judge(state, whole=whole)
        if state.settled and not state.restarted and leaks(state):
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
        fresh.noise = 0.0  # it has full rank
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
