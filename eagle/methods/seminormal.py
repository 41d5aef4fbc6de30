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
from eagle.algebra.blas import norm, product
from eagle.methods.base import Method, State, by_rows, change_of
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

DOUBLE = 2**23  # entries of A up to which single precision is computed in double
SAFE = 0.01  # of what a step leaves at most: eps condition^2, estimated
SPREAD = 3.0  # standard deviations of a sum of rounding errors
POWERS = 4  # steps of the power iteration
STALLED = 0.5  # ratio of successive changes from which on only rounding errors move


@dataclass(kw_only=True)
class SemiNormalState(State):
    """Blocks in the right form: columns of C are solved for."""

    work: Problem
    flipped: bool
    R: np.ndarray | None = None  # upper triangle
    scale: np.ndarray | None = None  # powers of two by which columns of A have length about 1
    size: float = 0.0  # |A| after scaling
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
        return SemiNormalState(problem=problem, work=work, flipped=flipped, X=X, C=C)

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
        state.floor = self._bound(state, norm(value))
        return state

    def output(self, state: SemiNormalState) -> np.ndarray:
        """``[B; rows] X``, turned back if the adjoint problem was solved."""
        value = state.work.rows_times(state.X)
        return value.T if state.flipped else value

    def _bound(self, state: SemiNormalState, value: float) -> float:
        """What rounding of the blocks may do to the value, see ``eagle.methods.complete``.

        With ``Y = B A^+``, all blocks scaled as R is, and ``s = 3 / sqrt(d)``, for of d rounding
        errors in a column that meet a residual most cancel, a tall A has
        ``eps |A| (|Y| |X| + s |Y A^{+H}| |C - A X|) + s eps |Y| |C|``, and a wide one
        ``eps |A| (|Y| |X| + |B| |A^{+H} X|) + eps |Y| |C|`` with ``|Y| <= |B| |A^+|``.
        """
        assert state.condition is not None
        assert state.scale is not None
        work, (d, n), columns = state.work, state.work.A.shape, state.work.shape[1]
        B, C, X, left = work.B, work.C, state.X[:, :columns], state.C[:, :columns]
        scale, spread = state.scale, min(1.0, SPREAD / d**0.5)
        if d >= n:
            rows = np.diagflat(scale) if B is None else scale * B.conj().T
            outer = self._half(state, rows, 2)
            size_Y, again = norm(outer), norm(self._half(state, outer, 0))
            whole = spread * (float(d**0.5) if C is None else norm(C))
            total = size_Y * norm(X / scale) + spread * again * norm(left)
        else:  # B need not be a combination of rows of A
            size_B, inverse = 1.0 if B is None else norm(B), state.condition / state.size
            inner = np.diagflat(scale) if C is None else scale * C
            size_Y, whole = inverse * size_B, norm(inner)
            again = norm(self._half(state, self._half(state, inner, 2), 0))
            total = size_Y * norm(X) + size_B * again
        total = state.size * total + size_Y * whole
        return work.algebra.eps * total / value if value else 0.0

    def _half(self, state: SemiNormalState, X: np.ndarray, trans: int) -> np.ndarray:
        """``R^-1 X``, or ``R^-H X`` for `trans` 2."""
        from scipy.linalg import get_lapack_funcs

        return get_lapack_funcs("trtrs", (state.R, X))(state.R, X, trans=trans)[0]

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
        state.size, inverse = _extremes(R)
        state.rank, state.condition = min(d, n), max(1.0, state.size * inverse)

    def _divided(self, state: SemiNormalState, X: np.ndarray) -> np.ndarray:
        """``Q Q^H X``."""
        from scipy.linalg import get_lapack_funcs

        assert state.R is not None
        assert state.scale is not None
        potrs = get_lapack_funcs("potrs", (state.R, X))
        return state.scale * potrs(state.R, state.scale * X, lower=0)[0]


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
