"""Scaling, rank and ridge: what validation says of them is what leaving rows out gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.impute import KNNImputer
from sklearn.linear_model import RidgeCV

import eagle
from eagle.tables import validation
from eagle.tables.ridge import LeftOut
from eagle.tables.scaling import LINEAR, SCALINGS
from eagle.tables.validation import Wish, choose, in_order
from tests.systems import normal
from tests.tables.data import REAL, deviations, holes
from tests.tolerances import relative_error, tolerance


def solution(P: np.ndarray, T: np.ndarray, ridge: float) -> np.ndarray:
    return np.linalg.solve(P.conj().T @ P + ridge * np.eye(P.shape[1]), P.conj().T @ T)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("shape", [(12, 5), (6, 9)])
@pytest.mark.parametrize("centred", [False, True])
def test_the_closed_form_is_leaving_each_row_out(dtype, shape, centred):
    rng = np.random.default_rng(0)
    A, C, ridge = normal(rng, shape, dtype), normal(rng, (shape[0], 3), dtype), 0.3
    middle = A.mean(axis=0) * centred, C.mean(axis=0) * centred
    U, s, _ = np.linalg.svd(A - middle[0], full_matrices=False)
    kept = s > 1e-12
    ones = np.full(len(A), len(A) ** -0.5) if centred else None
    errors, leverages = LeftOut(U[:, kept], s[kept], C - middle[1], ones).errors(ridge)
    for i in range(len(A)):
        rest = np.arange(len(A)) != i
        a, c = A[rest].mean(axis=0) * centred, C[rest].mean(axis=0) * centred
        P = A[rest] - a
        found = c + (A[i] - a) @ solution(P, C[rest] - c, ridge)
        assert relative_error(C[i] - found, errors[i]) <= tolerance(dtype, 1e4)
        along = (A[i] - a) @ np.linalg.solve(
            P.conj().T @ P + ridge * np.eye(shape[1]), (A[i] - a).conj()
        )
        leverage = along.real + centred / (len(A) - 1)
        assert leverages[i] == pytest.approx(leverage, rel=1e-9)


@pytest.mark.parametrize("name", LINEAR)
def test_every_scaling_is_undone(name):
    rng = np.random.default_rng(1)
    A, C = rng.standard_normal((9, 4)) + 5, rng.standard_normal((9, 2)) * 100
    features = SCALINGS[name].fit(A, C)
    assert relative_error(features.restored(features.hidden(C, A), A), C) <= tolerance(float, 10)


def test_a_kernel_is_the_gaussian_one_if_all_rows_are_landmarks():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((30, 3))
    features = SCALINGS["kernel 2"].fit(A, A[:, :1])
    assert features.lift is not None
    Z = (A - A.mean(axis=0)) / A.std(axis=0)
    squared = ((Z[:, None] - Z) ** 2).sum(axis=2)
    wanted = np.exp(-squared / (4 * np.median(squared[squared > 0])))
    P = features.observed(A) + features.lift.middle
    assert relative_error(P @ P.T, wanted) <= 1e-7  # without directions at rounding level


def test_rows_that_are_mostly_equal_have_a_kernel_of_the_others():
    A = np.array([[0.0, 0], *[[1, 2]] * 20, [3, 1]])
    features = SCALINGS["kernel 1"].fit(A, A[:, :1])
    Z = (A - A.mean(axis=0)) / A.std(axis=0)
    squared = ((Z[:, None] - Z) ** 2).sum(axis=2)
    assert np.median(squared) == 0
    P = features.observed(A) + features.lift.middle
    wanted = np.exp(-squared / np.median(squared[squared > 0]))
    assert relative_error(P @ P.T, wanted) <= 1e-7
    X = np.hstack([A, A[:, :1] - A[:, 1:]])
    X[3:8, 2] = np.nan
    done = eagle.complete(X, rng=0)
    assert done.X[3:8, 2] == pytest.approx(-1)
    assert SCALINGS["kernel 1"].fit(A[1:5], A[1:5, :1]).lift is not None  # all equal


def test_units_and_offsets_of_columns_change_nothing():
    X = REAL["wine"]()
    missing = holes(X, "third", 0)
    rng = np.random.default_rng(0)
    factors, offsets = 10 ** rng.uniform(-3, 3, X.shape[1]), 100 * rng.standard_normal(X.shape[1])
    holed = np.where(missing, np.nan, X)
    one = eagle.complete(holed, scaling="standard", rng=0)
    other = eagle.complete(holed * factors + offsets * factors, scaling="standard", rng=0)
    assert relative_error(other.X / factors - offsets, one.X) <= 1e-8
    assert other.column_errors == pytest.approx(one.column_errors * factors, rel=1e-6, nan_ok=True)
    assert other.standardized_error == pytest.approx(one.standardized_error, rel=1e-6)


def test_means_are_taken_off_where_they_carry_nothing():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 8)) + 0.3 * rng.standard_normal(
        (60, 8)
    )
    X[:, 4:] += 20 * rng.standard_normal(4)
    missing = np.zeros(X.shape, bool)
    missing[:20, 4:] = True
    done = eagle.complete(np.where(missing, np.nan, X), rng=0)
    assert done.groups[0].scaling in ("mean", "standard")
    plain = eagle.complete(np.where(missing, np.nan, X), scaling="none", rng=0)
    errors = [relative_error(each.X[missing], X[missing]) for each in (done, plain)]
    assert errors[0] < 0.6 * errors[1]


def test_a_curved_table_gets_a_kernel_and_a_flat_one_does_not():
    rng = np.random.default_rng(4)
    t = rng.uniform(-3, 3, 150)
    noise = 0.05 * rng.standard_normal((150, 4))
    curved = np.column_stack([t, 0.5 * t, np.sin(t), np.cos(t)]) + noise
    flat = np.column_stack([t, 0.5 * t, 2 * t, -t]) + noise
    missing = np.zeros((150, 4), bool)
    missing[::3, 2:] = True
    found = {}
    for name, X in (("curved", curved), ("flat", flat)):
        done = eagle.complete(np.where(missing, np.nan, X), rng=0)
        found[name] = done.groups[0].scaling
        assert relative_error(done.X[missing], X[missing]) < 0.15
    assert found["curved"].startswith("kernel")
    assert not found["flat"].startswith("kernel")


def test_walks_are_in_order_and_shuffled_rows_are_not():
    rng = np.random.default_rng(5)
    for n in (16, 60, 400):
        walk = np.cumsum(rng.standard_normal((n, 3)), axis=0)
        assert in_order(walk)
        assert not in_order(walk[rng.permutation(n)])
    assert not in_order(np.ones((10, 2)))


def test_rows_beyond_all_others_are_expected_to_be_worse_if_the_order_matters():
    rng = np.random.default_rng(6)
    walk = np.cumsum(rng.standard_normal((60, 8)), axis=0) + 20
    late = np.zeros(walk.shape, bool)
    late[40:, 5:] = True
    ratios = {}
    for name, X in (("walk", walk), ("shuffled", walk[rng.permutation(60)])):
        done = eagle.complete(np.where(late, np.nan, X), rng=0)
        errors = np.sqrt(((done.X - X)[late] ** 2).mean())
        ratios[name] = np.sqrt(np.nanmean(done.column_errors**2)) / errors
    assert 1 / 2.5 < ratios["walk"] < 2.5  # one path of a random walk
    assert 1 / 1.5 < ratios["shuffled"] < 1.5


def test_the_choice_says_what_else_was_tried():
    X = REAL["breast cancer"]()
    missing = holes(X, "block", 0)
    group = eagle.complete(np.where(missing, np.nan, X), rng=0).groups[0]
    assert set(LINEAR) <= set(group.tried)
    assert group.tried[group.scaling] == min(group.tried.values())
    wish = Wish("cv", "cv", None, "standard")
    complete, hidden = ~missing.any(axis=1), missing.any(axis=0)
    A, C = X[complete][:, ~hidden], X[complete][:, hidden]
    choice = choose(A, C, wish, np.random.default_rng(0))
    assert choice.scaling.name == "standard"
    assert len(choice.errors) == len(A)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("pattern", ["block", "third"])
def test_real_tables_are_filled_as_well_as_by_the_best_rival(name, pattern):
    X = REAL[name]()
    errors: dict[str, list[float]] = {"eagle": [], "RidgeCV": [], "KNNImputer": []}
    for seed in range(3):
        missing = holes(X, pattern, seed)
        holed = np.where(missing, np.nan, X)
        rows, columns = missing.any(axis=1), missing.any(axis=0)
        A, C = holed[~rows][:, ~columns], holed[~rows][:, columns]
        ridge = RidgeCV(np.linalg.norm(A - A.mean(0), 2) ** 2 * np.logspace(-14, 1, 61)).fit(A, C)
        by_ridge = holed.copy()
        by_ridge[missing] = np.ravel(ridge.predict(holed[rows][:, ~columns]))
        filled = {
            "eagle": eagle.complete(holed, rng=seed).X,
            "RidgeCV": by_ridge,
            "KNNImputer": KNNImputer().fit_transform(holed),
        }
        for who, each in filled.items():
            errors[who].append(np.sqrt(np.mean(((each - X) / deviations(X))[missing] ** 2)))
    median = {who: np.median(each) for who, each in errors.items()}
    assert median["eagle"] <= 1.05 * min(median["RidgeCV"], median["KNNImputer"])


def test_more_complete_rows_than_take_part_in_the_search_all_fill(monkeypatch):
    monkeypatch.setattr("eagle.tables.validation.MOST", 40)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2)) @ rng.standard_normal((2, 6))
    X += 1e-3 * rng.standard_normal(X.shape)
    missing = np.zeros(X.shape, bool)
    missing[100:, 4:] = True
    done = eagle.complete(np.where(missing, np.nan, X), rng=0)
    assert done.results[0].value.shape == (20, 2)
    assert done.standardized_error < 0.01
    assert np.linalg.norm((done.X - X)[missing]) < 0.01 * np.linalg.norm(X[missing])


def candidate(errors):
    return validation._Candidate(
        LINEAR["none"], None, 0.0, float((errors**2).mean()), errors, np.zeros(len(errors)), None
    )


def test_another_model_has_to_be_better_for_certain_row_by_row():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 5))
    wish = Wish(None, "cv", None, "cv")
    search = validation._Search(X[:, :3], X[:, 3:], wish, np.ones(2), [], 0.0)
    errors = rng.standard_normal((400, 2))
    first = candidate(errors)
    little = candidate(0.99 * errors)  # by 1 % in every row: far below the scatter of the rows
    assert search.better(first, [little]) is little
    same = [candidate(rng.standard_normal((400, 2))) for _ in range(200)]
    lucky = [each for each in same if each.loss < first.loss]
    taken = sum(search.better(first, [each]) is each for each in lucky)
    # Of those that are better by luck, a sixth of all is more than one standard error better.
    assert taken < len(lucky)
    assert search.better(first, [candidate(2 * errors)]) is first
    together = np.repeat(rng.standard_normal((8, 1)), 50, axis=0) * np.ones(2)
    ahead = validation._Search(X[:, :3], X[:, 3:], wish, np.ones(2), [], 1.0)
    gain = 1 - 0.4 * (np.arange(400) % 100 < 30)[:, None]
    first, other = candidate(together), candidate(together * gain)
    assert search.better(first, [other]) is other
    assert ahead.better(first, [other]) is first  # these rows count as a few
