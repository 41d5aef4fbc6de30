"""Holes anywhere: found to rounding where rank allows, near the oracle with noise."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle.tables import factorisation
from eagle.tables.holes import scattered
from tests.tables.data import REAL, deviations, holes
from tests.tolerances import relative_error


def low_rank(n: int, m: int, rank: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
    return X + noise * rng.standard_normal(X.shape)


def test_a_fifth_of_a_low_rank_table_is_found():
    X = low_rank(200, 50, 5)
    missing = holes(X, "scattered", 0)
    done = eagle.complete(np.where(missing, np.nan, X), rng=0)
    assert relative_error(done.X[missing], X[missing]) < 1e-5
    assert np.array_equal(done.X[~missing], X[~missing])
    assert done.groups == ()
    assert done.rank == 5
    assert done.converged
    assert done.error_estimate < 1e-4


def test_with_noise_the_rank_is_found_and_is_as_good_as_known():
    X = low_rank(200, 50, 5, 0.3)
    missing = holes(X, "scattered", 0)
    holed = np.where(missing, np.nan, X)
    done, oracle = (eagle.complete(holed, rank=rank, rng=0) for rank in ("cv", 5))
    errors = [relative_error(each.X[missing], X[missing]) for each in (done, oracle)]
    assert errors[0] <= 1.1 * errors[1]
    assert done.rank == 5
    assert done.error_estimate == pytest.approx(errors[0], rel=0.2)
    # Noise that nothing foretells, and that of estimating 5 factors of a row from some 40 entries.
    least = 0.3 / np.sqrt((X[missing] ** 2).mean())
    assert least < errors[1] < least * np.sqrt(1 + 2 * 5 / 40)


def test_overlapping_surveys_without_a_complete_row_determine_every_cell():
    X = np.outer(np.arange(1.0, 10), [1, 2, 3, 4.0])
    hidden = X.copy()
    hidden[:3, 3] = hidden[3:6, 0] = hidden[6:, 1] = np.nan
    done = eagle.complete(hidden, rng=0)
    assert relative_error(done.X, X) < 1e-7
    assert done.rank == 1


def test_a_staircase_of_surveys_is_filled_step_by_step():
    X = low_rank(120, 12, 2, seed=3)
    missing = np.zeros(X.shape, bool)
    for step in range(4):  # each survey asks six questions, three of them those of the one before
        missing[30 * step : 30 * (step + 1)] = True
        missing[30 * step : 30 * (step + 1), 2 * step : 2 * step + 6] = False
    assert missing.any(axis=1).all()
    done = eagle.complete(np.where(missing, np.nan, X), rank=2, rng=0)
    # Sweeps creep along the chain of surveys: the fit ends when they change next to nothing.
    assert relative_error(done.X[missing], X[missing]) < 1e-2


@pytest.mark.parametrize("name", ["diabetes", "wine", "breast cancer", "volcano", "Cigar"])
def test_real_tables_are_filled_as_well_as_by_scikit_learn(name):
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    X = REAL[name]()
    errors: dict[str, list[float]] = {"eagle": [], "theirs": []}
    for seed in range(2):
        missing = holes(X, "scattered", seed)
        holed = np.where(missing, np.nan, X)
        rivals = [KNNImputer()]
        if X.size < 10_000:
            rivals.append(IterativeImputer(random_state=0, tol=1e-1))
        filled = [
            eagle.complete(holed, rng=seed).X,
            *(each.fit_transform(holed) for each in rivals),
        ]
        own, *theirs = (
            np.sqrt(np.mean(((each - X) / deviations(X))[missing] ** 2)) for each in filled
        )
        errors["eagle"].append(own)
        errors["theirs"].append(min(theirs))
    assert np.median(errors["eagle"]) <= 1.05 * np.median(errors["theirs"])


def test_more_sweeps_change_nothing_once_it_is_stationary():
    X = low_rank(150, 20, 3, 0.2)
    missing = holes(X, "scattered", 1)
    holed = np.where(missing, np.nan, X)
    factors = factorisation.fit(holed, missing, 3)
    again = factorisation.fit(holed, missing, 3, start=factors)
    one, other = (each.fill(holed, missing)[0] for each in (factors, again))
    assert factors.stationarity < 1e-2
    assert np.sqrt(np.mean((one - other)[missing] ** 2)) < 0.02 * 0.2  # of the noise


def test_the_noise_of_each_column_is_found():
    rng = np.random.default_rng(5)
    noise = np.linspace(0.3, 1, 12)
    X = low_rank(2000, 12, 2) + noise * rng.standard_normal((2000, 12))
    missing = holes(X, "scattered", 2)
    factors = factorisation.fit(np.where(missing, np.nan, X), missing, 2)
    assert factors.sigma == pytest.approx(noise, rel=0.1)


def test_left_out_entries_are_like_the_missing_ones():
    X = low_rank(60, 10, 2)
    blocks = np.zeros(X.shape, bool)
    blocks[:20, :4] = blocks[20:40, 6:] = True
    for hidden in factorisation._left_out(blocks, np.random.default_rng(0)):
        rows = hidden.any(axis=1)
        assert not (hidden & blocks).any()
        for row in hidden[rows]:
            assert row[:4].all() or row[6:].all()


def test_blocks_and_staircases_with_complete_rows_are_no_scattered_holes():
    blocks = np.zeros((40, 12), bool)
    blocks[10:20, :4] = blocks[20:30, 6:] = True
    assert not scattered(blocks)
    assert not scattered(np.zeros((3, 3), bool))
    staircase = np.triu(np.ones((40, 40), bool), 1)[::-1]
    assert not scattered(staircase)
    assert scattered(np.random.default_rng(0).random((200, 10)) < 0.2)


def test_filled_values_stay_within_bounds_and_are_counted():
    X = low_rank(120, 10, 3, 0.1)
    missing = holes(X, "scattered", 0)
    holed = np.where(missing, np.nan, X)
    free = eagle.complete(holed, rng=0)
    done = eagle.complete(holed, minimum=-1.0, maximum=np.full(10, 2.0), rng=0)
    inside = done.X[missing]
    assert inside.min() == -1
    assert inside.max() == 2
    assert np.array_equal(done.X[~missing], X[~missing])
    beyond = (free.X < -1) | (free.X > 2)
    assert done.clipped == (beyond & missing).sum() > 0
    assert f"clipped         {done.clipped} entries" in str(done)
    assert ((done.lower[missing] >= -1) & (done.upper[missing] <= 2)).all()


def test_a_bar_counts_the_sweeps(capsys):
    X = low_rank(60, 8, 2, 0.1)
    holed = np.where(holes(X, "scattered", 0), np.nan, X)
    eagle.complete(holed, progress=True, rng=0)
    assert "Factorisation" in capsys.readouterr().err


def test_equal_seeds_give_equal_results():
    X = low_rank(60, 8, 2, 0.1)
    holed = np.where(holes(X, "scattered", 0), np.nan, X)
    one, other = eagle.complete(holed, rng=3), eagle.complete(holed, rng=3)
    assert np.array_equal(one.X, other.X)
    assert np.array_equal(one.upper, other.upper)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": None}, "rank must be 'cv' or an integer, not None, because the missing entries"),
        ({"rank": 8}, "rank must be at most 7, got 8, because the missing entries of rows"),
        ({"scaling": "effects"}, "scaling must not be 'effects', because the missing entries"),
        ({"treated": {0: 3}}, "treated needs rows that are complete and were not treated"),
    ],
)
def test_what_a_factorisation_cannot_honour_is_refused(options, message):
    X = low_rank(60, 8, 2, 0.1)
    holed = np.where(holes(X, "scattered", 0), np.nan, X)
    with pytest.raises(ValueError, match=message):
        eagle.complete(holed, **options)


def test_scattered_holes_of_a_complex_table_are_refused():
    X = low_rank(60, 8, 2) * (1 + 1j)
    holed = np.where(holes(X.real, "scattered", 0), np.nan, X)
    with pytest.raises(ValueError, match="X is complex and the missing entries of rows"):
        eagle.complete(holed)


def test_a_factor_of_few_rows_says_little_of_the_columns_that_these_miss():
    """Its loadings there are drawn to the size of the others, and what is left counts."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 40))
        X += 0.1 * rng.standard_normal(X.shape)
        X[:2] += np.outer([10, -10], rng.standard_normal(40))
        missing = rng.random(X.shape) < 0.2
        missing[0, :20] = missing[1, 10:30] = True  # columns 10 to 19 have nothing of the factor
        done = eagle.complete(np.where(missing, np.nan, X), rank=3, rng=0)
        filled = done.X[0, 10:20] / done.column_deviations[10:20]
        size = np.abs(X[0] / done.column_deviations).max()
        assert np.abs(filled).max() <= 2 * size
        # Widths of all entries were alike as long as loadings passed for known.
        width = (done.upper - done.lower) / done.column_deviations
        assert width[0, 10:20].mean() > 3 * width[2:][missing[2:]].mean()
