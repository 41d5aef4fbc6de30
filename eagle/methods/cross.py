"""Low rank: some rows and columns of A are looked at, and nothing is multiplied with it.

If k rows I and k columns J of an A of rank k meet in a nonsingular ``A_IJ``, then
``A = A_J A_IJ^-1 A_I`` (the skeleton, or cross, of A [1]_), and for B and C that A explains::

    B A^+ C = B_J A_IJ^-1 C_I

Rows and columns are drawn at random, twice as many until their Gaussian elimination comes to an
end before they do: its pivots choose I and J. Where few rows or columns carry all of A this finds
too small a rank, and for other B or C the value is wrong; the probes tell either, and a sketch,
which mixes all rows and columns, is the next thing to try.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eagle.algebra.blas import product
from eagle.methods.base import Method, State
from eagle.problem.blocks import Problem
from eagle.problem.options import Options

FIRST = 128  # rows and columns of the first look
MOST = 0.4, 0.7  # of the shorter side, of a square A and of others: where a look costs too much
SPARE = 0.85  # of them that may be taken by the rank, so that an end is no accident
ENDED = 100.0  # in units of s eps: what elimination leaves at most where nothing is left
DROP = 0.1  # of the smallest pivot before it, at most


@dataclass(frozen=True, eq=False)
class Skeleton:
    """``A_IJ = L U``, or its transpose, for rows I and columns J that make up A."""

    rows: np.ndarray
    columns: np.ndarray
    LU: np.ndarray  # both factors in one array
    turned: bool

    @classmethod
    def of(
        cls,
        LU: np.ndarray,
        swaps: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        *,
        turned: bool = False,
        spare: float = 1.0,
    ) -> Skeleton | None:
        """Out of an elimination of these rows and columns, if it came to an end.

        Of places where what is left is at rounding level the one where most is lost at once; None
        if there is none, or more than this part of rows and columns, `spare`, are before it.
        """
        size, eps = len(LU), float(np.finfo(LU.dtype).eps)
        pivots = np.abs(np.diagonal(LU))
        level = ENDED * size * eps * pivots.max(initial=0.0)
        if not pivots.min() <= level:
            return None
        left = np.maximum.accumulate(np.abs(np.triu(LU)).max(axis=1)[::-1])[::-1]
        before = np.minimum.accumulate(np.append(np.inf, pivots[:-1]))
        lost = np.where(left <= level, left / np.where(before > 0, before, 1.0), np.inf)
        k = int(np.argmin(lost))
        if not lost[k] <= DROP or k > spare * size:
            return None
        order = np.arange(size)
        for place, other in enumerate(swaps[:k]):
            order[[place, other]] = order[[other, place]]
        core, order = np.asfortranarray(LU[:k, :k]), order[:k]
        if turned:
            return cls(rows[:k], columns[order], core, turned)
        return cls(rows[order], columns[:k], core, turned)

    @property
    def rank(self) -> int:
        """How many there are."""
        return len(self.rows)

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A_IJ^-1 X``."""
        from scipy.linalg import get_lapack_funcs

        trtrs = get_lapack_funcs("trtrs", (self.LU, X))
        if self.turned:
            Y, _ = trtrs(self.LU, X, trans=1)
            return trtrs(self.LU, Y, lower=1, unitdiag=1, trans=1)[0]
        Y, _ = trtrs(self.LU, X, lower=1, unitdiag=1)
        return trtrs(self.LU, Y)[0]


def reach(A: np.ndarray, most: float = 1.0) -> int:
    """Rows and columns of the last look; where there is no skeleton, the rank is about that.

    `most` is the part of the usual that may be looked at.
    """
    most *= MOST[A.shape[0] != A.shape[1]] * min(A.shape)
    return FIRST * 2 ** int(np.log2(most / FIRST)) if most >= FIRST else 0


def look(A: np.ndarray, rng: np.random.Generator, most: float = 1.0) -> Skeleton | None:
    """A skeleton of A, if its rank is small beside its sides; none at all for zeros."""
    from scipy.linalg import get_lapack_funcs

    (d, n), size, last = A.shape, FIRST, reach(A, most)
    if size > last:
        return None
    rows, columns = rng.permutation(d), rng.permutation(n)
    (getrf,) = get_lapack_funcs(("getrf",), (A,))
    turned = not A.flags.f_contiguous
    while size <= last:
        above, left = rows[:size], columns[:size]
        # Whole rows, or columns, as they lie in memory, are many times faster than entries.
        core = A.take(above, 0).take(left, 1).T if turned else A.T.take(left, 0).take(above, 1).T
        LU, swaps, _ = getrf(core, overwrite_a=1)
        found = Skeleton.of(LU, swaps, above, left, turned=turned, spare=SPARE)
        if found is not None:
            return found
        size *= 2
    return None


@dataclass(kw_only=True)
class CrossState(State):
    """The value after its single step."""

    value: np.ndarray | None = None


@dataclass(frozen=True)
class Cross(Method):
    """``B_J A_IJ^-1 C_I`` for a skeleton that has been found.

    Not among ``METHODS``: whoever uses it has looked at A.

    References
    ----------
    .. [1] Goreinov, Tyrtyshnikov, Zamarashkin, "A theory of pseudoskeleton approximations", Linear
       Algebra Appl. 261, 1997.
    """

    skeleton: Skeleton

    default_maxiter: ClassVar[int] = 1

    def init(self, problem: Problem, options: Options) -> CrossState:
        """Nothing yet."""
        return CrossState(problem=problem, planned=1, rank=self.skeleton.rank)

    def step(self, state: CrossState) -> CrossState:
        """Rows and columns of the blocks, and two triangular systems."""
        problem, found = state.problem, self.skeleton
        assert problem.B is not None
        assert problem.C is not None
        B = np.concatenate([problem.B[:, found.columns], problem.row_probes[:, found.columns]])
        below = problem.C[found.rows], problem.column_probes[found.rows]
        C = np.concatenate(below, axis=1)
        state.value = product(B, found.times(np.asfortranarray(C)))
        state.change, state.settled, state.resolved = 0.0, True, True
        k = found.rank
        state.count(k, k, C.shape[1])
        state.count(len(B), k, C.shape[1])
        return state

    def output(self, state: CrossState) -> np.ndarray:
        """The value."""
        assert state.value is not None
        return state.value
