"""Matrices that least-squares solvers are known to stumble over.

Each family takes a Generator and the shape, and gives float64 or complex128.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import eagle

Array = np.ndarray


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
