"""Kernel ridge regression on landmarks, for more rows than a matrix of features has room for."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import (
    ClassifierMixin,
    MultiOutputMixin,
    RegressorMixin,
    _fit_context,
)
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from eagle.estimators.machine import KernelMachine
from eagle.estimators.validation import floating


class NystroemRidge(MultiOutputMixin, RegressorMixin, KernelMachine):
    """Kernel ridge regression on m landmarks, for any number of rows.

    The minimiser of ``sum_i w_i |y_i - f(x_i)|^2 + ridge |f|^2`` among functions
    ``f(x) = c + sum_j a_j k(x, z_j)`` of landmarks z. What
    ``make_pipeline(Nystroem(...), Ridge(ridge))`` computes, without its features: rows are read in
    blocks, and what is held are some matrices (m, m).

    Parameters
    ----------
    kernel : str or callable, default="rbf"
        As for `eagle.estimators.Nystroem`.
    ridge : float or "cv", default=1.0
        Weight of the penalty. ``"cv"``: the one of `ridges` with the least generalised
        cross-validation error, which the sums give in closed form.
    ridges : array-like of float, default=None
        What ``ridge="cv"`` chooses from. None: four per decade from rounding level to ten times
        the largest squared singular value of the features.
    gamma, coef0, degree : float, default=None
        Parameters of the kernels that have them.
    kernel_params : dict, default=None
        Further arguments for the kernel.
    n_components : int, default=100
        Number of landmarks m, unless an array of them is given.
    landmarks : array, {"uniform", "kmeans", "leverage"} or callable, default="uniform"
        As for `eagle.estimators.Nystroem`; ``"kmeans"`` looks at fifty rows for each landmark.
    fit_intercept : bool, default=True
        Whether there is a constant c, which is not penalised.
    random_state : int, RandomState instance or None, default=None
        Chooses the landmarks.
    n_jobs : int, default=None
        Threads for kernels that scikit-learn computes.

    Attributes
    ----------
    components_ : ndarray (m, n_features)
        The landmarks.
    component_indices_ : ndarray of int (m,) or None
        Their rows in X; None for points that are none of its rows.
    dual_coef_ : ndarray (m,) or (m, n_outputs)
        a.
    intercept_ : float or ndarray (n_outputs,)
        c; 0.0 without intercept.
    ridge_ : float
        The ridge that was used.
    ridges_, cv_errors_ : ndarray (n_ridges,)
        The grid and its cross-validation errors; only with ``ridge="cv"``.
    error_estimate_ : float
        Relative numerical error of a in the norm of what is minimised, from the last correction.
        Above 1e-4 there is an `eagle.ConvergenceWarning`.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str (n_features,)
        Only if the columns of X have such names.

    See Also
    --------
    NystroemRidgeClassifier : The same for classes.

    Notes
    -----
    `fit` reads X twice or more: for the sums, then for a residual in double precision, of which a
    correction comes with the same Cholesky factor (corrected semi-normal equations [1]_). Leading
    directions of the kernel are split off, so that sums of products, which square a condition
    number, lose nothing of the small ones. For X in single precision most products of the first
    pass are in single precision, and their sums in double; what that loses is measured, added to
    the diagonal of what is factorised, and mended by the corrections, of which there are at most
    five.

    X may be a mapped file in float64 or float32, of which only blocks are in memory. Some ten
    matrices (m, m) in double precision are held, and about 100 MB for a block.

    `partial_fit` takes landmarks from the first batch, unless they are given, and goes on after
    `fit` as well. It has no second look at rows: all products are in double precision then.

    References
    ----------
    .. [1] Björck, "Stability analysis of the method of seminormal equations", Linear Algebra and
       its Applications 88/89 (1987).
    .. [2] Rudi, Carratino, Rosasco, "FALKON: an optimal large scale kernel method", NeurIPS 2017,
       which solves the same problem with a random part of ``K^T K`` as its preconditioner.

    Examples
    --------
    >>> import numpy as np
    >>> from eagle.estimators import NystroemRidge
    >>> x = np.linspace(0, 6, 500)[:, None]
    >>> model = NystroemRidge(gamma=1.0, n_components=30, ridge=1e-6, random_state=0)
    >>> model.fit(x, np.sin(x[:, 0])).predict([[1.0], [2.0]]).round(4)
    array([0.8415, 0.9093])
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Choose landmarks, sum over all rows, solve.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : float or array-like (n_samples,), default=None
            Non-negative weights w; all 1 by default.

        Returns
        -------
        NystroemRidge
            Itself.
        """
        X, y = self._read(X, y, reset=True)
        self._fit(X, y.reshape(len(y), -1), sample_weight)
        return self._keep(y.ndim == 1)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Take in more rows, and solve for all so far.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : float or array-like (n_samples,), default=None

        Returns
        -------
        NystroemRidge
            Itself.
        """
        first = self._starts()
        X, y = self._read(X, y, reset=first)
        columns = y.reshape(len(y), -1)
        if not first and columns.shape[1] != len(self._origin):
            raise ValueError(
                f"y has {columns.shape[1]} outputs, but those before had {len(self._origin)}"
            )
        self._fit_more(X, columns, sample_weight, first)
        return self._keep(y.ndim == 1)

    def predict(self, X: Any) -> np.ndarray:
        """Values of f.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,) or (n_samples, n_outputs)
        """
        values = self._predict(X)
        return values[:, 0] if self.dual_coef_.ndim == 1 else values

    def _read(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = floating(self, X, y, reset=reset)
        return X, np.asarray(y, np.float64)


class NystroemRidgeClassifier(ClassifierMixin, KernelMachine):
    """Classes by `NystroemRidge` on one column of 0 and 1 for each, or of -1 and 1 for two.

    Parameters
    ----------
    kernel, ridge, ridges, gamma, coef0, degree, kernel_params, n_components, landmarks, \
fit_intercept, random_state, n_jobs
        As for `NystroemRidge`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        In order.
    components_, component_indices_, ridge_, ridges_, cv_errors_, error_estimate_, n_features_in_, \
feature_names_in_
        As for `NystroemRidge`.
    dual_coef_ : ndarray (m,) or (m, n_classes)
        Coefficients of the landmarks; one column for two classes.
    intercept_ : float or ndarray (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from eagle.estimators import NystroemRidgeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> NystroemRidgeClassifier(random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Choose landmarks, sum over all rows, solve.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        sample_weight : float or array-like (n_samples,), default=None

        Returns
        -------
        NystroemRidgeClassifier
            Itself.
        """
        X, y = self._read(X, y, reset=True)
        self.classes_ = unique_labels(y)
        self._fit(X, self._columns(y), sample_weight)
        return self._keep(self._coefficients.shape[1] == 1)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Take in more rows, and solve for all so far.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        classes : array-like (n_classes,), default=None
            All that there will be; in the first call only.
        sample_weight : float or array-like (n_samples,), default=None

        Returns
        -------
        NystroemRidgeClassifier
            Itself.
        """
        first = self._starts()
        X, y = self._read(X, y, reset=first)
        if first:
            if classes is None:
                raise ValueError("classes must be given in the first call of partial_fit")
            self.classes_ = unique_labels(classes)
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_}")
        self._fit_more(X, self._columns(y), sample_weight, first)
        return self._keep(self._coefficients.shape[1] == 1)

    def decision_function(self, X: Any) -> np.ndarray:
        """How much speaks for each class; of two, for the second.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,) or (n_samples, n_classes)
        """
        values = self._predict(X)
        return values[:, 0] if values.shape[1] == 1 else values

    def predict(self, X: Any) -> np.ndarray:
        """The class for which most speaks.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,)
        """
        values = self.decision_function(X)
        chosen = (values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)
        return self.classes_[chosen]

    def _read(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = floating(self, X, y, reset=reset)
        check_classification_targets(y)
        return X, y

    def _columns(self, y: np.ndarray) -> np.ndarray:
        """Targets as numbers; y outside `classes_` raises ValueError."""
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least two classes, got one class, {self.classes_}")
        codes = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = self.classes_[codes] != y
        if unknown.any():
            raise ValueError(f"y has classes that are none of `classes`: {np.unique(y[unknown])}")
        if len(self.classes_) == 2:
            return 2.0 * codes[:, None] - 1
        return (codes[:, None] == np.arange(len(self.classes_))).astype(float)
