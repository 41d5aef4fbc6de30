"""Adversarial problems by the hundred thousand: answers that are wrong without a word.

Problem number i of a seed is always the same: a matrix of some family, blocks B and C, a dtype, a
memory layout, a function, a method and options. Every answer is judged against singular value
decompositions in extended precision (one-sided Jacobi in ``longdouble``; float64 for problems in
single precision).

**Right**: ``B A^+ C`` is not continuous in A, so "the" answer of a matrix whose rank is within
rounding is one of several. A value is right if, for some rank k with
``||A - A_k|| <= c eps ||A||``, it lies within ``max(10 error_estimate, rtol) |value| + floor``
of ``D_k = B A_k^+ C``, with ``c = 100 sqrt(max(d, n))``. The floor is what perturbations of A, B
and C by c eps do to D_k: in other words, a value is also right if it is the answer of blocks that
agree with the given ones to ``c eps``. With ``X = A_k^+ C``, ``Y = B A_k^+`` and
``e = c eps ||A||`` it is::

    e (|Y| |X| + |B - B_k| |A_k^+ A_k^+H C| + |B A_k^+ A_k^+H| |C - C_k|)
        + e^2 |B - B_k| |C - C_k| / sigma_k^3 + c eps (|B| |X| + |Y| |C|)

**Silently wrong**: not right, with the status CONVERGED and no warning. The rivals have no
estimate; theirs is taken to be zero, and an exception or a value that is not a number counts as a
word. *No digits* counts what is right only because the blocks determine hardly a digit of the
answer: the part of the floor due to A is more than a tenth of ``max(|B| |X|, |Y| |C|)``, and the
estimate did not say so.
"""

from __future__ import annotations

import json
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

import eagle
from benchmarks.common import Report, command_line

__all__ = ["Case", "Verdict", "draw", "judge", "main", "reference", "run"]

SLACK = 10.0  # times the estimate: the tails of a chi-squared distribution
CONSTANT = 100.0  # c above, but for the square root
LARGEST = 60  # side of A
PATIENCE = 400  # iterations of the methods whose number grows with the condition
DTYPES = (np.float64, np.float64, np.float64, np.complex128, np.float32, np.complex64)
Array = np.ndarray


# Matrices: each family takes a Generator and the shape, and gives float64 or complex128.


def _random(rng: np.random.Generator, d: int, n: int) -> Array:
    return rng.standard_normal((d, n))


def _spectrum(rng: np.random.Generator, d: int, n: int) -> Array:
    rank = int(rng.integers(1, min(d, n) + 1))
    kind = str(rng.choice(eagle.problems.SPECTRA))
    condition = 10 ** rng.uniform(0, 15)
    return eagle.problems.low_rank(d, n, rank=rank, condition=condition, kind=kind, rng=rng).A


def _kahan(rng: np.random.Generator, d: int, n: int) -> Array:
    theta = rng.uniform(0.1, 1.5)
    R = np.diag(np.sin(theta) ** np.arange(d)) @ (
        np.eye(d, n) - np.cos(theta) * np.triu(np.ones((d, n)), 1)
    )
    return R[:, rng.permutation(n)] if rng.random() < 0.5 else R


def _hilbert(rng: np.random.Generator, d: int, n: int) -> Array:
    shift = rng.choice([0.0, 0.5, rng.uniform(0, 3)])
    return 1 / (np.arange(d)[:, None] + np.arange(n) + 1 + shift)


def _vandermonde(rng: np.random.Generator, d: int, n: int) -> Array:
    points = [np.linspace(0, 1, d), np.linspace(-1, 1, d), rng.standard_normal(d)]
    return np.vander(points[rng.integers(3)], n)


def _lauchli(rng: np.random.Generator, d: int, n: int) -> Array:
    k = min(d - 1, n) if d > 1 else 0
    A = np.vstack([np.ones((1, n)), np.zeros((d - 1, n))])
    A[1 + np.arange(k), np.arange(k)] = 10 ** rng.uniform(-17, -1)
    return A


def _graded_rows(rng: np.random.Generator, d: int, n: int) -> Array:
    return 10.0 ** rng.permutation(np.linspace(0, -rng.uniform(1, 40), d))[:, None] * _random(
        rng, d, n
    )


def _graded_columns(rng: np.random.Generator, d: int, n: int) -> Array:
    return _graded_rows(rng, n, d).T


def _graded_both(rng: np.random.Generator, d: int, n: int) -> Array:
    return _graded_rows(rng, d, n) * 10.0 ** np.linspace(0, rng.uniform(-20, 20), n)


def _grcar(rng: np.random.Generator, d: int, n: int) -> Array:
    A = np.triu(np.tril(np.ones((d, n)), 3))
    return A - np.eye(d, n, -1)


def _jordan(rng: np.random.Generator, d: int, n: int) -> Array:
    return rng.choice([0.0, 1.0, 10 ** rng.uniform(-3, 0)]) * np.eye(d, n) + np.eye(d, n, 1)


def _subnormal(rng: np.random.Generator, d: int, n: int) -> Array:
    return _spectrum(rng, d, n) * 10 ** rng.uniform(-318, -300)


def _mixed_scales(rng: np.random.Generator, d: int, n: int) -> Array:
    return _random(rng, d, n) * 10.0 ** rng.uniform(-300, 300, (d, n))


def _extreme(rng: np.random.Generator, d: int, n: int) -> Array:
    return _spectrum(rng, d, n) * 10 ** rng.uniform(-300, 300)


def _duplicated(rng: np.random.Generator, d: int, n: int) -> Array:
    A = _random(rng, d, n)
    A = A[rng.integers(0, d, d)] if rng.random() < 0.7 else A
    return A[:, rng.integers(0, n, n)] if rng.random() < 0.7 else A


def _zeros(rng: np.random.Generator, d: int, n: int) -> Array:
    A = _random(rng, d, n)
    A[rng.random(d) < rng.random()] = 0
    A[:, rng.random(n) < rng.random()] = 0
    return A


def _rank_one(rng: np.random.Generator, d: int, n: int) -> Array:
    return np.outer(rng.standard_normal(d), rng.standard_normal(n))


def _near_gap(rng: np.random.Generator, d: int, n: int) -> Array:
    """A few singular values next to where rounding begins."""
    k = min(d, n)
    s = np.where(np.arange(k) < rng.integers(1, k + 1), 1.0, 10 ** rng.uniform(-17, -10, k))
    return _with(rng, d, n, s)


def _tiny_noise(rng: np.random.Generator, d: int, n: int) -> Array:
    rank = int(rng.integers(1, min(d, n) + 1))
    A = rng.standard_normal((d, rank)) @ rng.standard_normal((rank, n))
    return A + 10 ** rng.uniform(-17, -4) * rng.standard_normal((d, n))


def _integers(rng: np.random.Generator, d: int, n: int) -> Array:
    return rng.integers(-3, 4, (d, n)).astype(float)


def _sparse(rng: np.random.Generator, d: int, n: int) -> Array:
    return _random(rng, d, n) * (rng.random((d, n)) < rng.uniform(0.02, 0.3))


def _structured(rng: np.random.Generator, d: int, n: int) -> Array:
    i, j = np.arange(d)[:, None], np.arange(n)
    return [
        np.eye(d, n),
        np.ones((d, n)),
        np.minimum(i, j) + 1.0,
        np.triu(-np.ones((d, n)), 1) + np.eye(d, n),
        np.exp(-(np.subtract.outer(np.linspace(0, 1, d), np.linspace(0, 1, n)) ** 2)),
        1 / (i - j + 0.5),
        np.sqrt(2 / (n + 1)) * np.sin(np.pi * (i + 1) * (j + 1) / (n + 1)),
    ][rng.integers(7)]


def _outlier(rng: np.random.Generator, d: int, n: int) -> Array:
    A = _random(rng, d, n)
    A[rng.integers(d), rng.integers(n)] *= 10 ** rng.uniform(3, 20)
    return A


def _with(rng: np.random.Generator, d: int, n: int, s: Array) -> Array:
    U = np.linalg.qr(rng.standard_normal((d, len(s))))[0]
    V = np.linalg.qr(rng.standard_normal((n, len(s))))[0]
    return (U * s) @ V.T


FAMILIES: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "random": _random,
    "spectrum": _spectrum,
    "Kahan": _kahan,
    "Hilbert": _hilbert,
    "Vandermonde": _vandermonde,
    "Läuchli": _lauchli,
    "graded rows": _graded_rows,
    "graded columns": _graded_columns,
    "graded both": _graded_both,
    "Grcar": _grcar,
    "Jordan": _jordan,
    "subnormal": _subnormal,
    "mixed scales": _mixed_scales,
    "extreme scale": _extreme,
    "duplicated": _duplicated,
    "zero rows": _zeros,
    "rank one": _rank_one,
    "near gap": _near_gap,
    "tiny noise": _tiny_noise,
    "integers": _integers,
    "sparse": _sparse,
    "structured": _structured,
    "outlier": _outlier,
}


@dataclass
class Case:
    """One problem, and how it is put to the library. B or C None: an identity."""

    index: int
    family: str
    A: Array
    B: Array | None
    C: Array | None
    blocks: str  # kinds of B and C
    function: str
    method: str
    instance: Any
    options: dict[str, Any]
    given: Any = None  # A as it is passed: an array, a sparse matrix, an operator
    seed: int = 0
    copies: int = 0  # the problem is one of so many in a stack

    def solve(self) -> Any:
        """What the library says: a Result, or an array from `pinv`."""
        A, B, C = self.given, self.B, self.C
        if self.copies:
            A = np.stack([A] * self.copies)
        options = {"method": self.instance, "rng": self.seed, **self.options}
        if self.function == "lstsq":
            return eagle.lstsq(A, C, **options)
        if self.function == "estimate":
            return eagle.estimate(A, B, **options)
        if self.function == "pinv":
            return eagle.pinv(A, **options)
        if self.function == "nystrom":
            return eagle.nystrom(A, B, C, **options)
        return eagle.solve(A, B, C, **options)


def _methods(rng: np.random.Generator, d: int, n: int) -> dict[str, Callable[[], Any]]:
    """Every method, with settings drawn at random."""

    def any_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    size = int(rng.integers(1, min(d, n) + 2))
    return {
        "auto": lambda: "auto",
        "eagle minimax": lambda: eagle.Eagle("minimax", kernel=any_of("blas", "numba")),
        "eagle cholesky": lambda: eagle.Eagle("cholesky", kernel=any_of("blas", "numba")),
        "eagle other": lambda: any_of(
            *(eagle.Eagle(each) for each in ("paper", "trained", (0.45, 1.1), (0.9, 1.0))),
            eagle.Eagle(precision="mixed"),
        ),
        "direct": lambda: eagle.Direct(any_of("gelsd", "gelsy", "svd", "lu", "qr")),
        "compressed": lambda: eagle.Compressed(
            any_of(None, size),
            sketch=any_of("auto", "gaussian", "sparse-sign", "rademacher"),
            grow=bool(rng.random() < 0.9),
        ),
        "sketched": lambda: eagle.Sketched(
            any_of(None, size), sampling=any_of("reshuffled", "columns", "orthonormal")
        ),
        "sketched pair": lambda: eagle.Sketched(
            any_of(None, size),
            sampling=any_of("reshuffled", "columns", "orthonormal"),
            lift=any_of("full", "paper"),
            step_sizes=(0.95, 1.0),
        ),
        "newton-schulz": eagle.NewtonSchulz,
        "cg": eagle.ConjugateGradient,
        "gd": eagle.GradientDescent,
        "lsmr": eagle.LSMR,
        "sgd": lambda: eagle.StochasticGradientDescent(any_of(None, size)),
    }


SHARES = {"auto": 0.25, "eagle minimax": 0.12, "eagle cholesky": 0.12, "direct": 0.1}
SLOW = ("sketched pair", "cg", "gd", "lsmr", "sgd")


def _side(rng: np.random.Generator) -> int:
    return int(np.exp(rng.uniform(0, np.log(LARGEST + 1))))


def _rows(rng: np.random.Generator, A: Array, kind: str, m: int) -> Array:
    """A block with as many columns as A."""
    d, n = A.shape
    draw = rng.standard_normal((m, n))
    with np.errstate(all="ignore"):
        top = np.abs(A).max(initial=0.0) or 1.0
        unit = (A.astype(np.result_type(A, np.longdouble)) / top).astype(A.dtype)
        W = rng.standard_normal((m, d))
        if kind == "consistent":
            B = (W @ unit) * top
        elif kind == "nearly":
            B = (W @ unit + 10 ** rng.uniform(-16, -2) * draw) * top
        elif kind == "orthogonal":
            B = draw - (draw @ np.linalg.pinv(unit)) @ unit
        elif kind == "weak":  # what the smallest singular directions see
            _, s, Vh = np.linalg.svd(unit, full_matrices=False)
            B = rng.standard_normal((m, 1)) * Vh[rng.integers(len(s))]
        elif kind == "zero":
            B = np.zeros((m, n))
        elif kind == "scaled":
            B = draw * 10 ** rng.uniform(-200, 200)
        elif kind == "own":
            B = A.copy()
        else:
            B = draw
    return B if np.isfinite(B).all() else draw


BLOCKS = ("consistent",) * 4 + ("random",) * 3 + ("nearly", "orthogonal", "weak")
BLOCKS += ("zero", "scaled", "own")


def draw(index: int, seed: int = 0) -> Case:
    """Problem number `index`."""
    rng = np.random.default_rng([seed, index])
    family = str(rng.choice(list(FAMILIES)))
    d, n = _side(rng), _side(rng)
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    functions = ("solve",) * 14 + ("lstsq", "lstsq", "estimate", "pinv", "nystrom")
    function = str(rng.choice(functions))
    if rng.random() < 0.3 or function == "nystrom":
        n = d
    with np.errstate(all="ignore"):
        A = FAMILIES[family](rng, d, n)
        if dtype.kind == "c":
            A = A + 1j * FAMILIES[family](rng, d, n) if rng.random() < 0.5 else A.astype(complex)
        if function == "nystrom":
            A = A @ A.conj().T if np.isfinite(A @ A.conj().T).all() else np.eye(d)
        single = dtype.itemsize // (2 if dtype.kind == "c" else 1) == 4
        if single and (top := np.abs(A).max(initial=0.0)) > 0:
            # Kept within the range of the dtype, at some place.
            exponent = np.clip(np.log10(top), -30, 30)
            A = A / top * 10**exponent
        A = np.nan_to_num(A, nan=1.0, posinf=1.0, neginf=1.0).astype(dtype)
    d, n = A.shape
    kinds = [str(rng.choice(BLOCKS)) for _ in range(2)]
    wide = A.astype(np.complex128 if dtype.kind == "c" else np.float64)
    rows = _rows(rng, wide, kinds[0], int(rng.integers(1, 6)))
    columns = _rows(rng, wide.conj().T, kinds[1], int(rng.integers(1, 6))).conj().T
    B, C = (np.nan_to_num(_clipped(X, dtype)).astype(dtype) for X in (rows, columns))
    if function == "nystrom":
        C = B.conj().T
    share = np.array([SHARES.get(name, 0.41 / 9) for name in _methods(rng, d, n)])
    pool = _methods(rng, d, n)
    method = str(rng.choice(list(pool), p=share / share.sum()))
    instance = pool[method]()
    options: dict[str, Any] = {}
    if method in SLOW:
        options["maxiter"] = PATIENCE
    roll = rng.random()
    able = method in ("auto", "compressed") or (
        method == "direct" and instance.driver in ("gelsd", "svd")
    )
    if roll < 0.08:
        mu = _norm(wide.astype(np.clongdouble)) * 10 ** np.longdouble(rng.uniform(-9, 1))
        options["ridge"] = float(min(mu**2, 1e300))
    elif roll < 0.13 and able:
        options["rank"] = int(rng.integers(1, min(d, n) + 1))
    elif roll < 0.18 and able:
        options["cutoff"] = float(10 ** rng.uniform(-5 if single else -12, -0.5))
    elif roll < 0.26:
        options["rtol"] = float(10 ** rng.uniform(-5 if single else -12, -2))
    case = Case(
        index,
        family,
        A,
        None if function in ("lstsq", "pinv") else B,
        None if function in ("estimate", "pinv") else C,
        "/".join(kinds),
        function,
        method,
        instance,
        options,
        seed=int(rng.integers(2**31)),
    )
    case.given = _laid_out(rng, A, instance)
    if method in ("auto", "direct") and isinstance(case.given, np.ndarray) and rng.random() < 0.25:
        case.copies = int(rng.integers(1, 4))
    return case


def _clipped(X: Array, dtype: np.dtype) -> Array:
    """Within the range of the dtype."""
    most = float(np.finfo(dtype).max) / 4
    top = float(np.abs(X).max(initial=0.0))
    return X * (most / top) if top > most else X


def _laid_out(rng: np.random.Generator, A: Array, method: Any) -> Any:
    """The same matrix in another order of memory, or as something that only multiplies."""
    roll = rng.random()
    if getattr(method, "matrix_free", False) and roll < 0.2:
        return scipy.sparse.csr_array(A) if roll < 0.1 else aslinearoperator(A)
    if roll < 0.5:
        return np.asfortranarray(A)
    if roll < 0.6:
        return np.repeat(A, 2, axis=0)[::2]
    return A[::-1].copy()[::-1] if roll < 0.7 else A


# The truth.


def _svd(A: Array) -> tuple[Array, Array, Array]:
    """U (d, k), s, V (n, k) of a longdouble A with no entry above 1, by one-sided Jacobi.

    Started from LAPACK's singular vectors, so that a few sweeps are enough.
    """
    d, n = A.shape
    if d < n:
        U, s, V = _svd(A.conj().T)
        return V, s, U
    narrow = A.astype(np.complex128 if A.dtype.kind == "c" else np.float64)
    V = scipy.linalg.svd(narrow, lapack_driver="gesvd", full_matrices=False)[2].conj().T
    V = V.astype(A.dtype)
    for _ in range(2):
        V = (3 * V - V @ (V.conj().T @ V)) / 2
    X = np.concatenate([A @ V, V], axis=0)  # both are rotated
    tiny = np.finfo(A.dtype).eps
    m = n + n % 2
    order = np.arange(m)
    for _ in range(30):
        worst = 0.0
        for _ in range(m - 1):
            p, q = order[: m // 2], order[m // 2 :][::-1]
            if n % 2:
                keep = (p < n) & (q < n)
                p, q = p[keep], q[keep]
            left, right = X[:d, p], X[:d, q]
            a = (left.real**2 + left.imag**2).sum(axis=0)
            b = (right.real**2 + right.imag**2).sum(axis=0)
            c = (left.conj() * right).sum(axis=0)
            size = np.abs(c)
            scale = np.sqrt(a) * np.sqrt(b)
            turn = size > 4 * tiny * scale
            if turn.any():
                # Directions far below rounding level may stay as they are.
                counts = turn & (np.minimum(a, b) > 1e-38 * np.maximum(a, b).max())
                if counts.any():
                    worst = max(worst, float((size[counts] / scale[counts]).max()))
                p, q, a, b, c, size = p[turn], q[turn], a[turn], b[turn], c[turn], size[turn]
                zeta = (b - a) / (2 * size)
                t = np.where(zeta >= 0, 1, -1) / (np.abs(zeta) + np.sqrt(1 + zeta**2))
                cosine = 1 / np.sqrt(1 + t**2)
                sine = t * cosine
                phase = c / size
                left, right = X[:, p], X[:, q] * phase.conj()
                X[:, p], X[:, q] = cosine * left - sine * right, sine * left + cosine * right
            order = np.concatenate([order[:1], np.roll(order[1:], 1)])
        if worst < 1e-15:  # convergence is quadratic: the next sweep would find nothing
            break
    s = np.sqrt((X[:d].real ** 2 + X[:d].imag ** 2).sum(axis=0))
    places = np.argsort(-s)
    s, X = s[places], X[:, places]
    return X[:d] / np.where(s > 0, s, 1), s, X[d:]


def _norm(X: Array) -> Any:
    """Frobenius, in the precision of X."""
    return np.sqrt((X.real**2 + X.imag**2).sum())


@dataclass(frozen=True, eq=False)
class Answer:
    """``B A_k^+ C`` for one rank k that rounding allows."""

    rank: int
    value: Array
    floor: Any  # what perturbations by c eps do to it
    digit: Any  # the same, but no more than lets a digit be right
    natural: Any  # eps |B| |C| / |A|: estimates are relative to no less


def reference(
    A: Array,
    B: Array | None,
    C: Array | None,
    *,
    ridge: float = 0.0,
    rank: int | None = None,
    cutoff: float | None = None,
) -> list[Answer]:
    """Every right answer, from singular vectors in higher precision than the problem's.

    With a ridge, of the matrix ``[A mu I]`` that the ridge stands for. None if a rank was asked
    for, or a cutoff, that falls among equal singular values.
    """
    eps = float(np.finfo(A.dtype).eps)
    d, n = A.shape
    complex_type = A.dtype.kind == "c" or any(X is not None and X.dtype.kind == "c" for X in (B, C))
    high = np.clongdouble if complex_type else np.longdouble
    A = A.astype(high)
    B = np.eye(n, dtype=high) if B is None else B.astype(high)
    C = np.eye(d, dtype=high) if C is None else C.astype(high)
    mu = np.sqrt(np.longdouble(ridge))
    if ridge:
        A = np.hstack([A, mu * np.eye(d)])
        B = np.hstack([B, np.zeros((len(B), d))])
    top = np.abs(A).max(initial=0)
    if not top:
        return [Answer(0, np.zeros((len(B), C.shape[1]), high), *(high(0).real,) * 3)]
    unit = A / top
    if eps > 1e-10:  # single precision: double is more than enough
        narrow = unit.astype(np.complex128 if complex_type else np.float64)
        U, s, Vh = scipy.linalg.svd(narrow, lapack_driver="gesvd", full_matrices=False)
        U, s, V = U.astype(high), s.astype(np.longdouble), Vh.conj().T.astype(high)
    else:
        U, s, V = _svd(unit)
    whole, c = _norm(s), CONSTANT * max(d, n) ** 0.5
    BV, UC = B @ V, U.conj().T @ C
    size_B, size_C = _norm(B), _norm(C)
    ranks = [
        k
        for k in range(len(s) + 1)
        if (k == len(s) or s[k] <= c * eps * whole) and (not k or s[k - 1] > 0)
    ]
    if rank is not None:
        ranks = sorted({min(k, rank) for k in ranks})
    elif cutoff is not None:
        kept = [np.count_nonzero(s > cutoff * s[0] + sign * 10 * eps * whole) for sign in (-1, 1)]
        ranks = sorted({min(k, r) for k in ranks for r in range(kept[1], kept[0] + 1)})
    answers = []
    for k in ranks:
        sk, Bk, Ck = s[:k], BV[:, :k], UC[:k]
        value = (Bk / sk) @ Ck
        X, Y = _norm(Ck / sk[:, None]), _norm(Bk / sk)
        outside_B = _norm(B - Bk @ V[:, :k].conj().T)
        outside_C = _norm(C - U[:, :k] @ Ck)
        # A truncated matrix turns by more than A does, the more so the smaller the gap.
        following = s[k] if k < len(s) else 0
        gap = sk[-1] / (sk[-1] - following) if k and sk[-1] > following else 1
        if (rank or cutoff) and k and sk[-1] - following <= c * eps * whole:
            return []  # there is no k-th best approximation
        by_A = whole * (
            Y * X
            + gap * outside_B * _norm(Ck / sk[:, None] ** 2)
            + gap * _norm(Bk / sk**2) * outside_C
        )
        if k:
            by_A += c * eps * whole**2 * outside_B * outside_C / sk[-1] ** 3
        by_A *= c * eps
        by_blocks = c * eps * (size_B * X + Y * size_C)
        digit = min(by_A, 0.1 * max(size_B * X, Y * size_C)) + by_blocks
        # Singular values that are there, but far below rounding, have an exact answer or none.
        floor = by_A + by_blocks if not k or sk[-1] > 0.1 * eps * s[0] else digit
        natural = eps * size_B * size_C / whole
        answers.append(Answer(k, *(each / top for each in (value, floor, digit, natural))))
    return answers


@dataclass(frozen=True)
class Verdict:
    """What became of one problem."""

    outcome: str  # right, flagged, silent, refused, crashed
    error: float = 0.0  # of the nearest right answer, relative
    estimate: float = 0.0
    excess: float = 0.0  # error over what is allowed
    note: str = ""


def judge(value: Array, estimate: float, answers: list[Answer]) -> tuple[float, float, float]:
    """Error, and excess over what is allowed: with the floor, and with that for a digit.

    Against the nearest right answer each; right if the excess is at most 1.
    """
    wide = value.astype(np.clongdouble if value.dtype.kind == "c" else np.longdouble)
    # Denormal numbers have an absolute precision.
    least = np.longdouble(np.finfo(value.dtype).smallest_subnormal) * (1 + value.size**0.5)
    if not np.isfinite(value).all():
        return np.inf, np.inf, np.inf
    found = []
    for answer in answers:
        distance, size = _norm(wide - answer.value), _norm(answer.value)
        claimed = SLACK * np.longdouble(estimate) * max(_norm(wide), size, answer.natural) + least
        error = distance / size if size else distance
        floors = answer.floor, answer.digit
        found.append((error, *(distance / (claimed + floor) for floor in floors)))
    error = min(found, key=lambda each: each[1])[0]
    return float(error), *(float(min(each[i] for each in found)) for i in (1, 2))


def _too_large(value: Array, answers: list[Answer]) -> bool:
    """Whether an answer is beyond the range of the dtype."""
    return any(
        float(np.abs(answer.value).max(initial=0)) > 0.1 * float(np.finfo(value.dtype).max)
        for answer in answers
    )


def run(case: Case, answers: list[Answer] | None = None) -> Verdict:
    """Solve and judge."""
    names = ("ridge", "rank", "cutoff")
    if answers is None:
        spectral = {name: case.options[name] for name in names if name in case.options}
        answers = reference(case.A, case.B, case.C, **spectral)
    if not answers:
        return Verdict("undetermined")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = case.solve()
        except np.linalg.LinAlgError as error:
            return Verdict("refused", note=str(error)[:80])
        except ValueError as error:
            if "square" in str(error):  # LU
                return Verdict("refused", note=str(error)[:80])
            return Verdict("crashed", note=traceback.format_exc(limit=-3))
        except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
            return Verdict("crashed", note=traceback.format_exc(limit=-3))
    warned = [w for w in caught if issubclass(w.category, eagle.ConvergenceWarning)]
    others = [w for w in caught if not issubclass(w.category, eagle.ConvergenceWarning)]
    if others:
        return Verdict("crashed", note=f"{others[0].filename}: {others[0].message}")
    if isinstance(result, eagle.Result) and result.converged is bool(warned):
        note = f"status {result.status.name} and {len(warned)} warnings"
        return Verdict("crashed", note=note)
    if case.copies:  # each has probes of its own; a warning is about any of them
        result = result[-1] if isinstance(result, np.ndarray) else result.results[-1]
    if isinstance(result, np.ndarray):
        value, estimate, converged, status = result, 0.0, not warned, "CONVERGED"
    else:
        value, estimate = result.value, result.error_estimate
        converged, status = result.converged, result.status.name
    # What is as accurate as was asked for is not wrong.
    promise = case.options.get("rtol") or getattr(case.instance, "default_rtol", None) or 0.0
    estimate = max(estimate, promise / SLACK)
    error, excess, strict = judge(value, estimate, answers)
    if excess <= 1:
        outcome = "flagged right" if not converged else "right" if strict <= 1 else "no digits"
        return Verdict(outcome, error, estimate, excess)
    outcome = "SILENT" if converged else "flagged"
    if not converged and _too_large(value, answers):
        outcome = "flagged overflow"
    return Verdict(outcome, error, estimate, excess, status)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def rivals(case: Case, answers: list[Answer]) -> dict[str, str]:
    """The same problem through least squares elsewhere: X = lstsq(A, C), then ``B X``."""
    A, B = case.A, case.B
    C = np.eye(len(A), dtype=A.dtype) if case.C is None else case.C
    torch = _torch()
    calls: dict[str, Callable[[], Array]] = {
        f"scipy {name}": lambda name=name: scipy.linalg.lstsq(A, C, lapack_driver=name)[0]
        for name in ("gelsd", "gelsy")
    }
    if torch is not None:
        for name in ("gelsy", "gels", "gelsd"):
            calls[f"torch {name}"] = lambda name=name: torch.linalg.lstsq(
                torch.from_numpy(A.copy()), torch.from_numpy(C.copy()), driver=name
            ).solution.numpy()
    outcomes = {}
    for name, call in calls.items():
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            try:
                X = call()
                value = X if B is None else B @ X
            except (np.linalg.LinAlgError, RuntimeError, ValueError):
                outcomes[name] = "flagged"
                continue
        if caught or not np.isfinite(value).all():
            outcomes[name] = "flagged"
        else:
            _, excess, strict = judge(value, 0.0, answers)
            outcomes[name] = "SILENT" if excess > 1 else "right" if strict <= 1 else "no digits"
    return outcomes


@dataclass
class Tally:
    """Counts of outcomes, and what to look at."""

    done: int = 0
    ours: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    theirs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path, seed: int) -> None:
        """Write, in one piece."""
        temporary = path.with_suffix(".part")
        content = {
            "seed": seed,
            "done": self.done,
            "ours": [[*key, count] for key, count in sorted(self.ours.items())],
            "theirs": [[*key, count] for key, count in sorted(self.theirs.items())],
            "failures": self.failures,
        }
        temporary.write_text(json.dumps(content, indent=0, ensure_ascii=False))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path, seed: int) -> Tally:
        """What an earlier run left."""
        content = json.loads(path.read_text())
        if content["seed"] != seed:
            raise SystemExit(f"{path} belongs to seed {content['seed']}")
        ours, theirs = (
            Counter({tuple(row[:3]): row[3] for row in content[name]})
            for name in ("ours", "theirs")
        )
        return cls(content["done"], ours, theirs, content["failures"])


def _describe(case: Case, verdict: Verdict) -> dict[str, Any]:
    return {
        "index": case.index,
        "family": case.family,
        "blocks": case.blocks,
        "shape": list(case.A.shape),
        "dtype": case.A.dtype.name,
        "function": case.function,
        "method": str(case.instance),
        "copies": case.copies,
        "options": {name: float(value) for name, value in case.options.items()},
        "outcome": verdict.outcome,
        "error": verdict.error,
        "estimate": verdict.estimate,
        "excess": verdict.excess,
        "note": verdict.note,
    }


def one(index: int, seed: int, tally: Tally, *, compare: bool) -> tuple[Case, Verdict]:
    """Problem number `index`, counted."""
    case = draw(index, seed)
    spectral = {k: v for k, v in case.options.items() if k in ("ridge", "rank", "cutoff")}
    answers = reference(case.A, case.B, case.C, **spectral)
    verdict = run(case, answers)
    tally.ours[case.family, case.method, verdict.outcome] += 1
    if verdict.outcome in ("SILENT", "crashed"):
        tally.failures.append(_describe(case, verdict))
    if compare and not spectral:
        for name, outcome in rivals(case, answers).items():
            tally.theirs[case.family, name, outcome] += 1
    tally.done = index + 1
    return case, verdict


def _tables(report: Report, tally: Tally) -> None:
    outcomes = ("right", "flagged right", "flagged", "flagged overflow", "refused", "undetermined")
    outcomes += ("no digits",)
    bad = ("SILENT", "crashed")

    def rows(counts: Counter[tuple[str, str, str]], place: int, names: list[str]) -> None:
        for name in names:
            cells = Counter()
            for key, count in counts.items():
                if key[place] == name:
                    cells[key[2]] += count
            report.row(
                name=name,
                problems=sum(cells.values()),
                **{outcome.replace(" ", "_"): cells[outcome] for outcome in (*outcomes, *bad)},
            )

    report.section("Ours, by method")
    rows(tally.ours, 1, sorted({key[1] for key in tally.ours}))
    report.section("Ours, by family")
    rows(tally.ours, 0, sorted({key[0] for key in tally.ours}))
    if tally.theirs:
        report.section("Rivals, on the problems without ridge, rank and cutoff")
        rows(tally.theirs, 1, sorted({key[1] for key in tally.theirs}))
        report.section("Silent wrong answers by family")
        for family in sorted({key[0] for key in tally.ours}):
            ours = sum(c for k, c in tally.ours.items() if k[0] == family and k[2] == "SILENT")
            cells = {name: tally.theirs[family, name, "SILENT"] for name in _names(tally)}
            report.row(family=family, eagle=ours, **cells)
    silent = sum(count for key, count in tally.ours.items() if key[2] == "SILENT")
    crashed = sum(count for key, count in tally.ours.items() if key[2] == "crashed")
    report.say(
        f"\n{tally.done} problems: {silent} silent wrong answers, {crashed} crashes or stray "
        "warnings"
    )


def _names(tally: Tally) -> list[str]:
    return sorted({key[1] for key in tally.theirs})


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; with a checkpoint it goes on where the last call ended."""
    parser = command_line("fuzz", __doc__)
    parser.add_argument("--problems", type=int, help="how many; 5000 unless told, 200 with --quick")
    parser.add_argument("--start", type=int, default=0, help="first problem")
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so long")
    parser.add_argument("--checkpoint", type=Path, help="file to go on from")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--replay", type=int, metavar="INDEX", help="one problem, in detail")
    arguments = parser.parse_args(argv)
    problems = arguments.problems or (200 if arguments.quick else 5000)
    if arguments.replay is not None:
        case, verdict = one(arguments.replay, arguments.seed, Tally(), compare=False)
        print(json.dumps(_describe(case, verdict), indent=1, ensure_ascii=False))
        return 0
    report = Report("fuzz")
    tally = Tally(arguments.start)
    if arguments.checkpoint and arguments.checkpoint.exists():
        tally = Tally.load(arguments.checkpoint, arguments.seed)
    begun = time.perf_counter()
    last = begun
    while tally.done < problems:
        one(tally.done, arguments.seed, tally, compare=not arguments.no_rivals)
        now = time.perf_counter()
        if arguments.checkpoint and now - last > 20:
            tally.save(arguments.checkpoint, arguments.seed)
            last = now
        if now - begun > arguments.seconds:
            break
    if arguments.checkpoint:
        tally.save(arguments.checkpoint, arguments.seed)
    _tables(report, tally)
    for failure in tally.failures[:20]:
        report.say(json.dumps(failure, ensure_ascii=False))
    report.save(arguments.json)
    return 1 if tally.failures else 0
