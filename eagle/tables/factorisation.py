"""Holes anywhere: a table as means plus a few factors plus noise, fitted to what is observed.

``x_ij = mean_j + w_j . z_i + noise_j``: in turn, each row's factors z_i follow from its observed
entries by a small least-squares problem, and each column's loadings w_j from the rows that have it.
Both are batches of small systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eagle.tables import neighbours
from eagle.tables.holes import patterns
from eagle.tables.intervals import Spread
from eagle.tables.neighbours import COUNTS, Neighbours
from eagle.tables.validation import Wish

RANKS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29)
PATIENCE = 3  # ranks without gain before the search ends
GAIN = 0.99  # of the least error: what a larger rank has to get below
SOLVED = 1e-6  # standard deviations: there is nothing left to explain
FLOOR = 1e-15  # of the variance of a column: its least noise
SMALLEST = 1e-12  # of the loadings' covariance: directions below it have none
POOLED = 1.0  # observations' worth of the typical noise in that of each column
CONSTANT = 1e-14  # of a column's largest entry: deviations that rounding makes
CHUNK = 4_000_000  # numbers in a batch of systems
SAMPLE = 300  # rows whose filling shows whether it still changes
# Change that ends a fit, in standard deviations of the noise, and most sweeps.
ROUGH, CLOSE, FINE = (0.03, 40), (3e-3, 20), (3e-3, 500)
SETTLED = 0.9  # of the noise before a sweep: it does not fall any more
DRAWS = 5  # of what a row misses in addition, until it is something
ROWS = 2000  # that take part in the validation
FOLDS = {
    2000: 5,
    20_000: 3,
    200_000: 2,
}  # of tables with at most so many entries; of larger ones one


@dataclass(frozen=True)
class Factors:
    """A table's means, loadings and noise, in the units of its columns' `scale`.

    Attributes
    ----------
    mean, scale, noise : ndarray (n_columns,)
        What is taken from each column, what it is divided by then, and its variance that the
        factors leave.
    loadings : ndarray (n_columns, rank)
    uncertainty : ndarray (n_columns, rank, rank)
        Covariance of each column's loadings, over its noise.
    sweeps : int
        Of the fit.
    stationarity : float
        Change of the filling in the last of them, in standard deviations of the columns.
    neighbours : Neighbours or None
        What similar rows add, where validation found that they do.
    """

    mean: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    loadings: np.ndarray = field(repr=False)
    uncertainty: np.ndarray = field(repr=False)
    sweeps: int = 0
    stationarity: float = np.nan
    neighbours: Neighbours | None = field(default=None, repr=False)

    @property
    def rank(self) -> int:
        """How many factors there are."""
        return self.loadings.shape[1]

    def fill(self, X: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values for every entry, and how uncertain the factors make them.

        Returns
        -------
        values : ndarray (n, n_columns)
        leverages : ndarray (n, n_columns)
            ``w_j . C_i w_j / noise_j + z_i . U_j z_i`` with the covariance C_i of the factors z_i
            of row i and the `uncertainty` U_j of the loadings w_j of column j.
        """
        scores, leverages, told = self._posterior(X, missing)
        values = self.mean + scores @ self.loadings.T
        if self.neighbours is not None:
            values += self.neighbours(np.where(missing, values, X / self.scale))
        return values * self.scale, leverages + told

    def asked(self, X: np.ndarray, missing: np.ndarray, count: int, share: float) -> Factors:
        """With neighbours among the rows of X, see `eagle.tables.neighbours.Neighbours`."""
        return replace(self, neighbours=Neighbours.of(*self.left(X, missing), count, share))

    def left(self, X: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filled rows, and what the factors leave of each observed entry if it is left out.

        Both in the units of the factors. By the other entries of its row: ``(x - w . z) / (1 - h)``
        with h of the entry in the value that is fitted to it.
        """
        scores, leverages, _ = self._posterior(X, missing)
        values = self.mean + scores @ self.loadings.T
        # 1 - h; what is exact has nothing left.
        free = np.maximum(1 - leverages, np.sqrt(np.finfo(float).eps))
        left = np.where(missing, np.nan, (X / self.scale - values) / free)
        return np.where(missing, values, X / self.scale), left

    def _posterior(
        self, X: np.ndarray, missing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Factors of each row, and the two parts of its leverages, see `fill`."""
        (n, m), k = X.shape, self.rank
        centred = np.where(missing, 0, X / self.scale - self.mean)
        scores, leverages, told = np.zeros((n, k)), np.zeros((n, m)), np.zeros((n, m))
        for rows in _chunks(n, k) if k else ():
            weights = (~missing[rows]).astype(float)
            systems, right = _row_systems(self.loadings, self.noise, weights, centred[rows])
            covariances = np.linalg.inv(systems)
            leverages[rows] = covariances.reshape(len(weights), -1) @ _products(self.loadings).T
            leverages[rows] /= self.noise
            scores[rows] = (covariances @ right[:, :, None])[:, :, 0]
            told[rows] = _products(scores[rows]) @ self.uncertainty.reshape(m, -1).T
        return scores, leverages, told

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviations of the noise, in the units of the table."""
        return np.sqrt(self.noise) * self.scale


@dataclass(frozen=True)
class Validation:
    """What entries that were left out tell.

    Attributes
    ----------
    rank : int
        That fills them best, or the one that was asked for.
    ranks, errors : tuple
        What was tried, and root mean square errors in standard deviations of the columns.
    spread : Spread
        Of the errors at that rank, in standard deviations that the model foretells.
    start : Factors or None
        A fit of that rank to nearly all entries.
    neighbours : (int, float) or None
        How many similar rows are asked for what the factors leave, and what share of it is taken.
    """

    rank: int
    ranks: tuple[int, ...]
    errors: tuple[float, ...]
    spread: Spread = field(repr=False)
    start: Factors | None = field(repr=False)
    neighbours: tuple[int, float] | None = None


def learn(
    X: np.ndarray,
    missing: np.ndarray,
    wish: Wish,
    generator: np.random.Generator,
    sweep_done: Callable[[], Any] | None = None,
) -> tuple[Validation, Factors]:
    """Factors as many as were wished for, or as validation finds best, and what it found."""
    how = {"centre": wish.scaling != "none", "scale": wish.scaling in ("cv", "standard")}
    rank = wish.rank if isinstance(wish.rank, int) else None
    ask = wish.scaling == wish.rank == "cv"
    found = validate(X, missing, rank, generator, ask=ask, **how, sweep_done=sweep_done)
    start = found.start
    factors = fit(X, missing, found.rank, start=start, **how, sweep_done=sweep_done)
    if found.neighbours is not None:
        factors = factors.asked(X, missing, *found.neighbours)
    return found, factors


def fit(
    X: np.ndarray,
    missing: np.ndarray,
    rank: int,
    *,
    centre: bool = True,
    scale: bool = True,
    start: Factors | None = None,
    sweep_done: Callable[[], Any] | None = None,
) -> Factors:
    """Fit a given number of factors to the observed entries, from a `start` of that rank or none.

    Maximum likelihood by expectation-maximisation [1]_, with noise of its own for each column, and
    the factors rotated to unit covariance after each sweep, which speeds it up [2]_. Where the
    noise vanishes a sweep is one of alternating least squares.

    References
    ----------
    .. [1] Rubin, Thayer, "EM algorithms for ML factor analysis", Psychometrika 47 (1982).
    .. [2] Liu, Rubin, Wu, "Parameter expansion to accelerate EM", Biometrika 85 (1998).
    """
    state = _Fitting(X, ~missing, centre, scale)
    if start is not None:
        state.resume(start)
    for k in _steps(rank) if start is None else []:
        state.grow(k)
        state.improve(*ROUGH, sweep_done)
    if rank:
        state.improve(*FINE, sweep_done)
    return state.factors()


def _steps(rank: int) -> list[int]:
    """Ranks on the way to one."""
    return [*(k for k in RANKS if k < rank), rank] if rank else []


def validate(
    X: np.ndarray,
    missing: np.ndarray,
    rank: int | None,
    generator: np.random.Generator,
    *,
    centre: bool = True,
    scale: bool = True,
    ask: bool = True,
    sweep_done: Callable[[], Any] | None = None,
) -> Validation:
    """Fill entries that were left out with more and more factors (None), or with `rank`.

    And with `ask` see whether similar rows tell what the factors leave.
    """
    if len(X) > ROWS:
        some = np.sort(generator.choice(len(X), ROWS, replace=False))
        X, missing = X[some], missing[some]

    folds = [
        (_Fitting(X, ~missing & ~hidden, centre, scale), hidden)
        for hidden in _left_out(missing, generator)
    ]
    if not folds:
        nothing = Spread.of(np.empty((0, X.shape[1])), np.empty((0, X.shape[1])))
        return Validation(1 if rank is None else rank, (), (), nothing, None)
    most = min(X.shape) - 1
    ranks = [0, *(k for k in RANKS if k <= most)] if rank is None else [rank]
    errors: list[float] = []
    best = np.inf
    chosen, starts = 0, [state.factors() for state, _ in folds]
    for k in ranks:
        found = []
        for state, hidden in folds:
            for step in [k] * (k > 0) if rank is None else _steps(k):
                state.grow(step)
                state.improve(*ROUGH, sweep_done)
            found.append(_errors(state.factors(), X, state, hidden))
        squares = sum(np.nansum((e / folds[0][0].scale) ** 2) for e, _ in found)
        errors.append(float(np.sqrt(squares / max(sum(h.sum() for _, h in folds), 1))))
        if errors[-1] < GAIN * best or rank is not None:
            best, chosen = errors[-1], k
            starts = [state.factors() for state, _ in folds]
        if best < SOLVED or len(errors) - 1 - ranks.index(chosen) >= PATIENCE:
            break
    kept = []
    for (state, hidden), start in zip(folds, starts, strict=True):
        if chosen:
            state.resume(start)
            state.improve(*CLOSE, sweep_done)
        kept.append(_errors(state.factors(), X, state, hidden))
    left_out, leverages = (np.concatenate(each) for each in zip(*kept, strict=True))
    asked = None
    if ask and best >= SOLVED:
        asked, told = _ask_neighbours(folds, left_out)
        left_out = left_out - told
    start = folds[0][0].factors() if chosen else starts[0]
    spread = Spread.of(left_out, leverages, start.sigma)
    return Validation(chosen, tuple(ranks[: len(errors)]), tuple(errors), spread, start, asked)


def _errors(
    factors: Factors, X: np.ndarray, state: _Fitting, hidden: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Errors of hidden entries in rows that have any, NaN elsewhere, and their leverages."""
    rows = np.flatnonzero(hidden.any(axis=1))
    values, leverages = factors.fill(X[rows], ~state.observed[rows])
    errors = np.where(hidden[rows], X[rows] - values, np.nan)
    return errors, leverages


def _ask_neighbours(
    folds: list[tuple[_Fitting, np.ndarray]], errors: np.ndarray
) -> tuple[tuple[int, float] | None, np.ndarray | float]:
    """How many similar rows to ask for left-out entries, with what share, and what they say."""
    said, scale = [], folds[0][0].scale
    for state, hidden in folds:
        rows, left = state.factors().left(state.X * state.scale, ~state.observed)
        found = neighbours.means(rows, left, rows[hidden.any(axis=1)], COUNTS)
        said.append([each * (state.scale / scale) for each in found])
    by_count = [np.concatenate(each) for each in zip(*said, strict=True)]
    chosen = neighbours.choose(errors / scale, by_count)
    if chosen is None:
        return None, 0.0
    place, share = chosen
    return (COUNTS[place], share), share * by_count[place] * scale


class _Fitting:
    """A fit under way."""

    def __init__(self, X: np.ndarray, observed: np.ndarray, centre: bool, scale: bool):
        self.observed, self.centre = observed, centre
        self.weights = observed.astype(float)
        self.count = np.maximum(self.weights.sum(axis=0), 1)
        filled = np.where(observed, X, 0)
        mean = filled.sum(axis=0) / self.count
        residual = filled - mean * self.weights
        self.scale = (
            np.sqrt((residual**2).sum(axis=0) / self.count) if scale else np.ones(len(mean))
        )
        self.scale[self.scale <= CONSTANT * np.abs(filled).max(axis=0)] = 1.0
        self.X = filled / self.scale
        self.mean = mean / self.scale if centre else np.zeros(len(mean))
        residual = self.X - self.mean * self.weights
        self.noise = np.maximum((residual**2).sum(axis=0) / self.count, FLOOR)
        self.loadings, self.scores = np.zeros((len(mean), 0)), np.zeros((len(X), 0))
        self.uncertainty = np.zeros((len(mean), 0, 0))
        self.sweeps, self.change = 0, np.nan
        self.sample = slice(None, None, -(-len(X) // SAMPLE))

    def factors(self) -> Factors:
        return Factors(
            self.mean, self.scale, self.noise, self.loadings, self.uncertainty,
            self.sweeps, self.change,
        )  # fmt: skip

    def resume(self, start: Factors) -> None:
        """From a fit to much the same entries."""
        ratio = start.scale / self.scale
        self.mean, self.noise = start.mean * ratio, np.maximum(start.noise * ratio**2, FLOOR)
        self.loadings = start.loadings * ratio[:, None]
        self.uncertainty = start.uncertainty
        self.scores = np.zeros((len(self.X), start.rank))

    def grow(self, rank: int) -> None:
        """More factors, from the leading singular directions of what is left unexplained."""
        more = rank - self.loadings.shape[1]
        residual = (self.X - self._values() * self.weights) / np.sqrt(self.noise)
        basis = np.random.default_rng(rank).standard_normal((residual.shape[1], more))
        for _ in range(4):
            basis, _ = np.linalg.qr(residual.T @ (residual @ basis))
        _, s, Vh = np.linalg.svd(residual @ basis, full_matrices=False)
        # What is missing counts as unexplained as what is there.
        size = s / np.sqrt(self.weights.sum() / residual.shape[1])
        new = (basis @ Vh.T) * size * np.sqrt(self.noise)[:, None]
        self.loadings = np.hstack([self.loadings, new])

    def improve(
        self, tolerance: float, most: int, sweep_done: Callable[[], Any] | None = None
    ) -> None:
        """Sweeps until the filling changes by less than so much of the noise."""
        hidden = ~self.observed[self.sample]
        last = None
        for _ in range(most):
            noise = self.noise.mean()
            self._sweep()
            self.sweeps += 1
            if sweep_done is not None:
                sweep_done()
            values = self._values(self.sample)[hidden]
            if last is not None:
                self.change = float(np.sqrt(((values - last) ** 2).mean())) if len(last) else 0
                still = self.change <= tolerance * np.sqrt(self.noise.mean())
                if still and self.noise.mean() >= SETTLED * noise:
                    break
            last = values

    def _values(self, rows: slice = slice(None)) -> np.ndarray:
        k = self.scores.shape[1]
        return self.mean + self.scores[rows] @ self.loadings[:, :k].T

    def _sweep(self) -> None:
        """Factors of every row, then mean, loadings and noise of every column."""
        (n, m), k = self.X.shape, self.loadings.shape[1]
        scores, uncertainty, spread = np.empty((n, k)), np.zeros((m, k * k)), np.zeros(k * k)
        moments = np.zeros((m, (k + 1) ** 2))
        for rows in _chunks(n, k):
            weights = self.weights[rows]
            centred = self.X[rows] - self.mean * weights
            systems, right = _row_systems(self.loadings, self.noise, weights, centred)
            covariances = np.linalg.inv(systems)
            scores[rows] = (covariances @ right[:, :, None])[:, :, 0]
            flat = covariances.reshape(-1, k * k)
            uncertainty += weights.T @ flat
            spread += flat.sum(axis=0)
            moments += weights.T @ _products(self._extended(scores[rows]))
        systems = moments.reshape(m, k + 1, k + 1)
        systems[:, 1:, 1:] += uncertainty.reshape(m, k, k)
        systems[:, 1:, 1:] += self.noise[:, None, None] * _precision(self.loadings)
        systems[:, 0, 0] += float(not self.centre)
        right = self.X.T @ self._extended(scores)
        inverses = np.linalg.inv(systems)
        found = (inverses @ right[:, :, None])[:, :, 0]
        self.mean, self.loadings, self.scores = found[:, 0], found[:, 1:], scores
        residual = self.X - self._values() * self.weights
        left = (residual**2).sum(axis=0) + (uncertainty * _products(self.loadings)).sum(axis=1)
        typical = np.exp(np.log(np.maximum(left / self.count, FLOOR)).mean())
        self.noise = np.maximum((left + POOLED * typical) / (self.count + POOLED), FLOOR)
        root = np.linalg.cholesky((scores.T @ scores + spread.reshape(k, k)) / n)
        self.loadings = self.loadings @ root
        self.uncertainty = root.T @ inverses[:, 1:, 1:] @ root
        self.scores = np.linalg.solve(root, scores.T).T

    def _extended(self, scores: np.ndarray) -> np.ndarray:
        """With a column for the mean."""
        return np.hstack([np.full((len(scores), 1), float(self.centre)), scores])


def _row_systems(
    loadings: np.ndarray, noise: np.ndarray, weights: np.ndarray, centred: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``I + sum_j w_j w_j^T / noise_j`` over each row's observed columns, and its right side."""
    n, k = len(weights), loadings.shape[1]
    systems = (weights @ (_products(loadings) / noise[:, None])).reshape(n, k, k) + np.eye(k)
    return systems, centred @ (loadings / noise[:, None])


def _precision(loadings: np.ndarray) -> np.ndarray:
    """The inverse covariance of loadings, as those of all columns tell it: their prior.

    A factor that only a few rows have tells little of the columns that these rows miss. What it
    does tell is that its loadings are small.
    """
    (m, k) = loadings.shape
    covariance = loadings.T @ loadings / m
    return np.linalg.inv(covariance + SMALLEST * np.trace(covariance) * np.eye(k))


def _products(V: np.ndarray) -> np.ndarray:
    """The outer product of each row with itself, as a row."""
    return (V[:, :, None] * V[:, None, :]).reshape(len(V), -1)


def _chunks(n: int, k: int) -> Iterator[slice]:
    """Rows whose systems fit into memory together."""
    step = max(1, CHUNK // (k + 1) ** 2)
    return (slice(start, start + step) for start in range(0, n, step))


def _left_out(missing: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Entries to hide, fold by fold: rows that miss little also lose what another row misses.

    So hidden entries lie like missing ones, scattered or in blocks, and are as hard to fill.
    """
    n = len(missing)
    fewest = np.argsort(missing.sum(axis=1), kind="stable")[: max(2, -(-n // 2))]
    incomplete = np.flatnonzero(missing.any(axis=1))
    scattered = 2 * sum(1 for _ in patterns(missing)) > len(incomplete)
    folds = next((count for most, count in FOLDS.items() if missing.size <= most), 1)
    for rows in np.array_split(generator.permutation(fewest), max(folds, 2))[:folds]:
        hidden = np.zeros(missing.shape, bool)
        for _ in range(DRAWS):
            left = rows[~hidden[rows].any(axis=1)]
            like = missing[generator.choice(incomplete, len(left))]
            more = like & ~missing[left]
            if scattered:  # as many in all as in the row that is imitated
                count = np.maximum(like.sum(axis=1) - missing[left].sum(axis=1), 1)
                order = np.where(more, generator.random(more.shape), 2).argsort(axis=1)
                more &= order.argsort(axis=1) < count[:, None]
            hidden[left] = more
        # A row keeps something, and so does a column.
        hidden[rows[(hidden | missing)[rows].all(axis=1)]] = False
        hidden[:, (hidden | missing).all(axis=0)] = False
        if hidden.any():
            yield hidden
