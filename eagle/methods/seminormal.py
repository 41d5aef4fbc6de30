"""Thin A: a triangular factor is held, and A is neither copied nor written.

EAGLE may condition ``[A; B]`` by any non-singular Q, and need not form ``A Q`` to contract with it:
with ``Q = R^-1``, ``R^H R = A^H A``, and ``gamma = 1``::

    D <- D + B Q Q^H A^H C,      C <- C - A Q Q^H A^H C

These are the corrected semi-normal equations [1]_. A step reads A twice, with as many columns as
there are right-hand sides and probes. The pull ``A^H C`` is rounded before Q sees it: a step leaves
``eps condition^2`` of what it found, and the method is for conditions well below ``eps^(-1/2)``,
which R tells. A wide A has ``A^H Q Q^H C`` with ``R^H R = A A^H``.

Columns of A (rows of a wide one) are scaled by powers of two to a length of about 1 before that, so
that units of measurement make no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.algebra import blas
from eagle.algebra.base import COUNT
from eagle.algebra.blas import norm, product
from eagle.methods.base import Method, State, by_rows, change_of
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

DOUBLE = 2**23  # entries of A up to which single precision is computed in double
SAFE = 0.01  # of what a step leaves at most: eps condition^2, estimated
SPREAD = 3.0  # standard deviations: a step rounds sums of d numbers, too
POWERS = 4  # steps of the power iteration
STALLED = 0.5  # ratio of successive changes from which on only rounding errors move


@dataclass(kw_only=True)
class SemiNormalState(State):
    """Blocks in the right form: columns of C are solved for."""

    work: Problem
    flipped: bool
    R: np.ndarray | None = None  # upper triangle
    scale: np.ndarray | None = None  # powers of two by which columns of A have length about 1
    watched: bool  # whether the solve may end before it is settled
    X: np.ndarray  # (n, q), the solutions
    C: np.ndarray  # (d, q), what is left of the right-hand sides


@dataclass(frozen=True)
class SemiNormal(Method):
    """Corrected semi-normal equations, for A of full rank with one short side.

    ``d n^2`` flops for the Gram matrix and ``4 d n`` for each right-hand side and step; beyond the
    data it takes about ``2 n^2 + 2 (d + n) q`` numbers for q right-hand sides and probes.

    Raises
    ------
    numpy.linalg.LinAlgError
        If A is too ill-conditioned, as its factor shows.

    References
    ----------
    .. [1] Björck, "Stability analysis of the method of seminormal equations for linear least
       squares problems", Linear Algebra Appl. 88/89, 1987.
    """

    default_maxiter: ClassVar[int] = 20

    def init(self, problem: Problem, options: Options) -> SemiNormalState:
        """Orient the blocks; C is copied, A is not."""
        flipped = by_rows(problem)
        work = problem.transposed() if flipped else problem
        work = work.doubled() if work.A.size <= DOUBLE else work
        C = work.columns()
        X = np.zeros((work.A.shape[1], C.shape[1]), C.dtype, order="F")
        watched = options.rtol is not None
        return SemiNormalState(
            problem=problem, work=work, flipped=flipped, watched=watched, X=X, C=C
        )

    def step(self, state: SemiNormalState) -> SemiNormalState:
        """Contract once; the first step factorises."""
        if state.R is None:
            self._factorise(state)
        A, C, before = state.work.A, state.C, state.change
        d, n = A.shape
        if d >= n:
            move = self._divided(state, product(A, C, adjoint="X"))
        else:
            move = product(A, self._divided(state, C), adjoint="X")
        C -= product(A, move)
        state.X += move
        state.count(n, d, C.shape[1])
        state.count(d, n, C.shape[1])
        value = self._value(state, state.X)
        state.change = change_of(self._value(state, move), value)
        ratio = state.change / before if 0 < before < np.inf else 0.0
        state.resolved = state.change < np.inf
        state.settled = state.change <= state.problem.eps or (state.taken > 1 and ratio > STALLED)
        if state.settled or state.watched:
            state.floor = self._rounding(state, norm(value))
        return state

    def output(self, state: SemiNormalState) -> np.ndarray:
        """``[B; rows] X``, turned back if the adjoint problem was solved."""
        value = state.work.rows_times(state.X)
        return value.T if state.flipped else value

    def _rounding(self, state: SemiNormalState, value: float) -> float:
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
        work, (d, n), columns = state.work, state.work.A.shape, state.work.shape[1]
        A, B, C, tall = work.A, work.B, work.C, d >= n
        X, left = state.X[:, :columns], state.C[:, :columns]
        if not tall:
            left = self._divided(state, work.algebra.eye(d) if C is None else C)
        draw, unit = np.random.default_rng(columns).random, (12 / COUNT) ** 0.5
        G, H = (unit * (draw((COUNT, side)).T - 0.5).astype(A.dtype) for side in (n, d))
        xG = _lengths(X) * G
        w = np.hypot(_lengths(product(A, xG)), 1.0 if C is None else _lengths(C))
        seen = w * H if tall else self._divided(state, w * H)
        back = product(A, _beside(seen, _lengths(left) * H), adjoint="X")
        turned, vG = back[:, :COUNT], _lengths(back[:, COUNT:]) * G
        if tall:
            moved = self._divided(state, _beside(turned, vG))
        else:
            inside = product(A, self._divided(state, product(A, vG)), adjoint="X")
            moved = _beside(turned, vG - inside)
        moved = _beside(moved, xG)
        moved = moved if B is None else product(B, moved)
        return SPREAD * work.algebra.eps * norm(moved) / value if value else 0.0

    def _value(self, state: SemiNormalState, X: np.ndarray) -> np.ndarray:
        """``B X`` for the user's columns."""
        columns = state.work.shape[1]
        return X[:, :columns] if state.work.B is None else product(state.work.B, X[:, :columns])

    def _factorise(self, state: SemiNormalState) -> None:
        """``R^H R`` of the smaller Gram matrix, its rows and columns scaled to length one."""
        from scipy.linalg import get_lapack_funcs

        A = state.work.A
        d, n = A.shape
        G = blas.smaller_gram(A)
        state.count(min(d, n), max(d, n), min(d, n), half=True)
        squares, limits = np.diagonal(G).real, np.finfo(G.dtype)
        if not (squares > limits.tiny / limits.eps**2).all():  # less has lost digits to underflow
            raise np.linalg.LinAlgError("A has a column or row that is zero or nearly so")
        lengths = np.sqrt(squares)
        scale = 2.0 ** -np.round(np.log2(lengths))
        G *= scale[:, None] * scale
        potrf, pocon = get_lapack_funcs(("potrf", "pocon"), (G,))
        R, info = potrf(G, lower=0, overwrite_a=0, clean=0)
        size = float(np.abs(np.triu(G)).sum(axis=0).max())  # half of the 1-norm at least
        reciprocal = pocon(R, size)[0] if info == 0 else 0.0
        if not reciprocal * SAFE > limits.eps:
            raise np.linalg.LinAlgError("A is too ill-conditioned for semi-normal equations")
        state.R, state.scale = R, scale[:, None].astype(A.real.dtype)
        size, inverse = _extremes(R)
        state.rank, state.condition = min(d, n), max(1.0, size * inverse)

    def _divided(self, state: SemiNormalState, X: np.ndarray) -> np.ndarray:
        """``Q Q^H X``."""
        from scipy.linalg import get_lapack_funcs

        assert state.R is not None
        assert state.scale is not None
        potrs = get_lapack_funcs("potrs", (state.R, X))
        return state.scale * potrs(state.R, state.scale * X, lower=0)[0]


def _lengths(X: np.ndarray) -> np.ndarray:
    """Of the rows, as a column."""
    return np.linalg.norm(X, axis=1, keepdims=True)


def _beside(*blocks: np.ndarray) -> np.ndarray:
    return np.asfortranarray(np.concatenate(blocks, axis=1))


def _extremes(R: np.ndarray) -> tuple[float, float]:
    """Spectral norms of triangular R and of its inverse, by a few steps of the power iteration."""
    from scipy.linalg import get_blas_funcs

    trmv, trsv = get_blas_funcs(("trmv", "trsv"), (R,))
    turned = 2 if R.dtype.kind == "c" else 1
    start = np.random.default_rng(len(R)).standard_normal(len(R)).astype(R.dtype)
    sizes = []
    for apply in (trmv, trsv):
        x, size = start, 0.0
        for _ in range(POWERS):
            x = x / (norm(x) or 1.0)
            # The inverse acts in the other order: R^-1 R^-H.
            first, second = (0, turned) if apply is trmv else (turned, 0)
            y = apply(R, x, trans=first)
            size, x = norm(y), apply(R, y, trans=second)
        sizes.append(size)
    return sizes[0], sizes[1]
