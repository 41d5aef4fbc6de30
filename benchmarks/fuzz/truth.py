"""The truth in extended precision, and whether a value is right.

**Right**: ``B A^+ C`` is not continuous in A, so "the" answer of a matrix whose rank is within
rounding is one of several. A value is right if, for some rank k with
``||A - A_k|| <= c eps ||A||``, it lies within ``max(10 error_estimate, rtol) |value| + floor``
of ``D_k = B A_k^+ C``, with ``c = 100 sqrt(max(d, n))``. The floor is what perturbations of A, B
and C by c eps do to D_k: in other words, a value is also right if it is the answer of blocks that
agree with the given ones to ``c eps``. With ``X = A_k^+ C``, ``Y = B A_k^+`` and
``e = c eps ||A||`` it is::

    e (|Y| |X| + |B - B_k| |A_k^+ A_k^+H C| + |B A_k^+ A_k^+H| |C - C_k|)
        + e^2 |B - B_k| |C - C_k| / sigma_k^3 + c eps (|B| |X| + |Y| |C|)

Between ``D_(k-1)`` and ``D_k``, if both ranks are possible, lies what a change of ``sigma_k`` by
no more than that makes of it: what is near to that segment is right, too, without a digit.

**Silently wrong**: not right, with the status CONVERGED and no warning. The rivals have no
estimate; theirs is taken to be zero, and an exception or a value that is not a number counts as a
word. *No digits* counts what is right only because the blocks determine hardly a digit of the
answer: the part of the floor due to A is more than a tenth of ``max(|B| |X|, |Y| |C|)``, and the
estimate did not say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.linalg

SLACK = 10.0  # times the estimate: the tails of a chi-squared distribution
CONSTANT = 100.0  # c above, but for the square root
OUTCOMES = (
    "right", "flagged right", "flagged", "flagged overflow", "refused", "undetermined", "no digits",
    "SILENT", "crashed",
)  # fmt: skip
Array = np.ndarray


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


def _svd_in_double(X: Array) -> tuple[Array, Array, Array]:
    """The same as LAPACK has it."""
    narrow = X.astype(np.complex128 if X.dtype.kind == "c" else np.float64)
    U, s, Vh = scipy.linalg.svd(narrow, lapack_driver="gesvd", full_matrices=False)
    return U.astype(X.dtype), s.astype(np.longdouble), Vh.conj().T.astype(X.dtype)


def norm(X: Array) -> Any:
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

    With a ridge, of the matrix ``[A mu I]`` that the ridge stands for. Empty if a rank was asked
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
    # For single precision double is more than enough.
    U, s, V = _svd(A / top) if eps < 1e-10 else _svd_in_double(A / top)
    whole, c = norm(s), CONSTANT * max(d, n) ** 0.5
    BV, UC = B @ V, U.conj().T @ C
    size_B, size_C = norm(B), norm(C)
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
        X, Y = norm(Ck / sk[:, None]), norm(Bk / sk)
        outside_B = norm(B - Bk @ V[:, :k].conj().T)
        outside_C = norm(C - U[:, :k] @ Ck)
        # A truncated matrix turns by more than A does, the more so the smaller the gap.
        following = s[k] if k < len(s) else 0
        gap = sk[-1] / (sk[-1] - following) if k and sk[-1] > following else 1
        if (rank or cutoff) and k and sk[-1] - following <= c * eps * whole:
            return []  # there is no k-th best approximation
        by_A = whole * (
            Y * X
            + gap * outside_B * norm(Ck / sk[:, None] ** 2)
            + gap * norm(Bk / sk**2) * outside_C
        )
        if k:
            by_A += c * eps * whole**2 * outside_B * outside_C / sk[-1] ** 3
        by_A *= c * eps
        by_blocks = c * eps * (size_B * X + Y * size_C)
        digit = min(by_A, 0.1 * max(size_B * X, Y * size_C)) + by_blocks
        # Singular values that are there, but far below rounding, have an exact answer or none.
        floor = by_A + by_blocks if not k or sk[-1] > 0.1 * eps * s[0] else digit
        natural = eps * size_B * size_C / whole
        value = (Bk / sk) @ Ck
        answers.append(Answer(k, *(each / top for each in (value, floor, digit, natural))))
    return answers


@dataclass(frozen=True)
class Verdict:
    """What became of one problem."""

    outcome: str  # one of OUTCOMES
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
        distance, size = norm(wide - answer.value), norm(answer.value)
        claimed = _claimed(estimate, max(norm(wide), size, answer.natural)) + least
        error = distance / size if size else distance
        floors = answer.floor, answer.digit
        found.append((error, *(distance / (claimed + floor) for floor in floors)))
    for lower, upper in pairwise(answers):
        distance, part = _between(wide, lower.value, upper.value)
        claimed = _claimed(estimate, norm(wide)) + least
        floor = (1 - part) * lower.floor + part * upper.floor
        found.append((distance / norm(wide), distance / (claimed + floor), np.longdouble(np.inf)))
    error = min(found, key=lambda each: each[1])[0]
    return float(error), *(float(min(each[i] for each in found)) for i in (1, 2))


def _claimed(estimate: float, size: Any) -> Any:
    """The error that an estimate allows; none of a size of zero, however large the estimate."""
    return SLACK * np.longdouble(estimate) * size if size else np.longdouble(0)


def _between(value: Array, start: Array, stop: Array) -> tuple[Any, Any]:
    """Distance from a segment, and where on it the nearest point is, from 0 to 1."""
    along, size = stop - start, norm(stop - start)
    if not (0 < size < np.inf) or not norm(value):
        return np.longdouble(np.inf), np.longdouble(0)
    unit = along / size
    part = np.clip((unit.conj() * ((value - start) / size)).sum().real, 0, 1)
    return norm(value - start - part * along), part


def too_large(value: Array, answers: list[Answer]) -> bool:
    """Whether an answer is beyond the range of the dtype."""
    return any(
        float(np.abs(answer.value).max(initial=0)) > 0.1 * float(np.finfo(value.dtype).max)
        for answer in answers
    )
