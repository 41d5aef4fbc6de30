"""Kernel ridge regression on landmarks, for more rows than a matrix of features has room for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MultiOutputMixin,
    RegressorMixin,
    _fit_context,
)
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted

from eagle.estimators.nystroem import Nystroem
from eagle.estimators.reduced import Block, KernelFeatures, Sums, refined
from eagle.estimators.validation import check_ridges, choose_ridge, floating, sample_weights
from eagle.problem.result import ConvergenceWarning, callers_level
from eagle.tables.ridge import generalised

BLOCK = 2**21  # entries of the kernel that are held at a time
PIECE = 2**18  # of which one thread computes so many at a time
CLUSTERED = 50  # rows for each landmark that k-means looks at
ENOUGH = 1e-4  # a relative error above it is worth a warning


class _KernelMachine(BaseEstimator):
    """What regression and classification share: targets are a matrix of numbers here."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: kinds
            for name, kinds in Nystroem._parameter_constraints.items()
            if name != "cutoff"
        },
        "ridge": [Interval(Real, 0, None, closed="left"), StrOptions({"cv"})],
        "ridges": ["array-like", None],
        "fit_intercept": ["boolean"],
    }

    def __init__(
        self,
        kernel: Any = "rbf",
        *,
        ridge: float | str = 1.0,
        ridges: Any = None,
        gamma: float | None = None,
        coef0: float | None = None,
        degree: float | None = None,
        kernel_params: dict[str, Any] | None = None,
        n_components: int = 100,
        landmarks: Any = "uniform",
        fit_intercept: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
    ):
        self.kernel = kernel
        self.ridge = ridge
        self.ridges = ridges
        self.gamma = gamma
        self.coef0 = coef0
        self.degree = degree
        self.kernel_params = kernel_params
        self.n_components = n_components
        self.landmarks = landmarks
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _fit(self, X: Any, y: np.ndarray, sample_weight: Any) -> None:
        """All rows at hand: they are read once for the sums and once for each correction."""
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        ridge = 0.0 if isinstance(self.ridge, str) else self.ridge / X.shape[0]
        y, weights = self._begin(X, y, sample_weight, dtype, ridge)

        def blocks() -> Iterator[Block]:
            return self._blocks(X, y, weights)

        for block in blocks():
            self._sums.add(block, dtype)
        self._solve(blocks)

    def _fit_more(self, X: Any, y: np.ndarray, sample_weight: Any, first: bool) -> None:
        """Rows that will be gone: their products are in double precision."""
        if first:
            y, weights = self._begin(X, y, sample_weight, np.float64)
        else:
            weights = sample_weights(sample_weight, X, np.float64)
            y = y - self._origin
        for block in self._blocks(X, y, weights):
            self._sums.add(block, np.float64)
        self._solve(None)

    def _begin(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: Any,
        dtype: type[np.floating],
        ridge: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose landmarks among the rows that count; targets less their mean, and weights."""
        check_ridges(self)
        weights = sample_weights(sample_weight, X, np.float64)
        if not weights.any():
            raise ValueError("sample_weight must be positive for at least one sample")
        shared = self.get_params(deep=False).keys() & Nystroem().get_params().keys()
        self._kernels = Nystroem(**{name: getattr(self, name) for name in shared})
        self._kernels.random_state = check_random_state(self.random_state)
        self._kernels._get_kernel_params()  # refuses what does not go together
        self.component_indices_, self.components_ = self._choose(X, weights)
        self._kernels.components_ = self.components_
        self._kernels.component_indices_ = self.component_indices_
        M = self._kernels._to_landmarks()
        features = KernelFeatures.of(M, dtype, ridge * len(M))
        self._sums = Sums.empty(features, y.shape[1])
        self._origin = weights @ y / weights.sum() if self.fit_intercept else 0 * y[0]
        return y - self._origin, weights

    def _choose(self, X: Any, weights: np.ndarray) -> tuple[np.ndarray | None, Any]:
        """Indices of the landmarks in X, or None, and the landmarks."""
        counted = np.flatnonzero(weights)
        some = counted
        if isinstance(self.landmarks, str) and self.landmarks == "kmeans":
            most = CLUSTERED * self.n_components
            if len(counted) > most:
                random = self._kernels.random_state
                some = np.sort(random.choice(counted, most, replace=False))
        every = len(some) == X.shape[0] or not isinstance(self.landmarks, str)
        precomputed = isinstance(self.kernel, str) and self.kernel == "precomputed"
        if every or precomputed:
            indices, points = self._kernels._choose(X)
            return indices, X[indices] if points is None else points
        indices, points = self._kernels._choose(X[some])
        if points is not None:
            return None, points
        assert indices is not None
        return some[indices], X[some[indices]]

    def _blocks(self, X: Any, y: np.ndarray, weights: np.ndarray) -> Iterator[Block]:
        """The kernel with the landmarks, some thousand rows at a time, of rows that count."""
        m = len(self._sums.features.T)
        for rows in gen_batches(X.shape[0], max(1, BLOCK // m)):
            w = weights[rows]
            used = w > 0
            if not used.any():
                continue
            K = self._to_landmarks(X[rows] if used.all() else X[rows][used])
            yield K, y[rows][used], w[used]

    def _to_landmarks(self, X: Any) -> np.ndarray:
        """The kernel with the landmarks, its strips side by side."""
        m = len(self._sums.features.T)
        K = np.empty((X.shape[0], m))

        def fill(rows: slice) -> None:
            K[rows] = self._kernels._to_landmarks(X[rows])

        self._kernels._for_each(fill, X, PIECE // m)
        return K

    def _solve(self, blocks: Any) -> None:
        """Choose the ridge if asked to, solve, complain."""
        sums, intercept = self._sums, bool(self.fit_intercept)
        if isinstance(self.ridge, str):
            s, inside, outside = sums.spectrum(intercept)
            errors = partial(generalised, s, inside, outside, sums.rows - intercept)
            self.ridge_ = choose_ridge(self, s[::-1], errors)
        else:
            self.ridge_ = float(self.ridge)
        a, self.error_estimate_ = refined(sums, self.ridge_, intercept, blocks)
        self._coefficients = sums.features.T @ a
        self._constant = self._origin + (sums.constant(a) if intercept else 0.0)
        if not self.error_estimate_ <= ENOUGH:
            warnings.warn(
                f"the coefficients are uncertain by {self.error_estimate_:.1e} of what they "
                "predict: raise ridge, use fewer landmarks, or X in float64",
                ConvergenceWarning,
                stacklevel=callers_level(),
            )

    def _keep(self, single: bool) -> Self:
        """Coefficients in the shape of the targets."""
        self.dual_coef_ = self._coefficients[:, 0] if single else self._coefficients
        self.intercept_: Any = 0.0
        if self.fit_intercept:
            self.intercept_ = float(self._constant[0]) if single else self._constant
        return self

    def _predict(self, X: Any) -> np.ndarray:
        """``c + K a`` (n, k), block by block."""
        check_is_fitted(self)
        X = floating(self, X, reset=False)
        m = len(self._sums.features.T)
        out = np.empty((X.shape[0], self._coefficients.shape[1]), X.dtype)
        for rows in gen_batches(len(out), max(1, BLOCK // m)):
            out[rows] = self._to_landmarks(X[rows]) @ self._coefficients + self._constant
        return out

    def _starts(self) -> bool:
        """Whether `partial_fit` is called for the first time; after `fit` it goes on."""
        if isinstance(self.kernel, str) and self.kernel == "precomputed":
            raise ValueError("partial_fit cannot go on with kernel='precomputed'")
        return not hasattr(self, "_sums")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = isinstance(self.kernel, str) and self.kernel == "precomputed"
        return tags


class NystroemRidge(MultiOutputMixin, RegressorMixin, _KernelMachine):
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


class NystroemRidgeClassifier(ClassifierMixin, _KernelMachine):
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
