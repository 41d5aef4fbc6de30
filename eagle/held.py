"""A factorisation that is kept, and the certificate of each answer that it gives."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eagle.algebra.blas import norm, product
from eagle.algebra.dense import Dense
from eagle.algebra.operand import Operand, shifted
from eagle.methods import Direct, complete
from eagle.methods.base import QUICK, Inverse
from eagle.problem.blocks import Problem
from eagle.problem.options import Options
from eagle.problem.result import Iteration, Result, Status

PROBES = 8  # of which every norm is estimated
NEGLIGIBLE = 1e3  # in units of eps: errors that are not worth a closer look
SAFETY = 2.0  # times an estimated norm: it is less than half of the norm once in 600 (chi-squared)
FAR = 100  # power of two up to which squares and products are far from overflow
WELL_CONDITIONED = 0.5  # power of eps: condition up to which a factorisation without pivots is held


@dataclass(frozen=True, eq=False)
class Held:
    """A factorisation of A, scaled and with its ridge, and the sizes that certificates need.

    Attributes
    ----------
    A : ndarray or Operand (d, n)
        What was factorised, in double precision.
    inverse : Inverse
    extent : tuple of int
        Of the user's A inside it; smaller where a ridge was appended.
    scale : int
        The user's A is ``2**scale`` times `A`.
    rank : int
    condition : float or None
    probes : tuple of ndarray
        ``Z`` and ``A^{+H} Z``, ``W`` and ``A^+ W``, each (n, p) or (d, p): ``Z^H (A^+ C)`` has
        to be ``(A^{+H} Z)^H C`` for every C.
    size, inverse_size, squared_size : float
        ``|A|_2`` as far as it is known, ``|A^+|_F`` and ``|A^+ A^{+H}|_F``, from probes.
    method : object
    """

    A: Any
    inverse: Inverse
    extent: tuple[int, int]
    scale: int
    rank: int
    condition: float | None
    probes: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    size: float
    inverse_size: float
    squared_size: float
    method: object

    @classmethod
    def of(cls, problem: Problem, inverse: Inverse, A: Any, method: object) -> Held:
        """With the sizes, from probes."""
        d, n = A.shape
        rng = np.random.default_rng(0)

        def draw(rows: int) -> np.ndarray:
            G = rng.standard_normal((rows, PROBES))
            if A.dtype.kind == "c":
                G = (G + 1j * rng.standard_normal((rows, PROBES))) / 2**0.5
            return np.asfortranarray(G, A.dtype)

        scale = SAFETY / PROBES**0.5
        Z, W = draw(n), draw(d)
        back, ahead = inverse.adjoint_times(Z), inverse.times(W)
        squared = inverse.times(back)
        # |A|_2 by two steps of the power iteration, which its Frobenius norm bounds.
        forth = product(A, np.asfortranarray(Z[:, :2]))
        again = product(A, product(A, forth, adjoint="X"))
        lengths = np.linalg.norm(forth, axis=0)
        squares = np.linalg.norm(again, axis=0) / np.where(lengths > 0, lengths, 1)
        size = SAFETY * float(squares.max()) ** 0.5
        size = size if isinstance(A, Operand) else min(size, norm(A))
        return cls(
            A=A,
            inverse=inverse,
            extent=problem.extent,
            scale=int(problem.scale),
            rank=inverse.rank or 0,
            condition=inverse.condition,
            probes=(Z, back, W, ahead),
            size=size,
            inverse_size=scale * norm(back),
            squared_size=scale * norm(squared),
            method=method,
        )

    def answer(self, B: Any, C: Any, dtype: str, options: Options) -> Result | None:
        """The answer of the factorisation with its certificate; None if it is not good enough."""
        start, work = time.perf_counter(), self.A.dtype
        vector = C is not None and C.ndim == 1
        (d, n), (below, beside) = self.A.shape, self.extent
        rows = beside if B is None else len(B)
        columns = below if C is None else C.reshape(below, -1).shape[1]
        if 0 in (rows, columns, below, beside):
            return None
        if np.result_type(work, *(X for X in (B, C) if X is not None)) != work:
            return None  # complex blocks for a real factorisation, or more precise ones
        B, C, exponent = self._fitted(B, C)
        eps = float(np.finfo(work).eps)
        turned = C is None or (B is not None and rows < columns)
        with np.errstate(all="ignore"):
            value, error = self._solved(B, C, eps, turned=turned)
            value = value[:rows, :columns]
            gap = self._inconsistency(B)
        whole, natural = norm(value), self._natural(B, C)
        relative = error / max(whole, eps * natural) if max(whole, natural) else 0.0
        # What is held is expected to be as accurate as `eagle.solve` would be.
        limit = QUICK * eps if options.rtol is None else options.rtol
        if not relative <= limit and not error <= 100 * eps * natural:
            return None
        narrow = np.dtype(np.float32 if dtype == "bfloat16" else dtype)
        out = Dense.of(work).restored(value, exponent, narrow)
        if not np.isfinite(out).all():
            return None
        if narrow.char not in "dD" and relative > 0:
            relative = max(relative, float(np.finfo(narrow).eps) / 2)
        seconds = time.perf_counter() - start
        flops = 8.0 * d * n * (rows if turned else columns)
        return Result(
            value=out[:, 0] if vector else out,
            status=Status.CONVERGED,
            iterations=1,
            history=(Iteration(1, 0.0, relative, seconds, 4),),
            error_estimate=relative,
            inconsistency=gap,
            rank=self.rank,
            condition=self.condition,
            method=self.method,
            plan=f"held: {self.method!r} has factorised A before",
            seconds=seconds,
            flops=4 * flops if work.kind == "c" else flops,
            inverse=self.inverse,
        )

    def _fitted(self, B: Any, C: Any) -> tuple[Any, Any, int]:
        """The blocks in the size and dtype of A, and the power of two to multiply the value by.

        Their entries are near 1; there are zeros beside B and below C, where a ridge stands in A.
        """
        work, (d, n), (below, beside) = self.A.dtype, self.A.shape, self.extent
        exponent, fitted = -self.scale, []
        for X in (B, C):
            if X is not None:
                power = math.frexp(float(np.abs(X).max(initial=0.0)))[1]
                power = power if abs(power) > FAR else 0
                X = shifted(X[:, None] if X.ndim == 1 else X, -power, work)
                exponent += power
            fitted.append(X)
        B, C = fitted
        if B is not None and beside < n:
            B = np.concatenate([B, np.zeros((len(B), n - beside), work)], axis=1)
        if C is not None and below < d:
            C = np.concatenate([C, np.zeros((d - below, C.shape[1]), work)], axis=0)
        return B, C, exponent

    def _solved(self, B: Any, C: Any, eps: float, *, turned: bool) -> tuple[np.ndarray, float]:
        """``B A^+ C`` by columns of C, or with `turned` by rows of B, and a bound of its error."""
        A, inverse, rank = self.A, self.inverse, self.rank
        d, n = A.shape[::-1] if turned else A.shape
        times, back = inverse.times, inverse.adjoint_times
        Z, answers, W, answered = self.probes
        if turned:
            times, back, Z, answers = back, times, W, answered
            B, C = (None if X is None else X.conj().T for X in (C, B))
        C = np.asfortranarray(np.eye(d, dtype=A.dtype) if C is None else C)
        X = times(C)
        D = X if B is None else product(B, X)
        size_X, size_C, whole = norm(X), norm(C), norm(D)
        if B is None:
            size_Y, size_YY, size_B = self.inverse_size, self.squared_size, 1.0
            forgotten = float(n - rank) ** 0.5
        else:
            Y = back(np.asfortranarray(B.conj().T))
            size_Y, size_B, forgotten = norm(Y), norm(B), 0.0
            size_YY = size_Y * self.inverse_size
            if rank < n:
                forgotten = norm(B.conj().T - product(A, Y, adjoint="" if turned else "X"))

        def rounding(misfit: float) -> float:
            """What rounding of the blocks may do, see ``eagle.methods.complete``."""
            total = size_Y * size_X + (size_YY * misfit if rank < d else 0.0)
            total += forgotten * self.inverse_size * size_X
            return eps * (self.size * total + size_B * size_X + size_Y * size_C)

        wrong = product(Z, X, adjoint="X") - product(answers, C, adjoint="X")
        error = SAFETY / PROBES**0.5 * size_B * norm(wrong) + rounding(size_C)
        if not error <= NEGLIGIBLE * eps * whole:
            # What is left of C tells more, and what follows from it is the error to first order.
            left = C - product(A, X, adjoint="X" if turned else "")
            step = times(left)
            error = norm(step if B is None else product(B, step)) + rounding(norm(left))
        return D.conj().T if turned else D, error

    def _inconsistency(self, B: Any) -> float:
        """``|B - B A^+ A| / |B|`` of the user's own blocks."""
        n = self.A.shape[1]
        if B is None:
            return (max(self.extent[1] - self.rank, 0) / self.extent[1]) ** 0.5
        if self.rank == n and self.extent == self.A.shape:
            return 0.0
        W = self.inverse.adjoint_times(np.asfortranarray(B.conj().T))
        below, beside = self.extent
        whole = norm(B)
        explained = product(self.A, W, adjoint="X").conj().T
        if self.extent != self.A.shape and below < self.A.shape[0]:
            explained = product(np.asarray(self.A[:below]), W[:below], adjoint="X").conj().T
        return norm(B[:, :beside] - explained[:, :beside]) / whole if whole else 0.0

    def _natural(self, B: Any, C: Any) -> float:
        """``|B| |C| / |A|``: rounding alone makes errors of eps times that."""
        size_B = 1.0 if B is None else norm(np.asarray(B))
        size_C = 1.0 if C is None else norm(np.asarray(C))
        return size_B * size_C / self.size if self.size else 0.0


@dataclass(frozen=True, eq=False)
class SVD(Inverse):
    """``A^+ = V S^-1 U^H``."""

    U: np.ndarray
    s: np.ndarray
    Vh: np.ndarray

    @property
    def rank(self) -> int:  # type: ignore[override]
        """How many singular values there are."""
        return len(self.s)

    @property
    def condition(self) -> float:  # type: ignore[override]
        """The largest over the least of them."""
        return float(self.s[0] / self.s[-1])

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^+ X``."""
        return product(self.Vh, product(self.U, X, adjoint="X") / self.s[:, None], adjoint="X")

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``(A^+)^H X``."""
        return product(self.U, product(self.Vh, X) / self.s[:, None])


def factorised(problem: Problem, eps: float) -> tuple[Inverse, object]:
    """LU or QR of a well-conditioned A, else the complete orthogonal decomposition.

    `eps` is what entries of A were rounded to, which may be more than they are held with.
    """
    A = problem.A
    square = A.shape[0] == A.shape[1]
    driver = "lu" if square else "qr"
    method, options = Direct(driver), Options()
    nothing = replace(problem, C=np.zeros((A.shape[0], 1), A.dtype, order="F"))
    try:
        state = method.step(method.init(nothing, options))
        inverse = method.inverse(state)
        if inverse is not None and state.condition * eps**WELL_CONDITIONED <= 1:
            return inverse, method
    except np.linalg.LinAlgError:
        pass
    return complete.decompose(A, eps), Direct("cod")
