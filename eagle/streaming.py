"""Least squares for rows that come a chunk at a time and are not kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.blas import norm
from eagle.algebra.homes import find_home
from eagle.algebra.running import RunningFactor
from eagle.problem.checks import as_block, check_sizes
from eagle.problem.options import Options, check_number, split_options
from eagle.problem.result import Result as _Result
from eagle.problem.result import Status, complain, extended
from eagle.run import flow

COUNT = 4  # columns A w with known w, that measure the backward error


@dataclass(frozen=True, eq=False)
class Result(_Result):
    """`eagle.Result` of a stream.

    Attributes
    ----------
    residual_norm : float
        ``||A x - b||`` over all rows, each with its weight, the ridge's term not included.
    rows : int
        Rows that were seen.
    """

    residual_norm: float = math.nan
    rows: int = 0

    def __str__(self) -> str:
        text = super().__str__().replace("eagle.Result", "eagle.streaming.Result", 1)
        return f"{text}\n  residual norm   {self.residual_norm:.3g} over {self.rows} rows"


class StreamingLstsq:
    """Least squares ``A^+ b`` for rows of A and b that come in chunks and are not kept.

    What is kept is the triangular factor of ``[A b]``, updated by Householder reflectors. So
    the normal equations' squared condition number appears nowhere, and the answer is that of
    `eagle.lstsq` of all rows at once, to rounding. Two streams merge into one: factors are what
    workers send to each other.

    Parameters
    ----------
    forget : float, optional
        Weight of a row relative to the next one, at most 1: a row that came j rows ago counts
        ``forget**j`` times. 1 forgets nothing.

    Attributes
    ----------
    rows, chunks : int
        Seen so far.
    factor : ndarray (n + k, n + k)
        Triangular, of ``[A b]``.

    Notes
    -----
    Memory is ``(n + k + 4)^2`` numbers in double precision, whatever the dtype of the rows, and
    twice that for rows that wait to be eliminated together; ``2 (n + k)^2`` operations a row. How
    rows are cut into chunks changes the answer by no more than rounding.

    Four columns of the form ``A w`` ride along. In exact arithmetic ``R w`` is their column of the
    factor; what it is off by is the backward error of all updates so far, measured. With the
    condition number kappa of the factor and the residual r it bounds the error of the answer [1]_::

        |dx| <= backward kappa (2 |x| + (|b| + kappa |r|) / ||A||)

    and the certificate of the solve with the factor comes on top. With a ridge that is about
    ``[A; sqrt(ridge) I]``; with a rank or cutoff, kappa is ``||A||`` over the gap of the spectrum.

    References
    ----------
    .. [1] Wedin, "Perturbation theory for pseudo-inverses", BIT 13 (1973), theorem 5.1; Björck,
       "Numerical Methods for Least Squares Problems" (1996), section 1.4.2.

    Examples
    --------
    >>> import numpy as np, eagle
    >>> rng = np.random.default_rng(0)
    >>> stream = eagle.StreamingLstsq()
    >>> for _ in range(10):  # from a file, a generator, a data loader
    ...     A = rng.standard_normal((100, 3))
    ...     stream = stream.partial_fit(A, A @ [1.0, 2, 3])
    >>> result = stream.solve(rng=0)
    >>> result.value.round(9), result.rows, result.error_estimate < 1e-12
    (array([1., 2., 3.]), 1000, True)
    """

    def __init__(self, *, forget: float = 1.0):
        self.forget = check_number("forget", forget, positive=True)
        if self.forget > 1:
            raise ValueError(f"forget must be at most 1, got {forget!r}")
        self.rows = 0
        self.chunks = 0
        self._shape: tuple[int, int] | None = None  # n and k
        self._vector = False
        self._dtype = np.dtype(np.float32)
        self._running: RunningFactor | None = None

    def __repr__(self) -> str:
        seen = "no rows yet" if self._shape is None else f"{self.rows} rows of {self._shape[0]}"
        forgets = f", forget={self.forget:g}" if self.forget < 1 else ""
        return f"StreamingLstsq({seen}{forgets})"

    def partial_fit(self, A: Any, b: Any, weights: Any = None) -> StreamingLstsq:
        """Take in a chunk of rows.

        Parameters
        ----------
        A : array_like (m, n)
            Of numpy or of another library on the CPU, a data frame, or a scipy.sparse matrix,
            which is written out. Every chunk has n columns; m may differ and be 0.
        b : array_like (m,) or (m, k)
        weights : array_like (m,), optional
            Non-negative: squared errors count so many times.

        Returns
        -------
        StreamingLstsq
            Itself.

        Raises
        ------
        TypeError, ValueError
            As for `eagle.lstsq`, and for a chunk that does not fit those before it, with the number
            of the chunk. Nothing of such a chunk is taken in.
        """
        A, b, weights = self._received(A, b, weights)
        dtype = np.result_type(self._dtype, A, b)
        double = np.result_type(dtype, np.float64)
        vector, b = b.ndim == 1, b[:, None] if b.ndim == 1 else b
        n, k = A.shape[1], b.shape[1]
        if self._running is None:
            self._shape, self._vector = (n, k), vector
            self._running = RunningFactor(n + k + COUNT, double, self.forget)
        self._running.widened(double)
        root = None if weights is None else np.sqrt(weights.astype(np.float64))[:, None]
        w = probes(n)
        step = max(1, 2**20 // (n + k + COUNT))  # a mapped file is read piece by piece
        for start in range(0, len(A), step):
            rows = np.empty((len(A[start : start + step]), n + k + COUNT), double)
            rows[:, :n] = A[start : start + step]
            rows[:, n : n + k] = b[start : start + step]
            if root is not None:
                rows[:, : n + k] *= root[start : start + step]
            np.matmul(rows[:, :n], w, out=rows[:, n + k :])
            self._running.add(rows)
        self._dtype, self.rows, self.chunks = dtype, self.rows + len(A), self.chunks + 1
        return self

    update = partial_fit

    def merge(self, other: StreamingLstsq) -> StreamingLstsq:
        """The stream that has seen the rows of this one and then those of the other.

        Parameters
        ----------
        other : StreamingLstsq
            With rows of the same width, and the same `forget`. Neither of the two is changed.

        Returns
        -------
        StreamingLstsq

        Raises
        ------
        TypeError, ValueError
            For what is no stream, or one of other rows.
        """
        if not isinstance(other, StreamingLstsq):
            raise TypeError(f"other must be a StreamingLstsq, got {type(other).__name__}")
        if self.forget != other.forget:
            raise ValueError(
                f"other forgets with forget={other.forget:g}, this stream with {self.forget:g}"
            )
        if None not in (self._shape, other._shape) and self._shape != other._shape:
            raise ValueError(
                f"other has seen rows of A and b with {other._shape} columns, this stream with "
                f"{self._shape}"
            )
        both = StreamingLstsq(forget=self.forget)
        both.rows, both.chunks = self.rows + other.rows, self.chunks + other.chunks
        first = self if self._shape is not None else other
        both._shape, both._vector = first._shape, first._vector
        both._dtype = np.result_type(self._dtype, other._dtype)
        for stream in (self, other):
            if both._running is None:
                width = 0 if stream._running is None else len(stream._running.R)
                both._running = RunningFactor(width, np.float64, self.forget) if width else None
            if both._running is not None and stream._running is not None:
                both._running = both._running.merged(stream._running, stream.rows)
        return both

    def solve(self, **options: Any) -> Result:
        """``A^+ b`` of all rows so far; the stream goes on afterwards.

        Parameters
        ----------
        **options
            As for `eagle.lstsq`: ``ridge``, ``rank``, ``cutoff``, ``rtol``, ``rng`` and so on.

        Returns
        -------
        Result
            ``result.value`` is (n,) if b was a vector, else (n, k).

        Raises
        ------
        TypeError, ValueError
            As for `eagle.lstsq`, and if there was no chunk yet.
        """
        method, settings = split_options("StreamingLstsq.solve", options)
        if self._running is None or self._shape is None:
            raise ValueError("there was no chunk yet: call partial_fit(A, b) first")
        result = self._solved(method, settings)
        complain(result, settings)
        return result

    @property
    def factor(self) -> np.ndarray:
        """``[[R, Q^H b], [0, r]]`` (n + k, n + k) with ``A = Q R``; ``|r|`` is the residual's."""
        if self._running is None or self._shape is None:
            raise ValueError("there was no chunk yet: call partial_fit(A, b) first")
        size = sum(self._shape)
        return np.triu(self._running.R[:size, :size])

    def _solved(self, method: Any, options: Options, skip: int = 0) -> Result:
        """`solve` without a warning; with ``skip=1`` less a first column, of ones, and its mean."""
        assert self._running is not None
        assert self._shape is not None
        n, k = self._shape
        R, w = self._running.R[skip:, skip:], probes(n)[skip:]
        result = solve_factor(R, w, k, method, options, self._dtype)
        value = result.value[:, 0] if self._vector else result.value
        return replace(result, value=value, rows=self.rows)

    def _received(self, A: Any, b: Any, weights: Any) -> tuple[Any, Any, Any]:
        """Arrays that fit each other and the chunks before, or a sentence that names the chunk."""
        where = f"chunk {self.chunks + 1}: "
        try:
            A, b = _on_host(A, b)
            A, b = as_block("A", A), as_block("b", b, vectors=True)
            check_sizes(A, None, b, ("A", "B", "b"))
            if weights is not None:
                weights = _checked(weights, len(A))
            if self._shape is not None:
                n, k = self._shape
                if A.shape[1] != n:
                    raise ValueError(f"A has {A.shape[1]} columns, but those before had {n}")
                if b.shape[1:] != (() if self._vector else (k,)):
                    before = "one number a row" if self._vector else f"{k} columns"
                    raise ValueError(f"b has shape {b.shape}, but those before had {before}")
        except (TypeError, ValueError) as error:
            raise type(error)(where + str(error)) from None
        return A, b, weights


@dataclass(frozen=True)
class Sensitivity:
    """How far relative perturbations of A and C move ``B A^+ C``, to first order.

    With ``W = B A^+``, ``N = W A^(+H)``, ``x = A^+ C`` and ``r = C - A x``

        d(B A^+ C) = -W dA x + N dA^H r + W dC + (B - W A) dA^H A^(+H) x.

    Attributes
    ----------
    s : float
        ``||A||_2``; what follows is about ``A / s``.
    W, N : float
        Spectral norms.
    loose : float
        Spectral norm of ``B - W A``, times the condition number.
    condition : float
    factors : tuple of ndarray
        ``U, f, V^H`` with ``x = V f U^H C``.
    """

    s: float
    W: float
    N: float
    loose: float
    condition: float
    factors: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, A: np.ndarray, B: np.ndarray | None, options: Options) -> Sensitivity:
        """For A (n, n), which is not 0, and the ridge, rank or cutoff that were asked for."""
        import scipy.linalg

        U, s, Vh = scipy.linalg.svd(A, check_finite=False)
        top, n = float(s[0]), len(s)
        t, root = s / top, math.sqrt(options.ridge) / top
        chosen = options.rank is not None or options.cutoff is not None
        least = n * float(np.finfo(s.dtype).eps) if options.cutoff is None else options.cutoff
        kept = n if root else int(np.count_nonzero(t > least))
        kept = kept if options.rank is None else min(kept, options.rank)
        left = np.eye(n) if B is None else Vh @ B.conj().T
        size = np.hypot(t[:kept], root)
        gap = t[kept - 1] - (t[kept] if chosen and kept < n else 0.0)
        stretch = t[kept - 1] / gap if gap > 0 else math.inf
        f = t[:kept] / size**2
        condition = stretch * float(1 / size[-1]) * math.hypot(1.0, root)
        return cls(
            s=top,
            W=stretch * _spectral(left[:kept] * f[:, None]),
            N=stretch * _spectral(left[:kept] / size[:, None] ** 2),
            loose=_spectral(left[kept:]) * condition,
            condition=condition,
            factors=(U[:, :kept], f / top, Vh[:kept]),
        )

    def decomposition(self, C: np.ndarray) -> np.ndarray:
        """``x = A^+ C`` by `factors`."""
        U, f, Vh = self.factors
        return Vh.conj().T @ (f[:, None] * (U.conj().T @ C))

    def error(self, backward: float, x: float, C: float, residual: float) -> float:
        """Bound of ``|d(B A^+ C)|`` for relative changes of A and C of the size `backward`.

        `x`, `C` and `residual` are norms, the last that of r.
        """
        moved = self.W * (x + C / self.s) + self.N * residual / self.s + self.loose * x
        return backward * moved


def _spectral(X: np.ndarray) -> float:
    return float(np.linalg.norm(X, 2)) if X.size else 0.0


def solve_factor(
    R: np.ndarray,
    w: np.ndarray,
    k: int,
    method: Any,
    options: Options,
    dtype: Any,
    B: np.ndarray | None = None,
) -> Result:
    """``B A^+ b`` from the factor of ``[A b Aw]``, with what the columns ``A w`` say about it.

    Parameters
    ----------
    R : ndarray (n + k + COUNT, n + k + COUNT)
        Upper triangular.
    w : ndarray (n, COUNT)
    k : int
        Columns of b.
    method, options
        Of the solve with the factor.
    dtype : dtype
        What the value comes back in.
    B : ndarray (m, n), optional
        The identity by default.

    Returns
    -------
    Result
        ``result.value`` is (m, k). It does not complain.
    """
    triangle, n = np.triu(R), len(w)
    A, b = triangle[:n, :n], triangle[:n, n : n + k]
    sensitivity = Sensitivity.of(A, B, options) if A.any() else None
    inner = flow.solve((A, B, b), method, _ranked(options, method, sensitivity), ("A", "B", "b"))
    tail = norm(triangle[n : n + k, n : n + k])
    missed = np.vstack([A @ w - triangle[:n, n + k :], triangle[n:, n + k :]])
    if not inner.value.size or sensitivity is None:
        value = inner.value.astype(dtype, copy=False)
        return extended(Result, inner, value=value, residual_norm=tail)
    eps = float(np.finfo(R.dtype).eps)
    backward = max(norm(missed) / math.sqrt(COUNT) / sensitivity.s, eps)
    x = inner.value if B is None else sensitivity.decomposition(b)
    residual = math.hypot(norm(A @ x - b), tail)
    whole = norm(triangle[: n + k, n : n + k])
    return bounded(inner, dtype, options, sensitivity, backward, norm(x), whole, residual, B)


def _ranked(options: Options, method: Any, sensitivity: Sensitivity | None) -> Options:
    """With a rank to keep, where the stream has seen fewer independent rows than A has columns.

    The last rows of its factor are rounding errors then, which a solve would take for equations.
    """
    given = options.ridge or options.rank is not None or options.cutoff is not None
    if given or sensitivity is None or method != "auto":
        return options
    kept = len(sensitivity.factors[1])
    return options if kept == sensitivity.factors[2].shape[1] else replace(options, rank=kept)


def bounded(
    inner: _Result,
    dtype: Any,
    options: Options,
    sensitivity: Sensitivity,
    backward: float,
    x: float,
    C: float,
    residual: float,
    B: np.ndarray | None,
) -> Result:
    """The result with an estimate that covers a backward error in A and C, see `Sensitivity`.

    The estimate of the solve itself counts where it is larger. `x`, `C` and `residual` are norms.
    """
    size = norm(inner.value)
    misfit = math.hypot(residual, math.sqrt(options.ridge) * x)
    absolute = max(sensitivity.error(backward, x, C, misfit), inner.error_estimate * size)
    error = absolute / size if size else (math.inf if absolute else 0.0)
    error = max(error, float(np.finfo(dtype).eps)) if error else error
    # A value that is nothing beside what data of this size have is right to that size.
    natural = (1.0 if B is None else norm(B)) * C / sensitivity.s
    eps = float(np.finfo(np.result_type(dtype, np.float64)).eps)
    enough = absolute <= eps**0.25 * max(size, natural)
    if options.rtol is not None:
        enough = error <= options.rtol
    status = inner.status
    if status in (Status.CONVERGED, Status.STAGNATED):
        status = Status.CONVERGED if enough else Status.STAGNATED
    return extended(
        Result,
        inner,
        value=inner.value.astype(dtype, copy=False),
        status=status,
        condition=sensitivity.condition,
        error_estimate=float(error),
        residual_norm=residual,
    )


def probes(n: int) -> np.ndarray:
    """The w of ``A w``; the same for all streams, or they could not be merged."""
    return np.random.default_rng(n).standard_normal((n, COUNT))


def _on_host(A: Any, b: Any) -> tuple[Any, Any]:
    """What numpy can read of arrays of another library."""
    home = find_home(A=A, b=b)
    if home is None:
        return A, b
    if not home.on_cpu:
        raise TypeError(f"A is {home}: move it to the CPU")
    A, b = home.block("A", A), home.block("b", b, vectors=True)
    A, b, _ = home.to_compute((A, b, None))[1]
    return home.view(A), home.view(b)


def _checked(weights: Any, rows: int) -> np.ndarray:
    weights = np.asarray(weights)
    if weights.shape != (rows,):
        raise ValueError(f"weights must have shape ({rows},), got {weights.shape}")
    if weights.dtype.kind not in "biuf":
        raise TypeError(f"weights must be real numbers, got dtype {weights.dtype}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("weights must be finite and at least 0")
    return weights
