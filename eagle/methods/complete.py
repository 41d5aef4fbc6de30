r"""The complete orthogonal decomposition of the equilibrated A, and how far rounding moves answers.

With powers of two r and c for rows and columns, pivoted QR factorises ``A = r (Q T P^H) c``. How
many entries of T's diagonal are more than noise is the rank k: scaling does not change it, but
without scaling a small unit of measurement looks like noise. Then ``A = L R`` with ``L = r Q`` and
``R = T P^H c``, of rank k both, and ``A^+ = R^+ L^+`` by a QR factorisation of each, with rows
sorted by size and columns pivoted, which is accurate for every scaling of rows [1]_.

With ``X = A^+ C``, ``Y = B A^+`` and the misfits ``M_B = B - Y A``, ``M_C = C - A X``, a change of
A by E that leaves its rank as it is, of B by F and of C by G changes the answer to first order by
[2]_ ::

    -Y E X + (Y A^{+H}) E^H M_C + M_B E^H (A^{+H} X) + F X + Y G

The blocks are known to rounding, ``|E_ij| <= eps |r_i| |A~| |c_j|`` where A~ is the equilibrated A,
and the factorisation is exact for blocks so near. `Decomposition.solve` adds up the norms of these
terms.

Numbers that came in single precision are computed with in double. Columns that use all bits of
their own precision were rounded to it, and rounding lifts a singular value that was zero: a
combination ``A v`` of columns is noise, too, where it is no larger than what rounding makes of it
on average, ``(sum_j |v_j|^2 sum_i ulp(a_ij)^2 / 12)^(1/2)``. A matrix of lower rank has the same
entries then, and which of the two was meant they do not tell. What single precision could still
show of an answer, and double precision alone would not, comes from a step of refinement: ``A X`` is
formed with more digits, and so is ``A^H (A^{+H} X)``, the part of X in the row space.

References
----------
.. [1] Cox, Higham, "Stability of Householder QR factorization for weighted least squares problems",
   Numerical Analysis 1997, section 3.
.. [2] Golub, Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
   whose variables separate", SIAM J. Numer. Anal. 10(2), 1973, theorem 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.methods.base import Inverse
from eagle.methods.pivoted import (
    LARGE,
    STEPS,
    Orthogonal,
    Triangular,
    norm_of_triangle_inverse,
    pivoted,
    solved,
    spectral_norm,
)

TINY = float(np.finfo(np.float64).tiny)
POWER = 1000  # of two, at most, by which a row or column is scaled
SWEEPS = 12  # of equilibration at most, each of which halves exponents; they reach to 2^1074
GRADED = 2.0**7  # largest entries of rows or columns farther apart than this are scaled
# In units of max(d, n) eps, what rounding leaves on the diagonal of a singular T: among 1,166
# matrices of exact rank at most 1, and in 99 of 100 less than .3.
NOISE, DOUBT = 3.0, 0.4
# To what rounding of entries lifts a combination of columns that was zero, in units of what it
# makes of it on average: .3 to 1.5 were seen. It is looked for up to so many eps |A|_F.
LIFTED, SUSPECT = 3.0, 10.0
MEANT = 0.01  # relative change of an answer by such directions beyond which they were not meant
EXPONENT = np.int64(0x7FF << 52)  # the bits of that in a number in double precision
USED = 0.375  # share of a column's entries that use their last two bits: 3/4 of rounded ones do
POOR = 1e-8  # relative error beyond which another scaling is tried
CORRECTIONS = 2  # of a refined answer
RESIDUAL = 30.0  # in units of eps: what rounding leaves of a misfit


@dataclass(frozen=True, eq=False)
class Answer:
    """``D = B A^+ C`` with its error.

    Attributes
    ----------
    value : ndarray (d', n')
    error : float
        First-order bound of ``|dD|`` for blocks that are rounded.
    rounding : float
        ``eps |B| |C| / |A|``: what rounding makes of data of this size, however small D is.
    inconsistency : float
        ``|B - W A| / |B|``.
    """

    value: np.ndarray
    error: float
    rounding: float
    inconsistency: float


@dataclass(eq=False)
class Decomposition(Inverse):
    """``A = L R`` of rank k, and ``A^+ = R^+ L^+``.

    Attributes
    ----------
    A : ndarray (d, n)
    left, right : Orthogonal
        Of L and of ``R^H``.
    rows, columns : ndarray or None
        The powers of two r, (d, 1), and c, (n, 1); None where all are 1.
    size : float
        Spectral norm of the equilibrated A.
    rank : int
    condition : float
        Of A, by two steps of the power iteration for ``|A|`` and ``|A^+|``: from below, seldom by
        more than a third. Where A was scaled, with the Frobenius norm, at most ``k^(1/2)`` larger.
    doubtful : bool
        Whether what was dropped last may have been more than noise.
    lifted : int
        Directions that were dropped as rounding to single precision alone explains them.
    """

    A: np.ndarray
    left: Orthogonal
    right: Orthogonal | Triangular
    rows: np.ndarray | None
    columns: np.ndarray | None
    size: float
    rank: int
    condition: float
    doubtful: bool
    lifted: int = 0
    turned: bool = False  # it is that of the adjoint of who asks
    entrywise: bool = True  # entries are known to eps of their own size, not of their row's

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^+ X``."""
        return self._backward(X) if self.turned else self._forward(X)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``(A^+)^H X``."""
        return self._forward(X) if self.turned else self._backward(X)

    def _forward(self, X: np.ndarray) -> np.ndarray:
        return self.right.adjoint_times(self.left.times(X))

    def _backward(self, X: np.ndarray) -> np.ndarray:
        return self.left.adjoint_times(self.right.times(X))

    def unexplained(self, C: np.ndarray | None) -> float:
        """``|C - A A^+ C| / |C|``; None stands for the identity."""
        (d, _), k = self.A.shape, self.rank
        if C is None or k == d:
            return ((d - k) / d) ** 0.5 if C is None else 0.0
        size = norm(C)
        return norm(C - self.left.projected(C)) / size if size else 0.0

    def solve(
        self,
        B: np.ndarray | None,
        C: np.ndarray,
        eps: float,
        *,
        lost: float = 0.0,
        left: float = 0.0,
        refined: bool = False,
    ) -> Answer:
        """``D = B A^+ C``, and how far rounding of the blocks can move it.

        Parameters
        ----------
        B : ndarray (d', n) or None
            None stands for the identity.
        C : ndarray (d, n')
        eps : float
            To which the blocks are known, relative by entries.
        lost, left : float
            Norms of what B had outside of the row space, and C outside of the range, before the
            blocks came to be what they are.
        """
        A, k, (d, n) = self.A, self.rank, self.A.shape
        X = self._forward(C)
        if refined:
            wide = A.astype(np.result_type(A, np.longdouble))
            if k < n:  # (A^+ A)^H X
                X = np.asarray(wide.conj().T @ self._backward(X), A.dtype, order="F")
            for _ in range(CORRECTIONS):
                X += self._forward(np.asarray(C - wide @ X, A.dtype, order="F"))
        D = X if B is None else product(B, X)
        outer = self.right.inverse() if B is None else self.right.times(B.conj().T)  # (B R^+)^H
        explicit = A.size < LARGE or self.left.T is not None
        if explicit:
            Y = self.left.adjoint_times(outer)  # (B A^+)^H, (d, d')
            size_Y, by_entries = self._size(Y, self.rows), norm(np.abs(Y.T) @ np.abs(C))
        else:  # L is orthonormal and |Y| = |B R^+|
            size_Y = norm(outer)
            by_entries = size_Y * norm(C)
        total = size_Y * self._size(X, self.columns)
        gap = 0.0
        if k < d or left:  # A X need not be C
            misfit = float(np.hypot(self._size(C - product(A, X), self.rows), left))
            if self._is_misfit(misfit, C, eps):
                inside = self.left.times(Y) if explicit else outer
                total += misfit * self._size(self.right.adjoint_times(inside), self.columns)
        own = n**0.5 if B is None else float(np.hypot(norm(B), lost))
        if k < n or lost:
            rows = np.ones((n, 1)) if B is None else B.conj().T
            rest = np.zeros_like(rows)
            if isinstance(self.right, Orthogonal):
                # For an identity, rows as long as its own and as what is left of them.
                rest = self.right.lost() if B is None else rows - self.right.projected(rows)
            misfit = float(np.hypot(self._size(rest, self.columns), lost))
            gap = float(np.hypot(norm(rest), lost)) / own if own else 0.0
            if self._is_misfit(misfit, rows, eps):
                total += misfit * self._size(self._backward(X), self.rows)
        total *= self.size
        total += by_entries
        if B is None:
            total += norm(X)
        else:
            total += norm(np.abs(B) @ np.abs(X)) if self.entrywise else own * norm(X)
        whole = norm(A)
        natural = (1.0 if B is None else own) * norm(C) / whole if whole else 0.0
        return Answer(D, eps * total, eps * natural, gap)

    @property
    def _is_scaled(self) -> bool:
        return self.rows is not None or self.columns is not None

    def _size(self, X: np.ndarray, weights: np.ndarray | None) -> float:
        """Norm of entries with weights; those that were lost to underflow may be `TINY`."""
        if not self._is_scaled:
            return norm(X)
        sizes = np.maximum(np.abs(X), TINY)
        return norm(sizes if weights is None else weights * sizes)

    def _is_misfit(self, misfit: float, whole: np.ndarray, eps: float) -> bool:
        """Whether it is more than rounding; blocks of unlike sizes may hide more in that."""
        return misfit > (0.0 if self._is_scaled else RESIDUAL * eps * norm(whole))


def solve(
    A: np.ndarray,
    B: Any,
    C: Any,
    eps: float,
    *,
    by_rows: bool | None = None,
    by_columns: bool = True,
    lost: float = 0.0,
    left: float = 0.0,
) -> tuple[Decomposition, Answer]:
    """``B A^+ C`` by whatever scaling and rank answers with the least error; None: an identity.

    Rows are scaled too if they are graded, which may hurt where C does not fit: then again without.
    Where the last direction that was dropped may have been one, the error is what it makes. So it
    is where rounding to single precision explains some, unless they make all the difference: then
    they were not meant.
    Of blocks that others were reduced to, columns mean nothing: `by_columns` is False, and `lost`
    and `left` are what B and C have lost, see `Decomposition.solve`.
    """
    how = partial(_solved_once, A, B, C, eps, by_columns=by_columns, lost=lost, left=left)
    found, answer = how(by_rows, None)
    size = norm(answer.value)
    if found.rows is not None and answer.error > POOR * size:
        plain = how(False, None)
        if plain[0].rank == found.rank and plain[1].error < answer.error:
            found, answer = plain
    own = float(np.finfo(A.dtype).eps)
    if eps > own and answer.error > eps * size and A.size < LARGE:
        better = found.solve(B, C, own, lost=lost, left=left, refined=True).value
        if norm(better - answer.value) <= 10 * answer.error:  # else A^H (A^{+H} X) has lost more
            answer = replace(answer, value=better)
    dropped = int(found.doubtful) or found.lifted
    if dropped:
        _, other = how(found.rows is not None, found.rank + dropped)
        moved = norm(other.value - answer.value)
        if found.doubtful or moved <= MEANT * norm(answer.value):
            answer = replace(answer, error=max(answer.error, moved))
    return found, answer


def _solved_once(
    A: np.ndarray,
    B: Any,
    C: Any,
    eps: float,
    by_rows: bool | None,
    rank: int | None,
    *,
    by_columns: bool,
    lost: float,
    left: float,
) -> tuple[Decomposition, Answer]:
    found = decompose(A, eps, by_rows=by_rows, by_columns=by_columns, rank=rank)
    own = float(np.finfo(A.dtype).eps)
    return found, found.solve(B, C, own, lost=lost, left=left)


def decompose(
    A: np.ndarray,
    eps: float,
    *,
    by_rows: bool | None = None,
    by_columns: bool = True,
    rank: int | None = None,
) -> Decomposition:
    """Factorise.

    Parameters
    ----------
    A : ndarray (d, n)
        In the precision to compute in.
    eps : float
        To which entries of A were rounded; larger than that of its dtype if it was narrower.
    by_rows : bool, optional
        Whether to scale rows too; by default if they are graded and A is not large.
    by_columns : bool
        Whether to scale columns if they are graded.
    rank : int, optional
        Of A, if it is known.
    """
    d, n = A.shape
    r, c = _scales(A, by_rows, by_columns)
    own = float(np.finfo(A.dtype).eps)
    if eps > own and by_columns and c is None:
        # Rounding to the narrower precision was relative to what is in a column.
        top = np.abs(A if r is None else A / r).max(axis=0, initial=0.0)[:, None]
        c = _power(np.where(top > 0, top, 1.0))
    S = A if r is None else A / r
    S = S if c is None else S / c.T
    written, T, pivots = pivoted(S, held=r is None)
    diagonal = np.abs(np.diagonal(T)).astype(float)
    noise = max(d, n) * own * diagonal.max(initial=0.0)
    k = int(np.count_nonzero(diagonal > NOISE * noise)) if rank is None else rank
    k = min(k, int(np.count_nonzero(diagonal)))
    doubtful = rank is None and bool(diagonal[k:].max(initial=0.0) > DOUBT * noise)
    lifted = 0
    if rank is None and eps > own and k and diagonal[k - 1] < SUSPECT * eps * norm(S):
        lifted = _lifted(T[:k, :k], _roundings(A, eps, r, c)[pivots[:k]])
        k, doubtful = k - lifted, doubtful and not lifted
    size = spectral_norm(T[:k])
    Q = written(k)
    left = Orthogonal(Q, None) if r is None else Orthogonal.of(r * Q)
    right: Orthogonal | Triangular
    if k == n:
        right = Triangular(T[:k], pivots, c)
    else:
        R = np.zeros((n, k), A.dtype, order="F")
        R[pivots] = T[:k].conj().T
        R = R if c is None else c * R
        right = Orthogonal.plain(R) if k and (c is None or not _graded(c)) else Orthogonal.of(R)
    found = Decomposition(
        A, left, right, r, c, size, k, 1.0, doubtful, lifted, entrywise=by_columns
    )
    if k and right.T is not None and r is None and c is None:
        found.condition = max(1.0, size * norm_of_triangle_inverse(right.T))
    elif k:
        found.condition = max(1.0, norm(A) * norm_of_inverse(found))
    return found


def is_full(R: np.ndarray, long: int) -> bool:
    """Whether the A with this triangular factor and a longer side `long` is of full rank here."""
    pivots = np.abs(np.diagonal(pivoted(R)[1]))
    level = NOISE * long * float(np.finfo(R.dtype).eps) * pivots.max(initial=0.0)
    return bool((pivots > level).all())


def _scales(
    A: np.ndarray, by_rows: bool | None, by_columns: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Powers of two r, (d, 1), and c, (n, 1), by which largest entries become about 1."""
    if not graded(A, (0, 1) if by_columns else (1,)):
        return None, None
    (d, n), sizes = A.shape, np.abs(A)
    left = np.log2(sizes, out=np.full((d, n), -np.inf), where=sizes > 0)  # numbers may not hold it
    r, c = np.zeros((d, 1)), np.zeros((n, 1))
    if by_rows is None:
        by_rows = A.size < LARGE
    part = 0.5 if by_rows else 1.0
    for _ in range(SWEEPS if by_rows else 1):
        before = r.copy(), c.copy()
        if by_columns:
            step = np.round(part * _finite(left.max(axis=0)))[:, None]
            c, left = c + step, left - step.T
        if by_rows:
            step = np.round(part * _finite(left.max(axis=1)))[:, None]
            r, left = r + step, left - step
        if (r == before[0]).all() and (c == before[1]).all():
            break
    middle = np.round((c.max(initial=0.0) + c.min(initial=0.0)) / 2)
    spread = (np.clip(w, -POWER, POWER) for w in (r + middle, c - middle))
    rows, columns = (2.0**w if np.ptp(w) > np.log2(GRADED) else None for w in spread)
    return rows, columns


def _finite(tops: np.ndarray) -> np.ndarray:
    """Logarithms of largest entries; 0 of a row or column of zeros."""
    return np.where(np.isfinite(tops), tops, 0.0)


def graded(A: np.ndarray, axes: tuple[int, ...] = (0, 1)) -> bool:
    """Whether columns (axis 0) or rows (axis 1) of A are of sizes that lie far apart."""
    sizes = np.abs(A)
    return any(_graded(sizes.max(axis=axis, initial=0.0)) for axis in axes)


def _graded(sizes: np.ndarray) -> bool:
    """Whether sizes lie far apart, not counting zeros."""
    least = sizes.min(where=sizes > 0, initial=np.inf)
    return bool(sizes.max(initial=0.0) > GRADED * least)


def _power(x: np.ndarray) -> np.ndarray:
    return 2.0 ** np.round(np.log2(x))


def _roundings(A: np.ndarray, eps: float, r: np.ndarray | None, c: np.ndarray | None) -> np.ndarray:
    """What rounding to numbers `eps` apart at 1 makes of columns of the scaled A on average."""
    parts, squares = (A.real, A.imag) if A.dtype.kind == "c" else (A,), 0.0
    used, last = 0.0, np.int64(3 << round(52 + np.log2(eps)))  # their last two bits
    for X in parts:
        bits = np.array(X, np.float64, order="F").view(np.int64)
        used = used + np.count_nonzero(bits & last, axis=0) / len(A)
        lengths = eps * (bits & EXPONENT).view(np.float64)  # powers of two
        lengths = lengths if r is None else lengths / r
        squares = squares + (lengths**2).sum(axis=0) / 12
    sizes = np.sqrt(squares) if c is None else np.sqrt(squares) / c[:, 0]
    return np.where(used > USED, sizes, 0.0)


def _lifted(T: np.ndarray, roundings: np.ndarray) -> int:
    """How many of the last columns of an upper triangle are as far from the others as rounding.

    Column j is by ``T_jj`` where it combines with those before it as ``T_jj (T^-1)_j`` says.
    """
    inverse = solved(T, np.eye(len(T), dtype=T.dtype), 0)
    noise = LIFTED * np.linalg.norm(roundings[:, None] * inverse, axis=0) >= 1
    return len(T) if noise.all() else int(np.argmin(noise[::-1]))


def norm_of_inverse(found: Any) -> float:
    """``|A^+|`` by a few steps of the power iteration."""
    x, value = np.ones((found.A.shape[0], 1), found.A.dtype), 0.0
    for _ in range(STEPS):
        y = found.times(x / (norm(x) or 1.0))
        x, value = found.adjoint_times(y), norm(y)
    return value
