"""Expected errors are the errors, and intervals contain what they say they do."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle.tables.intervals import (
    Spread,
    independent_errors,
    independent_scores,
    prior_weight,
)
from tests.tables.data import PATTERNS, REAL, holes

CASES = [(name, pattern) for name in REAL for pattern in PATTERNS]
CASES.remove(("meats", "scattered"))  # takes a minute; `python -m benchmarks tables` has it


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_on_real_tables(name, pattern):
    X = REAL[name]()
    whole, columns, inside = [], [], []
    for seed in range(4 if X.size < 10_000 else 2):
        missing = holes(X, pattern, seed)
        done = eagle.complete(np.where(missing, np.nan, X), rng=seed)
        errors = np.where(missing, done.X - X, 0)
        filled = missing.any(axis=0)
        own = np.sqrt((errors**2).sum(axis=0) / np.maximum(missing.sum(axis=0), 1))
        scaled = errors / done.column_deviations
        whole.append(done.standardized_error / np.sqrt((scaled[missing] ** 2).mean()))
        columns.append(np.median(done.column_errors[filled] / own[filled]))
        inside.append(((done.lower <= X) & (done.upper >= X))[missing].mean())
        assert np.isnan(done.column_errors[~filled]).all()
    assert 1 / 1.5 <= np.median(whole) <= 1.5
    assert 1 / 1.5 <= np.median(columns) <= 1.5
    assert 0.85 <= np.mean(inside) <= 0.95  # 0.87 to 0.94, and the scatter of so few splits


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_coverage_is_what_was_asked_for(coverage):
    inside = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((120, 3)) @ rng.standard_normal((3, 12))
        X += 0.5 * rng.standard_normal(X.shape)
        missing = holes(X, "block", seed)
        done = eagle.complete(np.where(missing, np.nan, X), coverage=coverage, rng=seed)
        inside.append(((done.lower <= X) & (done.upper >= X))[missing].mean())
        assert (done.lower <= done.X).all()
        assert (done.upper >= done.X).all()
        assert np.array_equal(done.lower[~missing], X[~missing])
    # 60 rows fill and 60 tell: a standard error of about 0.05 per split at 0.5, a third over 12.
    assert np.mean(inside) == pytest.approx(coverage, abs=0.03)


def test_a_row_unlike_all_others_has_wider_intervals():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    X[:, 4] = X[:, :4].sum(axis=1) + 0.1 * rng.standard_normal(60)
    X[58, :4] *= 20
    X[58:, 4] = np.nan
    done = eagle.complete(X, scaling="standard", rng=0)
    width = (done.upper - done.lower)[58:, 4]
    assert width[0] > 3 * width[1]


def test_a_noisier_column_has_wider_intervals_in_proportion():
    rng = np.random.default_rng(1)
    t = rng.standard_normal((400, 2))
    noise = np.array([0.1, 1.0])
    X = np.hstack([t, t @ rng.standard_normal((2, 2)) + noise * rng.standard_normal((400, 2))])
    missing = np.zeros(X.shape, bool)
    missing[:100, 2:] = True
    done = eagle.complete(np.where(missing, np.nan, X), rng=0)
    width = (done.upper - done.lower)[missing].reshape(-1, 2).mean(axis=0)
    assert width == pytest.approx(2 * 1.645 * noise, rel=0.15)
    assert done.column_errors[2:] == pytest.approx(noise, rel=0.15)


def test_quantiles_are_those_of_the_definition():
    errors = np.array([[1.0], [-2], [3], [-4]])
    spread = Spread.of(errors, np.zeros(4))
    assert spread.sigma == pytest.approx([np.sqrt(30 / 4)])
    # Of four, at 0.75: the (4 + 1) 0.75 = 3.75-th, which is the largest; at 0.6 the third.
    assert spread.factors(0.75) * spread.sigma == pytest.approx([4])
    assert spread.factors(0.6) * spread.sigma == pytest.approx([3])
    assert spread.factors(0.99) * spread.sigma == pytest.approx([4])


def test_expected_variances_sum_to_the_squares_of_left_out_errors():
    rng = np.random.default_rng(0)
    errors, leverages = rng.standard_normal((30, 3)) * [1, 10, 100], rng.exponential(1, 30)
    spread = Spread.of(errors, leverages)
    assert (spread.errors(leverages) ** 2).sum(axis=0) == pytest.approx((errors**2).sum(axis=0))


def test_a_few_errors_of_a_column_do_not_set_the_size_that_they_are_measured_by():
    """Four of each of 500 columns, which differ in size: nine of ten new ones are inside."""
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sizes = np.exp(0.5 * rng.standard_normal(500))
        errors = rng.standard_normal((40, 500)) * sizes
        for column in errors.T:
            column[rng.permutation(40)[4:]] = np.nan
        spread = Spread.of(errors, np.zeros(40), np.ones(500))
        widths = spread.errors(np.zeros(1))[0] * spread.factors(0.9)
        fresh = rng.standard_normal((400, 500)) * sizes
        inside.append((np.abs(fresh) <= widths).mean())
    # 2000 scores: a standard error of 0.007 each. Sizes that errors set themselves have 0.868.
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


def test_scores_of_one_row_count_as_many_as_they_are_independent():
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((400, 10))
    scores[rng.random(scores.shape) < 0.5] = np.nan
    count = np.isfinite(scores).sum()
    assert independent_scores(scores) == pytest.approx(count, rel=0.25)
    same = np.repeat(rng.standard_normal((400, 1)), 10, axis=1)
    assert independent_scores(same) == pytest.approx(400, rel=1e-9)
    assert independent_scores(np.full((3, 2), np.nan)) == 0


def test_nothing_left_out_is_nothing_known():
    done = eagle.complete([[2.0, 6], [1, np.nan]], rng=0)
    assert np.isnan([done.lower[1, 1], done.upper[1, 1], done.column_errors[1]]).all()
    assert done.lower[0, 1] == 6


def test_complex_tables_have_no_intervals():
    X = np.outer([1, 2, 3, 4], [1, 1j, 2]).astype(complex)
    X[3, 2] = np.nan
    done = eagle.complete(X, rng=0)
    assert done.X[3, 2] == pytest.approx(8)
    assert np.isnan(done.lower[3, 2])


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, 1.5])
def test_wishes_outside_zero_and_one_are_refused(coverage):
    with pytest.raises(ValueError, match="coverage must be"):
        eagle.complete(np.ones((3, 2)), coverage=coverage)


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ({"minimum": "low"}, TypeError, "minimum must be a number"),
        ({"maximum": [1.0, 2.0, 3.0]}, ValueError, "maximum must be a number, or one for each of"),
        ({"minimum": np.nan}, ValueError, "minimum must be a number"),
        ({"minimum": 2, "maximum": 1}, ValueError, "minimum must not exceed maximum, got 2 and 1"),
    ],
)
def test_bad_bounds_are_refused(bounds, error, message):
    with pytest.raises(error, match=message):
        eagle.complete(np.ones((3, 2)), **bounds)


@pytest.mark.parametrize("freedom", [3, 8])
def test_the_scatter_of_variances_tells_what_all_columns_say_of_each(freedom):
    rng = np.random.default_rng(freedom)
    found = []
    for _ in range(20):
        true = freedom / rng.chisquare(freedom, 400)
        found.append(prior_weight(true * rng.chisquare(12, 400) / 12, np.full(400, 12.0)))
    scatter = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(freedom, abs=4 * scatter)
    assert scatter < freedom / 20


def test_variances_that_differ_by_chance_are_one():
    rng = np.random.default_rng(0)
    equal = rng.chisquare(50, 1000) / 50
    assert prior_weight(equal, np.full(1000, 50.0)) > 1000
    assert prior_weight(np.array([1.0, 1, 1]), np.full(3, 5.0)) == np.inf
    assert prior_weight(np.array([2.0]), np.array([5.0])) == np.inf


@pytest.mark.parametrize("r", [0.0, 0.5, 0.8])
def test_errors_that_go_together_count_as_few(r):
    """Their mean square scatters as that of so many independent ones does."""
    rng = np.random.default_rng(int(10 * r))
    runs = rng.standard_normal((2, 300, 2000))
    for t in range(1, 300):
        runs[:, t] = r * runs[:, t - 1] + np.sqrt(1 - r**2) * runs[:, t]
    squares = (runs**2).mean(axis=(0, 1))
    assert independent_errors(runs) == pytest.approx(2 / squares.var(), rel=0.15)
    assert independent_errors(np.ones((2, 4, 3))) == 1
    assert independent_errors(np.zeros((2, 4, 3))) == 8


def test_columns_with_few_errors_of_their_own_draw_near_the_others():
    rng = np.random.default_rng(3)
    units = np.array([1.0, 100, 1, 1, 1, 1])
    errors = units * rng.standard_normal((4, 6))
    alone = Spread.of(errors, np.zeros(4)).sigma / units
    together = Spread.of(errors, np.zeros(4), units).sigma / units
    assert np.ptp(together) < np.ptp(alone)
    assert (together**2).sum() == pytest.approx((alone**2).sum())
    fewer = Spread.of(errors, np.zeros(4), units, independent=1.0).sigma / units
    assert np.ptp(fewer) < np.ptp(together)
