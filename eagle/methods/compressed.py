"""Compress A from both sides with random sketches, solve the small core.

With random T (n x s) and S (d x t), t > s, and ``rank A = k <= s``::

    A T = Q R,   S^H A = L P^H          (Q: d x k, P: n x k, orthonormal)
    A = Q M P^H,   M = (S^H Q)^+ (S^H A P)
    B A^+ C = (B P) M^-1 (Q^H C)

A is touched by the two sketches only. The small least-squares problem for M is well-conditioned
whatever A is, as ``S^H Q`` is a tall Gaussian matrix; so M has the singular values of A, and the
value is that of the least norm, whether B and C are consistent or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.kernels.blas import norm, product
from eagle.methods.base import State, change_of
from eagle.options import Options, check_count
from eagle.problem import Problem

__all__ = ["Compressed", "CompressedState"]

FIRST = 32  # columns of the first sketch
EXCESS = 1.5  # rows of the left sketch over columns of the right one
SPARE = 4  # directions that a sketch must have to spare before its rank is believed
NOISE = 10.0  # in units of eps: singular values relative to the largest that are rounding errors


@dataclass(kw_only=True)
class CompressedState(State):
    """The sketches so far; they grow and are never drawn again."""

    rng: np.random.Generator
    width: int  # of the next right sketch
    right: np.ndarray  # (d, s) A T
    left: np.ndarray  # (n, t) (S^H A)^H
    S: np.ndarray  # (d, t)
    value: np.ndarray


@dataclass(frozen=True)
class Compressed:
    """One two-sided random sketch of A, and a direct solve of its core.

    For A of rank k much smaller than its sides: about ``5 d n s`` flops, nearly all in products,
    with a sketch of ``s < 2 k + 8`` columns; a factorisation takes ``4 d n min(d, n)`` and more.
    The rank is found by doubling the sketch until it has directions to spare; then nothing of A
    above rounding level is outside it, with probability one, and the certificate's probes, which
    the sketch has not seen, check that. For A of full rank it ends as a direct solver that has
    worked twice.

    Parameters
    ----------
    size : int, optional
        Columns of the first sketch, best a little more than the rank; 32 by default.

    References
    ----------
    .. [1] Tropp, Yurtsever, Udell, Cevher, "Practical sketching algorithms for low-rank matrix
       approximation", SIAM J. Matrix Anal. Appl. 38(4), 2017, section 4.
    .. [2] Nakatsukasa, "Fast and stable randomized low-rank matrix approximation",
       arXiv:2009.11392.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(300, 200, rank=20, condition=1e6, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="compressed", rng=0)
    >>> result.rank, bool(problem.error(result.value) < 1e-12)
    (20, True)
    """

    size: int | None = None

    supports: ClassVar[frozenset[str]] = frozenset()
    default_rtol: ClassVar[float | None] = None
    default_maxiter: ClassVar[int] = 64

    def __post_init__(self) -> None:
        if self.size is not None:
            check_count("size", self.size)

    def init(self, problem: Problem, options: Options) -> CompressedState:
        """Nothing sketched yet."""
        (d, n), dtype = problem.A.shape, problem.A.dtype
        rows, columns = len(problem.row_probes), problem.column_probes.shape[1]
        shape = problem.shape[0] + rows, problem.shape[1] + columns
        return CompressedState(
            problem=problem,
            rng=options.rng,
            width=min(self.size or FIRST, d, n),
            right=np.zeros((d, 0), dtype, order="F"),
            left=np.zeros((n, 0), dtype, order="F"),
            S=np.zeros((d, 0), dtype, order="F"),
            value=np.zeros(shape, dtype),
        )

    def step(self, state: CompressedState) -> CompressedState:
        """Grow the sketches, solve the core, double the width for the next time."""
        problem = state.problem
        A, (d, n) = problem.A, problem.A.shape
        _grow(state, A)
        before = state.value
        Q, P = _basis(state.right, problem.eps), _basis(state.left, problem.eps)
        k = min(Q.shape[1], P.shape[1])
        if k:
            state.value = _solve(state, Q, P)
        rows, columns = problem.shape
        moved = state.value - before
        state.change = change_of(moved[:rows, :columns], state.value[:rows, :columns])
        whole = state.right.shape[1] >= min(d, n)
        spare = Q.shape[1] <= state.right.shape[1] - SPARE
        state.settled = state.resolved = whole or spare
        state.width = min(2 * state.width, d, n)
        return state

    def output(self, state: CompressedState) -> np.ndarray:
        """The value."""
        return state.value


def _grow(state: CompressedState, A: np.ndarray) -> None:
    """More columns for both sketches, what they have being kept."""
    d, n = A.shape
    wide = state.width - state.right.shape[1]
    if wide > 0:
        T = _normal(state, n, wide, A.dtype)
        state.right = np.concatenate([state.right, product(A, T)], axis=1)
        state.count(d, n, wide)
    tall = min(d, int(np.ceil(EXCESS * state.width)) + SPARE) - state.left.shape[1]
    if tall > 0:
        S = _normal(state, d, tall, A.dtype)
        state.S = np.concatenate([state.S, S], axis=1)
        state.left = np.concatenate([state.left, product(A, S, adjoint="X")], axis=1)
        state.count(n, d, tall)


def _normal(state: CompressedState, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """A Gaussian matrix."""
    draw = state.rng.standard_normal((columns, rows)).T
    if dtype.kind == "c":
        draw = draw + 1j * state.rng.standard_normal((columns, rows)).T
    return np.asfortranarray(draw.astype(dtype, copy=False))


def _basis(X: np.ndarray, eps: float) -> np.ndarray:
    """Orthonormal basis of the columns of X, as far as they are more than rounding errors."""
    import scipy.linalg

    if not np.isfinite(X).all():
        return np.full((len(X), 1), np.nan, X.dtype)
    Q, R, _ = scipy.linalg.qr(X, mode="economic", pivoting=True, check_finite=False)
    sizes = np.abs(np.diagonal(R))
    kept = np.count_nonzero(sizes > NOISE * eps * norm(X))
    return np.asfortranarray(Q[:, :kept])


def _solve(state: CompressedState, Q: np.ndarray, P: np.ndarray) -> np.ndarray:
    """``(B P) M^+ (Q^H C)`` with M from the left sketch."""
    import scipy.linalg

    problem = state.problem
    outer = product(state.S, Q, adjoint="X")  # S^H Q, t x k
    inner = product(state.left, P, adjoint="X")  # S^H A P
    M, *_ = scipy.linalg.lstsq(outer, inner, check_finite=False, lapack_driver="gelsy")
    U, s, Vh = scipy.linalg.svd(M, full_matrices=False, check_finite=False)
    kept = int(np.count_nonzero(s > NOISE * problem.eps * np.sqrt(len(s)) * s[0]))
    state.rank, state.condition = kept, float(s[0] / s[kept - 1])
    right = product(Q, problem.columns(), adjoint="X") if problem.C is not None else Q.conj().T
    if problem.C is None:
        right = np.concatenate([right, product(Q, problem.column_probes, adjoint="X")], axis=1)
    small = product(U[:, :kept], right, adjoint="X") / s[:kept, None].astype(s.dtype)
    return problem.rows_times(product(P, product(Vh[:kept], small, adjoint="X")))
