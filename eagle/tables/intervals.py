"""How far filled entries are from the truth: expected errors and intervals for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CLAIM = 10  # errors that the claim of a model counts for
OWN = 100  # left-out errors of a column from which it has quantiles of its own


@dataclass(frozen=True)
class Spread:
    """What left-out rows tell of the errors of others.

    The error of column j in a row of leverage h has standard deviation ``sigma_j sqrt(1 + h)``, as
    in a linear model: the noise of the entry and the uncertainty of what predicts it. Errors in
    these units, of entries that were left out, are the scores of a conformal interval [1]_.

    Attributes
    ----------
    sigma : ndarray (n_hidden,)
        Such that these variances sum to the squares of the left-out errors.
    scores : list of ndarray
        For each column the sizes of its left-out errors, ascending, in their standard deviations;
        those of all columns if it has few.
    rows : int
        How many rows they come from: errors of one row go together.

    References
    ----------
    .. [1] Barber, Candes, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals of
       Statistics 49 (2021), equation 1.2; locally weighted as in Lei et al., "Distribution-free
       predictive inference for regression", JASA 113 (2018), section 5.2.
    """

    sigma: np.ndarray
    scores: list[np.ndarray] = field(repr=False)
    rows: int

    @classmethod
    def of(
        cls, errors: np.ndarray, leverages: np.ndarray, units: np.ndarray | None = None
    ) -> Spread:
        """From the errors (rows, n_hidden) of left-out entries, NaN elsewhere.

        `leverages` are (rows,) or (rows, n_hidden). `units` (n_hidden,) are standard deviations
        that a model claims: they count as some errors in each column, times what all columns say
        of such claims.
        """
        if leverages.ndim == 1:
            leverages = leverages[:, None]
        given = 1.0 if units is None else units
        known = ~np.isnan(errors)
        squares = np.where(known, (np.abs(errors) / given) ** 2, 0).sum(axis=0)
        variances = np.where(known, 1 + leverages, 0).sum(axis=0)
        if units is not None:
            squares = squares + CLAIM * squares.sum() / max(variances.sum(), 1)
            variances = variances + CLAIM
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes = np.sqrt(squares / variances)
        scores = np.abs(errors) / np.sqrt(1 + leverages) / given / np.where(sizes > 0, sizes, 1)
        own = [np.sort(scores[known[:, j], j]) for j in range(errors.shape[1])]
        pooled = np.sort(scores[known])
        rows = int(known.any(axis=1).sum())
        return cls(sizes * given, [each if len(each) >= OWN else pooled for each in own], rows)

    def errors(self, leverages: np.ndarray) -> np.ndarray:
        """Expected errors (rows, n_hidden) at leverages (rows,) or (rows, n_hidden)."""
        if leverages.ndim == 1:
            leverages = leverages[:, None]
        return np.sqrt(1 + leverages) * self.sigma

    def factors(self, coverage: float) -> np.ndarray:
        """Half the width of the interval of each column, in expected errors; NaN if unknown.

        Of the scores it is the quantile of level ``coverage (1 + 1 / rows)``, at most the largest.
        """
        level = min(1.0, coverage * (1 + 1 / max(self.rows, 1)))
        return np.array(
            [
                each[int(np.ceil(level * len(each))) - 1] if len(each) else np.nan
                for each in self.scores
            ]
        )
