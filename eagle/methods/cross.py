"""Low rank: some rows and columns of A are looked at, and nothing is multiplied with it.

If k rows I and k columns J of an A of rank k meet in a nonsingular ``A_IJ``, then
``A = A_J A_IJ^-1 A_I`` (the skeleton, or cross, of A [1]_), and for B and C that A explains::

    B A^+ C = B_J A_IJ^-1 C_I

Rows and columns are drawn at random, twice as many until their Gaussian elimination comes to an
end before they do: its pivots choose I and J. Where few rows or columns carry all of A this finds
too small a rank, and for other B or C the value is wrong; the probes tell either, and a sketch,
which mixes all rows and columns, is the next thing to try.

Probes read A. Rows H and columns G that were *held back* do not: rows of A belong to any B, and
their answers are those of C; columns likewise. So ``[B; A_H]`` and ``[C  A_G]`` take the place of
blocks with probes, and where ``A_H`` and ``A_G`` come out wrong by ``E_row`` and ``E_column`` and
``A_HG`` by ``E_corner``, the value is by about ``E_column E_corner^+ E_row``. What is wrong only in
a part p of the rows is not seen with a probability of ``(1 - p)^|H|``, and so for columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.algebra.operand import Matrix, Operand, crossing
from eagle.methods.base import Method, State
from eagle.problem.blocks import Problem
from eagle.problem.certificate import Certificate
from eagle.problem.options import Options

FIRST = 128  # rows and columns of the first look
MOST = 0.4, 0.7  # of the shorter side, of a square A and of others: where a look costs too much
SPARE = 0.85  # of them that may be taken by the rank, so that an end is no accident
ENDED = 100.0  # in units of s eps: what elimination leaves at most where nothing is left
DROP = 0.1  # of the smallest pivot before it, at most
HELD = 100  # rows and columns that are held back: what 3 % of them have is missed once in 20 times


Held = tuple[np.ndarray, np.ndarray]  # rows and columns


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


def reach(A: Matrix, most: float = 1.0) -> int:
    """Rows and columns of the last look; where there is no skeleton, the rank is about that.

    `most` is the part of the usual that may be looked at.
    """
    most *= MOST[A.shape[0] != A.shape[1]] * min(A.shape)
    return FIRST * 2 ** int(np.log2(most / FIRST)) if most >= FIRST else 0


def look(A: Matrix, rng: np.random.Generator, most: float = 1.0) -> Skeleton | None:
    """A skeleton of A, if its rank is small beside its sides; of rank 0 for zeros."""
    from scipy.linalg import get_lapack_funcs

    (d, n), size, last = A.shape, FIRST, reach(A, most)
    if size > last:
        return None
    rows, columns = rng.permutation(d), rng.permutation(n)
    (getrf,) = get_lapack_funcs(("getrf",), dtype=A.dtype)
    while size <= last:
        above, left = rows[:size], columns[:size]
        core = A.entries(above, left) if isinstance(A, Operand) else crossing(A, above, left)
        turned = not core.flags.f_contiguous  # so that nothing is copied
        LU, swaps, _ = getrf(core.T if turned else core, overwrite_a=1)
        found = Skeleton.of(LU, swaps, above, left, turned=turned, spare=SPARE)
        if found is not None:
            return found
        size *= 2
    return None


def hold(shape: tuple[int, int], found: Skeleton, rng: np.random.Generator) -> Held:
    """Rows and columns that are not in a skeleton."""
    rows, columns = (
        rng.permutation(np.setdiff1d(np.arange(side), taken))[:HELD]
        for side, taken in zip(shape, (found.rows, found.columns), strict=True)
    )
    return rows, columns


@dataclass(kw_only=True)
class CrossState(State):
    """The value after its single step."""

    value: np.ndarray | None = None


@dataclass(frozen=True)
class Cross(Method):
    """``B_J A_IJ^-1 C_I`` for a skeleton that has been found.

    Not among ``METHODS``: whoever uses it has looked at A. With rows and columns that were `held`
    back it certifies by them, and A is not read.

    References
    ----------
    .. [1] Goreinov, Tyrtyshnikov, Zamarashkin, "A theory of pseudoskeleton approximations", Linear
       Algebra Appl. 261, 1997.
    """

    skeleton: Skeleton = field(repr=False)
    held: Held | None = field(default=None, repr=False)

    default_maxiter: ClassVar[int] = 1
    matrix_free: ClassVar[bool] = True

    @property
    def certifies(self) -> bool:
        """Whether there is something that was held back."""
        return self.held is not None

    def init(self, problem: Problem, options: Options) -> CrossState:
        """Nothing yet."""
        return CrossState(problem=problem, planned=1, rank=self.skeleton.rank)

    def step(self, state: CrossState) -> CrossState:
        """Rows and columns of the blocks, and two triangular systems."""
        problem, found = state.problem, self.skeleton
        assert problem.B is not None
        assert problem.C is not None
        more = problem.row_probes[:, found.columns], problem.column_probes[found.rows]
        if self.held is not None:
            rows, columns = self.held
            more = problem.A.entries(rows, found.columns), problem.A.entries(found.rows, columns)
        B = np.concatenate([problem.B[:, found.columns], more[0]])
        C = np.concatenate([problem.C[found.rows], more[1]], axis=1)
        state.value = product(B, found.times(np.asfortranarray(C)))
        state.change, state.settled, state.resolved = 0.0, True, True
        if self.held is not None:
            state.certificate = _certify(problem, state.value, *self.held)
        k = found.rank
        state.count(k, k, C.shape[1])
        state.count(len(B), k, C.shape[1])
        return state

    def output(self, state: CrossState) -> np.ndarray:
        """The value."""
        assert state.value is not None
        return state.value


def _certify(
    problem: Problem, value: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> Certificate:
    """By what the rows and columns that were held back should have come out as."""
    assert problem.B is not None
    assert problem.C is not None
    (below, beside), eps = problem.shape, problem.eps
    answers = problem.B[:, columns], problem.C[rows], problem.A.entries(rows, columns)
    parts = value[:below, beside:], value[below:, :beside], value[below:, beside:]
    by_column, by_row, corner = (part - answer for part, answer in zip(parts, answers, strict=True))
    whole, beneath, middle = (norm(answer) for answer in answers)
    hidden, size = norm(value[:below, :beside]), max(norm(corner), eps * middle)
    if not (np.isfinite(value).all() and size):
        return Certificate(np.inf, np.nan, False)
    # As exact as it is for one direction of errors, and as for as many as there are.
    error = max(norm(by_column), eps * whole) * max(norm(by_row), eps * beneath) / size
    inverse = np.linalg.pinv(corner, rcond=min(1e-3, 100 * eps * middle / size))
    natural = eps * whole * beneath / middle if middle else 0.0
    error = max(error, norm(product(by_column, product(inverse, by_row))), natural)
    return Certificate(
        error / hidden if hidden else np.inf,
        norm(by_column) / whole if whole else 0.0,
        error <= 100 * natural,
    )
