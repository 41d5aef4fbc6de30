"""Tables whose missing entries come in blocks, filled from the rows that have none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from eagle.api import lstsq
from eagle.completion import (
    _check_options,
    _check_rank,
    _choose,
    _cross_validate,
    _listed,
    _parse,
    _patterns,
    _relative,
)
from eagle.estimators.ridge import default_ridges, leave_one_out, left_factor
from eagle.estimators.validation import validated
from eagle.problem.options import check_number
from eagle.problem.result import Result

__all__ = ["BlockImputer", "Pattern"]

EXACT = 0.5  # of the error with a ridge: a truncation this good has found the rank of the table


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
        The ridge that is used.
    error_estimate : float
        Expected relative Frobenius error of what is filled in, from cross-validation on the donors;
        NaN if there are too few to tell.
    result : eagle.Result
        The solve; ``result.value`` (n_observed, n_hidden) takes observed columns to hidden ones.
    """

    hidden: np.ndarray = field(repr=False)
    rank: int | None
    ridge: float
    error_estimate: float
    result: Result = field(repr=False)


class BlockImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Missing entries from a linear map of the row's observed ones, learnt from complete rows.

    With A and C the observed and the missing columns of the complete rows (the donors) and B the
    observed columns of the rows that miss the same ones, these are filled with ``B A^+ C``, as by
    `eagle.complete`. Donors are kept, so that `transform` fills new rows, whatever they miss.

    Parameters
    ----------
    rank : "auto", "cv", int or None, default="auto"
        Singular directions of A: all of them with the ridge that ``ridge="cv"`` finds, unless
        ``"cv"`` promises less than half of its error, as it does for tables of exactly low rank;
        as many as fill hidden columns of held-out donors best (``"cv"``); this many; or all above
        rounding level.
    ridge : float or "cv", default=0.0
        ``(A^H A + ridge I)^-1 A^H`` in place of ``A^+``; ``"cv"`` takes the ridge with the least
        leave-one-out error on the donors. Needs ``rank=None``.
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
        One for each set of missing columns seen so far, in the order in which they came.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str (n_features,)
        Only if the columns of X have such names.

    See Also
    --------
    eagle.complete : The same for a table that is all there is.

    Notes
    -----
    A ridge damps the directions that a truncation keeps or drops. On real tables, whose spectra
    fall without a gap, it is usually the better of the two by some per cent.

    Columns are used as they are: standardise them first if their units differ, and subtract their
    means unless zero means something (`sklearn.preprocessing.StandardScaler` passes NaN on).

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
        rank: int | str | None = "auto",
        ridge: float | str = 0.0,
        cutoff: float | None = None,
        method: Any = "auto",
        rtol: float | None = None,
        maxiter: int | None = None,
        random_state: Any = None,
    ):
        self.rank = rank
        self.ridge = ridge
        self.cutoff = cutoff
        self.method = method
        self.rtol = rtol
        self.maxiter = maxiter
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the complete rows how to fill the others.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            NaN marks missing entries; at least one row is complete.
        y : ignored

        Returns
        -------
        BlockImputer
            Itself.
        """
        self._check_parameters()
        X, missing = self._read(X, reset=True)
        _parse(X, None)  # refuses columns without an entry, and tables without a complete row
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.patterns_: tuple[Pattern, ...] = ()
        return self._learn(X[~missing.any(axis=1)], missing)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more rows: the complete ones join the donors.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            No row need be complete, unless it is the first call.
        y : ignored

        Returns
        -------
        BlockImputer
            Itself.
        """
        if not hasattr(self, "donors_"):
            return self.fit(X)
        self._check_parameters()
        X, missing = self._read(X, reset=False)
        return self._learn(np.vstack([self.donors_, X[~missing.any(axis=1)]]), missing)

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
        known = {pattern.hidden.tobytes(): pattern for pattern in self.patterns_}
        filled = X.copy()
        for rows, hidden in _patterns(missing):
            pattern = known.get(hidden.tobytes()) or self._solve(rows, hidden)
            filled[np.ix_(rows, hidden)] = X[rows][:, ~hidden] @ pattern.result.value
        return filled

    def _check_parameters(self) -> None:
        """What would otherwise be found out only after work was done."""
        by_validation = isinstance(self.ridge, str)
        if by_validation and self.ridge != "cv":
            raise ValueError(f"ridge must be a number or 'cv', got {self.ridge!r}")
        if by_validation and self.cutoff is not None:
            raise ValueError(
                f"give cutoff=None with ridge='cv': both shape the spectrum, got {self.cutoff!r}"
            )
        ridge = 1.0 if isinstance(self.ridge, str) else check_number("ridge", self.ridge)
        options = self._options() | {"ridge": ridge, "cutoff": self.cutoff}
        _check_options(self.rank, options, words=("auto", "cv"))

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
            raise ValueError(f"no entry of {_listed('row', empty)} of X is observed")
        return X, missing

    def _learn(self, donors: np.ndarray, missing: np.ndarray) -> Self:
        """Keep the donors; solve for the patterns before and for new ones."""
        self.donors_ = donors
        none = np.empty(0, int)
        hidden = {pattern.hidden.tobytes(): (none, pattern.hidden) for pattern in self.patterns_}
        hidden |= {each.tobytes(): (rows, each) for rows, each in _patterns(missing)}
        self.patterns_ = tuple(self._solve(rows, each) for rows, each in hidden.values())
        return self

    def _solve(self, rows: np.ndarray, hidden: np.ndarray) -> Pattern:
        """What fills `rows`, which miss the columns `hidden`."""
        _check_rank(self.rank, len(self.donors_), rows, hidden)
        A, C = self.donors_[:, ~hidden], self.donors_[:, hidden]
        generator = np.random.default_rng(self._seed)
        rank, ridge, estimate = self._spectrum(A, C, generator)
        result = lstsq(
            A, C, rank=rank, ridge=ridge, cutoff=self.cutoff, rng=generator, **self._options()
        )
        used = rank if result.rank is None else result.rank
        return Pattern(hidden, used, ridge, estimate, result)

    def _spectrum(
        self, A: np.ndarray, C: np.ndarray, generator: np.random.Generator
    ) -> tuple[int | None, float, float]:
        """Rank and ridge, and the relative error to expect from them."""
        if isinstance(self.ridge, str):
            return None, *_choose_ridge(A, C)
        auto, ridge = self.rank == "auto", float(self.ridge)
        options = {"ridge": ridge, "cutoff": self.cutoff}
        losses, size = _cross_validate(A, C, options, generator)
        rank, loss = _choose(losses, "cv" if auto else self.rank, A.shape)
        estimate = _relative(loss, size)
        if auto and len(losses):
            other, expected = _choose_ridge(A, C)
            if estimate > EXACT * expected:
                return None, other, expected
        return rank, ridge, estimate

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _choose_ridge(A: np.ndarray, C: np.ndarray) -> tuple[float, float]:
    """The ridge with the least leave-one-out error, and that error relative to C."""
    U, s = left_factor(A, np.zeros(A.shape[1], A.dtype), np.ones(len(A), A.dtype))
    ridges = default_ridges(s)
    errors = leave_one_out(U, s, C, ridges)
    best = int(np.argmin(errors))
    loss = float(errors[best]) if len(A) > 1 else np.nan
    return float(ridges[best]), _relative(loss, float((C.astype(np.float64) ** 2).mean()))
