"""Which points stand for the others in a Nyström approximation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from sklearn.cluster import KMeans
from sklearn.utils import check_array, gen_batches

from eagle.problem.result import callers_level

NAMES = ("uniform", "kmeans", "leverage")
LLOYD = 10  # iterations of k-means; more do not lower the kernel error any further
BATCH = 2**20  # entries of a kernel held at a time
STRIP = 64  # rows of the kernel that are computed to get as many diagonal entries

# Kernel between rows and rows of the training data, both given by their indices.
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def given(landmarks: Any, X: Any, *, points: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
    """An array of landmarks as indices of rows of X, or as points; the other one is None."""
    array = check_array(
        landmarks,
        input_name="landmarks",
        ensure_2d=False,
        dtype=None if np.ndim(landmarks) == 1 else [X.dtype, np.float64, np.float32],
    )
    rows, width = X.shape
    if array.ndim == 1:
        if array.dtype.kind not in "iu":
            raise ValueError(
                "landmarks must be 1-D integers, indices of rows of X, or a 2-D array of points, "
                f"got 1-D {array.dtype}"
            )
        if array.min() < 0 or array.max() >= rows:
            raise ValueError(
                f"landmarks must be indices from 0 to {rows - 1}, rows of X, got "
                f"{array.min()} to {array.max()}"
            )
        return array.astype(np.int64), None
    if not points:
        raise ValueError(
            "landmarks must be 1-D integers, indices of rows of X, with kernel='precomputed', "
            f"got shape {array.shape}"
        )
    if array.shape[1] != width:
        raise ValueError(
            f"landmarks with shape {array.shape} must have as many columns as X with shape "
            f"{X.shape}"
        )
    return None, array


def count(wanted: int, rows: int) -> int:
    """`wanted` landmarks, or all rows, with a warning, if there are not as many."""
    if wanted > rows:
        warnings.warn(
            f"n_components={wanted} > n_samples={rows}. This is not possible: all {rows} rows of "
            "X become landmarks, which is the full kernel and saves nothing.",
            UserWarning,
            stacklevel=callers_level(),
        )
    return min(wanted, rows)


def uniform(rows: int, size: int, random: np.random.RandomState) -> np.ndarray:
    """`size` of `rows` indices, all equally likely; the ones that scikit-learn takes."""
    return random.permutation(rows)[:size]


def kmeans(X: Any, size: int, random: np.random.RandomState) -> np.ndarray:
    """The centres of k-means clusters (Zhang, Tsang, Kwok, ICML 2008)."""
    clusters = KMeans(size, n_init=1, max_iter=LLOYD, random_state=random).fit(X)
    return clusters.cluster_centers_


def leverage(kernel: Kernel, rows: int, size: int, random: np.random.RandomState) -> np.ndarray:
    """Rows drawn by approximate ridge leverage scores.

    The score of row i is ``(K (K + ridge I)^-1)_ii``, how much it matters to the kernel. Scores are
    computed from a sample of half the rows, whose scores come from half of them, and so on:
    [1]_, algorithm 3, with the fixed sample size of the authors' program. About ``rows * size``
    kernel entries are computed in all.

    References
    ----------
    .. [1] Musco, Musco, "Recursive sampling for the Nyström method", NeurIPS 2017.
    """
    order = random.permutation(rows)
    diagonal = np.empty(rows)
    for strip in gen_batches(rows, STRIP):
        each = np.arange(rows)[strip]
        diagonal[strip] = np.diagonal(kernel(each, each))
    levels = [rows]
    while levels[-1] > size:
        levels.append(-(-levels[-1] // 2))
    sample, weights = order[: levels[-1]], np.ones(levels[-1])
    oversampling = max(1.0, np.log(size))
    for level in reversed(levels[:-1]):
        pool = order[:level]
        scores = _scores(kernel, diagonal, pool, sample, weights, size / (4 * oversampling))
        if level == rows:
            break
        chances = np.minimum(1.0, oversampling * scores)
        drawn = random.uniform(size=level) < chances
        if not drawn.any():
            drawn[:size], chances[:size] = True, 1.0
        sample, weights = pool[drawn], chances[drawn] ** -0.5
    else:
        return order[:size]
    # Every row can be drawn, so that there are always enough.
    chances = np.maximum(scores, np.finfo(float).eps * max(scores.max(), 1.0))
    return order[random.choice(rows, size, replace=False, p=chances / chances.sum())]


def _scores(
    kernel: Kernel,
    diagonal: np.ndarray,
    pool: np.ndarray,
    sample: np.ndarray,
    weights: np.ndarray,
    effective: float,
) -> np.ndarray:
    """Ridge leverage scores of `pool` from a weighted `sample` of it.

    The ridge is the mean of what the best approximation of rank `effective` leaves.
    """
    K = kernel(sample, sample)
    size, top = len(sample), int(np.ceil(effective))
    weighted = weights[:, None] * K * weights
    values = scipy.linalg.eigvalsh(weighted)[::-1]
    floor = size * np.finfo(float).eps * max(abs(values[0]), abs(values[-1]))
    ridge = max(float(values[top:].sum()) / top, floor, np.finfo(float).tiny)
    factor = scipy.linalg.lu_factor(K + np.diag(ridge / weights**2))
    scores = np.empty(len(pool))
    for batch in gen_batches(len(pool), max(1, BATCH // size)):
        rows = kernel(pool[batch], sample)
        explained = (rows.T * scipy.linalg.lu_solve(factor, rows.T)).sum(axis=0)
        scores[batch] = np.clip((diagonal[pool[batch]] - explained) / ridge, 0.0, 1.0)
    return scores
