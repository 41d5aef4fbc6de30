"""Kernel ridge on landmarks: what features and Ridge give, without the features."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import eagle
from eagle.estimators import Nystroem, NystroemRidge, NystroemRidgeClassifier
from eagle.estimators import machine as module
from eagle.estimators.reduced import KernelFeatures, Sums, refined
from tests.tolerances import relative_error, tolerance

Kind = type[NystroemRidge] | type[NystroemRidgeClassifier]


@parametrize_with_checks(
    [
        NystroemRidge(random_state=0),
        NystroemRidge(n_components=20, gamma=0.05, landmarks="kmeans", random_state=0),
        NystroemRidge(ridge="cv", random_state=0),
        NystroemRidgeClassifier(random_state=0),
        NystroemRidgeClassifier(n_components=20, landmarks="leverage", random_state=0),
    ],
    expected_failed_checks=lambda estimator: (
        {
            f"check_sample_weight_equivalence_on_{kind}_data": "landmarks or counts differ"
            for kind in ("dense", "sparse")
        }
        if estimator.ridge == "cv" or estimator.landmarks == "leverage"
        else {}
    ),
)
@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def data(
    rng: np.random.Generator, n: int = 400, outputs: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    X = rng.standard_normal((n, 4))
    y = np.sin(X @ rng.standard_normal((4,) if outputs is None else (4, outputs))) + 2
    return X, y + 0.1 * rng.standard_normal(y.shape)


def features_and_ridge(ridge: float, settings: dict[str, Any], fit_intercept: bool) -> Any:
    """What it is equal to; its condition number is not squared."""
    return make_pipeline(
        Nystroem(**settings), Ridge(ridge, solver="svd", fit_intercept=fit_intercept)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("ridge", [1e-6, 1.0])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_is_features_and_ridge(
    rng: np.random.Generator, dtype: Any, gamma: float, ridge: float, fit_intercept: bool
) -> None:
    """Down to kernels whose condition number is 1e15 at the landmarks, in both precisions."""
    X, y = data(rng)
    settings = {"gamma": gamma, "n_components": 80, "random_state": 0}
    wanted = features_and_ridge(ridge, settings, fit_intercept).fit(
        X.astype(dtype).astype(float), y
    )
    model = NystroemRidge(ridge=ridge, fit_intercept=fit_intercept, **settings)
    model.fit(X.astype(dtype), y)
    new = rng.standard_normal((50, 4)).astype(dtype)
    # The condition number of features and ridge, as the largest feature is of size sqrt(n).
    limit = tolerance(dtype) + tolerance(float, len(X) / ridge)
    assert relative_error(model.predict(new), wanted.predict(new.astype(float))) < limit
    assert model.error_estimate_ < 1e-6
    assert model.predict(new).dtype == dtype


def test_sums_of_products_alone_would_not_do(rng: np.random.Generator) -> None:
    """The same without splitting off the leading directions: the condition number squared."""
    X, y = data(rng)
    Z = X[:80]
    M, K = rbf_kernel(Z, gamma=0.01), rbf_kernel(X, Z, gamma=0.01)
    normal = K @ np.linalg.lstsq(K.T @ K + 1e-6 * M, K.T @ y, rcond=None)[0]
    settings = {"gamma": 0.01, "landmarks": Z}
    ridge = features_and_ridge(1e-6, settings, False).fit(X, y).predict(X)
    model = NystroemRidge(ridge=1e-6, fit_intercept=False, **settings).fit(X, y)
    assert relative_error(normal, ridge) > 100 * relative_error(model.predict(X), ridge)


def test_all_rows_as_landmarks_are_kernel_ridge(rng: np.random.Generator) -> None:
    X, y = data(rng, 150, 2)
    model = NystroemRidge(
        "laplacian", gamma=0.3, n_components=150, ridge=0.1, fit_intercept=False, random_state=0
    )
    wanted = KernelRidge(alpha=0.1, kernel="laplacian", gamma=0.3).fit(X, y)
    new = rng.standard_normal((50, 4))
    error = relative_error(model.fit(X, y).predict(new), wanted.predict(new))
    assert error < tolerance(float, 150 / 0.1)
    assert model.dual_coef_.shape == (150, 2)
    assert len(model.intercept_ if model.fit_intercept else []) == 0


@pytest.mark.parametrize(
    ("kernel", "sparse"),  # scikit-learn has no kernels of one's own of sparse data
    [(kernel, sparse) for kernel in ("rbf", "polynomial", "linear") for sparse in (False, True)]
    + [(rbf_kernel, False)],
)
def test_other_kernels_and_sparse_data(rng: np.random.Generator, kernel: Any, sparse: bool) -> None:
    if callable(kernel):

        def kernel(x: np.ndarray, z: np.ndarray) -> float:  # of two samples
            return float(np.exp(-np.abs(x - z).sum()))

    X, y = data(rng, 60)
    given = scipy.sparse.csr_array(X) if sparse else X
    settings = {"kernel": kernel, "n_components": 20, "random_state": 0}
    model = NystroemRidge(ridge=0.5, **settings).fit(given, y)
    wanted = features_and_ridge(0.5, settings, True).fit(X, y).predict(X)
    scale = np.abs(model.components_).max() ** 6 if kernel == "polynomial" else 1e3
    assert relative_error(model.predict(given), wanted) < tolerance(float, 1e3 * scale)


def test_a_precomputed_kernel_is_the_kernel(rng: np.random.Generator) -> None:
    X, y = data(rng, 80)
    settings = {"n_components": 30, "random_state": 0, "ridge": 0.1}
    by_points = NystroemRidge(gamma=0.2, **settings).fit(X, y)
    K = rbf_kernel(X, gamma=0.2)
    model = NystroemRidge("precomputed", **settings).fit(K, y)
    np.testing.assert_array_equal(model.component_indices_, by_points.component_indices_)
    assert relative_error(model.predict(K[:9]), by_points.predict(X[:9])) < tolerance(float, 1e4)
    with pytest.raises(ValueError, match="partial_fit cannot go on with kernel='precomputed'"):
        NystroemRidge("precomputed").partial_fit(K, y)


@pytest.mark.parametrize("landmarks", ["uniform", "kmeans", "leverage", "points", "indices"])
def test_weights_count_rows_and_zero_is_not_there(rng: np.random.Generator, landmarks: Any) -> None:
    X, y = data(rng, 120)
    weights = rng.integers(0, 3, 120)
    given = {"points": X[:15] + 0.1, "indices": np.flatnonzero(weights)[:15]}
    model = NystroemRidge(
        gamma=0.3, n_components=15, landmarks=given.get(landmarks, landmarks), random_state=0
    ).fit(X, y, weights)
    if model.component_indices_ is not None:
        assert (weights[model.component_indices_] > 0).all()
        np.testing.assert_array_equal(model.components_, X[model.component_indices_])
    repeated = clone(model).set_params(landmarks=model.components_)
    repeated.fit(np.repeat(X, weights, 0), np.repeat(y, weights))
    assert relative_error(model.predict(X), repeated.predict(X)) < tolerance(float, 1e4)


# The ridge


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_errors_are_those_of_generalised_cross_validation(
    rng: np.random.Generator, dtype: Any
) -> None:
    X, y = data(rng, 200, 2)
    X = X.astype(dtype).astype(float)
    ridges = np.logspace(-3, 2, 11)
    settings = {"gamma": 0.3, "n_components": 40, "random_state": 0}
    model = NystroemRidge(ridge="cv", ridges=ridges, **settings).fit(X.astype(dtype), y)
    Z = Nystroem(**settings).fit(X).transform(X)
    Z, b = Z - Z.mean(axis=0), y - y.mean(axis=0)
    wanted = []
    for ridge in ridges:
        H = Z @ np.linalg.solve(Z.T @ Z + ridge * np.eye(40), Z.T)
        wanted.append(199 * ((b - H @ b) ** 2).sum() / 2 / (199 - np.trace(H)) ** 2)
    assert relative_error(model.cv_errors_, wanted) < tolerance(dtype, 1e3)
    assert model.ridge_ == ridges[np.argmin(wanted)]


def test_noise_asks_for_a_ridge(rng: np.random.Generator) -> None:
    X = rng.standard_normal((500, 3))
    clean = np.sin(X.sum(axis=1))
    settings = {"gamma": 0.5, "n_components": 200, "random_state": 0}
    quiet = NystroemRidge(ridge="cv", **settings).fit(X, clean)
    noisy = NystroemRidge(ridge="cv", **settings).fit(X, clean + rng.standard_normal(500))
    assert noisy.ridge_ > 1e3 * quiet.ridge_
    new = rng.standard_normal((500, 3))

    def error(model: Any) -> float:
        return float(((model.predict(new) - np.sin(new.sum(axis=1))) ** 2).mean())

    least = NystroemRidge(ridge=quiet.ridge_, **settings)
    assert error(noisy) < 0.5 * error(least.fit(X, clean + rng.standard_normal(500)))


# Chunks, blocks, files


def test_chunks_give_what_all_rows_give(rng: np.random.Generator) -> None:
    X, y = data(rng, 300, 2)
    weights = rng.uniform(0.5, 2, 300)
    settings = {"gamma": 0.3, "landmarks": X[:40], "ridge": 0.1}
    whole = NystroemRidge(**settings).fit(X, y, weights)
    model = NystroemRidge(**settings)
    for start in range(0, 300, 70):
        part = slice(start, start + 70)
        model.partial_fit(X[part], y[part], weights[part])
    assert relative_error(model.predict(X), whole.predict(X)) < tolerance(float, 1e5)
    gone_on = NystroemRidge(**settings).fit(X[:200], y[:200], weights[:200])
    gone_on = pickle.loads(pickle.dumps(gone_on)).partial_fit(X[200:], y[200:], weights[200:])
    assert relative_error(gone_on.predict(X), whole.predict(X)) < tolerance(float, 1e5)


def test_how_rows_are_cut_into_blocks_does_not_matter(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data(rng)
    model = NystroemRidge(gamma=0.3, n_components=50, ridge=1e-3, random_state=0)
    whole = clone(model).fit(X, y).predict(X)
    monkeypatch.setattr(module, "BLOCK", 50 * 17)
    monkeypatch.setattr(module, "PIECE", 50 * 5)
    assert relative_error(clone(model).fit(X, y).predict(X), whole) < tolerance(float, 1e4)


def test_equal_seeds_give_equal_results(rng: np.random.Generator) -> None:
    X, y = data(rng)
    model = NystroemRidge(landmarks="leverage", n_components=30, random_state=5)
    first, second = (clone(model).fit(X, y).predict(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_mapped_file_stays_on_disk(
    rng: np.random.Generator, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is allocated is blocks, far less than X and than the features."""
    import tracemalloc

    monkeypatch.setattr(module, "BLOCK", 2**14)
    X = rng.standard_normal((60_000, 30)).astype(np.float32)
    y = X[:, 0]
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = NystroemRidge(n_components=20, random_state=0)
    clone(model).fit(X[:500], y[:500])  # what is imported
    tracemalloc.start()
    predicted = model.fit(mapped, y).predict(mapped[:100])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2  # of which y in double precision and weights are two fifteenths
    np.testing.assert_array_equal(predicted, clone(model).fit(X, y).predict(X[:100]))


# Classes


def test_classes_are_those_of_features_and_ridge() -> None:
    X, y = load_digits(return_X_y=True)
    settings = {"gamma": 2e-4, "n_components": 200, "random_state": 0}
    model = NystroemRidgeClassifier(ridge=1.0, **settings).fit(X[:1000], y[:1000])
    # RidgeClassifier has targets of -1 and 1: a factor of two in them and in nothing else.
    wanted = make_pipeline(Nystroem(**settings), RidgeClassifier(1.0)).fit(X[:1000], y[:1000])
    decision = wanted.decision_function(X[1000:])
    assert relative_error(2 * model.decision_function(X[1000:]) - 1, decision) < 1e-7
    np.testing.assert_array_equal(model.predict(X[1000:]), wanted.predict(X[1000:]))
    assert model.score(X[1000:], y[1000:]) > 0.9


def test_two_classes_have_one_column_and_keep_their_names() -> None:
    X, y = load_digits(return_X_y=True)
    names = np.array(["even", "odd"])[y % 2]
    settings = {"gamma": 2e-4, "n_components": 100, "random_state": 0}
    model = NystroemRidgeClassifier(**settings).fit(X, names)
    assert model.decision_function(X[:5]).shape == (5,)
    assert model.dual_coef_.shape == (100,)
    assert set(model.predict(X[:20])) == {"even", "odd"}
    wanted = make_pipeline(Nystroem(**settings), RidgeClassifier(1.0)).fit(X, names)
    decision = wanted.decision_function(X)
    assert relative_error(model.decision_function(X), decision) < 1e-7


def test_classes_in_chunks() -> None:
    X, y = load_digits(return_X_y=True)
    settings = {"gamma": 2e-4, "landmarks": X[:100]}
    whole = NystroemRidgeClassifier(**settings).fit(X, y)
    model = NystroemRidgeClassifier(**settings)
    order = np.argsort(y, kind="stable")  # the first chunk has not seen all of them
    for part in np.array_split(order, 5):
        model.partial_fit(X[part], y[part], classes=np.arange(10))
    assert relative_error(model.decision_function(X), whole.decision_function(X)) < 1e-7
    with pytest.raises(ValueError, match=r"y has classes that are none of `classes`: \[11\]"):
        model.partial_fit(X[:1], [11])
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        model.partial_fit(X[:1], [1], classes=[1, 2])
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        NystroemRidgeClassifier().partial_fit(X, y)


def test_pipeline_and_grid_search() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = NystroemRidge(n_components=50, random_state=0)
    search = GridSearchCV(model, {"gamma": [1.0, 10.0], "ridge": ["cv", 1.0]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.4


# The numbers inside


def test_what_the_sums_lose_is_measured(rng: np.random.Generator) -> None:
    """Single precision where it harms: the noise is the true one within a factor of three."""
    X, y = data(rng, 2000)
    M = rbf_kernel(X[:60], gamma=0.05)
    features = KernelFeatures.of(M, np.float64)
    exact, rough = (Sums.empty(features, 1) for _ in range(2))
    K = rbf_kernel(X, X[:60], gamma=0.05)
    for start in range(0, 2000, 100):
        block = K[start : start + 100], y[start : start + 100, None], np.ones(100)
        exact.add(block, np.float64)
        rough.add(block, np.float32)
    G, _, _, noise = rough.system(False)
    lost = np.linalg.norm(G - exact.system(False)[0])
    assert lost > 1e3 * exact.system(False)[3]
    assert lost / 3 < noise < 3 * lost


def test_corrections_mend_a_matrix_that_is_off(rng: np.random.Generator) -> None:
    X, y = data(rng, 500)
    M = rbf_kernel(X[:30], gamma=0.5)
    K = rbf_kernel(X, X[:30], gamma=0.5)
    blocks = [(K, y[:, None], np.ones(500))]
    exact = Sums.empty(KernelFeatures.of(M, np.float64), 1)
    exact.add(blocks[0], np.float64)
    wanted, _ = refined(exact, 0.1, True, lambda: iter(blocks))
    exact.S *= 1 + 1e-7 * rng.standard_normal(exact.S.shape)
    with_rows, small = refined(exact, 0.1, True, lambda: iter(blocks))
    without, _ = refined(exact, 0.1, True, None)
    assert relative_error(with_rows, wanted) < 1e-3 * relative_error(without, wanted)
    assert small < 1e-7


# Bad input


@pytest.mark.parametrize("kind", [NystroemRidge, NystroemRidgeClassifier])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ridge": -1.0}, "'ridge' parameter .* must be"),
        ({"ridge": "gcv"}, "'ridge' parameter .* must be"),
        ({"ridge": "cv", "ridges": [-1.0]}, "ridges must be finite, at least 0"),
        ({"landmarks": "best"}, "'landmarks' parameter"),
        ({"landmarks": [[1.0, 2, 3]]}, r"landmarks with shape \(1, 3\) must have as many columns"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"kernel": "precomputed", "landmarks": "kmeans"}, "landmarks='kmeans' needs points"),
        ({"kernel": rbf_kernel, "gamma": 1.0}, "Don't pass gamma"),
    ],
)
@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
def test_bad_parameters_are_named(kind: Kind, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings).fit([[1.0, 2], [2, 4]], [1, 2])


@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
def test_bad_data_are_named(rng: np.random.Generator) -> None:
    X, y = data(rng, 30)
    with pytest.raises(ValueError, match=r"[Ss]ample.weight.* at least one"):
        NystroemRidge().fit(X, y, np.zeros(30))
    with pytest.raises(ValueError, match=r"Negative values in .*sample_weight"):
        NystroemRidge().fit(X, y, -np.ones(30))
    with pytest.raises(ValueError, match="at least two classes, got one class"):
        NystroemRidgeClassifier().fit(X, np.ones(30, int))
    with pytest.raises(ValueError, match="y has 2 outputs, but those before had 1"):
        NystroemRidge().partial_fit(X, y).partial_fit(X, np.column_stack([y, y]))


def test_coefficients_that_are_not_to_be_had_are_a_warning(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data(rng)
    monkeypatch.setattr("eagle.estimators.reduced.PASSES", 0)
    with pytest.warns(eagle.ConvergenceWarning, match="the coefficients are uncertain"):
        NystroemRidge(gamma=0.1, n_components=50, random_state=0, ridge=1e-3).fit(X, y)
