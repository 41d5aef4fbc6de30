"""What factors leave of a table, filled from the rows that are most alike.

Factors are linear. Where rows repeat themselves, as days do, what they leave of one row is like
what they leave of another [1]_.

References
----------
.. [1] Troyanskaya et al., "Missing value estimation methods for DNA microarrays", Bioinformatics 17
   (2001), for neighbours; Rasmussen, Williams, "Gaussian Processes for Machine Learning" (2006),
   section 2.7, for a linear part and another that takes what it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from eagle.tables.validation import SIGNIFICANT

COUNTS = (5, 20)  # neighbours: few where rows are copies, more where they are cousins
DONORS = 10_000  # rows among which they are looked for
CHUNK = 4_000_000  # distances at a time


@dataclass(frozen=True)
class Neighbours:
    """Rows, and what the factors leave of each.

    Attributes
    ----------
    rows : ndarray (n_rows, n_columns)
        Filled, in the units of the factors.
    left : ndarray (n_rows, n_columns)
        What the factors leave of each entry if it is left out; NaN where nothing was observed.
    count : int
        How many rows are asked.
    share : float
        How much of what they say is taken.
    """

    rows: np.ndarray = field(repr=False)
    left: np.ndarray = field(repr=False)
    count: int
    share: float

    @classmethod
    def of(cls, rows: np.ndarray, left: np.ndarray, count: int, share: float) -> Neighbours:
        """Of at most ``DONORS`` rows, evenly spread."""
        some = slice(None, None, -(-len(rows) // DONORS))
        return cls(rows[some], left[some], count, share)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """What is to be added to the entries of filled rows."""
        (found,) = means(self.rows, self.left, rows, (self.count,))
        return self.share * found


def means(
    rows: np.ndarray, left: np.ndarray, like: np.ndarray, counts: tuple[int, ...]
) -> list[np.ndarray]:
    """What is left of the nearest rows, on average, for each count.

    A row finds itself, which has nothing to say of what it misses. One more that has nothing left
    counts too: of an entry that few neighbours have, little is said.

    Parameters
    ----------
    rows, left : ndarray (n_rows, n_columns)
        As in `Neighbours`.
    like : ndarray (n, n_columns)
        Filled rows whose neighbours are asked.
    counts : tuple of int
        In ascending order.

    Returns
    -------
    list of ndarray (n, n_columns)
    """
    found = [np.empty(like.shape) for _ in counts]
    known, said = ~np.isnan(left), np.nan_to_num(left)
    lengths, most = (rows**2).sum(axis=1), min(counts[-1], len(rows))
    for some in _chunks(len(like), max(len(rows), most * like.shape[1])):
        distances = lengths - 2 * like[some] @ rows.T  # but for what all have in common
        nearest = np.argpartition(distances, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1)
        nearest = np.take_along_axis(nearest, order, axis=1)
        for target, count in zip(found, counts, strict=True):
            asked = nearest[:, :count]
            target[some] = said[asked].sum(axis=1) / (known[asked].sum(axis=1) + 1)
    return found


def choose(errors: np.ndarray, said: list[np.ndarray]) -> tuple[int, float] | None:
    """Which count, and what share of it, takes most of the errors of left-out entries.

    Parameters
    ----------
    errors : ndarray (n, n_columns)
        Of left-out entries in the units of the factors, NaN elsewhere.
    said : list of ndarray (n, n_columns)
        For each of `COUNTS` what the neighbours say.

    Returns
    -------
    int, float
        The place in `COUNTS`, and the share: a regression of the errors. None if no share differs
        from 0 by `SIGNIFICANT` standard errors, each row being one observation.
    """
    best, chosen = 0.0, None
    for place, each in enumerate(said):
        products = np.nansum(errors * each, axis=1)
        whole = float(np.where(np.isnan(errors), 0, each**2).sum())
        sum_, deviation = float(products.sum()), float(np.sqrt((products**2).sum()))
        if sum_ > SIGNIFICANT * deviation and sum_**2 > best * whole:
            best, chosen = sum_**2 / whole, (place, sum_ / whole)
    return chosen


def _chunks(n: int, size: int) -> Iterator[slice]:
    step = max(1, CHUNK // size)
    return (slice(start, start + step) for start in range(0, n, step))
