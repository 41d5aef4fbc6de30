"""Compress A with a random sketch, solve the small core.

With random T (n x s) and S (d x t), ``Y = A T``, ``Z = S^H Y`` and ``rank A = k < s < t``::

    B A^+ C = (B T) Z^+ (S^H C)           if B = W A and C = A H
    B A^+ C = (B T) (Q^H Y)^+ (Q^H C)     if B = W A, Q an orthonormal basis of the range of Y
    B A^+ C = (B P) L^-H (Q^H C)          always, with A^H Q = P L

The first two need one product of A with a sketch, the third reads A once more. Which of them
holds shows in the sketches: a part of B outside the row space of A leaves one of ``B T`` outside
that of Y, with probability one, and so for C. The third has the singular values of A, those of
L, so that A can be truncated exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import norm, product
from eagle.algebra.operand import PIECE, Mapped, Matrix
from eagle.methods.base import Inverse, Method, State
from eagle.methods.compressed.ranges import Core, Seen, leaks, row_basis, whole
from eagle.methods.compressed.sketch import SKETCHES, draw
from eagle.methods.factored import condition_of, solve_factored
from eagle.problem.blocks import Factors, Problem
from eagle.problem.options import Options, check_count, check_flag

FIRST = 128  # columns of the first sketch, unless A is large
SECOND = 512  # of the second; then they double
WHOLE = 0.6  # of the shorter side: a sketch as wide as that saves nothing
ITERATIONS = 6  # of the power methods for the condition number
SMALLEST = 8  # columns that a sketch under a memory limit has at least


@dataclass(kw_only=True)
class CompressedState(State):
    """The width of the next sketch, and the value so far."""

    work: Problem
    flipped: bool
    rng: np.random.Generator
    width: int
    limit: int | None  # bytes
    value: np.ndarray
    seen: Seen | None = None  # what the planner has sketched
    core: Core | None = None  # of `work`, once its range is known


@dataclass(frozen=True)
class Compressed(Method):
    """One random sketch of A, and a direct solve of its core.

    For A of rank k much smaller than its sides the time is that of reading A a few times: about
    ``8 d n`` flops for a sparse sketch and ``O((d + n) k^2)`` for the core, where a factorisation
    takes ``4 d n min(d, n)`` and more. The rank is found by growing the sketch until it has
    directions to spare and the certificate's probes, which it has not seen, have nothing outside
    its range. An A that is not of low rank ends as one QR factorisation with column pivoting.

    A may be sparse, a LinearOperator or a mapped file, which is read piece by piece. `rank`,
    `cutoff` and `ridge` act on the singular values of the core, which are those of A.

    Parameters
    ----------
    size : int, optional
        Columns of the first sketch, best a tenth more than the rank; by default 128, or
        ``(d n)^(1/3)`` if that is more.
    sketch : {"auto", "sparse-sign", "rademacher", "gaussian"}
        ``"sparse-sign"``: signed sums of columns, four random signs for each of them.
        ``"rademacher"``, ``"gaussian"``: products with a matrix of random signs or of normal
        numbers. ``"auto"``: sparse signs for large matrices, dense ones for others.
    grow : bool
        False keeps the sketch at its first size: the value is then as near as a sketch of this
        size comes, which follows the singular values beyond it, and `error_estimate` says so.
        With `rank`, `cutoff` or `ridge`, which need all singular values, it grows in any case.

    References
    ----------
    .. [1] Tropp, Yurtsever, Udell, Cevher, "Practical sketching algorithms for low-rank matrix
       approximation", SIAM J. Matrix Anal. Appl. 38(4), 2017, section 4.
    .. [2] Nakatsukasa, "Fast and stable randomized low-rank matrix approximation",
       arXiv:2009.11392.
    .. [3] Balabanov, Grigori, "Randomized Gram-Schmidt process with application to GMRES", SIAM
       J. Sci. Comput. 44(3), 2022 (a basis of Y from a sketch of Y).

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(300, 250, rank=20, condition=1e6, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method="compressed", rng=0)
    >>> result.rank, bool(problem.error(result.value) < 1e-12)
    (20, True)
    """

    size: int | None = None
    sketch: str = "auto"
    grow: bool = True

    factorises_for: ClassVar[frozenset[str]] = frozenset({"rank", "cutoff", "ridge"})
    matrix_free: ClassVar[bool] = True
    default_maxiter: ClassVar[int] = 64

    @property
    def supports(self) -> frozenset[str]:
        """Truncation of the core, and a limit to the memory that sketches take."""
        return frozenset({"rank", "cutoff", "memory_limit"})

    def __post_init__(self) -> None:
        if self.size is not None:
            check_count("size", self.size)
        if self.sketch not in SKETCHES:
            names = ", ".join(map(repr, SKETCHES))
            raise ValueError(f"sketch must be one of {names}, got {self.sketch!r}")
        check_flag("grow", self.grow)

    def init(self, problem: Problem, options: Options) -> CompressedState:
        """Nothing sketched yet."""
        rows, columns = len(problem.row_probes), problem.column_probes.shape[1]
        shape = problem.shape[0] + rows, problem.shape[1] + columns
        flipped = problem.B is None and problem.C is not None
        return CompressedState(
            problem=problem,
            work=problem.adjoint() if flipped else problem,
            flipped=flipped,
            rng=options.rng,
            width=self._first(problem.A, options.memory_limit),
            seen=problem.seen,
            limit=options.memory_limit,
            value=np.zeros(shape, problem.A.dtype),
        )

    def look(self, problem: Problem, width: int, rng: np.random.Generator) -> Problem | None:
        """`problem` with a sketch of A of that width, if the rank of A is less; for a planner."""
        state = self.init(replace(problem, seen=None), Options(rng=rng))
        state.width = width
        seen = self._look(state.work.A, state)
        return replace(problem, seen=seen) if seen is not None and seen.spare else None

    def step(self, state: CompressedState) -> CompressedState:
        """Sketch, solve the core; double the width for the next time."""
        problem = state.problem
        state.change = 0.0  # the first value is the last
        if problem.factors is not None:
            state.rank, state.condition = condition_of(problem)
            state.value = solve_factored(problem)
            state.settled = state.resolved = True
        else:
            value = self._compress(state)
            if value is not None:
                state.value = value.conj().T if state.flipped else value
            if not state.settled:
                self._widen(state)
        return state

    def output(self, state: CompressedState) -> np.ndarray:
        """The value."""
        return state.value

    def inverse(self, state: CompressedState) -> Inverse | None:
        """The core between bases of the range and the row space."""
        core = state.core
        if core is not None:
            core.turned, core.rank, core.condition = state.flipped, state.rank, state.condition
        return core if state.resolved else None

    def factorise(self, problem: Problem, options: Options) -> Factors:
        """Singular value decomposition of A, as far as it is above rounding level."""
        import scipy.linalg

        state, A = self.init(problem, options), problem.A
        draws = state.rng.standard_normal((A.shape[1], COUNT)).astype(A.dtype)
        white = product(A, np.asfortranarray(draws))
        while True:
            seen = self._look(A, state)
            if seen is None:
                Q = whole(A, state)
                break
            if seen.spare and seen.holds(white):
                Q = seen.basis()
                break
            self._widen(state)
            if state.out_of_memory:
                raise ValueError(
                    f"memory_limit={options.memory_limit} is too small to factorise A with shape "
                    f"{A.shape}: its rank is more than {len(seen.R)}"
                )
        P, L = row_basis(A, Q, state.rng)
        U, s, Vh = scipy.linalg.svd(L.conj().T, full_matrices=False, check_finite=False)
        return product(Q, U), s, product(Vh, P, adjoint="Y")

    def _first(self, A: Matrix, limit: int | None) -> int:
        """Columns of the first sketch, as many as fit; ValueError if that is hardly one."""
        width = min(self.size or first_width(A), *A.shape)
        if limit is None:
            return width
        while width > SMALLEST and _bytes(A, width) > limit:
            width = max(SMALLEST, width // 2)
        if _bytes(A, width) > limit:
            raise ValueError(
                f"memory_limit must be at least {_bytes(A, width)} bytes for a sketch of {width} "
                f"columns of A with shape {A.shape}, got {limit}"
            )
        return width

    def _next(self, A: Matrix, width: int, limit: int | None) -> int:
        """Columns of the sketch after one of `width`; 0 if there is no memory for one."""
        wider = next_width(A, width)
        if limit is None or _bytes(A, wider) <= limit:
            return wider
        wider = 2 * width
        return wider if _bytes(A, wider) <= limit else 0

    def _widen(self, state: CompressedState) -> None:
        width = self._next(state.problem.A, state.width, state.limit)
        if width:
            state.width = width
        else:
            state.settled = state.out_of_memory = True

    def _look(self, A: Matrix, state: CompressedState) -> Seen | None:
        """Sketches of the width that is due; None if they would be as large as A."""
        (d, n), width = A.shape, state.width
        seen, state.seen = state.seen, None
        if seen is None and width >= WHOLE * min(d, n):
            return None
        T = draw(self.sketch, d, n, width, A.dtype, state.rng) if seen is None else seen.T
        state.matmuls += 1
        state.flops += (4 if A.dtype.kind == "c" else 1) * T.flops(d, n)
        if seen is not None:
            state.width = T.size
            return seen
        return Seen.create(A, T, state.rng)

    def _compress(self, state: CompressedState) -> np.ndarray | None:
        """The extended value of the oriented problem, or None if the sketch is too small for it."""
        work = state.work
        seen = self._look(work.A, state)
        if seen is None:
            state.settled = state.resolved = True
            Q = whole(work.A, state)
            state.core = Core(work.A, lambda: Q)
            return _from_both_sides(state, state.core)
        if not np.isfinite(seen.Z).all():
            state.settled = True
            return np.full(state.value.shape[:: -1 if state.flipped else 1], np.nan)
        final = not self.grow or not self._next(work.A, state.width, state.limit)
        if not (seen.spare or final) or not len(seen.R):
            return None
        state.resolved = seen.spare and seen.holds(work.column_probes[:, :COUNT])
        state.settled = state.resolved or not self.grow
        if not (state.settled or final):
            return None
        state.core = Core(work.A, seen.basis)
        rows = None
        if work.B is not None:
            sketched = [seen.T.apply(block) for block in (work.B, work.row_probes)]
            rows = np.concatenate(sketched, axis=0)
        if rows is not None and work.C is not None:
            columns = np.concatenate([seen.thin(work.C), seen.thin(work.column_probes)], axis=1)
            Q = seen.small_basis
            if not leaks(columns, Q, work.shape[1], work.eps):
                inside = product(Q, columns, adjoint="X")
                value = _from_one_side(state, rows, seen.Z, Q, inside)
                if value is not None:
                    return value
        value = None
        if rows is not None:
            Q = seen.basis()
            state.core = Core(work.A, lambda: Q)
            value = _from_one_side(state, rows, seen.Y, Q, work.columns_in(Q))
        return _from_both_sides(state, state.core) if value is None else value


def first_width(A: Matrix) -> int:
    """Columns of the first sketch: a core of that width takes about as long as reading A."""
    return min(max(FIRST, round(A.size ** (1 / 3))), *A.shape)


def next_width(A: Matrix, width: int) -> int:
    """Columns of the sketch after one that was too thin."""
    return min(max(2 * width, SECOND if width >= FIRST else 0), *A.shape)


def _bytes(A: Matrix, width: int) -> int:
    """Working memory: Y, Q and a copy; T and P; the core; a piece of a file, twice."""
    (d, n), item = A.shape, A.dtype.itemsize
    piece = min(PIECE, A.size * item) if isinstance(A, Mapped) else 0
    if width >= WHOLE * min(d, n):
        return 3 * A.size * item + 2 * piece
    return item * (3 * d * width + 2 * n * width + 6 * width**2) + 2 * piece


def _from_one_side(
    state: CompressedState, rows: np.ndarray, Y: np.ndarray, Q: np.ndarray, inside: np.ndarray
) -> np.ndarray | None:
    """``rows (Q^H Y)^+ inside``, with ``inside = Q^H C``.

    None if a row of B is not a combination of those of A.
    """
    import scipy.linalg

    core = product(Y, Q, adjoint="X")
    P, R = scipy.linalg.qr(core, mode="economic", check_finite=False)
    if leaks(rows.conj().T, P, state.work.shape[0], state.work.eps):
        return None
    return _through(state, product(rows, P), R, inside)


def _from_both_sides(state: CompressedState, core: Core) -> np.ndarray:
    """``(B P) L^-H (Q^H C)`` with ``A^H Q = P L``."""
    work = state.work
    Q, P, L = core.parts
    d, n = work.A.shape
    state.count(n, d, Q.shape[1])
    return _through(state, work.rows_times(P), L, work.columns_in(Q))


def _through(
    state: CompressedState, rows: np.ndarray, R: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """``rows R^-H columns``, with rank and condition of A noted."""
    import scipy.linalg

    state.rank, state.condition = len(R), _condition(R)
    return product(rows, scipy.linalg.solve_triangular(R, columns, trans="C", check_finite=False))


def _condition(R: np.ndarray) -> float:
    """Condition number of a triangular matrix by power iterations, from below."""
    import scipy.linalg

    rng = np.random.default_rng(len(R))
    top = rng.standard_normal((len(R), 2)).astype(R.dtype)
    bottom = top.copy()
    for _ in range(ITERATIONS):
        top = product(R, product(R, top), adjoint="X")
        bottom = scipy.linalg.solve_triangular(
            R,
            scipy.linalg.solve_triangular(R, bottom, trans="C", check_finite=False),
            check_finite=False,
        )
        top, bottom = top / norm(top), bottom / norm(bottom)
    largest = norm(product(R, top))
    smallest = norm(product(R, bottom))
    return float(largest / smallest) if smallest else np.inf
