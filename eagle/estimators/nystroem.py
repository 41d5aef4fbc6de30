"""Kernel features from landmarks, a drop-in for scikit-learn's class of the same name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from sklearn import kernel_approximation
from sklearn.base import _fit_context
from sklearn.metrics.pairwise import KERNEL_PARAMS, pairwise_kernels
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from eagle.api import nystrom
from eagle.estimators import landmarks as choose
from eagle.estimators.arrays import Library
from eagle.estimators.parallel import for_each
from eagle.estimators.root import InverseRoot
from eagle.estimators.validation import validated
from eagle.problem.result import Result

PIECE = 2**19  # entries of the kernel that a thread holds at a time
ASYMMETRY = 1e3  # in units of eps: what rounding leaves between K and K^T


class Nystroem(kernel_approximation.Nystroem):
    """Features ``Z`` with ``Z Z^T = K_nm K_mm^+ K_mn``, the kernel as m landmarks know it.

    A drop-in for `sklearn.kernel_approximation.Nystroem` with the same parameters, attributes and
    random choices. What is different: landmarks can be given or chosen better, a precomputed kernel
    may have more rows than landmarks, directions are dropped relative to the largest eigenvalue,
    single precision is only computed with where that is harmless, and `transform` works batch by
    batch, so that it needs little memory beyond the features.

    Parameters
    ----------
    kernel : str or callable, default="rbf"
        A kernel of `sklearn.metrics.pairwise.pairwise_kernels`, a function of two samples, or
        ``"precomputed"``: then `fit` takes the kernel (n_samples, n_samples) of the samples and
        `transform` the kernel (n_queries, n_samples) with them.
    gamma, coef0, degree : float, default=None
        Parameters of the kernels that have them.
    kernel_params : dict, default=None
        Further arguments for the kernel.
    n_components : int, default=100
        Number of landmarks m, unless an array of them is given. If there are fewer samples, all
        become landmarks, with a warning.
    random_state : int, RandomState instance or None, default=None
        Chooses the landmarks.
    n_jobs : int, default=None
        Threads for the kernel.
    landmarks : array, {"uniform", "kmeans", "leverage"} or callable, default="uniform"
        An array (m, n_features) of points, an integer array (m,) of rows of X, or how to choose:
        ``"uniform"`` as scikit-learn does; ``"kmeans"`` takes cluster centres [2]_;
        ``"leverage"`` draws rows by approximate ridge leverage scores [3]_, for kernels whose
        eigenvalues fall slowly or data with rare clusters. A callable
        ``landmarks(X, n_components, random_state)`` returns either kind of array.
    cutoff : float, default=None
        Eigenvalues of the landmarks' kernel at or below ``cutoff`` times the largest, in
        magnitude, count as zero. None: m times the rounding unit of the kernel's values.

    Attributes
    ----------
    components_ : ndarray (m, n_features)
        The landmarks; for a precomputed kernel their rows of it.
    component_indices_ : ndarray of int (m,) or None
        Their rows in X; None for points that are none of its rows.
    normalization_ : ndarray (m, m)
        ``K_mm^(-1/2)`` without the dropped directions, float64.
    rank_ : int
        Directions that were kept.
    cutoff_ : float
        The relative cutoff that was used.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str (n_features,)
        Only if the columns of X have such names.

    Notes
    -----
    With ``K_mm = V diag(w) V^T``, ``Z = K_nm V |w|^(-1/2) sign(w) V^T``. If half the directions are
    dropped or more, the product is taken from left to right, which then is also faster: rounding
    errors stay those of ``K_nm``, where the explicit root would amplify them.

    For X in single precision kernels and eigenvectors are computed in double precision
    nonetheless. The product ``K_nm K_mm^(-1/2)`` is in single precision if the condition of
    ``K_mm`` is below 2900, ``eps^(-1/2)``: its rounding errors, ``eps`` times the root of the
    condition, are then small beside what the kernel loses by being approximated. Above that the
    directions with ``w^2 > max(w) min(w)`` stay in double precision. What is left of ``K_nm`` is so
    small that rounding it costs no more than rounding Z. If they are many, everything stays.

    A kernel with negative eigenvalues, such as ``"sigmoid"``, has no real features; Z is then what
    scikit-learn returns, and `approximate_kernel` is right nonetheless.

    References
    ----------
    .. [1] Williams, Seeger, "Using the Nyström method to speed up kernel machines", NIPS 2000.
    .. [2] Zhang, Tsang, Kwok, "Improved Nyström low-rank approximation and error analysis",
       ICML 2008.
    .. [3] Musco, Musco, "Recursive sampling for the Nyström method", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics.pairwise import rbf_kernel
    >>> from eagle.estimators import Nystroem
    >>> X = np.random.default_rng(0).uniform(size=(200, 2))
    >>> Z = Nystroem(n_components=40, random_state=0).fit_transform(X)
    >>> Z.shape, bool(np.abs(Z @ Z.T - rbf_kernel(X)).max() < 1e-6)
    ((200, 40), True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **kernel_approximation.Nystroem._parameter_constraints,
        "landmarks": [StrOptions(set(choose.NAMES)), "array-like", callable],
        "cutoff": [Interval(Real, 0, 1, closed="left"), None],
    }

    def __init__(
        self,
        kernel: Any = "rbf",
        *,
        gamma: float | None = None,
        coef0: float | None = None,
        degree: float | None = None,
        kernel_params: dict[str, Any] | None = None,
        n_components: int = 100,
        random_state: Any = None,
        n_jobs: int | None = None,
        landmarks: Any = "uniform",
        cutoff: float | None = None,
    ):
        super().__init__(
            kernel,
            gamma=gamma,
            coef0=coef0,
            degree=degree,
            kernel_params=kernel_params,
            n_components=n_components,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        self.landmarks = landmarks
        self.cutoff = cutoff

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose the landmarks and take the root of their kernel.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : ignored

        Returns
        -------
        Nystroem
            Itself.
        """
        X = validated(self, X, accept_sparse="csr")
        library = Library.of(X)
        if library is not None:
            return self._fit(library.to_numpy(X))._move(library, X.dtype)
        return self._fit(X)

    _library: Library | None = None

    def _fit(self, X: Any) -> Self:
        self._library = None
        self._get_kernel_params()
        precomputed = self._precomputed
        if precomputed and X.shape[0] != X.shape[1]:
            raise ValueError(f"X must be square for kernel='precomputed', got shape {X.shape}")
        indices, points = self._choose(X)
        self.component_indices_ = indices
        self.components_ = X[indices] if points is None else points
        K = self._to_landmarks()
        eps = np.finfo(X.dtype if precomputed and X.dtype.kind == "f" else np.float64).eps
        if np.abs(K - K.T).max() > ASYMMETRY * eps * np.abs(K).max():
            raise ValueError("kernel must be symmetric, and K_mm among the landmarks is not")
        self.cutoff_ = float(len(K) * eps if self.cutoff is None else self.cutoff)
        w, V = np.linalg.eigh(K)
        kept = np.abs(w) > self.cutoff_ * np.abs(w).max()
        self.rank_ = int(np.count_nonzero(kept))
        self._root = InverseRoot.of(w[kept], V[:, kept])
        self.normalization_ = self._root.matrix
        self._n_features_out = len(K)
        return self

    def _move(self, library: Library, dtype: Any) -> Self:
        """What was learnt becomes arrays of another library."""
        self._library = library
        self.components_ = library.xp.astype(library.from_numpy(self.components_), dtype)
        self.normalization_ = library.from_numpy(self.normalization_)
        factors = tuple(library.from_numpy(factor) for factor in self._root.factors)
        self._root = replace(self._root, factors=factors)
        if self.component_indices_ is not None:
            self.component_indices_ = library.from_numpy(self.component_indices_)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The features of samples.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, m)
            float32 if X is, float64 otherwise.
        """
        check_is_fitted(self)
        X = self._samples(X)
        m = self._n_features_out
        if self._library is not None:
            return self._transform_there(X, self._library)
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        Z = np.empty((X.shape[0], m), dtype)

        def fill(rows: slice) -> None:
            self._root.apply(self._to_landmarks(X[rows]), Z[rows])

        self._for_each(fill, X, PIECE // m)
        return Z

    def _for_each(self, fill: Callable[[slice], None], X: Any, count: int) -> None:
        """Call for all rows of X, so many at a time, side by side if the kernel is our own."""
        pieces = list(gen_batches(X.shape[0], max(1, count)))
        if self._own_rbf(X) and len(pieces) > 1:
            for_each(fill, pieces)
        else:  # the kernel may be a function that is not made for threads
            for rows in pieces:
                fill(rows)

    def approximate_kernel(self, X: Any, Y: Any = None, **options: Any) -> Result:
        """A slice ``K_xm K_mm^+ K_my`` of the approximate kernel, with a certificate.

        Parameters
        ----------
        X : array-like or sparse matrix (n, n_features)
        Y : array-like or sparse matrix (q, n_features), optional
            X by default.
        **options
            As for `eagle.solve`. ``cutoff`` is ``cutoff_`` unless ``rank`` or ``method`` is given.

        Returns
        -------
        Result
            ``result.value`` is (n, q), float64.
        """
        check_is_fitted(self)
        if not {"rank", "method"} & set(options):
            options = {"cutoff": self.cutoff_} | options
        samples = [self._samples(each) for each in (X, Y) if each is not None]
        K_mm, *slices = [self._to_landmarks(each) for each in (None, *samples)]
        if self._library is not None:
            K_mm, *slices = [self._library.to_numpy(each) for each in (K_mm, *slices)]
        return nystrom(K_mm, slices[0], slices[-1].T, **options)

    def _transform_there(self, X: Any, library: Library) -> Any:
        """The features of samples in another library, computed there."""
        xp, pieces = library.xp, []
        for rows in gen_batches(X.shape[0], max(1, choose.BATCH // self._n_features_out)):
            features = self._to_landmarks(X[rows, :])
            for factor in self._root.factors:
                features = features @ factor
            pieces.append(features)
        Z = xp.concat(pieces)
        return xp.astype(Z, X.dtype) if xp.isdtype(X.dtype, "real floating") else Z

    def _samples(self, X: Any) -> Any:
        """New samples, which must live where those of `fit` did."""
        X = validated(self, X, accept_sparse="csr", reset=False)
        library = Library.of(X)
        if library != self._library:
            raise TypeError(
                f"X lives in {library or 'numpy'}, but that of fit in {self._library or 'numpy'}: "
                "move one of them"
            )
        return X

    @property
    def _precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _get_kernel_params(self) -> dict[str, Any]:
        """Arguments for the kernel; the caller's dictionary stays as it is."""
        mine = {"gamma": self.gamma, "coef0": self.coef0, "degree": self.degree}
        mine = {name: value for name, value in mine.items() if value is not None}
        if callable(self.kernel) or self._precomputed:
            if mine:
                raise ValueError(
                    "Don't pass gamma, coef0 or degree to Nystroem if using a callable or "
                    "precomputed kernel"
                )
            known: Any = ()
        else:
            known = KERNEL_PARAMS[self.kernel]
        return dict(self.kernel_params or {}) | {
            name: value for name, value in mine.items() if name in known
        }

    def _kernel(self, X: Any, Y: Any = None) -> np.ndarray:
        """Kernel between two sets of points, or among one, in float64."""
        parameters = self._get_kernel_params()
        X, Y = self._double(X), None if Y is None else self._double(Y)
        if self._own_rbf(X) and not issparse(Y):
            return self._finite(_rbf(X, X if Y is None else Y, parameters.get("gamma")))
        K = pairwise_kernels(
            X, Y, metric=self.kernel, filter_params=True, n_jobs=self.n_jobs, **parameters
        )
        return self._finite(K)

    def _own_rbf(self, X: Any) -> bool:
        """Whether the kernel with X is computed here and not by scikit-learn."""
        rbf = isinstance(self.kernel, str) and self.kernel == "rbf"
        return rbf and not issparse(X) and self.n_jobs in (None, 1) and self._library is None

    def _to_landmarks(self, X: Any = None) -> np.ndarray:
        """Kernel between samples and landmarks, or among the landmarks, in float64."""
        if self._precomputed:
            X = self.components_ if X is None else X
            if self._library is not None:
                return self._finite(self._library.xp.take(X, self.component_indices_, axis=1))
            return self._finite(X[:, self.component_indices_])
        return self._kernel(*([self.components_] if X is None else [X, self.components_]))

    def _finite(self, K: Any) -> Any:
        """K in float64; NaN and infinity raise ValueError."""
        if self._library is not None:
            K = self._library.double(K)
            finite = self._library.finite(K)
        else:
            K = np.asarray(K.toarray() if issparse(K) else K, np.float64)
            finite = bool(np.isfinite(K).all())
        if not finite:
            raise ValueError(f"kernel={self.kernel!r} gave NaN or infinity")
        return K

    def _double(self, X: Any) -> Any:
        """X in float64."""
        if self._library is not None:
            return self._library.double(X)
        return X.astype(np.float64) if X.dtype != np.float64 else X

    def _choose(self, X: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Indices of the landmarks in X, or the landmarks themselves; the other one is None."""
        random = check_random_state(self.random_state)
        rows = X.shape[0]
        points = not self._precomputed
        if callable(self.landmarks):
            return choose.given(self.landmarks(X, self.n_components, random), X, points=points)
        if not isinstance(self.landmarks, str):
            return choose.given(self.landmarks, X, points=points)
        size = choose.count(self.n_components, rows)
        if self.landmarks == "kmeans":
            if not points:
                raise ValueError(
                    "landmarks='kmeans' needs points, which kernel='precomputed' has not; use "
                    "'uniform', 'leverage' or indices"
                )
            return None, choose.kmeans(X, size, random)
        if self.landmarks == "leverage":
            return choose.leverage(self._between(X), rows, size, random), None
        return choose.uniform(rows, size, random), None

    def _between(self, X: Any) -> choose.Kernel:
        """The kernel as a function of two sets of rows of X."""

        def kernel(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            if self._precomputed:
                return self._finite(X[rows][:, columns])
            return self._kernel(X[rows], X[columns])

        return kernel

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._precomputed
        return tags


def _rbf(X: np.ndarray, Y: np.ndarray, gamma: float | None) -> np.ndarray:
    """``exp(-gamma |x - y|^2)`` with one product and two passes over it."""
    gamma = 1 / X.shape[1] if gamma is None else gamma
    centre = Y.mean(axis=0)  # distances stay, cancellation does not
    X, Y = X - centre, Y - centre
    ones = np.ones((len(X), 1))
    lengths = [np.einsum("ij,ij->i", each, each)[:, None] for each in (X, Y)]
    left = np.hstack([X, lengths[0], ones])
    right = np.hstack([-2 * Y, np.ones((len(Y), 1)), lengths[1]])
    K = left @ (-gamma * right).T
    np.minimum(K, 0, out=K)
    return np.exp(K, out=K)
