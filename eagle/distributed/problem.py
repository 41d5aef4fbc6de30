"""One machine's part of the problem, after all machines have agreed on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from eagle.algebra.blas import product
from eagle.distributed.agreement import AXES, Facts, agree, digest, rounding
from eagle.distributed.comm import Comm
from eagle.distributed.shards import slices
from eagle.methods import complete
from eagle.problem.checks import as_block

SMALL = 2**14  # numbers in A and B of all machines up to which every one may have them all
FOUR_DIGITS = 1e-4  # are enough of what rounding of the data leaves, unless somebody says otherwise
GRADED = 7  # binary orders of magnitude between columns from which on small ones may be lost

NOTHING = 10_000  # minus this is the exponent of zero
COMPLEX = 1_000_000  # streams of complex numbers start here


@dataclass(frozen=True)
class LocalFactors:
    """``A_mu = U diag(s) V^H`` without what is rounding error, and what B makes of it.

    Conditioning without communication: any non-singular Q may be applied to ``[A_mu; B_mu]`` from
    the right, and ``Q = V diag(1/s)`` leaves the orthonormal U and ``W U = B_mu A_mu^+ U``.

    Attributes
    ----------
    U : ndarray (d, r)
        Orthonormal basis of the range of ``A_mu``; the projector is ``U U^H``.
    s : ndarray (r,)
    V : ndarray (n_mu, r)
    W : ndarray (d', r)
        ``B_mu A_mu^+ U``.
    """

    U: np.ndarray
    s: np.ndarray
    V: np.ndarray
    W: np.ndarray

    @property
    def condition(self) -> float:
        """Of ``A_mu`` on its range."""
        return float(self.s[0] / self.s[-1]) if len(self.s) else 1.0


@dataclass(frozen=True)
class Spectral:
    """Options that say which problem is solved."""

    rank: int | None = None
    cutoff: float | None = None
    ridge: float = 0.0

    @property
    def truncates(self) -> bool:
        """Whether singular directions are left out."""
        return self.rank is not None or self.cutoff is not None

    def given(self) -> list[str]:
        """Names of those that are set."""
        names = ("ridge", "rank", "cutoff")
        return [name for name in names if getattr(self, name) not in (None, 0.0)]


@dataclass(frozen=True, eq=False)
class LocalProblem:
    """Columns ``A_mu``, ``B_mu`` of this machine and the shared C, scaled by powers of two.

    Attributes
    ----------
    A, B, C : ndarray (d, n_mu), (d', n_mu), (d, n')
    spectral : Spectral
        With the ridge in the units of the scaled A.
    place : tuple of int
        Which machine this is, of how many.
    offset : int
        Columns on the machines before this one.
    columns : int
        Columns on all machines together.
    seed : int
        Of everything random, the same everywhere.
    exponent : int
        The value in the user's units is ``2**exponent`` times the scaled one.
    dtype : dtype
        What the user gave and gets back.
    nothing, something : bool
        Whether A is zero on all machines, and whether B is not.
    graded : bool
        Whether columns of A, on whatever machines, are of quite different sizes.
    uneven : bool
        Whether columns are, or on some machine rows.
    heard : bool
        Whether somebody has a callback.
    enough : float
        Relative error with which the answer of a decomposition of all of A is called converged.
    appended : int
        How many of the last columns here are those of a ridge.
    explained : bool
        Whether B may be a combination of rows of A; with a ridge it is not.
    fingerprint : str
        Differs if C, the sizes of the shards, a ridge, the seed or the method does.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    spectral: Spectral
    place: tuple[int, int]
    offset: int
    columns: int
    seed: int
    exponent: int
    dtype: np.dtype
    nothing: bool
    something: bool
    graded: bool
    uneven: bool
    heard: bool
    enough: float
    fingerprint: str
    appended: int = 0
    explained: bool = True

    @classmethod
    def agreed(
        cls,
        comm: Comm,
        A: Any,
        B: Any,
        C: Any,
        seed: int,
        method: str,
        settings: str,
        *,
        axis: str = "columns",
        spectral: Spectral = Spectral(),
        rtol: float | None = None,
        heard: bool = False,
    ) -> LocalProblem:
        """Check what is here, compare it with what others have, scale alike.

        With ``axis="rows"`` C is this machine's and B everybody's, and what comes out is the
        adjoint problem, where it is the other way round.
        """
        try:
            names = AXES[axis]
            A = _block(names[0], A)
            if axis == "rows":
                B, C = C, np.eye(A.shape[1], dtype=A.dtype) if B is None else B
            B, C = (_block(name, x) for name, x in zip(names[1:], (B, C), strict=False))
            _check(names, axis, A, B, C)
            if axis == "rows":
                A, B, C = (block.conj().T for block in (A, B, C))
        except (ValueError, TypeError) as error:
            agree(comm, Facts(error=(type(error).__name__, str(error))))
            raise
        facts = Facts(
            A=A.shape,
            B=B.shape,
            C=C.shape,
            dtype=str(np.result_type(A, B, C)),
            content=digest(C),
            settings=f"{method}, {settings}",
            seed=seed,
            rounding=rounding(),
            axis=axis,
            heard=heard,
            spread=_spread(A),
            uneven=_graded(_spread(A.T)),
            exponents=tuple(_exponent(block) for block in (A, B, C)),
        )
        everybody = agree(comm, facts)
        dtype = np.dtype(facts.dtype)
        work = np.result_type(dtype, np.float32)
        tops = [max(each.exponents[i] for each in everybody) for i in range(3)]
        # Powers of two are exact; entries near the middle of the range stay as they are.
        far = np.finfo(work).maxexp // 10
        a, b, c = (top if far < abs(top) < NOTHING else 0 for top in tops)
        counts = [each.A[1] for each in everybody]
        spreads = [each.spread for each in everybody if each.spread is not None]
        graded = bool(spreads) and _graded(
            (min(least for least, _ in spreads), max(most for _, most in spreads))
        )
        known = [everybody[0].seed, counts, [each.exponents for each in everybody], facts.content]
        known.append(spectral)
        return cls(
            A=_scaled(A, -a, work),
            B=_scaled(B, -b, work),
            C=_scaled(C, -c, work),
            spectral=replace(spectral, ridge=math.ldexp(spectral.ridge, -2 * a)),
            place=(comm.rank, comm.size),
            graded=graded,
            uneven=graded or any(each.uneven for each in everybody),
            heard=any(each.heard for each in everybody),
            enough=FOUR_DIGITS if rtol is None else rtol,
            offset=sum(counts[: comm.rank]),
            columns=sum(counts),
            seed=everybody[0].seed,
            exponent=b + c - a,
            dtype=dtype,
            nothing=tops[0] == -NOTHING,
            something=tops[1] > -NOTHING,
            fingerprint=digest(np.frombuffer(f"{known} {method}".encode(), np.uint8)),
        )

    @property
    def eps(self) -> float:
        """Unit round-off spacing of the working dtype."""
        return float(np.finfo(self.A.dtype).eps)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the value."""
        return len(self.B), self.C.shape[1]

    @property
    def small(self) -> bool:
        """Whether every machine may have all of A and B."""
        return (len(self.A) + len(self.B)) * self.columns <= SMALL

    def with_ridge(self) -> LocalProblem:
        """``[A  sqrt(ridge) I]`` and ``[B  0]``, the new columns shared out; no ridge is left."""
        if not self.spectral.ridge:
            return self
        d, (rank, size) = len(self.A), self.place
        part = slices(d, size, rank)
        more = np.zeros((d, part.stop - part.start), self.A.dtype)
        more[part] = np.sqrt(self.spectral.ridge) * np.eye(part.stop - part.start)
        blank = np.zeros((len(self.B), more.shape[1]), self.A.dtype)
        return replace(
            self,
            A=np.asfortranarray(np.concatenate([self.A, more], axis=1)),
            B=np.asfortranarray(np.concatenate([self.B, blank], axis=1)),
            spectral=replace(self.spectral, ridge=0.0),
            offset=self.offset + part.start,
            columns=self.columns + d,
            appended=more.shape[1],
            explained=False,
        )

    @cached_property
    def weights(self) -> np.ndarray:
        """Powers of two, (n_mu,), by which columns of A get entries of about 1."""
        tops = np.frexp(np.abs(self.A).max(axis=0, initial=0.0))[1]
        return np.ldexp(np.ones(len(tops), self.A.real.dtype), -tops)

    @cached_property
    def dropped(self) -> bool:
        """Whether `factors` leave out a direction that is only small for its units."""
        r = len(self.factors.s)
        if r in self.A.shape or not r:
            return False
        return complete.decompose(self.A, self.eps).rank > r

    @cached_property
    def factors(self) -> LocalFactors:
        """Computed when first asked for."""
        import scipy.linalg

        d, n = self.A.shape
        if not n or not d or not self.A.any():
            empty = self.A[:, :0]
            return LocalFactors(empty, np.zeros(0, empty.real.dtype), np.zeros((n, 0), empty.dtype),
                           self.B[:, :0])  # fmt: skip
        U, s, Vh = scipy.linalg.svd(self.A, full_matrices=False, check_finite=False)
        r = int(np.count_nonzero(s > max(d, n) * self.eps * s[0]))
        U, s, V = np.asfortranarray(U[:, :r]), s[:r], np.asfortranarray(Vh[:r].conj().T)
        return LocalFactors(U, s, V, product(self.B, V) / s)

    def probes(self, count: int, stream: int = 0) -> np.ndarray:
        """Rows of this machine of a Gaussian matrix (n, count) that no split changes."""
        return normals(self.seed, stream, self.offset, self.A.shape[1], count, self.A.dtype)

    def restore(self, value: np.ndarray) -> np.ndarray:
        """A scaled value in the user's units and dtype."""
        out = np.array(value, order="C")
        parts = out.view(out.real.dtype)
        with np.errstate(over="ignore", under="ignore"):
            np.ldexp(parts, self.exponent, out=parts)
            return out.astype(self.dtype, copy=False)


def normals(seed: int, stream: int, first: int, rows: int, columns: int, dtype: Any) -> np.ndarray:
    """Rows ``first`` to ``first + rows`` of a Gaussian matrix, by counting.

    Row j depends on the seed, the stream and j alone, so that machines draw their own rows of one
    matrix, however its rows are split. (Box and Muller's transform of numbers that Philox gives for
    a counter; faster ones take a number of draws that varies.)

    Examples
    --------
    >>> from eagle.distributed.problem import normals
    >>> whole = normals(0, 0, 0, 5, 3, float)
    >>> bool((normals(0, 0, 2, 3, 3, float) == whole[2:]).all())
    True
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        parts = [
            normals(seed, 2 * stream + k + COMPLEX, first, rows, columns, float) for k in (0, 1)
        ]
        return np.asfortranarray((parts[0] + 1j * parts[1]).astype(dtype))
    steps = max(1, -(-columns // 4))  # the counter gives four words a step
    generator = np.random.Philox(key=[seed, stream])
    generator.advance(first * steps)
    words = generator.random_raw(rows * steps * 4).reshape(rows, 2, 2 * steps)
    uniform = (words >> np.uint64(11)) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[:, 0]))
    angle = 2 * np.pi * uniform[:, 1]
    draws = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return np.asfortranarray(draws[:, :columns].astype(dtype))


def _block(name: str, value: Any) -> np.ndarray:
    block: Any = as_block(name, value)
    if not isinstance(block, np.ndarray) or block.ndim != 2:
        raise TypeError(f"{name} must be a dense 2-D array, got {type(value).__name__}")
    return block


def _check(names: tuple[str, ...], axis: str, A: Any, B: Any, C: Any) -> None:
    """Raise ValueError unless the blocks of this machine fit, as the user gave them."""
    a, b, c, _ = names
    local, shared = ("columns", "rows") if axis == "columns" else ("rows", "columns")
    side = 1 if axis == "columns" else 0
    if A.shape[side] != B.shape[side]:
        raise ValueError(
            f"{b} with shape {B.shape} must have as many {local} as {a} with shape {A.shape}"
        )
    if A.shape[1 - side] != C.shape[1 - side]:
        raise ValueError(
            f"{c} with shape {C.shape} must have as many {shared} as {a} with shape {A.shape}"
        )


def _spread(A: np.ndarray) -> tuple[int, int] | None:
    """Exponents of two of the least and the largest column that is not zero."""
    tops = np.abs(A).max(axis=0, initial=0.0)
    tops = np.frexp(tops[tops > 0])[1]
    return (int(tops.min()), int(tops.max())) if len(tops) else None


def _graded(spread: tuple[int, int] | None) -> bool:
    return spread is not None and spread[1] - spread[0] > GRADED


def _exponent(array: np.ndarray) -> int:
    if not array.size:
        return -NOTHING
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    top = max(max(float(part.max()), -float(part.min())) for part in parts)
    return int(np.frexp(top)[1]) if top else -NOTHING


def _scaled(array: np.ndarray, exponent: int, dtype: Any) -> np.ndarray:
    out = np.array(array, dtype, order="F")
    if exponent:
        parts = out.real, out.imag
        for part in parts if out.dtype.kind == "c" else parts[:1]:
            np.ldexp(part, exponent, out=part)
    return out
