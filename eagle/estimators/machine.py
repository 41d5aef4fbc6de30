"""What kernel ridge regression and classification on landmarks share: blocks, sums, a solve."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
)
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
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


class KernelMachine(BaseEstimator):
    """Targets are a matrix of numbers here, one row for each row of X."""

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
