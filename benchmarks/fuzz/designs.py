"""Designs as users fit them: trends, years, time stamps, dummies, interactions, lags, money.

The reference is the exact minimum-norm solution for the data as given, rounded once. In single
precision numpy solves the same data, too: it computes in double.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz import exact
from benchmarks.fuzz.cases import PATIENCE, SLOW, Case
from benchmarks.fuzz.exact import rationals, rounded, unfactored
from benchmarks.fuzz.promise import Trial, forward

Array = np.ndarray
Rng = np.random.Generator
METHODS = {name: exact.METHODS[name] for name in exact.METHODS if "distributed" not in name}


def _dummies(rng: Rng, d: int) -> Array:
    """One column per level, the first left out half of the time."""
    levels = int(rng.integers(2, 7))
    return np.eye(levels)[rng.integers(0, levels, d)][:, int(rng.random() < 0.5) :]


def _polynomial(rng: Rng, d: int) -> Array:
    x = [np.arange(d), np.linspace(0, 1, d), rng.uniform(-2, 50, d)][rng.integers(3)]
    return x[:, None] ** np.arange(1, rng.integers(3, 6))


def _lags(rng: Rng, d: int) -> Array:
    walk = np.cumsum(rng.standard_normal(d + 3)) + 10 ** rng.uniform(0, 3)
    return np.stack([walk[k : d + k] for k in range(int(rng.integers(2, 5)))], axis=1)


def _correlated(rng: Rng, d: int) -> Array:
    x = rng.standard_normal((d, 1))
    return x + 10 ** rng.uniform(-5, 0) * rng.standard_normal((d, 2))


def _interaction(rng: Rng, d: int) -> Array:
    x, group = rng.normal(10 ** rng.uniform(0, 3), 1, (d, 1)), rng.integers(0, 2, (d, 1))
    return np.hstack([x, group, x * group])


COLUMNS = {
    "trend": lambda rng, d: np.arange(d)[:, None] + float(rng.integers(0, 2)),
    "years": lambda rng, d: 1950.0 + np.sort(rng.integers(0, 75, (d, 1)), axis=0),
    "time": lambda rng, d: 1.7e9 + rng.choice([60.0, 3600.0, 86400.0]) * np.arange(d)[:, None],
    "dummies": _dummies,
    "interaction": _interaction,
    "polynomial": _polynomial,
    "lags": _lags,
    "correlated": _correlated,
    "counts": lambda rng, d: rng.poisson(rng.choice([0.3, 5, 2000]), (d, 2)).astype(float),
    "money": lambda rng, d: np.round(
        10 ** rng.uniform(2, 8) * rng.lognormal(0, 1, (d, 2)), 2
    ),
    "measured": lambda rng, d: rng.standard_normal((d, int(rng.integers(1, 5)))),
}  # fmt: skip


def draw(index: int, seed: int = 0) -> tuple[Array, Array, dict[str, str]]:
    """Design number `index`: A, b and what tables tell apart."""
    rng = np.random.default_rng([seed, index, 16])
    dtype = np.dtype(np.float32 if rng.random() < 0.5 else np.float64)
    largest = 5.0 if rng.random() < 0.01 else 3.3
    d = int(10 ** rng.uniform(1.3, largest))
    names = [str(name) for name in rng.choice(list(COLUMNS), rng.integers(1, 6), replace=False)]
    columns = [np.asarray(COLUMNS[name](rng, d), dtype=float) for name in names]
    if rng.random() < 0.8:
        columns.insert(0, np.ones((d, 1)))
        names.insert(0, "constant")
    if len(names) > 1 and names[0] == "constant" and rng.random() < 0.1:
        columns.append(2 * columns[-1][:, :1])  # a column twice, in other units
    A = np.hstack(columns)[:, :30].astype(dtype)
    wide = A.astype(float)
    weights = rng.integers(1, 6, (A.shape[1], 1)).astype(float)
    if rng.random() < 0.5:  # every column explains as much
        weights /= np.maximum(np.linalg.norm(wide, axis=0), 1e-3)[:, None]
    b = wide @ weights
    if rng.random() < 0.7:
        b += np.std(b) * 10 ** rng.uniform(-4, 0.5) * rng.standard_normal(b.shape)
    kind = {"dtype": dtype.name, "columns": "+".join(names)}
    return A, b.astype(dtype), kind


def _determined(A: Array, rank: int) -> bool:
    """Whether no matrix of less than this rank has entries so near that the last bits are in doubt.

    Else the rank is made of rounding: a small right singular vector v, in double precision and with
    columns of like size, is a combination of columns that was zero if ``|A v|`` is no larger than
    the last bits of its terms.
    """
    wide = A.astype(float)
    sizes = np.linalg.norm(wide, axis=0)
    sizes = np.where(sizes > 0, sizes, 1)
    if np.linalg.matrix_rank(wide / sizes) < rank:
        return False
    bits = np.spacing(np.abs(A)).astype(float) / sizes
    v = np.linalg.svd(wide / sizes, full_matrices=False)[2][rank - 1]
    return bool(np.linalg.norm(wide / sizes @ v) > np.linalg.norm(bits @ np.abs(v)))


def trials(index: int, seed: int, methods: Sequence[str], folder: Path | None) -> list[Trial]:
    """Design number `index`, through ``"auto"`` and another method in turn."""
    A, b, kind = draw(index, seed)
    rational, names = rationals(A), dict.fromkeys((methods[0], methods[index % len(methods)]))
    if not _determined(A, (rational.transpose() * rational).rank()):
        return [Trial(index, name, "undetermined", kind=kind) for name in names]
    x = rounded(unfactored(rationals(np.eye(A.shape[1])), rational, rationals(b)))
    rival = np.nan
    if A.dtype == np.float32 and np.any(x):
        theirs = np.linalg.lstsq(A, b)[0]
        eps = float(np.finfo(np.float32).eps)  # of the answer: what rounding makes of it
        rival = max(float(np.linalg.norm(theirs - x) / np.linalg.norm(x)), eps)
    found = []
    for name in names:
        if name == "lu" and len(set(A.shape)) > 1:
            continue
        options: dict[str, Any] = {"maxiter": PATIENCE} if name in SLOW else {}
        function = name if name == "regressor" else "lstsq"
        case = Case(
            index, "design", A, None, b, "", function, name, METHODS[name](), options, A, index
        )  # fmt: skip
        found.append(forward(case, x, kind, rival))
    if folder and any(trial.failed for trial in found):
        np.savez_compressed(folder / f"designs-{seed}-{index}.npz", A=A, C=b, D=x, rng=index)
    return found
