"""Kernel features: what scikit-learn's give, and what they do not."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
from sklearn import kernel_approximation as reference
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics.pairwise import kernel_metrics, rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.tests import test_kernel_approximation as upstream
from sklearn.utils.estimator_checks import parametrize_with_checks

import eagle
from eagle.estimators import Nystroem
from eagle.estimators import landmarks as choose
from tests.tolerances import relative_error, tolerance


@parametrize_with_checks(
    [
        Nystroem(n_components=5),
        Nystroem(n_components=5, landmarks="leverage", random_state=0),
        Nystroem(n_components=5, landmarks="kmeans", random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


UPSTREAM = [name for name in vars(upstream) if name.startswith("test_nystroem")]


@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
@pytest.mark.parametrize("name", [name for name in UPSTREAM if not name.endswith("array_api")])
def test_scikit_learns_own_tests(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "Nystroem", Nystroem)
    getattr(upstream, name)()


def test_there_are_scikit_learn_tests_to_run() -> None:
    assert len(UPSTREAM) >= 7


@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
def test_scikit_learns_own_test_of_names() -> None:
    upstream.test_get_feature_names_out(Nystroem)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data[:600] / 16


KERNELS: list[Any] = [*kernel_metrics(), RBF(2.0)]
DENSE_ONLY = ("chi2", "additive_chi2")


@pytest.mark.parametrize(
    ("kernel", "sparse"),
    [(kernel, False) for kernel in KERNELS]
    + [(kernel, True) for kernel in KERNELS if not (kernel in DENSE_ONLY or callable(kernel))],
    ids=str,
)
def test_is_what_scikit_learn_gives(kernel: Any, sparse: bool, digits: np.ndarray) -> None:
    X: Any = scipy.sparse.csr_array(digits[:80]) if sparse else digits[:80]
    settings = {"kernel": kernel, "n_components": 12, "random_state": 3}
    if kernel == "additive_chi2":
        settings["n_components"] = 5  # its kernel of more is singular
    ours = Nystroem(**settings).fit(X)
    theirs = reference.Nystroem(**settings).fit(X)
    np.testing.assert_array_equal(ours.component_indices_, theirs.component_indices_)
    difference = ours.components_ - theirs.components_
    assert abs(difference).max() == 0
    condition = np.linalg.cond(theirs.normalization_) ** 2
    wanted = theirs.transform(X)
    assert relative_error(ours.transform(X), wanted) < tolerance(float, condition)
    assert relative_error(ours.normalization_, theirs.normalization_) < tolerance(float, condition)


def test_takes_and_keeps_the_parameters_of_scikit_learn() -> None:
    theirs = reference.Nystroem().get_params()
    assert theirs.items() <= Nystroem().get_params().items()
    assert isinstance(Nystroem(), reference.Nystroem)


def test_kernel_params_are_left_as_they_were(digits: np.ndarray) -> None:
    params: dict[str, Any] = {}
    Nystroem("polynomial", degree=2, kernel_params=params, n_components=5).fit(digits)
    assert params == {}


@pytest.mark.parametrize("gamma", [1e-6, 1e-4, 1e-2])
def test_single_precision_loses_nothing_but_the_last_rounding(
    gamma: float, digits: np.ndarray
) -> None:
    X = digits.astype(np.float32)
    K = rbf_kernel(X.astype(float), gamma=gamma)
    settings = {"gamma": gamma, "n_components": 200, "random_state": 0}
    double = Nystroem(**settings).fit_transform(X.astype(float))
    single = Nystroem(**settings).fit_transform(X)
    assert single.dtype == np.float32
    assert relative_error(single, double) < tolerance(np.float32, constant=4)

    def error(Z: np.ndarray) -> float:
        return relative_error(Z.astype(float) @ Z.astype(float).T, K)

    assert error(single) < 2 * error(double.astype(np.float32))
    assert error(single) <= error(reference.Nystroem(**settings).fit_transform(X))


def test_single_precision_is_computed_with_only_where_it_does_no_harm(digits: np.ndarray) -> None:
    X = digits.astype(np.float32)
    settings = {"gamma": 0.1, "n_components": 60, "random_state": 0}
    nystroem = Nystroem(**settings).fit(X)
    condition = np.linalg.cond(nystroem.normalization_) ** 2
    assert 10 < condition < 2900
    single = nystroem.transform(X)
    double = Nystroem(**settings).fit_transform(X.astype(float))
    assert not np.array_equal(single, double.astype(np.float32))
    assert relative_error(single, double) < tolerance(np.float32, condition**0.5)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_threads_change_nothing(kernel: str, digits: np.ndarray) -> None:
    settings = {"kernel": kernel, "n_components": 20, "random_state": 0}
    one = Nystroem(**settings).fit_transform(digits)
    two = Nystroem(**settings, n_jobs=2).fit_transform(digits)
    assert relative_error(two, one) < tolerance(float, 1e3)


@pytest.mark.parametrize("gamma", [1e-8, 1e-6, 1e-5, 1e-3])
def test_a_nearly_singular_kernel_is_not_spoilt_by_rounding(
    gamma: float, digits: np.ndarray
) -> None:
    K = rbf_kernel(digits, gamma=gamma)
    nystroem = Nystroem(gamma=gamma, n_components=len(K), random_state=0).fit(digits)
    Z = nystroem.transform(digits)
    # Directions under the cutoff are missing. If they are few, the explicit root is used.
    many = nystroem.rank_ <= len(K) / 2
    assert many == (gamma < 3e-6)
    dropped = len(K) ** 0.5 * nystroem.cutoff_
    limit = tolerance(float) if many else tolerance(float, nystroem.cutoff_**-0.5)
    assert relative_error(Z @ Z.T, K) < dropped + limit


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_an_offset_of_the_data_does_not_cancel(offset: float, digits: np.ndarray) -> None:
    far = digits[:100] + offset
    near = far - offset  # exact, so that the distances are the same
    settings = {"gamma": 0.1, "n_components": 40, "random_state": 0}
    wanted = Nystroem(**settings).fit_transform(near)
    assert relative_error(Nystroem(**settings).fit_transform(far), wanted) < tolerance(float, 1e4)


@pytest.mark.parametrize("scale", [1e-14, 1e14])
def test_cutoff_is_relative(scale: float, digits: np.ndarray) -> None:
    X = digits[:100]
    one = Nystroem("linear", n_components=40, random_state=0).fit(X)
    other = Nystroem("linear", n_components=40, random_state=0).fit(scale * X)
    assert other.rank_ == one.rank_
    assert relative_error(other.transform(scale * X) / scale, one.transform(X)) < 1e-8


def test_cutoff_drops_directions(digits: np.ndarray) -> None:
    whole = Nystroem(n_components=50, random_state=0).fit(digits)
    values = 1 / np.linalg.eigvalsh(whole.normalization_)[::-1] ** 2
    cutoff = np.sqrt(values[-10] * values[-11]) / values[-1]
    part = Nystroem(n_components=50, random_state=0, cutoff=cutoff).fit(digits)
    assert (whole.rank_, part.rank_) == (50, 10)
    assert np.linalg.matrix_rank(part.transform(digits), tol=1e-6) == 10


def test_features_of_batches_are_those_of_the_whole(
    digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    nystroem = Nystroem(n_components=30, random_state=0).fit(digits)
    whole = nystroem.transform(digits)
    limit = tolerance(float, np.linalg.cond(nystroem.normalization_))
    monkeypatch.setattr(choose, "BATCH", 30 * 7)
    assert relative_error(nystroem.transform(digits), whole) < limit
    pieces = np.vstack([nystroem.transform(each) for each in np.array_split(digits, 5)])
    assert relative_error(pieces, whole) < limit


# Landmarks


def test_landmarks_can_be_given(digits: np.ndarray) -> None:
    chosen = np.arange(0, 60, 3)
    by_index = Nystroem(landmarks=chosen).fit(digits)
    by_value = Nystroem(landmarks=digits[chosen]).fit(digits)
    np.testing.assert_array_equal(by_index.component_indices_, chosen)
    assert by_value.component_indices_ is None
    np.testing.assert_array_equal(by_index.transform(digits), by_value.transform(digits))
    assert len(by_index.get_feature_names_out()) == 20


def test_landmarks_can_be_more_than_the_rows(digits: np.ndarray) -> None:
    assert Nystroem(landmarks=digits[:50]).fit_transform(digits[:3]).shape == (3, 50)


def test_landmarks_can_be_chosen_by_a_function(digits: np.ndarray) -> None:
    def last(X: np.ndarray, n_components: int, random_state: Any) -> np.ndarray:
        assert isinstance(random_state, np.random.RandomState)
        return X[-n_components:]

    nystroem = Nystroem(landmarks=last, n_components=4).fit(digits)
    np.testing.assert_array_equal(nystroem.components_, digits[-4:])


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """A large cluster and twenty small ones."""
    rng = np.random.default_rng(0)
    centres = 20 * rng.standard_normal((20, 3))
    small = [centre + 0.1 * rng.standard_normal((5, 3)) for centre in centres]
    return np.vstack([0.1 * rng.standard_normal((2000, 3)), *small])


@pytest.mark.parametrize("landmarks", ["kmeans", "leverage"])
def test_chosen_landmarks_beat_uniform_ones(landmarks: str, clusters: np.ndarray) -> None:
    K = rbf_kernel(clusters, gamma=0.5)

    def error(how: str, seed: int) -> float:
        Z = Nystroem(gamma=0.5, n_components=60, landmarks=how, random_state=seed).fit_transform(
            clusters
        )
        return np.trace(K - Z @ Z.T)  # the whole of a cluster without a landmark

    chosen = [error(landmarks, seed) for seed in range(3)]
    plain = [error("uniform", seed) for seed in range(3)]
    assert max(chosen) < min(plain) / 2


def test_leverage_scores_are_near_the_exact_ones(rng: np.random.Generator) -> None:
    X = rng.standard_normal((400, 2)) * np.where(rng.random((400, 1)) < 0.1, 5, 0.3)
    K = rbf_kernel(X)
    every, ones = np.arange(400), np.ones(400)
    scores = choose._scores(lambda i, j: K[np.ix_(i, j)], np.diagonal(K), every, every, ones, 20)
    ridge = np.linalg.eigvalsh(K)[:-20].sum() / 20
    exact = np.diagonal(np.linalg.solve(K + ridge * np.eye(400), K))
    assert relative_error(scores, exact) < tolerance(float, K.trace() / ridge)


@pytest.mark.parametrize("landmarks", ["uniform", "kmeans", "leverage"])
def test_equal_seeds_choose_equal_landmarks(landmarks: str, digits: np.ndarray) -> None:
    pair = [
        Nystroem(n_components=7, landmarks=landmarks, random_state=5).fit(digits).components_
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*pair)


# Precomputed kernels


@pytest.mark.parametrize("landmarks", ["uniform", "leverage", np.arange(5, 45)], ids=str)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_precomputed_kernel_gives_what_the_kernel_gives(
    landmarks: Any, sparse: bool, digits: np.ndarray
) -> None:
    settings = {"n_components": 40, "landmarks": landmarks, "random_state": 1}
    K, K_new = rbf_kernel(digits[:300]), rbf_kernel(digits[300:], digits[:300])
    if sparse:
        K, K_new = scipy.sparse.csr_array(K), scipy.sparse.csr_array(K_new)
    wanted = Nystroem("rbf", **settings).fit(digits[:300])
    given = Nystroem("precomputed", **settings).fit(K)
    np.testing.assert_array_equal(given.component_indices_, wanted.component_indices_)
    limit = tolerance(float, np.linalg.cond(wanted.normalization_) ** 2)
    assert relative_error(given.transform(K_new), wanted.transform(digits[300:])) < limit


def test_a_precomputed_kernel_in_single_precision_has_a_cutoff_to_match(
    digits: np.ndarray,
) -> None:
    K = rbf_kernel(digits[:200], gamma=1e-4)
    nystroem = Nystroem("precomputed", n_components=100, random_state=0)
    Z = nystroem.fit_transform(K.astype(np.float32)).astype(float)
    assert nystroem.cutoff_ == 100 * np.finfo(np.float32).eps
    assert relative_error(Z @ Z.T, K) < tolerance(np.float32, nystroem.cutoff_**-0.5, constant=1)


# Kernel slices


@pytest.mark.parametrize("gamma", [1e-4, 1e-1])
def test_kernel_slices_agree_with_the_features(gamma: float, digits: np.ndarray) -> None:
    nystroem = Nystroem(gamma=gamma, n_components=60, random_state=0).fit(digits)
    result = nystroem.approximate_kernel(digits[:30], digits[30:50], rng=0)
    assert isinstance(result, eagle.Result)
    assert result.converged
    Z = nystroem.transform(digits[:50])
    wanted = Z[:30] @ Z[30:].T
    assert relative_error(result.value, wanted) < tolerance(float, nystroem.cutoff_**-0.5)
    whole = nystroem.approximate_kernel(digits[:20], rng=0, method="direct").value
    assert relative_error(whole, Z[:20] @ Z[:20].T) < tolerance(float, nystroem.cutoff_**-0.5)


def test_kernel_slices_drop_what_the_features_drop(digits: np.ndarray) -> None:
    nystroem = Nystroem(n_components=60, cutoff=0.01, random_state=0).fit(digits)
    assert nystroem.rank_ < 30
    Z = nystroem.transform(digits[:20])
    K = nystroem.approximate_kernel(digits[:20], rng=0).value
    assert relative_error(K, Z @ Z.T) < tolerance(float, 1e3)
    top = nystroem.approximate_kernel(digits[:20], rng=0, rank=1).value
    assert np.linalg.matrix_rank(top) == 1


def test_kernel_slices_of_an_indefinite_kernel_keep_its_signs(digits: np.ndarray) -> None:
    nystroem = Nystroem("sigmoid", gamma=1.0, coef0=-2.0, n_components=20, random_state=0)
    X = nystroem.fit(digits).components_
    K = nystroem.approximate_kernel(X, rng=0).value
    wanted = kernel_metrics()["sigmoid"](X, gamma=1.0, coef0=-2.0)
    assert np.linalg.eigvalsh(wanted)[0] < -1e-4
    assert relative_error(K, wanted) < tolerance(float, np.linalg.cond(wanted))


def test_failure_of_a_slice_is_a_warning(digits: np.ndarray) -> None:
    nystroem = Nystroem(n_components=40, random_state=0).fit(digits)
    with pytest.warns(eagle.ConvergenceWarning, match="MAX_ITERATIONS"):
        nystroem.approximate_kernel(digits[:9], method="eagle", maxiter=2, rng=0)


# At home in scikit-learn


def test_pipeline_grid_search_clone_and_pickle() -> None:
    X, y = load_digits(return_X_y=True)
    pipeline = make_pipeline(Nystroem(gamma=1e-3, random_state=0), RidgeClassifier())
    grid = {
        "nystroem__landmarks": ["uniform", "kmeans"],
        "nystroem__n_components": [5, 50],
    }
    search = GridSearchCV(clone(pipeline), grid, cv=2).fit(X[:300], y[:300])
    assert search.best_params_["nystroem__n_components"] == 50
    assert search.score(X[300:600], y[300:600]) > 0.85
    copied = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copied.predict(X), search.predict(X))


def test_grid_search_cuts_a_precomputed_kernel_on_both_sides() -> None:
    X, y = load_digits(return_X_y=True)
    K = rbf_kernel(X[:300], gamma=1e-3)
    pipeline = make_pipeline(
        Nystroem("precomputed", n_components=80, random_state=0), RidgeClassifier()
    )
    search = GridSearchCV(pipeline, {"nystroem__cutoff": [None, 1e-3]}, cv=3).fit(K, y[:300])
    assert search.best_score_ > 0.85


def test_pandas_in_and_out(digits: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(digits[:50]).add_prefix("pixel")
    nystroem = Nystroem(n_components=3, random_state=0).set_output(transform="pandas")
    Z = nystroem.fit_transform(X)
    assert list(Z.columns) == ["nystroem0", "nystroem1", "nystroem2"]
    assert nystroem.feature_names_in_[1] == "pixel1"
    landmarks = Nystroem(landmarks=X[:3]).fit(X)
    np.testing.assert_array_equal(landmarks.components_, X[:3])


# Bad input

K = np.eye(6)
X = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"landmarks": np.ones((3, 5))}, X, r"landmarks with shape \(3, 5\) must have as many"),
        ({"landmarks": [1, 9]}, X, "landmarks must be indices from 0 to 5, rows of X"),
        ({"landmarks": [0.5, 1]}, X, "landmarks must be 1-D integers"),
        ({"landmarks": [[np.nan, 1]]}, X, "landmarks contains NaN"),
        ({"landmarks": "best"}, X, "The 'landmarks' parameter of Nystroem must be"),
        ({"landmarks": lambda X, n, random: X[:n, :1]}, X, "landmarks with shape"),
        ({"cutoff": 1.0}, X, "The 'cutoff' parameter of Nystroem must be"),
        ({"kernel": "precomputed"}, X, "X must be square for kernel='precomputed', got shape"),
        ({"kernel": "precomputed"}, np.where(K, np.nan, 1), "X contains NaN"),
        ({"kernel": "precomputed", "landmarks": "kmeans"}, K, "landmarks='kmeans' needs points"),
        ({"kernel": "precomputed", "landmarks": K}, K, "landmarks must be 1-D integers"),
        ({"kernel": "precomputed"}, np.triu(np.ones((6, 6))), "kernel must be symmetric"),
        ({"kernel": lambda x, y: np.nan}, X, "gave NaN or infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
def test_bad_input_is_named(settings: dict[str, Any], data: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Nystroem(**settings).fit(data)


def test_categorical_columns_are_named() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": [1.0, 2], "colour": ["red", "blue"]})
    with pytest.raises(ValueError, match=r"X has columns that are not numbers: 'colour' \("):
        Nystroem(n_components=2).fit(frame)
    with pytest.raises(ValueError, match="X has entries that are not numbers"):
        Nystroem(n_components=2).fit(np.array([["red"], ["blue"]]))


def test_a_kernel_that_is_zero_has_zero_features() -> None:
    nystroem = Nystroem("linear", n_components=3).fit(np.zeros((5, 2)))
    assert nystroem.rank_ == 0
    assert not nystroem.transform(X).any()


def test_nan_in_the_kernel_of_new_samples_is_named() -> None:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return np.nan if x[0] > 99 or y[0] > 99 else float(x @ y)

    nystroem = Nystroem(kernel, n_components=2).fit(X)
    with pytest.raises(ValueError, match="gave NaN or infinity"):
        nystroem.transform([[100.0, 0.0]])


def test_fewer_rows_than_landmarks_is_a_warning_that_names_both() -> None:
    with pytest.warns(UserWarning, match=r"n_components=100 > n_samples=6"):
        assert Nystroem().fit(X).components_.shape == (6, 2)


def test_transform_needs_fit() -> None:
    with pytest.raises(NotFittedError):
        Nystroem().transform(X)
