"""Tables with missing entries, filled as `eagle.complete` does, and then new rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from eagle.estimators.validation import validated
from eagle.problem.result import Result
from eagle.tables import factorisation
from eagle.tables.blocks import Block
from eagle.tables.checks import check_factors, check_rank, check_wish
from eagle.tables.holes import Names, check_connected, listed, parse, patterns, scattered


@dataclass(frozen=True)
class Pattern:
    """What fills the rows that miss the same columns.

    Attributes
    ----------
    hidden : ndarray of bool (n_features,)
        The columns that are missing.
    rank : int or None
        Singular directions of the donors' observed columns that are used, if the method knows it.
    ridge : float
        The ridge that is used, for donors in the units of `scaling`.
    scaling : str
        How the donors are centred and scaled, as in `eagle.complete`.
    error_estimate : float
        Expected relative Frobenius error of what is filled in, from donors that were left out;
        NaN if there are too few to tell.
    result : eagle.Result
        The solve; ``result.value`` (n_features_used, n_hidden) takes scaled observed columns to
        hidden ones.
    block : eagle.tables.blocks.Block
        The whole of it.
    """

    hidden: np.ndarray = field(repr=False)
    rank: int | None
    ridge: float
    scaling: str
    error_estimate: float
    result: Result = field(repr=False)
    block: Block = field(repr=False)


class BlockImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Missing entries from the row's observed ones, learnt from the other rows.

    With A and C the observed and the missing columns of the complete rows (the donors) and B the
    observed columns of the rows that miss the same ones, these are filled with ``B A^+ C`` in the
    scaling that does best; holes of any other pattern by a factorisation. All as by
    `eagle.complete`, with the same defaults. What was learnt is kept, so that `transform` fills new
    rows, whatever they miss.

    Parameters
    ----------
    rank : "cv", int or None, default="cv"
        Singular directions of A: as validation finds best, with `ridge` and `scaling`; this many;
        or all above rounding level.
    ridge : float or "cv", default=None
        ``(A^H A + ridge I)^-1 A^H`` in place of ``A^+``; ``"cv"`` takes the ridge with the least
        leave-one-out error on the donors. None: ``"cv"`` with ``rank="cv"``, else 0. Needs
        ``rank=None`` otherwise.
    scaling : str, default=None
        As for `eagle.complete`: "none", "mean", "standard", "effects" or "cv". None: ``"cv"`` with
        ``rank="cv"``, else ``"none"``.
    cutoff : float, default=None
        Use directions above ``cutoff`` times the largest singular value. Needs ``rank=None``.
    method : str or instance, default="auto"
        As for `eagle.solve`.
    rtol, maxiter : float and int, default=None
        As for `eagle.solve`. What is not reached is an `eagle.ConvergenceWarning`.
    random_state : int, RandomState instance or None, default=None
        Chooses the folds, and the probes of the certificate. Drawn once, in `fit`.

    Attributes
    ----------
    donors_ : ndarray (n_donors, n_features)
        The complete rows seen so far.
    patterns_ : tuple of Pattern
        One for each set of missing columns seen so far, in the order in which they came; none if
        the holes are scattered.
    factors_ : eagle.tables.factorisation.Factors or None
        What fills scattered holes.
    validation_ : eagle.tables.factorisation.Validation or None
        How well it does, with each number of factors.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str (n_features,)
        Only if the columns of X have such names.

    See Also
    --------
    eagle.complete : The same for a table that is all there is, with intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from eagle.estimators import BlockImputer
    >>> X = np.outer([1.0, 2, 3, 4], [1, 10, 100])  # rank one
    >>> X[3, 1:] = np.nan
    >>> imputer = BlockImputer(random_state=0).fit(X)
    >>> imputer.transform(X)[3].round(9)
    array([  4.,  40., 400.])
    >>> imputer.transform([[np.nan, np.nan, 700.0]]).round(9)  # a new row, a new pattern
    array([[  7.,  70., 700.]])
    """

    def __init__(
        self,
        *,
        rank: int | str | None = "cv",
        ridge: float | str | None = None,
        scaling: str | None = None,
        cutoff: float | None = None,
        method: Any = "auto",
        rtol: float | None = None,
        maxiter: int | None = None,
        random_state: Any = None,
    ):
        self.rank = rank
        self.ridge = ridge
        self.scaling = scaling
        self.cutoff = cutoff
        self.method = method
        self.rtol = rtol
        self.maxiter = maxiter
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from what is there how to fill what is not.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            NaN marks missing entries.
        y : ignored

        Returns
        -------
        BlockImputer
            Itself.
        """
        self._check_parameters()
        X, missing = self._read(X, reset=True)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return self._learn(X, missing)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more rows: they join those that are known.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y : ignored

        Returns
        -------
        BlockImputer
            Itself.
        """
        if not hasattr(self, "donors_"):
            return self.fit(X)
        self._check_parameters()
        X, _ = self._read(X, reset=False)
        X = np.vstack([self._table, X])
        return self._learn(X, np.isnan(X))

    def transform(self, X: Any) -> np.ndarray:
        """A copy of X with its missing entries filled.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Rows may miss other columns than those in `fit`; each such pattern is a solve.

        Returns
        -------
        ndarray (n_samples, n_features)
        """
        check_is_fitted(self)
        X, missing = self._read(X, reset=False)
        filled = X.copy()
        if self.factors_ is not None:
            rows = missing.any(axis=1)
            if rows.any():
                double = X[rows].astype(np.float64)
                values, _ = self.factors_.fill(double, missing[rows])
                filled[missing] = values[missing[rows]]
            return filled
        known = {pattern.hidden.tobytes(): pattern for pattern in self.patterns_}
        for rows, hidden in patterns(missing):
            pattern = known.get(hidden.tobytes()) or self._solve(rows, hidden)
            B = X[rows][:, ~hidden].astype(np.float64)
            filled[np.ix_(rows, hidden)] = pattern.block.apply(pattern.result, B)
        return filled

    def _check_parameters(self) -> None:
        """What would otherwise be found out only after work was done."""
        options = self._options() | {"cutoff": self.cutoff}
        self._wish = check_wish(self.rank, self.ridge, self.scaling, options)

    def _options(self) -> dict[str, Any]:
        return {"method": self.method, "rtol": self.rtol, "maxiter": self.maxiter}

    def _read(self, X: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """The table and where it is missing."""
        X = validated(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            reset=reset,
        )
        missing = np.isnan(X)
        empty = np.flatnonzero(missing.all(axis=1))
        if len(empty):
            raise ValueError(f"no entry of {listed('row', empty)} of X is observed")
        return X, missing

    def _learn(self, X: np.ndarray, missing: np.ndarray) -> Self:
        """From all rows seen so far."""
        parse(X)  # refuses columns without an entry
        double = X.astype(np.float64)
        self._table, self._complete = X, np.flatnonzero(~missing.any(axis=1))
        self.donors_ = X[self._complete]
        self.patterns_: tuple[Pattern, ...] = ()
        self.factors_ = self.validation_ = None
        if not scattered(missing):
            found = (
                self._solve(rows, hidden, self._complete) for rows, hidden in patterns(missing)
            )
            self.patterns_ = tuple(found)
            return self
        names = Names()
        check_factors(self._wish, double, names)
        check_connected(missing, names)
        self.validation_, self.factors_ = factorisation.learn(
            double, missing, self._wish, np.random.default_rng(self._seed)
        )
        return self

    def _solve(
        self, rows: np.ndarray, hidden: np.ndarray, complete: np.ndarray | None = None
    ) -> Pattern:
        """What fills `rows`, which miss the columns `hidden`; `complete` if of one table."""
        check_rank(self._wish.rank, len(self.donors_), rows, hidden, Names())
        generator = np.random.default_rng(self._seed)
        places = None if complete is None else (complete, rows)
        block = Block.learn(self.donors_.astype(np.float64), hidden, self._wish, generator, places)
        result = block.map({**self._options(), "rng": generator})
        choice = block.choice
        rank = choice.rank if result.rank is None else result.rank
        error = choice.error_estimate
        return Pattern(hidden, rank, choice.ridge, choice.scaling.name, error, result, block)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
