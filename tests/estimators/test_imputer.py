"""Filling tables: as `eagle.complete` does it, and for rows that come later."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

import eagle
from eagle.estimators import BlockImputer, EagleRegressor
from tests.tolerances import relative_error, tolerance


@parametrize_with_checks(
    [
        BlockImputer(random_state=0),
        BlockImputer(rank="cv", random_state=0),
        BlockImputer(rank=None, random_state=0),
        BlockImputer(rank=None, ridge="cv", random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def table(
    rng: np.random.Generator, *, rank: int = 4, noise: float = 0.0, dtype: Any = float
) -> tuple[np.ndarray, np.ndarray]:
    """A table of 60 x 20 and the same with staggered holes in its last 25 rows."""
    truth = rng.standard_normal((60, rank)) @ rng.standard_normal((rank, 20))
    truth += noise * rng.standard_normal(truth.shape)
    order = rng.permutation(20)
    X = truth.astype(dtype)
    for start, stop, count in ((35, 45, 3), (45, 52, 6), (52, 60, 10)):
        X[start:stop, order[:count]] = np.nan
    return truth, X


def seed_of(random_state: int) -> int:
    """The seed that the imputer draws."""
    return int(check_random_state(random_state).randint(2**31 - 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "settings",
    [
        {"rank": "cv"},
        {"rank": 3},
        {"rank": None},
        {"rank": None, "ridge": 0.5},
        {"rank": None, "cutoff": 0.1},
        {"rank": None, "method": "eagle"},
    ],
    ids=str,
)
def test_fills_as_complete_does(
    rng: np.random.Generator, dtype: Any, settings: dict[str, Any]
) -> None:
    noise = 0.01 if settings["rank"] or settings.get("cutoff") else 0.0
    _, X = table(rng, noise=noise, dtype=dtype)
    X = X[:45]  # one block, hence the same folds
    before = X.copy()
    imputer = BlockImputer(**settings, random_state=7)
    filled = imputer.fit_transform(X)
    wanted = eagle.complete(X, rng=seed_of(7), **settings)
    assert filled.dtype == dtype
    assert relative_error(filled, wanted.X) < tolerance(dtype, 100)
    np.testing.assert_array_equal(X, before)
    (pattern,) = imputer.patterns_
    assert pattern.rank == wanted.rank
    # The function adds what it knows of the very rows that it fills: how unusual they are.
    same = pytest.approx(wanted.error_estimate, rel=0.2, abs=tolerance(dtype, 100))
    assert pattern.error_estimate == same


def test_fills_staggered_holes(rng: np.random.Generator) -> None:
    truth, X = table(rng)
    imputer = BlockImputer(random_state=0).fit(X)
    assert len(imputer.patterns_) == 3
    assert len(imputer.donors_) == 35
    assert relative_error(imputer.transform(X), truth) < tolerance(float, 100)
    assert all(pattern.error_estimate < 1e-12 for pattern in imputer.patterns_)


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
def test_error_does_not_grow_with_the_condition(rng: np.random.Generator, condition: float) -> None:
    problem = eagle.problems.low_rank(60, 40, 10, 10, rank=20, condition=condition, rng=rng)
    X = np.block([[problem.A, problem.C], [problem.B, np.full((10, 10), np.nan)]])
    filled = BlockImputer(rank=None, random_state=0).fit_transform(X)
    assert problem.error(filled[60:, 40:]) < tolerance(float, 20)


def test_new_rows_are_filled_from_the_donors(rng: np.random.Generator) -> None:
    truth, X = table(rng, noise=0.01)
    imputer = BlockImputer(rank=4, random_state=0).fit(X[:45])
    known = eagle.complete(X[:45], rank=4, rng=0).X
    assert relative_error(imputer.transform(X[35:45]), known[35:]) < tolerance(float, 1e3)
    later = eagle.complete(np.vstack([X[:35], X[45:]]), rank=4, rng=0).X[35:]
    assert len(imputer.patterns_) == 1
    assert relative_error(imputer.transform(X[45:]), later) < tolerance(float, 1e3)
    assert len(imputer.patterns_) == 1  # transform learns nothing
    np.testing.assert_array_equal(imputer.transform(truth), truth)


def test_transform_solves_for_new_patterns_only(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, X = table(rng)
    imputer = BlockImputer(random_state=0).fit(X[:45])
    solves = []

    def lstsq(A: Any, b: Any, **options: Any) -> eagle.Result:
        solves.append(b.shape)
        return eagle.lstsq(A, b, **options)

    monkeypatch.setattr("eagle.tables.blocks.lstsq", lstsq)
    imputer.transform(X[:45])
    assert solves == []
    imputer.transform(X)
    assert solves == [(35, 6), (35, 10)]


def test_transform_is_the_same_row_by_row_and_again(rng: np.random.Generator) -> None:
    _, X = table(rng, noise=0.1)
    imputer = BlockImputer(random_state=None).fit(X[:40])
    whole = imputer.transform(X)
    single = np.vstack([imputer.transform(row[None]) for row in X])
    assert relative_error(single, whole) < tolerance(float)


def test_partial_fit_is_fit_on_all_rows(rng: np.random.Generator) -> None:
    _, X = table(rng, noise=0.1)
    whole = BlockImputer(random_state=3).fit(X)
    pieces = BlockImputer(random_state=3)
    for piece in (X[:20], X[20:40], X[40:]):  # the last has no complete row
        pieces.partial_fit(piece)
    np.testing.assert_array_equal(pieces.donors_, whole.donors_)
    assert relative_error(pieces.transform(X), whole.transform(X)) < tolerance(float)
    assert [each.rank for each in pieces.patterns_] == [each.rank for each in whole.patterns_]


def test_more_donors_fill_better(rng: np.random.Generator) -> None:
    truth, X = table(rng, noise=0.1)
    imputer = BlockImputer(rank="cv", random_state=0).fit(X[:6])
    hidden = np.isnan(X)
    few = np.linalg.norm((imputer.transform(X) - truth)[hidden])
    many = np.linalg.norm((imputer.partial_fit(X[6:]).transform(X) - truth)[hidden])
    noise = 0.1 * np.sqrt(hidden.sum())  # which nothing foretells
    assert many < 1.6 * noise < few


# Rank and ridge by cross-validation


@pytest.mark.parametrize("settings", [{}, {"rank": None, "ridge": "cv"}], ids=str)
def test_cross_validation_beats_no_regularisation_and_knows_its_error(
    rng: np.random.Generator, settings: dict[str, Any]
) -> None:
    truth = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 40))
    noisy = truth + 0.2 * rng.standard_normal(truth.shape)
    X = noisy.copy()
    X[36:, 30:] = np.nan

    def error(imputer: BlockImputer) -> float:
        return relative_error(imputer.fit_transform(X)[36:, 30:], noisy[36:, 30:])

    imputer = BlockImputer(**settings, random_state=0)
    found = error(imputer)
    assert found < error(BlockImputer(rank=None, random_state=0)) / 1.5
    assert imputer.patterns_[0].error_estimate == pytest.approx(found, rel=0.3)


def test_ridge_is_the_one_that_leaving_donors_out_finds(rng: np.random.Generator) -> None:
    _, X = table(rng, noise=0.3)
    X = X[:45]
    imputer = BlockImputer(rank=None, ridge="cv", random_state=0).fit(X)
    (pattern,) = imputer.patterns_
    A, C = imputer.donors_[:, ~pattern.hidden], imputer.donors_[:, pattern.hidden]

    def loss(ridge: float) -> tuple[float, float]:
        model = Ridge(ridge, fit_intercept=False)
        errors = cross_val_predict(model, A, C, cv=LeaveOneOut()) - C
        return float(np.mean((errors / C.std(axis=0)) ** 2)), float(np.mean(errors**2))

    best, squared = loss(pattern.ridge)
    assert best <= min(loss(2 * pattern.ridge)[0], loss(pattern.ridge / 2)[0])
    assert pattern.error_estimate == pytest.approx(np.sqrt(squared / np.mean(C**2)), rel=1e-9)
    wanted = Ridge(pattern.ridge, fit_intercept=False).fit(A, C).coef_.T
    assert relative_error(pattern.result.value, wanted) < tolerance(float, 1e4)


def test_noisy_tables_get_a_ridge(rng: np.random.Generator) -> None:
    truth, X = table(rng, noise=0.3)
    chosen = BlockImputer(random_state=0).fit(X)
    assert all(each.ridge > 0 for each in chosen.patterns_)
    ridge = BlockImputer(rank=None, ridge="cv", random_state=0).fit(X)
    hidden = np.isnan(X)
    errors = [np.linalg.norm((each.transform(X) - truth)[hidden]) for each in (chosen, ridge)]
    assert errors[0] < 1.05 * errors[1]  # this table needs neither means nor deviations


def test_tables_of_exactly_low_rank_get_their_rank(rng: np.random.Generator) -> None:
    truth, X = table(rng)
    imputer = BlockImputer(random_state=0).fit(X)
    assert relative_error(imputer.transform(X), truth) < tolerance(float, 1e3)
    for pattern in imputer.patterns_:
        assert (pattern.rank, pattern.ridge, pattern.scaling) == (4, 0.0, "none")
        assert pattern.error_estimate < tolerance(float, 1e3)


def test_scattered_holes_are_filled_in_new_rows_too(rng: np.random.Generator) -> None:
    truth = rng.standard_normal((120, 3)) @ rng.standard_normal((3, 12))
    X = np.where(rng.random(truth.shape) < 0.2, np.nan, truth)
    imputer = BlockImputer(random_state=0).fit(X[:80])
    assert imputer.factors_ is not None
    assert imputer.patterns_ == ()
    found = imputer.transform(X)
    np.testing.assert_array_equal(found[~np.isnan(X)], X[~np.isnan(X)])
    assert relative_error(found, truth) < 1e-6  # the fit stops at 1e-3 of a noise that is not there
    alone = np.vstack([imputer.transform(row[None]) for row in X])
    assert relative_error(alone, found) < tolerance(float, 1e3)
    more = BlockImputer(random_state=0).fit(X[:40]).partial_fit(X[40:80])
    assert relative_error(more.transform(X), found) < tolerance(float, 1e3)


def test_scattered_holes_are_filled_as_by_complete(rng: np.random.Generator) -> None:
    truth = rng.standard_normal((90, 3)) @ rng.standard_normal((3, 12))
    noisy = truth + 0.1 * rng.standard_normal(truth.shape)
    X = np.where(rng.random(truth.shape) < 0.2, np.nan, noisy)
    found = BlockImputer(random_state=7).fit_transform(X)
    wanted = eagle.complete(X, rng=seed_of(7)).X
    assert relative_error(found, wanted) < tolerance(float, 1e6)


def test_one_donor_is_used_for_what_it_has_uses_what_it_has() -> None:
    imputer = BlockImputer(random_state=0)
    assert imputer.fit_transform([[1.0, 2, 3], [2, 4, np.nan]])[1, 2] == pytest.approx(6)
    assert np.isnan(imputer.patterns_[0].error_estimate)


# At home in scikit-learn


def holes(X: np.ndarray) -> np.ndarray:
    """Every second row without its last three columns."""
    X = X.copy()
    X[::2, -3:] = np.nan
    return X


def test_pipeline_grid_search_clone_and_pickle() -> None:
    X, y = load_diabetes(return_X_y=True)
    X = holes(X)
    pipeline = make_pipeline(BlockImputer(random_state=0), EagleRegressor(random_state=0))
    grid = [
        {"blockimputer__rank": ["cv", 2]},
        {"blockimputer__rank": [None], "blockimputer__ridge": [0.0, "cv"]},
    ]
    search = GridSearchCV(clone(pipeline), grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.4
    copied = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copied.predict(X), search.predict(X))


def test_pandas_in_and_out() -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(
        {"one": [1, 2, 3, 4], "ten": [10.0, 20, 30, None], "more": [100, None, 300, 400]},
        index=list("abcd"),
    ).astype({"more": "Int64"})
    imputer = BlockImputer(random_state=0).set_output(transform="pandas")
    filled = imputer.fit_transform(X)
    assert list(imputer.get_feature_names_out()) == list(filled.columns) == ["one", "ten", "more"]
    assert list(filled.index) == list("abcd")
    assert filled.loc["d", "ten"] == pytest.approx(40)
    assert filled.loc["b", "more"] == pytest.approx(200)
    with pytest.raises(ValueError, match="feature names"):
        imputer.transform(X[["ten", "one", "more"]])


def test_failure_is_a_warning(rng: np.random.Generator) -> None:
    _, X = table(rng, noise=0.1)
    imputer = BlockImputer(rank=None, method="cg", maxiter=2, random_state=0)
    with pytest.warns(eagle.ConvergenceWarning, match="MAX_ITERATIONS"):
        imputer.fit(X)
    assert not imputer.patterns_[0].result.converged


# Bad input

HOLE = np.array([[1.0, 2, 3], [2, 5, 7], [4, 1, np.nan]])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, np.nan], [2, np.nan]], "no entry of column 1 of X is observed"),
        ([[1.0, 2], [np.nan, np.nan]], "no entry of row 1 of X is observed"),
        ([[1.0, np.nan], [np.nan, 2]], "nothing tells the entries of X in row 0 and column 1"),
        ([[1.0, np.inf]], "X contains infinity"),
        ([[1.0, "red"]], "X has entries that are not numbers"),
        ([1.0, 2], "Expected 2D array"),
    ],
)
def test_bad_tables_are_named(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockImputer().fit(X)
    with pytest.raises(ValueError, match=message):
        BlockImputer().partial_fit(X)


def test_bad_new_rows_are_named() -> None:
    imputer = BlockImputer(random_state=0).fit(HOLE)
    with pytest.raises(ValueError, match="no entry of rows 0, 2 of X is observed"):
        imputer.transform(np.array([[np.nan] * 3, [1, 2, 3], [np.nan] * 3]))
    with pytest.raises(ValueError, match="no entry of row 0 of X is observed"):
        imputer.partial_fit([[np.nan] * 3])
    with pytest.raises(ValueError, match="X has 2 features, but BlockImputer is expecting 3"):
        imputer.transform(HOLE[:, :2])


@pytest.mark.parametrize("values", [["red", "blue"], [True, "blue"]], ids=["strings", "mixed"])
@pytest.mark.parametrize("kind", ["category", "object", "str"])
def test_categorical_columns_are_named(values: list[Any], kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"size": [1.0, 2], "colour": pandas.Series(values, dtype=kind)})
    with pytest.raises(ValueError, match=r"X has columns that are not numbers: 'colour' \("):
        BlockImputer().fit(X)


@pytest.mark.parametrize("kind", ["category", "datetime64[ns]"])
def test_codes_of_categories_and_dates_are_not_taken_for_numbers(kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"size": [1.0, 2], "code": pandas.Series([1, 2]).astype(kind)})
    with pytest.raises(ValueError, match=r"X has columns that are not numbers: 'code' \("):
        BlockImputer().fit(X)


def test_numbers_as_objects_are_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"one": [1, 2, 3], "two": pandas.Series([2, 4, None], dtype=object)})
    assert BlockImputer(random_state=0).fit_transform(X)[2, 1] == pytest.approx(6)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rank": "best"}, ValueError, "rank must be 'cv', a positive integer or None"),
        ({"rank": 0}, ValueError, "rank must be at least 1"),
        ({"rank": 3}, ValueError, "rank must be at most 2 for 2 complete rows"),
        ({"rank": 2, "ridge": "cv"}, ValueError, "give rank=None with ridge"),
        ({"ridge": 1.0}, ValueError, "give rank=None with ridge"),
        ({"cutoff": 0.1}, ValueError, "give rank=None with cutoff"),
        ({"rank": None, "ridge": "cv", "cutoff": 0.1}, ValueError, "give cutoff=None with"),
        ({"rank": None, "ridge": "gcv"}, ValueError, "ridge must be a number or 'cv'"),
        ({"rank": None, "ridge": -1.0}, ValueError, "ridge must be finite, at least 0"),
        ({"method": "eagle"}, ValueError, "cannot truncate to a rank"),
        ({"rank": None, "ridge": [1.0]}, TypeError, "ridge must be a real number"),
        ({"scaling": "minmax"}, ValueError, "scaling must be one of 'cv', 'none', 'standard'"),
    ],
)
def test_bad_parameters_are_named(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BlockImputer(**settings).fit(HOLE)


def test_transform_needs_fit() -> None:
    with pytest.raises(NotFittedError):
        BlockImputer().transform(HOLE)
