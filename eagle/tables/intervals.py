"""How far filled entries are from the truth: expected errors and intervals for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

NEWTON = 20  # steps, of which a few do
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
        By which such variances sum to the squares of the left-out errors.
    scores : list of ndarray
        For each column the sizes of its left-out errors, ascending, in their standard deviations,
        with `units` in those that the others tell; of all columns if it has few.
    number : float
        How many independent ones they are worth: errors of one row go together.

    References
    ----------
    .. [1] Barber, Candes, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals of
       Statistics 49 (2021), equation 1.2; locally weighted as in Lei et al., "Distribution-free
       predictive inference for regression", JASA 113 (2018), section 5.2.
    """

    sigma: np.ndarray
    scores: list[np.ndarray] = field(repr=False)
    number: float

    @classmethod
    def of(
        cls,
        errors: np.ndarray,
        leverages: np.ndarray,
        units: np.ndarray | None = None,
        independent: float | None = None,
    ) -> Spread:
        """From the errors (rows, n_hidden) of left-out entries, NaN elsewhere.

        `leverages` are (rows,) or (rows, n_hidden). With `units` (n_hidden,), in which columns are
        alike, the variances of columns with few errors draw near that of all, as much as their
        scatter says (`prior_weight`). `independent` is how many of the rows count; all by default.
        """
        if leverages.ndim == 1:
            leverages = leverages[:, None]
        given = np.ones(errors.shape[1]) if units is None else units
        known = ~np.isnan(errors)
        each = 1.0 if independent is None else independent / len(errors)
        squares = np.where(known, (np.abs(errors) / given) ** 2, 0)
        weights = np.where(known, 1 + leverages, 0)
        counts = known.sum(axis=0) * each
        whole, weight = squares.sum(axis=0), weights.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            own = whole / weight
            if units is None:
                others = own
            else:
                shared, prior = whole.sum() / weight.sum(), prior_weight(own, counts)
                # An error must not set the size that it is measured by: of a few, none is large.
                others = drawn((whole - squares) / (weight - weights), counts - each, shared, prior)
                own = drawn(own, counts, shared, prior)
            scores = np.sqrt(squares / np.where(others > 0, others, 1) / weights)
        of_columns = [np.sort(scores[known[:, j], j]) for j in range(errors.shape[1])]
        pooled = np.sort(scores[known])
        # A whole row that was left out is one sample, of scattered entries it is to be seen.
        number = float(len(errors)) if known.all() else independent_scores(scores)
        scores_of = [one if len(one) >= OWN else pooled for one in of_columns]
        return cls(np.sqrt(own) * given, scores_of, number)

    def errors(self, leverages: np.ndarray) -> np.ndarray:
        """Expected errors (rows, n_hidden) at leverages (rows,) or (rows, n_hidden)."""
        if leverages.ndim == 1:
            leverages = leverages[:, None]
        return np.sqrt(1 + leverages) * self.sigma

    def factors(self, coverage: float) -> np.ndarray:
        """Half the width of the interval of each column, in expected errors; NaN if unknown.

        Of the scores it is the quantile of level ``coverage (1 + 1 / number)``, at most the
        largest.
        """
        level = min(1.0, coverage * (1 + 1 / max(self.number, 1)))
        return np.array(
            [
                each[int(np.ceil(level * len(each))) - 1] if len(each) else np.nan
                for each in self.scores
            ]
        )


def prior_weight(variances: np.ndarray, counts: np.ndarray) -> float:
    """How many errors the variance of all columns counts for in that of each.

    If true variances scatter like a scaled inverse chi-squared variable of so many degrees of
    freedom, logarithms of variances from `counts` errors scatter by ``trigamma(counts / 2) +
    trigamma(weight / 2)`` [1]_. Infinite if they scatter no more than equal ones would.

    References
    ----------
    .. [1] Smyth, "Linear models and empirical Bayes methods for assessing differential expression
       in microarray experiments", Statistical Applications in Genetics and Molecular Biology 3
       (2004), section 6.2.
    """
    from scipy.special import polygamma

    told = (counts > 0) & (variances > 0)
    if np.count_nonzero(told) < 2:
        return np.inf
    chance = float(polygamma(1, counts[told] / 2).mean())
    excess = float(np.log(variances[told]).var(ddof=1)) - chance
    if excess <= 0:
        return np.inf
    half = 0.5 + 1 / excess  # Newton's method for 1 / trigamma, which is convex, from below
    for _ in range(NEWTON):
        value = float(polygamma(1, half))
        half += value * (1 - value / excess) / float(polygamma(2, half))
    return 2 * half


def drawn(variances: np.ndarray, counts: np.ndarray, shared: float, prior: float) -> np.ndarray:
    """Variances from `counts` errors each, drawn near the shared one as if that had `prior`."""
    weight = 1 / (1 + counts / prior)
    return np.where(counts > 0, variances + weight * (shared - variances), shared)


def independent_scores(scores: np.ndarray) -> float:
    """How many independent scores tell as much of their distribution as these, row by row.

    Their number over the design effect of a sample in clusters [1]_: how much more the mean
    scatters than that of independent ones, by sums over rows. At least one for each row that has
    any.

    Parameters
    ----------
    scores : ndarray (n, n_columns)
        NaN where there is none.

    References
    ----------
    .. [1] Kish, "Survey Sampling" (1965), sections 5.4 and 8.2.
    """
    known = ~np.isnan(scores)
    count, rows = int(known.sum()), int(known.any(axis=1).sum())
    if rows < 2:
        return float(rows)
    apart = np.where(known, scores - scores[known].mean(), 0)
    independent, found = float((apart**2).sum()), float((apart.sum(axis=1) ** 2).sum())
    effect = max(1.0, found / independent) if independent else 1.0
    return max(float(rows), count / effect)


def independent_errors(runs: np.ndarray) -> float:
    """How many independent errors tell as much of a variance as those of `runs`, which go on.

    Bartlett's formula [1]_ for errors whose correlation falls like ``r^k``: ``n (1 - r^2) /
    (1 + r^2)`` of n.

    Parameters
    ----------
    runs : ndarray (n_runs, n, n_columns)
        In their order.

    References
    ----------
    .. [1] Bartlett, "On the theoretical specification and sampling properties of autocorrelated
       time-series", Supplement to the Journal of the Royal Statistical Society 8 (1946).
    """
    count = runs.shape[0] * runs.shape[1]
    sizes = np.sqrt((np.abs(runs) ** 2).mean(axis=(0, 1)))
    scaled = runs / np.where(sizes > 0, sizes, 1)
    before, after = scaled[:, :-1], scaled[:, 1:]
    whole = float(np.linalg.norm(before) * np.linalg.norm(after))
    if whole == 0:
        return float(count)
    r = float((after * before.conj()).sum().real) / whole
    return max(1.0, count * (1 - r**2) / (1 + r**2))
