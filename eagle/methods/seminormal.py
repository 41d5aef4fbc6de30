"""Thin A: a triangular factor is held, and A is neither copied nor written.

EAGLE may condition ``[A; B]`` by any non-singular Q, and need not form ``A Q`` to contract with it:
with ``Q = R^-1``, ``R^H R = A^H A``, and ``gamma = 1``::

    D <- D + B Q Q^H A^H C,      C <- C - A Q Q^H A^H C

These are the corrected semi-normal equations [1]_. A step reads A twice, with as many columns as
there are right-hand sides. The pull ``A^H C`` is rounded before Q sees it: a step leaves
``eps condition^2`` of what it found, which is something for conditions well below ``eps^(-1/2)``,
as R tells. Beyond that A Q is formed after all, but some rows at a time and for its Gram matrix
alone: with R_1 of the shifted Gram matrix and R_2 of that of ``A R_1^-1``, the factor ``R_2 R_1``
is as good as that of a QR factorisation, and a step leaves ``eps condition`` of the residual. A
wide A has ``A^H Q Q^H C`` with ``R^H R = A A^H``.

No probes are sent along: what a step leaves is seen from how much less than the last it has moved,
and what rounding of the blocks does to the answer is known from R.

Columns of A (rows of a wide one) are scaled by powers of two to a length of about 1 before that, so
that units of measurement make no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np

from eagle.algebra import blas
from eagle.algebra.base import COUNT
from eagle.algebra.blas import lengths, norm, product
from eagle.methods.base import Method, State, by_rows, change_of, relative
from eagle.methods.complete import is_full
from eagle.problem.blocks import Problem
from eagle.problem.certificate import Certificate
from eagle.problem.options import Options

DOUBLE = 2**23  # entries of A up to which single precision is computed in double
SAFE = 0.01  # of what a step leaves at most: eps condition^2, estimated
SPREAD = 3.0  # standard deviations: a step rounds sums of d numbers, too
SHIFT = 10.0  # in units of n eps of a Gram matrix with diagonal 1: what makes it definite
LOST = 10.0  # in units of eps condition: what a step leaves at least of what it found
KEPT = 2**13  # entries of random columns up to which they are kept for the next solve
POWERS = 4  # steps of the power iteration
DEFICIENT = "A is rank-deficient to working precision"
STALLED = 0.5  # ratio of successive changes from which on only rounding errors move


@dataclass(kw_only=True)
class SemiNormalState(State):
    """Blocks in the right form: columns of C are solved for."""

    work: Problem
    flipped: bool
    R: np.ndarray | None = None  # upper triangle
    scale: np.ndarray | None = None  # powers of two by which columns of A have length about 1
    loss: float = 1.0  # of what a step found, what it leaves
    X: np.ndarray  # (n, q), the solutions
    C: np.ndarray  # (d, q), the right-hand sides
    left: float  # norm of what was left of them before the last step


@dataclass(frozen=True)
class SemiNormal(Method):
    """Corrected semi-normal equations, for A of full rank with one short side.

    ``d n^2`` flops for the Gram matrix, ``2 d n^2`` more where its condition takes a second factor,
    and ``4 d n`` for each right-hand side and step; beyond the data it takes about
    ``2 n^2 + 2 (d + n) q`` numbers for q right-hand sides.

    Raises
    ------
    numpy.linalg.LinAlgError
        If A is rank-deficient to working precision, or in single precision too ill-conditioned for
        one factor.

    References
    ----------
    .. [1] Björck, "Stability analysis of the method of seminormal equations for linear least
       squares problems", Linear Algebra Appl. 88/89, 1987.
    """

    default_maxiter: ClassVar[int] = 20
    state: ClassVar[type[SemiNormalState]] = SemiNormalState

    @property
    def certifies(self) -> bool:
        """By its factor and its steps."""
        return True

    def init(self, problem: Problem, options: Options) -> SemiNormalState:
        """Orient the blocks; C is copied, A is not."""
        flipped = by_rows(problem)
        work = problem.transposed() if flipped else problem
        small = work.A.size <= DOUBLE and isinstance(work.A, np.ndarray)
        work = work.doubled() if small and options.memory_limit is None else work
        C = work.columns()
        X = np.zeros((work.A.shape[1], C.shape[1]), C.dtype, order="F")
        return self.state(problem=problem, work=work, flipped=flipped, X=X, C=C, left=norm(C))

    def step(self, state: SemiNormalState) -> SemiNormalState:
        """Contract once; the first step factorises."""
        images: list[np.ndarray] = []
        before, whole, (d, n) = state.change, state.left, state.work.A.shape
        if state.R is None:
            self._factorise(state)
            move = self._inverse_times(state, state.C)
        else:
            move, *images = self._correction(state)
        state.X += move
        state.count(d, n, state.C.shape[1])
        value = self._value(state, state.X)
        state.change = change_of(self._value(state, move), value)
        state.resolved = state.change < np.inf
        error = state.change
        if images:
            # Right-hand sides that do not shrink are rounded anew as coarsely as before.
            again = min(1.0, relative(state.left, whole))
            to_come = max(again, state.loss) * state.change
            state.floor = self._rounding(state, norm(value), *images)
            stalled = state.taken > 2 and state.change > STALLED * before
            state.settled = stalled or to_come <= max(state.problem.eps, state.floor)
            error = to_come + state.floor if state.settled else state.change
        state.certificate = Certificate(error, self._inconsistency(state), False)
        return state

    def output(self, state: SemiNormalState) -> np.ndarray:
        """``[B; rows] X``, turned back if the adjoint problem was solved."""
        value = state.work.rows_times(state.X)
        return value.T if state.flipped else value

    def _correction(self, state: SemiNormalState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A step, and from the same two passes over A what `_rounding` is made of."""
        work, (d, n), columns = state.work, state.work.A.shape, state.work.shape[1]
        A, C, q, tall = work.A, work.C, state.C.shape[1], d >= n
        G, H = (_random(*each).astype(A.dtype, copy=False) for each in ((n, 0), (d, 1)))
        xG = lengths(state.X[:, :columns]) * G
        image = product(A, _beside(state.X, xG))
        left, both = state.C - image[:, :q], q + COUNT
        state.left = norm(left)
        w = np.hypot(lengths(image[:, q:]), 1.0 if C is None else lengths(C))
        if tall:
            pulled = _beside(left, w * H, lengths(left[:, :columns]) * H)
        else:
            pulled = self._squared(state, _beside(left, w * H, state.C[:, :columns]))
            pulled = _beside(pulled[:, :both], lengths(pulled[:, both:]) * H)
        back = product(A, pulled, adjoint="X")
        state.count(n, d, image.shape[1])
        vG = lengths(back[:, both:]) * G
        back = _beside(back[:, :both], vG)
        back = self._squared(state, back) if tall else back
        return back[:, :q], back[:, q:], xG

    def _rounding(
        self, state: SemiNormalState, value: float, moved: np.ndarray, xG: np.ndarray
    ) -> float:
        """What rounding of the blocks does to the value, relative to it.

        Entries of A, B and C that are off by eps of themselves, each by itself, move ``B A^+ C`` in
        the mean square and to first order (see ``eagle.methods.complete``) by eps times ::

            (|B A^+ diag(w)|^2 + |B M diag(v)|^2 + |B diag(x)|^2)^(1/2)

        where ``w_i^2 = sum_j |A_ij|^2 x_j^2 + c_i^2`` and ``v_j^2 = sum_i |A_ij|^2 y_i^2``; x and c
        are the lengths of the rows of X and C. For a tall A y are those of what is left of C and
        ``M = (A^H A)^-1``, for a wide one those of ``A^{+H} X`` and ``M = I - A^+ A``. A norm
        ``|M|`` is ``|M G| / sqrt(p)`` in the mean square for p columns G of independent numbers of
        variance 1. They are uniform, which costs an eighth of normal ones. SPREAD times that is
        returned.
        """
        work, (d, n) = state.work, state.work.A.shape
        if d < n:
            vG = moved[:, COUNT:]
            moved = _beside(moved[:, :COUNT], vG - self._inverse_times(state, product(work.A, vG)))
        moved = _beside(moved, xG)
        moved = moved if work.B is None else product(work.B, moved)
        return SPREAD * work.algebra.eps * norm(moved) / value if value else 0.0

    def _inconsistency(self, state: SemiNormalState) -> float:
        """``|B - W A| / |B|`` of the user's B."""
        work, (d, n) = state.work, state.problem.A.shape
        if d >= n or not state.settled:
            return 0.0
        if state.flipped:
            return relative(state.left, norm(state.C))
        if work.B is None:
            return float(((n - d) / n) ** 0.5)
        w = work.algebra.draw(np.random.default_rng(n), n, COUNT)
        inside = self._inverse_times(state, product(work.A, w))
        whole = product(work.B, w)
        return relative(norm(whole - product(work.B, inside)), norm(whole))

    def _value(self, state: SemiNormalState, X: np.ndarray) -> np.ndarray:
        """``B X`` for the user's columns."""
        columns = state.work.shape[1]
        return X[:, :columns] if state.work.B is None else product(state.work.B, X[:, :columns])

    def _factorise(self, state: SemiNormalState) -> None:
        """``R^H R`` of the smaller Gram matrix, its rows and columns scaled to length one.

        Where that is too ill-conditioned, the Gram matrix of ``A Q`` with Q from a shifted factor
        is the second one, and R the product of both factors.
        """
        A = state.work.A
        d, n = A.shape
        short, long = min(d, n), max(d, n)
        G = blas.smaller_gram(A)
        state.count(short, long, short, half=True)
        squares, limits = np.diagonal(G).real, np.finfo(G.dtype)
        eps = float(limits.eps)
        if not (squares > limits.tiny / eps**2).all():  # less has lost digits to underflow
            raise np.linalg.LinAlgError("A has a column or row that is zero or nearly so")
        scale = 2.0 ** -np.round(np.log2(np.sqrt(squares)))
        G *= scale[:, None] * scale
        R, squared = _factor(G)
        if R is None and state.problem.eps > eps:
            raise np.linalg.LinAlgError("rounding to single precision made directions so small")
        if R is None:
            first, _ = blas.shifted_cholesky(G, SHIFT * short * eps)
            R, squared = _factor(blas.conditioned_gram(A, scale, first))
            state.count(long, short, short)
            if R is None:
                raise np.linalg.LinAlgError(DEFICIENT)
            R = _lapack(R.dtype.char)["trmm"](1.0, R, np.triu(first))
        state.R, state.scale = R, scale[:, None].astype(state.C.real.dtype)
        state.rank, state.condition = short, _condition(R)
        if not (state.condition * long * eps < 1 or is_full(R, long)):
            raise np.linalg.LinAlgError(DEFICIENT)
        state.loss = eps * max(min(squared, state.condition**2), LOST * state.condition)

    def _inverse_times(self, state: SemiNormalState, X: np.ndarray) -> np.ndarray:
        """``A^+ X``, as well as the factor knows it."""
        A = state.work.A
        if A.shape[0] >= A.shape[1]:
            return self._squared(state, product(A, X, adjoint="X"))
        return product(A, self._squared(state, X), adjoint="X")

    def _squared(self, state: SemiNormalState, X: np.ndarray) -> np.ndarray:
        """``(A^H A)^-1 X``, or ``(A A^H)^-1 X`` of a wide A."""
        assert state.R is not None
        assert state.scale is not None
        potrs = _lapack(state.R.dtype.char)["potrs"]
        return state.scale * potrs(state.R, state.scale * X, lower=0)[0]


def _factor(G: np.ndarray) -> tuple[np.ndarray | None, float]:
    """R with ``R^H R = G``, None if G does not tell it, and the condition of G in the 1-norm."""
    lapack = _lapack(G.dtype.char)
    R, info = lapack["potrf"](G, lower=0, overwrite_a=0, clean=1)
    size = float(np.abs(np.triu(G)).sum(axis=0).max())  # half of the 1-norm at least
    reciprocal = lapack["pocon"](R, size)[0] if info == 0 else 0.0
    if not reciprocal * SAFE > np.finfo(G.dtype).eps:
        return None, np.inf
    return R, 1 / reciprocal


def _random(side: int, seed: int) -> np.ndarray:
    """Columns whose products have the norm of a matrix in the mean square, always the same ones."""
    return (_kept if side <= KEPT else _kept.__wrapped__)(side, seed)


@lru_cache(maxsize=32)
def _kept(side: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng((side, seed)).random((COUNT, side)).T
    return (12 / COUNT) ** 0.5 * (draw - 0.5)  # uniform, of variance 1 / COUNT


@lru_cache
def _start(n: int) -> np.ndarray:
    """Where a power iteration starts."""
    return np.random.default_rng(n).standard_normal(n)


@cache
def _lapack(char: str) -> dict[str, Any]:
    """Routines of BLAS and LAPACK for one dtype."""
    from scipy.linalg import get_blas_funcs, get_lapack_funcs

    dtype = np.dtype(char)
    names = ["potrf", "potrs", "pocon"]
    routines = dict(zip(names, get_lapack_funcs(names, dtype=dtype), strict=True))
    names = ["trmm", "trmv", "trsv"]
    return routines | dict(zip(names, get_blas_funcs(names, dtype=dtype), strict=True))


def _beside(*blocks: np.ndarray) -> np.ndarray:
    return np.asfortranarray(np.concatenate(blocks, axis=1))


def _condition(R: np.ndarray) -> float:
    """Of a triangle, by a few steps of the power iteration for it and for its inverse."""
    trmv, trsv = (_lapack(R.dtype.char)[name] for name in ("trmv", "trsv"))
    turned = 2 if R.dtype.kind == "c" else 1
    start = _start(len(R)).astype(R.dtype)
    product = 1.0
    for apply in (trmv, trsv):
        x, size = start, 0.0
        for _ in range(POWERS):
            x = x / (norm(x) or 1.0)
            # The inverse acts in the other order: R^-1 R^-H.
            first, second = (0, turned) if apply is trmv else (turned, 0)
            y = apply(R, x, trans=first)
            size, x = norm(y), apply(R, y, trans=second)
        product *= size
    return max(1.0, product)
