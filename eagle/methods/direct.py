"""LAPACK, through scipy: the baseline that is right unless something is very wrong."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import norm, product
from eagle.algebra.numbers import One
from eagle.methods import complete, elimination
from eagle.methods.base import Inverse, Method, State, by_rows, relative
from eagle.methods.elimination import LU
from eagle.methods.factored import condition_of, solve_factored
from eagle.methods.pivoted import norm_of_triangle_inverse, spectral_norm
from eagle.problem.blocks import Factors, Problem
from eagle.problem.certificate import Certificate
from eagle.problem.options import Options

# Per entry of A and shorter side: leading terms of Golub and Van Loan, table 5.5.1, section 8.6.
OPERATIONS = {"cod": 8, "gelsd": 8, "gelsy": 4, "lu": 2 / 3, "qr": 2, "svd": 14}
DRIVERS = tuple(OPERATIONS)


@dataclass(kw_only=True)
class DirectState(State):
    """The value after its single step, and what there is of a factorisation."""

    value: Any = None
    lu: LU | None = None
    qr: QR | None = None
    decomposition: complete.Decomposition | None = None
    rounding: float = 0.0  # what rounding of C alone may do to the value
    rng: np.random.Generator | None = None


@dataclass(frozen=True, eq=False)
class QR(Inverse):
    """Householder QR of A of full rank, or of ``A^H`` if that is `wide`.

    With `turned` it is the adjoint of what it is asked to be the inverse of that was factorised.
    """

    Q: np.ndarray
    R: np.ndarray
    wide: bool
    turned: bool
    rank: int
    condition: float

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^+ X``."""
        return self._back(X) if self.wide != self.turned else self._forth(X)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``(A^+)^H X``."""
        return self._forth(X) if self.wide != self.turned else self._back(X)

    def _forth(self, X: np.ndarray) -> np.ndarray:
        """``R^-1 Q^H X``."""
        return _triangular(self.R, product(self.Q, X, adjoint="X"), 0)

    def _back(self, X: np.ndarray) -> np.ndarray:
        """``Q R^-H X``."""
        return product(self.Q, _triangular(self.R, X, 2))


def _triangular(R: np.ndarray, X: np.ndarray, trans: int) -> np.ndarray:
    """``R^-1 X``, or ``R^-H X`` for `trans` 2."""
    from scipy.linalg import get_lapack_funcs

    if not X.size:
        return X
    solution, _ = get_lapack_funcs("trtrs", (R, X))(R, X, trans=trans)
    return solution


@dataclass(frozen=True)
class Direct(Method):
    """One factorisation of A by LAPACK.

    Parameters
    ----------
    driver : {"cod", "gelsd", "gelsy", "lu", "qr", "svd"}
        ``"cod"`` (complete orthogonal decomposition of the equilibrated A, see
        ``eagle.methods.complete``: the most accurate, whatever the units of rows and columns, with
        a bound of its error in place of probes), ``"gelsd"`` (scipy's default least squares,
        divide-and-conquer SVD), ``"gelsy"`` (QR with column pivoting and a complete orthogonal
        decomposition, 3 to 5 times faster), ``"lu"`` (Gaussian elimination, for nonsingular square
        A only, the fastest; it measures its error, see ``eagle.methods.elimination``), ``"qr"``
        (Householder QR, for A of full rank only) or ``"svd"`` (explicit singular vectors).
    kernel : {"lapack", "numba"}
        ``"numba"``: compiled loops in place of LAPACK, for the driver "gelsy" alone. They solve a
        batch of small problems on all threads without a call per problem.

    Notes
    -----
    Singular values at or below ``max(d, n) eps ||A||`` are zero, as in `numpy.linalg.lstsq`; to
    "cod" they are after rows and columns are scaled to one size.
    With `rank` or `cutoff`, which only gelsd and svd honour, both reuse the decomposition that
    truncated A.

    Raises
    ------
    numpy.linalg.LinAlgError
        From the drivers "lu" and "qr" if A is rank-deficient to working precision, where their
        answer would be meaningless.
    ValueError
        From the driver "lu" if A is not square or has a ridge; for an unknown driver or kernel.

    Examples
    --------
    >>> import eagle
    >>> problem = eagle.problems.low_rank(30, 20, rank=5, condition=1e6, rng=0)
    >>> result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Direct("gelsy"), rng=0)
    >>> result.rank, bool(problem.error(result.value) < 1e-13)
    (5, True)
    """

    driver: str = "gelsd"
    kernel: str = "lapack"

    factorises_for: ClassVar[frozenset[str]] = frozenset({"rank", "cutoff"})
    default_maxiter: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.driver not in DRIVERS:
            names = ", ".join(map(repr, DRIVERS))
            raise ValueError(f"driver must be one of {names}, got {self.driver!r}")
        if self.kernel not in ("lapack", "numba"):
            raise ValueError(f"kernel must be 'lapack' or 'numba', got {self.kernel!r}")
        if self.kernel == "numba" and self.driver != "gelsy":
            raise ValueError(f"kernel='numba' is for the driver 'gelsy', got {self.driver!r}")

    @property
    def certifies(self) -> bool:
        """Whether the driver bounds or measures its own error, without probes."""
        return self.driver in ("cod", "lu")

    @property
    def supports(self) -> frozenset[str]:
        """Spectral options that the driver can honour."""
        return frozenset({"rank", "cutoff"} if self.driver in ("gelsd", "svd") else ())

    def init(self, problem: Problem, options: Options) -> DirectState:
        """Nothing yet; ValueError if the driver cannot use A."""
        d, n = problem.A.shape[-2:]
        if self.driver == "lu" and d != n:
            ridge = problem.extent != (d, n)
            made = f" which a ridge makes {(d, n)}" if ridge else ""
            raise ValueError(
                f"A must be square for the driver 'lu', got shape {problem.extent}{made}"
            )
        return DirectState(problem=problem, planned=1, rng=options.rng)

    def step(self, state: DirectState) -> DirectState:
        """Factorise and solve for the side with fewer right-hand sides."""
        problem, num = state.problem, state.problem.algebra.num
        if self.certifies and num is One:
            if self.driver == "lu":
                return self._eliminated(state)
            return self._decomposed(state)
        state.change, state.settled, state.resolved = (
            num.full(value, problem.scale) for value in (0.0, True, True)
        )
        if num is not One:
            self._many(state)
            return state
        if problem.factors is not None:
            state.value = solve_factored(problem)
            state.rank, state.condition = condition_of(problem)
            return state
        flipped = by_rows(problem)
        work = problem.adjoint() if flipped else problem
        A = work.A
        X = self._least_squares(state, work)
        value = work.rows_times(X)
        state.value = value.conj().T if flipped else value
        d, n = A.shape
        long, short = max(d, n), min(d, n)
        state.count(long, short, short)
        state.flops *= OPERATIONS[self.driver] / 2
        return state

    def _decomposed(self, state: DirectState) -> DirectState:
        """By what bounds its own error."""
        problem, (d, n) = state.problem, state.problem.A.shape
        flipped = by_rows(problem)
        # Always in double precision: a small unit in single precision looks like noise.
        work = (problem.adjoint() if flipped else problem).doubled()
        C = work.algebra.eye(work.A.shape[0]) if work.C is None else work.C
        found, answer = complete.solve(work.A, work.B, C, problem.eps)
        misfit = found.unexplained(work.C) if flipped else answer.inconsistency
        found.turned = flipped
        if problem.extent != (d, n):
            misfit = _bias(problem, found)
        state.decomposition = found
        return self._answered(state, found, answer, flipped, misfit)

    def _eliminated(self, state: DirectState) -> DirectState:
        """By Gaussian elimination, on the side with fewer right-hand sides."""
        problem, rng = state.problem, state.rng
        assert rng is not None
        A, B, C = problem.A, problem.B, problem.C
        flipped = by_rows(problem)
        if flipped:
            B, C = (None if X is None else X.conj().T for X in (C, B))
        seen = problem.seen
        lu = seen if isinstance(seen, LU) else elimination.eliminate(A)
        given = float(np.finfo(np.result_type(problem.dtype, np.float32)).eps)
        state.lu, answer = elimination.solve(lu, B, C, rng, adjoint=flipped, rounded_to=given)
        return self._answered(state, state.lu, answer, flipped, answer.inconsistency)

    def _answered(
        self,
        state: DirectState,
        found: Inverse,
        answer: complete.Answer,
        flipped: bool,
        misfit: float,
    ) -> DirectState:
        """The value and its certificate."""
        problem, (d, n) = state.problem, state.problem.A.shape
        value = answer.value.conj().T if flipped else answer.value
        own = norm(value[: problem.wanted[0], : problem.wanted[1]])
        state.value, state.rank, state.condition = value, found.rank, found.condition
        state.change, state.settled, state.resolved = 0.0, True, True
        state.rounding = answer.rounding
        state.certificate = Certificate(np.inf, np.nan, False)
        if np.isfinite(own):
            # What is smaller than the smallest number has gone without a trace.
            lost = float(np.finfo(value.dtype).tiny) if answer.rounding else 0.0
            size = max(own, answer.rounding, lost)
            error = max(answer.error, answer.rounding, lost) / size if size else 0.0
            if np.isnan(error):
                error = np.inf
            negligible = answer.error <= 100 * answer.rounding < np.inf
            state.certificate = Certificate(error, misfit, negligible)
        state.count(max(d, n), min(d, n), min(d, n))
        state.flops *= OPERATIONS[self.driver] / 2
        return state

    def output(self, state: DirectState) -> Any:
        """The value."""
        assert state.value is not None
        return state.value

    def keep(self, state: DirectState, which: np.ndarray) -> DirectState:
        """The state of some of many matrices."""
        kept, places = copy.copy(state), np.flatnonzero(which)
        kept.places, kept.value = (
            state.places[which],
            state.problem.algebra.take(state.value, places),
        )
        for name in ("change", "settled", "resolved", "condition", "rank", "within"):
            setattr(kept, name, getattr(state, name)[which])
        return kept

    def inverse(self, state: DirectState) -> Inverse | None:
        """The factors of LU, of QR or of the complete orthogonal decomposition."""
        return state.lu or state.qr or state.decomposition

    def factorise(self, problem: Problem, options: Options) -> Factors:
        """Singular value decomposition."""
        import scipy.linalg

        return scipy.linalg.svd(problem.A, full_matrices=False, check_finite=False)

    def _many(self, state: DirectState) -> None:
        """By the library's own singular value decomposition, whatever the driver."""
        problem, algebra = state.problem, state.problem.algebra
        xp, (d, n) = algebra.xp, problem.A.shape[-2:]
        U, s, Vh = problem.factors or xp.linalg.svd(problem.A, full_matrices=False)
        kept = s > max(d, n) * algebra.eps * s[:, :1]
        inverse = xp.where(kept, algebra.over(algebra.one, s), algebra.none)[:, None, :]
        left = problem.rows_times(algebra.adjoint(Vh)) * xp.astype(inverse, algebra.dtype)
        state.value = left @ algebra.adjoint(problem.adjoint().rows_times(U))
        smallest = xp.min(xp.where(kept, s, s[:, :1]), axis=1)
        rank = xp.sum(xp.astype(kept, algebra.real), axis=1)
        state.rank, top, least = algebra.fetch(rank, s[:, 0], smallest)
        state.condition = np.divide(top, least, out=np.full(len(top), np.nan), where=least > 0)
        state.count(max(d, n), min(d, n), min(d, n))
        state.flops *= OPERATIONS["svd"] / 2

    def _least_squares(self, state: DirectState, work: Problem) -> np.ndarray:
        """``A^+ C``, with rank and condition of A noted."""
        import scipy.linalg

        A, C = work.A, work.columns()
        cutoff = max(A.shape) * work.eps
        if self.kernel == "numba":
            return self._compiled(state, A, C, cutoff)
        if self.driver == "qr":
            return self._by_qr(state, work, C, cutoff)
        if self.driver == "svd":
            U, s, Vh = scipy.linalg.svd(A, full_matrices=False, check_finite=False)
            state.rank = int(np.count_nonzero(s > cutoff * s[0]))
            state.singular_values = s
            U, s, Vh = U[:, : state.rank], s[: state.rank], Vh[: state.rank]
            X = product(Vh, product(U, C, adjoint="X") / s[:, None], adjoint="X")
        else:
            X, _, rank, s = scipy.linalg.lstsq(
                A, C, cond=cutoff, lapack_driver=self.driver, check_finite=False
            )
            state.rank, state.singular_values = int(rank), s
        if s is not None and state.rank:
            state.condition = float(s[0] / s[state.rank - 1])
        return X

    def _compiled(
        self, state: DirectState, A: np.ndarray, C: np.ndarray, cutoff: float
    ) -> np.ndarray:
        """The kernel for batches on a batch of one, whose own probes are not needed here."""
        from eagle.algebra.qr import least_squares

        (d, n), dtype = A.shape, A.dtype
        w, z = np.zeros((n, COUNT), dtype), np.zeros((d, COUNT), dtype)
        value, ranks, _ = least_squares(A[None], None, C[None], w, z, cutoff)
        state.rank = int(ranks[0])
        return value[0]

    def _by_qr(self, state: DirectState, work: Problem, C: np.ndarray, cutoff: float) -> np.ndarray:
        import scipy.linalg

        A = work.A
        wide = A.shape[0] < A.shape[1]
        Q, R = scipy.linalg.qr(A.conj().T if wide else A, mode="economic", check_finite=False)
        # The diagonal alone may hide a small singular value; R is its own LU factorisation.
        gecon, lange = scipy.linalg.get_lapack_funcs(("gecon", "lange"), (R,))
        reciprocal, _ = gecon(R, lange("1", R))
        if not reciprocal > cutoff:
            raise np.linalg.LinAlgError(
                "A is rank-deficient, which the driver 'qr' cannot solve: use 'gelsy' or 'gelsd'"
            )
        size = spectral_norm(R) * norm_of_triangle_inverse(R)
        state.rank, state.condition = len(R), max(1.0, size)
        R = np.asfortranarray(R)  # or each solve would copy it
        state.qr = qr = QR(Q, R, wide, False, state.rank, state.condition)
        if work is not state.problem:
            state.qr = replace(qr, turned=True)
        return qr.times(C)


def _bias(problem: Problem, inverse: Inverse) -> float:
    """``|B - W A| / |B|`` for the user's own A and B of a problem with a ridge, from a few columns.

    W is made with the ridge, which has appended rows or columns to A, and to B what that takes.
    """
    above, beside = problem.extent
    w = problem.algebra.draw(np.random.default_rng(beside), beside, COUNT)
    image = problem.algebra.zeros(problem.A.shape[0], COUNT)
    image[:above] = product(problem.A[:above, :beside], w)
    found = inverse.times(image)
    if problem.B is None:
        found, right = found[:beside], w
    else:
        found, right = product(problem.B, found), product(problem.B[:, :beside], w)
    return relative(norm(right - found), norm(right))
