"""Linear regression: least squares of minimum norm, or ridge."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.sparse import diags_array, issparse
from scipy.sparse.linalg import LinearOperator
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from eagle.api import lstsq
from eagle.estimators.validation import (
    check_ridges,
    choose_ridge,
    floating,
    sample_weights,
)
from eagle.methods import as_method
from eagle.problem.fit import degrees_of_freedom, inverse_factor
from eagle.problem.options import check_flag, check_number, split_options
from eagle.problem.result import complain
from eagle.streaming import StreamingLstsq
from eagle.tables.ridge import generalised, leave_one_out, left_factor


class EagleRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Linear least squares ``min sum_i w_i |x_i^T W + c - y_i|^2 + ridge |W|^2``.

    Of all minimisers it is the one whose coefficients have the least norm, so that collinear
    or more columns than rows need no care.

    Parameters
    ----------
    ridge : float or "cv", default=0.0
        Weight of the penalty. ``"cv"``: the one of `ridges` whose leave-one-out error, over all
        samples and outputs, is least, as in `sklearn.linear_model.RidgeCV`.
    ridges : array-like of float, default=None
        What ``ridge="cv"`` chooses from. None: four per decade from rounding level to ten
        times the largest squared singular value of the centred X, which scales with the data.
    fit_intercept : bool, default=True
        Whether there is a constant c, which is not penalised.
    rank : int, default=None
        Use only so many singular directions of the centred X (principal components regression).
    cutoff : float, default=None
        Use only those above ``cutoff`` times the largest singular value.
    standard_errors : bool, default=False
        Whether to compute standard errors of the coefficients. They need a dense X of full column
        rank with more samples than coefficients, and neither ridge nor truncation.
    method : str or instance, default="auto"
        As for `eagle.solve`.
    rtol, maxiter : float and int, default=None
        As for `eagle.solve`. What is not reached is an `eagle.ConvergenceWarning`.
    random_state : int, RandomState instance or None, default=None
        Seeds the probes of the certificate and the sketches.

    Attributes
    ----------
    coef_ : ndarray (n_features,) or (n_outputs, n_features)
        W, transposed as everywhere in scikit-learn.
    intercept_ : float or ndarray (n_outputs,)
        c; 0.0 without intercept.
    standard_errors_ : ndarray, of the shape of ``coef_``
        With ``standard_errors=True``: ``sigma |row_j of A^+|`` with the weighted, centred samples A
        and ``sigma^2`` the weighted residual sum of squares over the degrees of freedom.
        After `partial_fit` they are those of all samples so far, NaN while these are too few.
    intercept_standard_error_ : float or ndarray (n_outputs,)
        Likewise of the intercept; only with one.
    ridge_ : float
        The ridge that was used.
    ridges_, cv_errors_ : ndarray (n_ridges,)
        The grid and its mean squared leave-one-out errors; only with ``ridge="cv"``.
    rank_ : int or None
        Numerical rank of the centred X, if the method knows it; with a ridge, all columns.
    result_ : eagle.Result
        The solve, with its certificate.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str (n_features,)
        Only if the columns of X have such names.

    Notes
    -----
    A sparse X is never written out for the sake of its mean: the solver multiplies with
    ``X - 1 m^T``. With ``ridge="cv"`` a dense matrix (n_samples, min(n_samples, n_features)) is.

    `partial_fit` keeps a triangular factor of the rows so far and not the rows, see
    `eagle.StreamingLstsq`; in exact arithmetic it gives what `fit` gives for all of them.

    Examples
    --------
    >>> from eagle.estimators import EagleRegressor
    >>> X = [[1, 1], [2, 2], [3, 3]]  # rank one
    >>> model = EagleRegressor(random_state=0).fit(X, [3, 5, 7])
    >>> model.coef_.round(12), round(model.intercept_, 12)
    (array([1., 1.]), 1.0)
    """

    def __init__(
        self,
        *,
        ridge: float | str = 0.0,
        ridges: Any = None,
        fit_intercept: bool = True,
        rank: int | None = None,
        cutoff: float | None = None,
        standard_errors: bool = False,
        method: Any = "auto",
        rtol: float | None = None,
        maxiter: int | None = None,
        random_state: Any = None,
    ):
        self.ridge = ridge
        self.ridges = ridges
        self.fit_intercept = fit_intercept
        self.rank = rank
        self.cutoff = cutoff
        self.standard_errors = standard_errors
        self.method = method
        self.rtol = rtol
        self.maxiter = maxiter
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Compute coefficients and intercept.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : float or array-like (n_samples,), default=None
            Non-negative weights w; all 1 by default.

        Returns
        -------
        EagleRegressor
            Itself.
        """
        self._check_parameters()
        X, y = floating(self, X, y)
        self._check_sparse(X)
        self._stream: StreamingLstsq | None = None
        single = y.ndim == 1
        y = np.asarray(y.reshape(len(y), -1), X.dtype)
        X, y, weights = _weighted(X, y, sample_weight)
        x_mean, y_mean = np.zeros(X.shape[1], X.dtype), np.zeros(y.shape[1], X.dtype)
        if self.fit_intercept:
            X = _without_constants(X)
            x_mean, y_mean = _mean(X, weights), _mean(y, weights)
        root = np.sqrt(weights)
        b = root[:, None] * (y - y_mean)
        self.ridge_ = self._choose_ridge(X, x_mean, root, b)
        self.result_ = lstsq(_centred(X, x_mean, root), b, **self._options())
        self.rank_ = self.result_.rank
        coefficients = self.result_.value.T
        intercept = y_mean - coefficients @ x_mean
        self.coef_ = coefficients[0] if single else coefficients
        self.intercept_ = float(intercept[0]) if single else intercept
        if not self.fit_intercept:
            self.intercept_ = 0.0
        if self.standard_errors:
            A, left = _centred(X, x_mean, root), np.asarray(self.result_.residual_norm)
            self._estimate_errors(A, left, len(root), x_mean, weights.sum(), single)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Take in more samples, and compute coefficients and intercept of all so far.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            A sparse chunk is written out.
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : float or array-like (n_samples,), default=None
            Non-negative weights w; all 1 by default.

        Returns
        -------
        EagleRegressor
            Itself.

        Notes
        -----
        After `fit`, which keeps no factor, it starts anew, with a warning.

        With ``ridge="cv"`` the ridge has the least *generalised* cross-validation error [1]_,
        which needs no single row; so have ``cv_errors_``.

        References
        ----------
        .. [1] Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good
           ridge parameter", Technometrics 21 (1979).
        """
        self._check_parameters()
        first = getattr(self, "_stream", None) is None
        if first and hasattr(self, "coef_"):
            warnings.warn(
                "partial_fit starts anew: fit, which came before, keeps no factor of its samples",
                UserWarning,
                stacklevel=2,
            )
        X, y = floating(self, X, y, reset=first)
        X, y, weights = _weighted(X, np.asarray(y, X.dtype), sample_weight)
        X = X.toarray() if issparse(X) else X
        if first:
            self._origin, self._y_origin = _origin(X, weights), _origin(y, weights)
            if not self.fit_intercept:
                self._origin, self._y_origin = 0 * self._origin, 0 * self._y_origin
        ones = np.ones((len(X), int(self.fit_intercept)), X.dtype)
        stream = StreamingLstsq() if first else self._stream
        assert stream is not None
        stream.partial_fit(np.hstack([ones, X - self._origin]), y - self._y_origin, weights)
        self._stream = stream
        return self._solve_stream(stream, y.ndim == 1, X.dtype)

    def _solve_stream(self, stream: StreamingLstsq, single: bool, dtype: Any) -> Self:
        """Coefficients from the factor, whose first row holds the means if there is an intercept.

        Its rows below are the factor of the deviations from them.
        """
        skip = int(self.fit_intercept)
        R, n = stream.factor, self.n_features_in_ + skip
        self.ridge_ = float(self.ridge) if not isinstance(self.ridge, str) else np.nan
        if isinstance(self.ridge, str):
            U, s, _ = np.linalg.svd(R[skip:n, skip:n])
            inside, outside = U.T @ R[skip:n, n:], float(np.linalg.norm(R[n:, n:]) ** 2)
            errors = partial(generalised, s, inside, outside, stream.rows - skip)
            self.ridge_ = choose_ridge(self, s, errors)
        method, options = split_options("partial_fit", self._options())
        self.result_ = stream._solved(method, options, skip)
        complain(self.result_, options)
        self.rank_ = self.result_.rank
        coefficients = np.atleast_2d(self.result_.value.T)
        self.coef_ = coefficients[0] if single else coefficients
        self.intercept_ = 0.0
        if self.fit_intercept:
            x_mean = R[0, 1:n] / R[0, 0] + self._origin
            y_mean = R[0, n:] / R[0, 0] + self._y_origin
            intercept = (y_mean - coefficients @ x_mean).astype(dtype)
            self.intercept_ = float(intercept[0]) if single else intercept
        if self.standard_errors and stream.rows <= n:
            self.standard_errors_ = np.full(self.coef_.shape, np.nan)
            self.intercept_standard_error_ = np.nan if single else np.full(len(self.coef_), np.nan)
        elif self.standard_errors:
            A, b, tail = R[skip:n, skip:n], R[skip:n, n:], R[n:, n:]
            left = np.linalg.norm(np.vstack([A @ coefficients.T - b, tail]), axis=0)
            mean = x_mean if self.fit_intercept else np.zeros(n)
            self._estimate_errors(A, left, stream.rows, mean, R[0, 0] ** 2, single)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predictions ``X W + c``.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        X = floating(self, X, reset=False)
        return X @ self.coef_.T + self.intercept_

    def _estimate_errors(
        self, A: Any, residual: np.ndarray, rows: int, mean: np.ndarray, total: float, single: bool
    ) -> None:
        """Of least squares with independent errors, whose variances are inverse to the weights.

        A is the centred, weighted X or its factor, `residual` (n_outputs,) what is left of y, and
        `total` the sum of weights.
        """
        if not isinstance(A, np.ndarray):
            raise ValueError("standard_errors needs a dense X")
        freedom = degrees_of_freedom(rows, A.shape[1] + bool(self.fit_intercept))
        (inverse, units), sigma = inverse_factor(A, "X"), residual / np.sqrt(freedom)
        errors = np.outer(sigma, np.linalg.norm(inverse, axis=1) / units)
        self.standard_errors_ = errors[0] if single else errors
        if self.fit_intercept:
            middle = np.sqrt(1 / total + np.linalg.norm(mean / units @ inverse) ** 2)
            self.intercept_standard_error_ = float(sigma[0] * middle) if single else sigma * middle

    def _check_parameters(self) -> None:
        """What would otherwise be found out only after work was done."""
        check_flag("fit_intercept", self.fit_intercept)
        shaped = self.ridge != 0 or self.rank is not None or self.cutoff is not None
        if check_flag("standard_errors", self.standard_errors) and shaped:
            raise ValueError(
                "standard_errors are those of plain least squares: give ridge=0, rank=None and "
                f"cutoff=None with them, got ridge={self.ridge!r}, rank={self.rank!r}, "
                f"cutoff={self.cutoff!r}"
            )
        if isinstance(self.ridge, str):
            if self.ridge != "cv":
                raise ValueError(f"ridge must be a number or 'cv', got {self.ridge!r}")
            if self.rank is not None or self.cutoff is not None:
                raise ValueError(
                    "give rank=None and cutoff=None with ridge='cv': all shape the spectrum, got "
                    f"rank={self.rank!r}, cutoff={self.cutoff!r}"
                )
        else:
            check_number("ridge", self.ridge)
        check_ridges(self)

    def _options(self) -> dict[str, Any]:
        """Of the solve, once the ridge is known."""
        names = ("method", "rank", "cutoff", "rtol", "maxiter")
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        return {name: getattr(self, name) for name in names} | {"ridge": self.ridge_, "rng": seed}

    def _check_sparse(self, X: Any) -> None:
        method = as_method(self.method)
        if issparse(X) and not (method is None or method.matrix_free):
            raise TypeError(
                f"X is sparse, which method={self.method!r} cannot use: pass a dense array, or "
                "method='auto'"
            )

    def _choose_ridge(self, X: Any, mean: np.ndarray, root: np.ndarray, b: np.ndarray) -> float:
        if not isinstance(self.ridge, str):
            return float(self.ridge)
        U, s = left_factor(X, mean, root)
        intercept = root / np.linalg.norm(root) if self.fit_intercept else None
        return choose_ridge(self, s, lambda ridges: leave_one_out(U, s, b, ridges, intercept))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _weighted(X: Any, y: np.ndarray, weights: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """The samples whose weights are positive, and these."""
    weights = sample_weights(weights, X, X.dtype)
    used = weights > 0
    if not used.any():
        raise ValueError("sample_weight must be positive for at least one sample")
    return (X, y, weights) if used.all() else (X[used], y[used], weights[used])


def _origin(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What to measure columns from: their mean, and of a constant one exactly that constant."""
    low, high = X.min(axis=0), X.max(axis=0)
    return np.where(low == high, low, _mean(X, weights))


def _without_constants(X: Any) -> Any:
    """X with its constant columns zero: centred they would be rounding errors, of any size."""
    low, high = X.min(axis=0), X.max(axis=0)
    if issparse(X):
        low, high = low.toarray().ravel(), high.toarray().ravel()
    constant = low == high
    if not constant.any():
        return X
    varying = np.where(constant, 0, 1).astype(X.dtype)
    return (X @ diags_array(varying)).tocsr() if issparse(X) else X * varying


def _mean(X: Any, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of the rows, summed in double precision."""
    sums = X.T @ weights.astype(np.float64)
    return (sums / weights.sum(dtype=np.float64)).astype(X.dtype)


def _centred(X: Any, mean: np.ndarray, root: np.ndarray) -> Any:
    """``diag(root) (X - 1 mean^T)``; for a sparse X as an operator, or sparse if mean is 0."""
    column = root[:, None]
    if not issparse(X):
        return column * (X - mean)
    if not mean.any():
        return (diags_array(root) @ X).tocsr()

    def times(V: np.ndarray) -> np.ndarray:
        V = V.reshape(len(mean), -1)
        return column * (X @ V - mean @ V)

    def adjoint_times(V: np.ndarray) -> np.ndarray:
        V = column * V.reshape(len(root), -1)
        return X.T @ V - np.outer(mean, V.sum(axis=0))

    return LinearOperator(
        X.shape,
        matvec=lambda v: times(v).ravel(),
        rmatvec=lambda v: adjoint_times(v).ravel(),
        matmat=times,
        rmatmat=adjoint_times,
        dtype=X.dtype,
    )
