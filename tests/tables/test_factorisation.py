"""Holes anywhere: found to rounding where rank allows, near the oracle with noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import eagle
from eagle.tables import factorisation, neighbours
from eagle.tables.holes import Names, check_connected, scattered
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


def test_what_is_left_of_an_entry_is_its_error_if_it_is_left_out():
    X = low_rank(40, 9, 3, 0.3)
    missing = holes(X, "scattered", 0)
    factors = factorisation.fit(np.where(missing, np.nan, X), missing, 3)
    rows, left = factors.left(np.where(missing, np.nan, X), missing)
    assert np.array_equal(np.isnan(left), missing)
    assert rows[~missing] == pytest.approx((X / factors.scale)[~missing])
    for i, j in np.argwhere(~missing)[::40]:
        without = missing.copy()
        without[i, j] = True
        values, _ = factors.fill(np.where(without, np.nan, X), without)
        assert left[i, j] == pytest.approx((X - values)[i, j] / factors.scale[j])


def clusters(seed: int, noise: float = 0.1) -> np.ndarray:
    """Rows that repeat themselves: 30 of them, some twenty times each."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 12))[rng.integers(30, size=600)]
    return X + noise * rng.standard_normal(X.shape)


def test_similar_rows_tell_what_factors_leave():
    X = clusters(0)
    missing = holes(X, "scattered", 0)
    holed = np.where(missing, np.nan, X)
    done = eagle.complete(holed, rng=0)
    plain, _ = replace(done.factors, neighbours=None).fill(holed, missing)
    errors = [np.sqrt(np.mean((each - X)[missing] ** 2)) for each in (done.X, plain)]
    assert done.validation.neighbours is not None
    assert errors[0] < 0.8 * errors[1]
    assert done.standardized_error == pytest.approx(errors[0] / X.std(), rel=0.15)
    inside = ((done.lower <= X) & (done.upper >= X))[missing].mean()
    assert inside == pytest.approx(0.9, abs=0.03)


def test_neighbours_are_asked_only_where_they_have_something_to_say():
    X = low_rank(300, 12, 3, 0.5)
    holed = np.where(holes(X, "scattered", 0), np.nan, X)
    assert eagle.complete(holed, rng=0).factors.neighbours is None
    X = clusters(1)
    holed = np.where(holes(X, "scattered", 0), np.nan, X)
    for wished in ({"rank": 4}, {"scaling": "mean"}):  # what was wished for, to the letter
        assert eagle.complete(holed, rng=0, **wished).factors.neighbours is None


def test_neighbours_mean_what_they_have_and_a_row_does_not_ask_itself(monkeypatch):
    rows = np.array([[0.0, 0], [1, 0], [2, 0], [9, 0]])
    left = np.array([[np.nan, 1], [4, 2], [8, np.nan], [100, 100]])
    one, other = neighbours.means(rows, left, rows[:1], (2, 3))
    assert one == pytest.approx(np.array([[4 / 2, 3 / 3]]))
    assert other == pytest.approx(np.array([[12 / 3, 3 / 3]]))
    X = clusters(2)[:50]
    left = np.where(holes(X, "scattered", 0), np.nan, X)
    wanted = neighbours.means(X, left, X, (5, 20))
    monkeypatch.setattr(neighbours, "CHUNK", 1000)
    for each, same in zip(wanted, neighbours.means(X, left, X, (5, 20)), strict=True):
        assert each == pytest.approx(same)


def test_few_rows_are_all_neighbours():
    X = np.arange(6.0).reshape(3, 2)
    few, many = neighbours.means(X, X, X, (5, 20))
    assert few == pytest.approx(np.tile(X.sum(axis=0) / 4, (3, 1)))
    assert many == pytest.approx(few)


def test_the_share_is_a_regression_and_certain():
    rng = np.random.default_rng(0)
    said = [rng.standard_normal((80, 6)) for _ in range(2)]
    errors = 0.7 * said[1] + 0.1 * rng.standard_normal((80, 6))
    errors[rng.random(errors.shape) < 0.3] = np.nan
    place, share = neighbours.choose(errors, said)
    assert place == 1
    known = ~np.isnan(errors)
    x, y = said[1][known], errors[known]
    assert share == pytest.approx((x @ y) / (x @ x))
    assert neighbours.choose(rng.standard_normal((80, 6)), said) is None
    # One row that agrees is no evidence, however large it is.
    alone = np.zeros((80, 6))
    alone[0] = said[0][0]
    assert neighbours.choose(alone, said) is None


def test_a_chain_of_observed_entries_connects_a_table_link_by_link():
    n = 60
    missing = ~(np.eye(n, dtype=bool) | np.eye(n, k=1, dtype=bool))
    order = np.random.default_rng(0).permutation(n)
    check_connected(missing[order], Names())
    missing[30, 31] = True
    with pytest.raises(ValueError, match="no chain of observed entries connects them"):
        check_connected(missing[order], Names())


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
