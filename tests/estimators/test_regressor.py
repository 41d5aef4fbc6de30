"""Linear regression: textbook answers, weights, sparse data, the choice of a ridge."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import eagle
from eagle.estimators import EagleRegressor
from tests.tolerances import relative_error, tolerance

LEAKS = "a repeated sample tells of itself when one copy is left out, as in RidgeCV"


@parametrize_with_checks(
    [
        EagleRegressor(random_state=0),
        EagleRegressor(ridge=0.5, random_state=0),
        EagleRegressor(ridge="cv", random_state=0),
        EagleRegressor(fit_intercept=False, random_state=0),
    ],
    expected_failed_checks=lambda estimator: (
        {
            "check_sample_weight_equivalence_on_dense_data": LEAKS,
            "check_sample_weight_equivalence_on_sparse_data": LEAKS,
        }
        if estimator.ridge == "cv"
        else {}
    ),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def data(
    rng: np.random.Generator, n: int, p: int, outputs: int | None = None, dtype: Any = float
) -> tuple[np.ndarray, np.ndarray]:
    """A few entries of X are not zero; noise in y."""
    X = (rng.standard_normal((n, p)) + 2) * (rng.random((n, p)) < 0.4)
    W = rng.standard_normal((p,) if outputs is None else (p, outputs))
    y = X @ W + 3 + rng.standard_normal((n,) if outputs is None else (n, outputs))
    return X.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 2.0])
@pytest.mark.parametrize("outputs", [None, 3])
def test_is_least_squares_or_ridge(
    rng: np.random.Generator,
    dtype: Any,
    weighted: bool,
    sparse: bool,
    fit_intercept: bool,
    ridge: float,
    outputs: int | None,
) -> None:
    X, y = data(rng, 60, 8, outputs, dtype)
    weights = rng.integers(0, 4, 60) if weighted else None
    wanted: Any = LinearRegression(fit_intercept=fit_intercept)
    if ridge:
        wanted = Ridge(ridge, fit_intercept=fit_intercept)
    wanted.fit(X.astype(float), y.astype(float), weights)
    given = scipy.sparse.csr_array(X) if sparse else X
    model = EagleRegressor(ridge=ridge, fit_intercept=fit_intercept, random_state=0)
    model.fit(given, y, weights)
    limit = tolerance(dtype, np.linalg.cond(X) ** 2)
    assert model.coef_.shape == wanted.coef_.shape
    assert model.coef_.dtype == dtype
    assert relative_error(model.coef_, wanted.coef_) < limit
    # Relative to y, as the intercept is a difference.
    assert np.abs(model.intercept_ - wanted.intercept_).max() < limit * np.abs(y).max()
    assert relative_error(model.predict(given), wanted.predict(X)) < limit
    assert model.result_.converged


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("n", "p"), [(12, 30), (40, 15)])
def test_rank_deficient_data_get_the_coefficients_of_least_norm(
    rng: np.random.Generator, n: int, p: int, sparse: bool
) -> None:
    X = rng.standard_normal((n, 6)) @ rng.standard_normal((6, p)) + 5
    y = rng.standard_normal((n, 2))
    model = EagleRegressor(random_state=0).fit(scipy.sparse.csr_array(X) if sparse else X, y)
    centred = X - X.mean(axis=0)
    wanted = np.linalg.pinv(centred, rcond=1e-10) @ (y - y.mean(axis=0))
    values = np.linalg.svd(centred, compute_uv=False)
    assert model.rank_ in (6, None)
    # The mean is subtracted as rounding errors of its size.
    size = np.linalg.norm(X) / values[5]
    assert relative_error(model.coef_.T, wanted) < tolerance(float, size * values[0] / values[5])


def test_indicators_that_add_up_to_one_are_no_trouble(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 4, 50)
    X, y = np.eye(4)[labels], rng.standard_normal(50)
    model = EagleRegressor(random_state=0).fit(X, y)
    means = np.array([y[labels == each].mean() for each in range(4)])
    assert relative_error(model.predict(np.eye(4)), means) < tolerance(float)
    assert abs(model.coef_.sum()) < tolerance(float)  # the least norm


@pytest.mark.parametrize("sparse", [False, True])
def test_a_constant_column_of_any_size_has_no_coefficient(
    rng: np.random.Generator, sparse: bool
) -> None:
    X, y = data(rng, 30, 3)
    wide = np.column_stack([X, np.full(30, 1e10 / 3)])
    model = EagleRegressor(random_state=0).fit(scipy.sparse.csr_array(wide) if sparse else wide, y)
    assert model.coef_[3] == 0
    wanted = LinearRegression().fit(X, y).coef_
    assert relative_error(model.coef_[:3], wanted) < tolerance(float, np.linalg.cond(X) ** 2)


def test_rank_and_cutoff_give_principal_components_regression(rng: np.random.Generator) -> None:
    X, y = data(rng, 50, 8)
    U, s, Vh = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    wanted = Vh[:3].T @ (U[:, :3].T @ (y - y.mean()) / s[:3])
    limit = tolerance(float, s[0] / (s[2] - s[3]))
    by_rank = EagleRegressor(rank=3, random_state=0).fit(X, y)
    by_cutoff = EagleRegressor(cutoff=(s[2] + s[3]) / 2 / s[0], random_state=0).fit(X, y)
    assert relative_error(by_rank.coef_, wanted) < limit
    assert relative_error(by_cutoff.coef_, wanted) < limit
    assert by_rank.rank_ == by_cutoff.rank_ == 3


def test_a_sparse_matrix_is_not_written_out(rng: np.random.Generator) -> None:
    X = scipy.sparse.random_array((20_000, 600), density=2e-3, rng=rng, format="csr")
    X += scipy.sparse.eye_array(20_000, 600)  # well conditioned
    W = rng.standard_normal(600)
    y = X @ W + 1
    EagleRegressor(method="cg", random_state=0).fit(X[:700, :20], y[:700])  # what is imported
    tracemalloc.start()
    model = EagleRegressor(method="cg", random_state=0).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 600 * 8 / 4
    assert relative_error(model.coef_, W) < 1e-6  # conjugate gradients go on to 1e-8


# The ridge by cross-validation


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "p"), [(25, 6), (12, 20)])
def test_errors_are_those_of_leaving_each_sample_out(
    rng: np.random.Generator, n: int, p: int, weighted: bool, sparse: bool, fit_intercept: bool
) -> None:
    X, y = data(rng, n, p, 2)
    weights = rng.uniform(0.5, 2, n) if weighted else np.ones(n)
    ridges = [1e-3, 0.1, 10.0]
    model = EagleRegressor(
        ridge="cv", ridges=ridges, fit_intercept=fit_intercept, random_state=0
    ).fit(scipy.sparse.csr_array(X) if sparse else X, y, weights)
    wanted = []
    for ridge in ridges:
        left_out = cross_val_predict(
            Ridge(ridge, fit_intercept=fit_intercept),
            X,
            y,
            cv=LeaveOneOut(),
            params={"sample_weight": weights},
        )
        wanted.append((weights[:, None] * (left_out - y) ** 2).mean())
    condition = np.linalg.norm(X, 2) ** 2 / 1e-3
    assert relative_error(model.cv_errors_, wanted) < tolerance(float, condition)
    assert model.ridge_ == ridges[np.argmin(wanted)]
    fixed = EagleRegressor(ridge=model.ridge_, fit_intercept=fit_intercept, random_state=0)
    assert relative_error(model.coef_, fixed.fit(X, y, weights).coef_) < tolerance(float, condition)


def test_errors_of_a_tiny_ridge_do_not_cancel(rng: np.random.Generator) -> None:
    X, y = data(rng, 12, 20, 2)
    ridge = 1e-15 * np.linalg.norm(X, 2) ** 2
    model = EagleRegressor(ridge="cv", ridges=[ridge], fit_intercept=False, random_state=0)
    inverse = np.linalg.inv(X @ X.T + ridge * np.eye(12))
    wanted = ((inverse @ y / np.diagonal(inverse)[:, None]) ** 2).mean()
    limit = tolerance(float, np.linalg.cond(X) ** 2)
    assert model.fit(X, y).cv_errors_[0] == pytest.approx(wanted, rel=limit)


def test_chooses_what_ridgecv_chooses() -> None:
    X, y = load_diabetes(return_X_y=True)
    grid = np.logspace(-4, 2, 20)
    ours = EagleRegressor(ridge="cv", ridges=grid, random_state=0).fit(X, y)
    theirs = RidgeCV(grid).fit(X, y)
    assert ours.ridge_ == theirs.alpha_
    assert relative_error(ours.coef_, theirs.coef_) < tolerance(float, 1e4)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_default_grid_scales_with_the_data(rng: np.random.Generator, scale: float) -> None:
    X, y = data(rng, 30, 20)
    one = EagleRegressor(ridge="cv", random_state=0).fit(X, y)
    other = EagleRegressor(ridge="cv", random_state=0).fit(scale * X, y)
    assert other.ridge_ == pytest.approx(scale**2 * one.ridge_, rel=1e-9)


def test_noise_asks_for_a_ridge_and_exact_data_for_none(rng: np.random.Generator) -> None:
    X = rng.standard_normal((40, 30)) @ np.diag(np.logspace(0, -4, 30))
    w = rng.standard_normal(30)
    exact = EagleRegressor(ridge="cv", random_state=0).fit(X, X @ w)
    assert exact.ridge_ == exact.ridges_[0]
    noisy = EagleRegressor(ridge="cv", random_state=0).fit(X, X @ w + rng.standard_normal(40))
    assert noisy.ridge_ > 1e3 * exact.ridge_


def test_a_ridge_of_zero_that_interpolates_is_not_chosen(rng: np.random.Generator) -> None:
    X, y = data(rng, 8, 20)
    model = EagleRegressor(ridge="cv", ridges=[0.0, 1.0], random_state=0).fit(X, y)
    assert model.ridge_ == 1
    assert model.cv_errors_[0] == np.inf


# At home in scikit-learn


def test_pipeline_grid_search_clone_and_pickle() -> None:
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), EagleRegressor(random_state=0))
    grid = {"eagleregressor__ridge": [0.0, "cv"], "eagleregressor__method": ["auto", "direct"]}
    search = GridSearchCV(clone(pipeline), grid, cv=3).fit(X, y)
    assert search.best_params_["eagleregressor__ridge"] == "cv"
    assert search.score(X, y) > 0.5
    copied = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copied.predict(X), search.predict(X))


def test_pandas_names_are_checked() -> None:
    pytest.importorskip("pandas")
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = EagleRegressor(random_state=0).fit(X, y)
    assert model.feature_names_in_[0] == "age"
    with pytest.raises(ValueError, match=r"X has columns that are not numbers: 'sex' \("):
        EagleRegressor().fit(X.astype({"sex": "category"}), y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"age": "years"}))


def test_failure_is_a_warning(rng: np.random.Generator) -> None:
    X, y = data(rng, 60, 30)
    with pytest.warns(eagle.ConvergenceWarning, match="MAX_ITERATIONS"):
        model = EagleRegressor(method="cg", maxiter=2, random_state=0).fit(X, y)
    assert not model.result_.converged


# Bad input


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"ridge": -1.0}, ValueError, "ridge must be finite, at least 0"),
        ({"ridge": "gcv"}, ValueError, "ridge must be a number or 'cv', got 'gcv'"),
        ({"ridge": None}, TypeError, "ridge must be a real number"),
        ({"ridge": "cv", "rank": 2}, ValueError, "give rank=None and cutoff=None"),
        ({"ridge": "cv", "ridges": [1.0, -1.0]}, ValueError, "ridges must be finite, at least 0"),
        ({"ridge": "cv", "ridges": []}, TypeError, "ridges must be a real number"),
        ({"rank": 3}, ValueError, "rank must be at most 2"),
        ({"cutoff": 2.0}, ValueError, "cutoff must be finite, at least 0 and below 1"),
        ({"method": "best"}, ValueError, "best"),
        ({"method": "cg", "rank": 1}, ValueError, "rank cannot be honoured"),
        ({"fit_intercept": "no"}, TypeError, "fit_intercept must be True or False"),
        ({"maxiter": 0}, ValueError, "maxiter must be at least 1"),
    ],
)
def test_bad_parameters_are_named(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        EagleRegressor(**settings).fit([[1.0, 2], [3, 4], [5, 7]], [1.0, 2, 3])


@pytest.mark.parametrize(
    ("X", "y", "weights", "message"),
    [
        ([[1.0], [np.nan]], [1.0, 2], None, "X contains NaN"),
        ([[1.0], [2.0]], [1.0, np.inf], None, "y contains infinity"),
        ([[1.0], [2.0]], [1.0], None, "inconsistent numbers of samples"),
        ([[1.0], [2.0]], [1.0, 2], [1.0, -1], "Negative values in .*sample_weight"),
        ([[1.0], [2.0]], [1.0, 2], [0.0, 0], "[Ss]ample.weight.* at least one"),
        ([["a"], ["b"]], [1.0, 2], None, "X or y has entries that are not numbers"),
    ],
)
def test_bad_data_are_named(X: Any, y: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EagleRegressor().fit(X, y, weights)


def test_a_method_for_dense_data_refuses_sparse_ones() -> None:
    X = scipy.sparse.eye_array(3).tocsr()
    with pytest.raises(TypeError, match=r"X is sparse, which method='eagle' cannot use: .*'auto'"):
        EagleRegressor(method="eagle").fit(X, [1.0, 2, 3])


def test_predict_needs_fit() -> None:
    with pytest.raises(NotFittedError):
        EagleRegressor().predict([[1.0]])


# Standard errors


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_standard_errors_are_those_of_the_textbook(
    rng: np.random.Generator, intercept: bool, weighted: bool
) -> None:
    X, y = rng.standard_normal((40, 3)) * [1, 10, 0.1] + 2, rng.standard_normal((40, 2))
    weights = rng.uniform(0.5, 2, 40) if weighted else np.ones(40)
    model = EagleRegressor(fit_intercept=intercept, standard_errors=True, random_state=0)
    model.fit(X, y, sample_weight=weights if weighted else None)
    design = np.column_stack([np.ones(40), X]) if intercept else X
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
    residual = y - model.predict(X)
    variance = (weights[:, None] * residual**2).sum(axis=0) / (40 - design.shape[1])
    wanted = np.sqrt(np.outer(variance, np.diag(covariance)))
    np.testing.assert_allclose(model.standard_errors_, wanted[:, intercept:], rtol=1e-9)
    if intercept:
        np.testing.assert_allclose(model.intercept_standard_error_, wanted[:, 0], rtol=1e-9)
    single = EagleRegressor(fit_intercept=intercept, standard_errors=True, random_state=0)
    single.fit(X, y[:, 1], sample_weight=weights if weighted else None)
    np.testing.assert_allclose(single.standard_errors_, wanted[1, intercept:], rtol=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
def test_chunks_have_the_standard_errors_of_all_samples(
    rng: np.random.Generator, intercept: bool
) -> None:
    X, y = rng.standard_normal((40, 3)) * [1, 10, 0.1] + 2, rng.standard_normal((40, 2))
    weights = rng.uniform(0.5, 2, 40)
    whole = EagleRegressor(fit_intercept=intercept, standard_errors=True, random_state=0)
    pieces = clone(whole)
    whole.fit(X, y, sample_weight=weights)
    pieces.partial_fit(X[:2], y[:2], weights[:2])
    assert np.isnan(pieces.standard_errors_).all()
    pieces.partial_fit(X[2:], y[2:], weights[2:])
    np.testing.assert_allclose(pieces.standard_errors_, whole.standard_errors_, rtol=1e-9)
    if intercept:
        errors = pieces.intercept_standard_error_, whole.intercept_standard_error_
        np.testing.assert_allclose(*errors, rtol=1e-9)


def test_standard_errors_are_refused_where_there_are_none(rng: np.random.Generator) -> None:
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    twice = np.column_stack([X, X[:, 0] + X[:, 1]])
    model = EagleRegressor(standard_errors=True, random_state=0)
    with pytest.raises(ValueError, match="need X of full column rank, got rank 3 of 4 columns"):
        model.fit(twice, y)
    with pytest.raises(ValueError, match="more rows than coefficients, got 4 rows and 4"):
        model.fit(X[:4], y[:4])
    with pytest.raises(ValueError, match="those of plain least squares: give ridge=0"):
        EagleRegressor(standard_errors=True, ridge=1.0).fit(X, y)
    with pytest.raises(TypeError, match="standard_errors must be True or False"):
        EagleRegressor(standard_errors="yes").fit(X, y)


# One chunk after the other


def in_chunks(model: EagleRegressor, X: Any, y: Any, weights: Any, size: int = 13) -> Any:
    for start in range(0, X.shape[0], size):
        some = None if weights is None else weights[start : start + size]
        model.partial_fit(X[start : start + size], y[start : start + size], some)
    return model


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("options", [{}, {"ridge": 2.0}, {"rank": 3}])
@pytest.mark.parametrize("outputs", [None, 3])
def test_chunks_give_what_all_samples_give(
    rng: np.random.Generator,
    dtype: Any,
    weighted: bool,
    sparse: bool,
    fit_intercept: bool,
    options: dict[str, Any],
    outputs: int | None,
) -> None:
    X, y = data(rng, 60, 8, outputs, dtype)
    weights = rng.integers(0, 4, 60) if weighted else None
    settings = options | {"fit_intercept": fit_intercept, "random_state": 0}
    whole = EagleRegressor(**settings).fit(X, y, weights)
    given = scipy.sparse.csr_array(X) if sparse else X
    model = in_chunks(EagleRegressor(**settings), given, y, weights)
    values = np.linalg.svd(X, compute_uv=False)
    gap = values[0] / (values[2] - values[3]) if "rank" in options else values[0] / values[-1]
    limit = tolerance(dtype, gap**2)
    assert model.coef_.shape == whole.coef_.shape
    assert model.coef_.dtype == dtype
    assert relative_error(model.coef_, whole.coef_) < limit
    assert np.abs(model.intercept_ - whole.intercept_).max() < limit * np.abs(y).max()
    assert model.result_.converged


def test_means_that_are_large_cost_no_digits_in_chunks(rng: np.random.Generator) -> None:
    X, y = data(rng, 60, 4)
    X[:, 2] = 1e10 / 3
    model = in_chunks(EagleRegressor(random_state=0), X + 1e6, y, None)
    wanted = LinearRegression().fit(X, y).coef_
    assert model.coef_[2] == 0
    # The data themselves are rounded at 1e6.
    assert relative_error(model.coef_, wanted) < tolerance(float, 1e6 * np.linalg.cond(X[:, :2]))


def test_chunks_choose_the_ridge_by_generalised_cross_validation(rng: np.random.Generator) -> None:
    X, y = data(rng, 60, 8, 2)
    ridges = np.logspace(-3, 3, 13)
    settings: dict[str, Any] = {"ridge": "cv", "ridges": ridges, "random_state": 0}
    model = in_chunks(EagleRegressor(**settings), X, y, None)
    centred, b = X - X.mean(axis=0), y - y.mean(axis=0)
    wanted = []
    for ridge in ridges:
        H = centred @ np.linalg.solve(centred.T @ centred + ridge * np.eye(8), centred.T)
        wanted.append(59 * ((b - H @ b) ** 2).sum() / 2 / (59 - np.trace(H)) ** 2)
    assert relative_error(model.cv_errors_, wanted) < tolerance(float, np.linalg.cond(X) ** 2)
    assert model.ridge_ == ridges[np.argmin(wanted)]
    # A mean leverage for each one's own: on ordinary data neighbours on the grid.
    by_rows = EagleRegressor(**settings).fit(X, y).ridge_
    assert 0.1 <= model.ridge_ / by_rows <= 10


def test_a_chunk_after_fit_starts_anew_and_says_so(rng: np.random.Generator) -> None:
    X, y = data(rng, 60, 4)
    model = EagleRegressor(random_state=0).fit(X[:30], y[:30])
    with pytest.warns(UserWarning, match="partial_fit starts anew"):
        model.partial_fit(X[30:], y[30:])
    wanted = LinearRegression().fit(X[30:], y[30:]).coef_
    assert relative_error(model.coef_, wanted) < tolerance(float, np.linalg.cond(X) ** 2)
    copied = pickle.loads(pickle.dumps(model)).partial_fit(X[:30], y[:30])
    wanted = LinearRegression().fit(X, y).coef_
    assert relative_error(copied.coef_, wanted) < tolerance(float, np.linalg.cond(X) ** 2)


def test_chunks_of_another_width_are_refused(rng: np.random.Generator) -> None:
    X, y = data(rng, 20, 4)
    model = EagleRegressor().partial_fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but EagleRegressor is expecting 4"):
        model.partial_fit(X[:, :3], y)
    with pytest.raises(ValueError, match="X contains NaN"):
        model.partial_fit(np.full((1, 4), np.nan), [1.0])
