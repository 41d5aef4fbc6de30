"""Missing blocks: found exactly where rank allows, honestly where there is noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

import eagle
from eagle.tables.scaling import LINEAR
from tests.systems import DTYPES, aim, normal, orthonormal
from tests.tolerances import relative_error, tolerance


def low_rank(seed: int, n: int, m: int, rank: int, dtype: Any = np.float64) -> np.ndarray:
    """A table whose every big enough block has the rank of the whole."""
    rng = np.random.default_rng(seed)
    left, right = orthonormal(rng, n, rank, dtype), orthonormal(rng, m, rank, dtype)
    return ((left * np.linspace(2, 1, rank)) @ right.conj().T).astype(dtype)


def with_holes(X: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """A copy with NaN where it is missing."""
    return np.where(missing, np.array(np.nan, X.dtype), X)


def block(X: np.ndarray, rows: Any, columns: Any) -> np.ndarray:
    """A mask that is True on rows x columns."""
    missing = np.zeros(X.shape, bool)
    missing[np.ix_(rows, columns)] = True
    return missing


def amplification(X: np.ndarray, missing: np.ndarray) -> float:
    """How much larger than eps the error may be: ``|B| |A^+| |C| / |D|`` over the groups."""
    donors = X[~missing.any(axis=1)].astype(np.result_type(X, np.float64))
    largest = 1.0
    for pattern in np.unique(missing[missing.any(axis=1)], axis=0):
        A, C = donors[:, ~pattern], donors[:, pattern]
        s = np.linalg.svd(A, compute_uv=False)
        smallest = s[s > 1e-6 * s[0]][-1]
        rows = (missing == pattern).all(axis=1)
        B, D = X[rows][:, ~pattern], X[rows][:, pattern]
        largest = max(
            largest,
            s[0] / smallest,
            np.linalg.norm(B) * np.linalg.norm(C) / smallest / np.linalg.norm(D),
        )
    return float(largest)


@st.composite
def panels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """A low-rank table, staggered holes in shuffled rows and columns, and the rank."""
    rank = draw(st.integers(1, 4))
    observed = draw(st.integers(rank + 2, rank + 8))
    hidden = draw(st.integers(1, 6))
    donors = draw(st.integers(2 * rank + 3, 2 * rank + 12))
    groups = draw(st.integers(1, 3))
    size = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    X = low_rank(seed, donors + groups * size, observed + hidden, rank)
    missing = np.zeros(X.shape, bool)
    for group in range(groups):
        first = donors + group * size
        count = max(1, hidden - group)  # each group starts later than the one before
        missing[first : first + size, X.shape[1] - count :] = True
    rows, columns = rng.permutation(X.shape[0]), rng.permutation(X.shape[1])
    return X[rows][:, columns], missing[rows][:, columns], rank


@given(panel=panels(), choice=st.sampled_from(["cv", "exact", None]))
def test_a_low_rank_table_is_found_whatever_the_pattern_and_the_order(panel, choice):
    X, missing, rank = panel
    done = eagle.complete(with_holes(X, missing), rank=rank if choice == "exact" else choice, rng=0)
    bound = tolerance(X.dtype, amplification(X, missing))
    assert relative_error(done.X[missing], X[missing]) <= bound
    assert np.array_equal(done.X[~missing], X[~missing])
    assert done.rank == rank
    assert len(done.results) == len(done.groups) == len(np.unique(missing[missing.any(1)], axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", ["cv", 3, None])
def test_every_dtype_is_kept_and_found_to_its_precision(dtype, rank):
    X = low_rank(1, 30, 12, 3, dtype)
    missing = block(X, range(5, 15), [0, 4, 7, 11])
    given_table = with_holes(X, missing)
    before = given_table.copy()
    done = eagle.complete(given_table, rank=rank, rng=0)
    assert done.X.dtype == dtype
    assert relative_error(done.X[missing], X[missing]) <= tolerance(
        dtype, amplification(X, missing)
    )
    assert np.array_equal(given_table, before, equal_nan=True)
    assert not np.shares_memory(done.X, given_table)


def test_integers_become_float64_and_entries_under_a_mask_are_not_looked_at():
    X = np.outer(np.arange(1, 7), [1, 2, 3])
    missing = block(X, [5], [1, 2])
    spoiled = X.copy()
    spoiled[missing] = 10**9
    done = eagle.complete(spoiled, mask=missing, rng=0)
    assert done.X.dtype == np.float64
    assert relative_error(done.X, X) <= tolerance(float)
    infinite = np.where(missing, np.inf, X)
    assert relative_error(eagle.complete(infinite, mask=missing, rng=0).X, X) <= tolerance(float)


def test_masked_arrays_masks_and_nan_add_up():
    X = low_rank(2, 20, 9, 2)
    missing = block(X, [1, 2], [3]) | block(X, [4], [0, 8]) | block(X, [7], [5])
    under, nan, extra = (block(X, *where) for where in (([1, 2], [3]), ([4], [0, 8]), ([7], [5])))
    table = np.ma.masked_array(with_holes(X, nan), mask=under)
    done = eagle.complete(table, mask=extra, rng=0)
    assert type(done.X) is np.ndarray
    assert relative_error(done.X, X) <= tolerance(float, amplification(X, missing))


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_the_scale_of_the_table_changes_nothing_else(size):
    rng = np.random.default_rng(3)
    X = low_rank(3, 24, 10, 3) + 0.01 * rng.standard_normal((24, 10))
    holes = with_holes(X, block(X, range(6), [2, 5]))
    one, other = eagle.complete(holes, rng=0), eagle.complete(holes * size, rng=0)
    assert other.rank == one.rank
    assert other.error_estimate == pytest.approx(one.error_estimate, rel=1e-6)
    assert relative_error(other.X / size, one.X) <= tolerance(float, 100)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_columns_does_not_matter_with_noise_either(seed):
    rng = np.random.default_rng(seed)
    X = low_rank(seed, 26, 9, 2) + 0.05 * rng.standard_normal((26, 9))
    holes = with_holes(X, block(X, range(4), [1, 2, 3]))
    order = rng.permutation(9)
    one, other = eagle.complete(holes, rng=5), eagle.complete(holes[:, order], rng=5)
    assert other.rank == one.rank
    assert other.error_estimate == pytest.approx(one.error_estimate, rel=1e-9)
    assert relative_error(other.X, one.X[:, order]) <= tolerance(float, 1e3)


@given(seed=st.integers(0, 2**32 - 1), rank=st.sampled_from([2, None]))
def test_the_order_of_rows_does_not_matter_once_the_rank_is_given(seed, rank):
    rng = np.random.default_rng(seed)
    X = low_rank(seed, 26, 9, 2) + 0.05 * rng.standard_normal((26, 9))
    holes = with_holes(X, block(X, range(4), [1, 2, 3]))
    order = rng.permutation(26)
    one = eagle.complete(holes, rank=rank, rng=5)
    other = eagle.complete(holes[order], rank=rank, rng=5)
    assert relative_error(other.X, one.X[order]) <= tolerance(float, 1e3)


def test_equal_seeds_give_equal_results():
    rng = np.random.default_rng(4)
    X = low_rank(4, 30, 8, 2) + 0.1 * rng.standard_normal((30, 8))
    holes = with_holes(X, block(X, range(5), [0, 1]))
    one, other = eagle.complete(holes, rng=7), eagle.complete(holes, rng=7)
    assert np.array_equal(one.X, other.X)
    assert one.error_estimate == other.error_estimate


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_an_integer_rank_is_the_truncated_pseudo_inverse(rank):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((20, 11))
    missing = block(X, range(3), range(6, 11))
    A, B, C = X[3:, :6], X[:3, :6], X[3:, 6:]
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    wanted = B @ Vh[:rank].T / s[:rank] @ U[:, :rank].T @ C
    done = eagle.complete(with_holes(X, missing), rank=rank, rng=0)
    assert relative_error(done.X[:3, 6:], wanted) <= tolerance(float, s[0] / s[rank - 1])
    assert done.rank == rank


@pytest.mark.parametrize("options", [{"ridge": 0.7}, {"cutoff": 0.5}])
def test_ridge_and_cutoff_shape_both_the_value_and_the_error_to_expect(options):
    rng = np.random.default_rng(6)
    X = low_rank(6, 40, 9, 3) + 0.3 * rng.standard_normal((40, 9))
    missing = block(X, range(10), range(5, 9))
    done = eagle.complete(with_holes(X, missing), rank=None, rng=0, **options)
    wanted = eagle.solve(X[10:, :5], X[:10, :5], X[10:, 5:], rng=0, **options)
    assert relative_error(done.X[:10, 5:], wanted.value) <= tolerance(float, 1e3)
    plain = eagle.complete(with_holes(X, missing), rank=None, rng=0)
    assert done.error_estimate != plain.error_estimate
    curve = np.empty((5, 2))
    for fold in range(5):  # the same from the definition, on folds of its own
        kept = np.arange(30) % 5 != fold
        A, C = X[10:, :5], X[10:, 5:]
        found = eagle.solve(A[kept], A[~kept], C[kept], rng=0, **options).value
        curve[fold] = np.sum((found - C[~kept]) ** 2), np.sum(C[~kept] ** 2)
    direct = np.sqrt(curve[:, 0].sum() / curve[:, 1].sum())
    # Two ways to split 30 donors into five: their errors differ by a few standard errors at most.
    assert done.error_estimate == pytest.approx(direct, rel=0.15)


def test_leaving_one_out_gives_the_error_that_it_is_defined_by():
    X = np.array([[1.0, 1], [2, 2], [1, 3], [1, np.nan]])
    done = eagle.complete(X, rank=1, rng=0)
    # Three donors make three folds; from the other two, c = b (a @ c') / (a @ a) at rank one.
    a, c = X[:3, 0], X[:3, 1]
    left = [np.arange(3) != i for i in range(3)]
    errors = np.array([c[i] - a[i] * (a[k] @ c[k]) / (a[k] @ a[k]) for i, k in enumerate(left)])
    leverages = np.array([a[i] ** 2 / (a[k] @ a[k]) for i, k in enumerate(left)])
    assert done.groups[0].curve == pytest.approx(
        [1.0, np.linalg.norm(errors) / np.linalg.norm(c)], rel=1e-12
    )
    # The row to fill is as unusual as 1 / (a @ a), and the errors are taken for as unusual.
    sigma = np.sqrt((errors**2).sum() / (1 + leverages).sum())
    assert done.column_errors[1] == pytest.approx(sigma * np.sqrt(1 + 1 / (a @ a)), rel=1e-12)
    assert np.isnan(done.column_errors[0])


@pytest.mark.parametrize("rank", ["cv", 3, None])
def test_the_error_estimate_is_the_error_on_average(rank):
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((120, 3)) @ rng.standard_normal((3, 20))
        X += 0.3 * rng.standard_normal(X.shape)
        missing = block(X, range(40), range(10, 20))
        done = eagle.complete(with_holes(X, missing), rank=rank, rng=seed)
        ratios.append(done.error_estimate / relative_error(done.X[missing], X[missing]))
    # 80 donors in folds of 16: the estimate uses four fifths of the donors, so it is not below
    # the error, and each ratio scatters by about 1 / sqrt(2 * 80); their mean by a tenth of that.
    assert 0.97 <= np.mean(ratios) <= 1.15


@pytest.mark.parametrize("load", [load_digits, load_wine, load_breast_cancer])
def test_on_real_tables_the_choice_is_close_to_the_best_of_all_that_was_tried(load):
    X = load().data
    scale = np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    chosen, best, foretold = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows, columns = rng.permutation(X.shape[0]), rng.permutation(X.shape[1])
        half = X.shape[1] // 2
        missing = block(X, rows[: X.shape[0] // 2], columns[:half])
        holes = with_holes(X, missing)

        def error(done: eagle.Completion, missing: np.ndarray = missing) -> float:
            return float(np.sqrt(np.mean(((done.X - X) / scale)[missing] ** 2)))

        done = eagle.complete(holes, rng=seed)
        chosen.append(error(done))
        foretold.append(done.standardized_error)
        others = [{"rank": k} for k in range(1, half + 1, 3)]
        others += [{"rank": None, "ridge": "cv", "scaling": each} for each in LINEAR]
        best.append(min(error(eagle.complete(holes, rng=seed, **each)) for each in others))
    assert np.median(chosen) <= 1.02 * np.median(best)
    assert 0.75 <= np.median(np.divide(foretold, chosen)) <= 1.25


def test_with_few_donors_truncation_saves_what_the_pseudo_inverse_spoils():
    X = load_digits().data
    rng = np.random.default_rng(0)
    missing = block(X, rng.permutation(len(X))[60:], np.arange(32, 64))
    holes, truth = with_holes(X, missing), X[missing]
    done, plain = eagle.complete(holes, rng=0), eagle.complete(holes, rank=None, rng=0)
    assert relative_error(done.X[missing], truth) < 0.8 * relative_error(plain.X[missing], truth)


def test_noise_free_columns_of_diabetes_need_no_truncation():
    X = load_diabetes().data
    missing = block(X, range(200), [4])
    done = eagle.complete(with_holes(X, missing), rng=0)
    plain = eagle.complete(with_holes(X, missing), rank=None, rng=0)
    assert relative_error(done.X[missing], X[missing]) <= 1.02 * relative_error(
        plain.X[missing], X[missing]
    )


def test_groups_say_which_entries_were_filled_together():
    X = low_rank(8, 20, 8, 2)
    first, second = block(X, [0, 9], [1, 2]), block(X, [3], [2, 7])
    done = eagle.complete(with_holes(X, first | second), rng=0)
    assert [(g.rows.tolist(), g.columns.tolist()) for g in done.groups] == [
        ([0, 9], [1, 2]),
        ([3], [2, 7]),
    ]
    assert done.converged
    assert "6 of 160 entries, row groups: 2" in str(done)


def test_nothing_missing_gives_a_copy_without_work():
    X = np.ones((3, 4))
    done = eagle.complete(X)
    assert np.array_equal(done.X, X)
    assert not np.shares_memory(done.X, X)
    assert (done.results, done.rank, done.error_estimate) == ((), None, 0.0)
    assert eagle.complete(np.empty((0, 4))).X.shape == (0, 4)


def test_one_donor_fills_but_cannot_tell_how_well():
    done = eagle.complete([[2.0, 6], [1, np.nan]], rng=0)
    assert done.X[1, 1] == pytest.approx(3, rel=tolerance(float))
    assert np.isnan(done.error_estimate)
    assert "unknown" in str(done)


def test_an_integer_rank_that_four_folds_cannot_reach_has_no_error_estimate():
    X = low_rank(9, 7, 8, 4)
    done = eagle.complete(with_holes(X, block(X, [0], [1])), rank=6, rng=0)
    assert np.isnan(done.error_estimate)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_tables_are_continued(value):
    X = np.full((8, 5), value)
    done = eagle.complete(with_holes(X, block(X, [1, 6], [0, 3])), rng=0)
    assert relative_error(done.X, X) <= tolerance(float)
    assert done.error_estimate <= tolerance(float)


@pytest.mark.parametrize(("scaling", "value"), [("none", 0.0), (None, 1.0)])
def test_a_constant_column_is_continued_unless_centring_is_ruled_out(scaling, value):
    X = np.zeros((10, 3))
    X[:, 2] = 1.0
    X[9, 2] = np.nan
    done = eagle.complete(X, scaling=scaling, rng=0)
    assert done.X[9, 2] == value
    assert done.error_estimate == 1 - value


REFUSED = {
    "a row without entries": (block(np.empty((6, 4)), [2], range(4)), {}, r"no entry of row 2 of"),
    "a column without entries": (
        block(np.empty((6, 4)), range(6), [0, 3]),
        {},
        r"no entry of columns 0, 3 of X is observed",
    ),
    "what nothing connects": (
        block(np.empty((6, 4)), range(3), [0, 1]) | block(np.empty((6, 4)), range(3, 6), [2, 3]),
        {},
        r"nothing tells the entries of X in rows 0, 1, 2 and columns 0, 1: no chain of observed",
    ),
    "a rank beyond the donors": (
        block(np.empty((6, 4)), range(4), [0]),
        {"rank": 3},
        r"rank must be at most 2 for 2 complete rows and 3 observed columns of rows 0, 1, 2, 3,",
    ),
    "a rank word": (block(np.empty((6, 4)), [0], [0]), {"rank": "best"}, r"rank must be 'cv', a"),
    "rank zero": (block(np.empty((6, 4)), [0], [0]), {"rank": 0}, r"rank must be at least 1"),
    "ridge with cv": (block(np.empty((6, 4)), [0], [0]), {"ridge": 1.0}, r"give rank=None with r"),
    "cutoff with rank": (
        block(np.empty((6, 4)), [0], [0]),
        {"cutoff": 0.0, "rank": 2},
        r"give rank=None with cutoff: .*rank=2",
    ),
    "a bad cutoff": (
        block(np.empty((6, 4)), [0], [0]),
        {"cutoff": 1.0, "rank": None},
        r"cutoff must be finite, at least 0 and below 1",
    ),
    "a method that cannot truncate": (
        block(np.empty((6, 4)), [0], [0]),
        {"method": eagle.Direct("gelsy")},
        r"cannot truncate to a rank, .*rank=None",
    ),
    "an unknown method": (
        block(np.empty((6, 4)), [0], [0]),
        {"method": "eagel"},
        r"did you mean 'eagle'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_completed_is_refused_with_a_sentence(case):
    missing, options, message = REFUSED[case]
    X = with_holes(np.random.default_rng(0).standard_normal((6, 4)), missing)
    with pytest.raises(ValueError, match=message):
        eagle.complete(X, **options)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinity_is_refused_with_its_place(bad):
    X = np.ones((5, 3))
    X[3, 1], X[0, 0] = bad, np.nan
    with pytest.raises(ValueError, match=r"X with shape \(5, 3\) .* infinity at row 3, column 1"):
        eagle.complete(X)


def test_masks_of_the_wrong_kind_or_shape_are_refused():
    with pytest.raises(TypeError, match=r"mask must be boolean, .* got dtype int64"):
        eagle.complete(np.ones((2, 2)), mask=np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match=r"mask with shape \(2, 1\) must have the shape of X"):
        eagle.complete(np.ones((2, 2)), mask=np.zeros((2, 1), bool))


@pytest.mark.parametrize(
    ("X", "message"),
    [(np.array([[1.0, None]], object), "dtype object"), ([["a", "b"]], "must be numeric")],
)
def test_what_is_not_numeric_is_refused(X, message):
    with pytest.raises(TypeError, match=message):
        eagle.complete(X)


def test_a_table_that_is_not_two_dimensional_is_refused():
    with pytest.raises(ValueError, match=r"X must be 2-D, got shape \(3,\)"):
        eagle.complete([1.0, 2.0, np.nan])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rnk": 2}, r"complete\(\) got .*'rnk'.*rank"), ({"rank": 1.5}, "rank must be an integer")],
)
def test_unknown_options_and_wrong_types_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        eagle.complete([[1.0, np.nan], [1.0, 2.0]], **options)


def test_a_solve_that_does_not_converge_warns_and_is_told():
    rng = np.random.default_rng(10)
    X = rng.standard_normal((30, 12))
    holes = with_holes(X, block(X, range(5), [0, 1]))
    with pytest.warns(eagle.ConvergenceWarning, match="MAX_ITERATIONS"):
        done = eagle.complete(holes, rank=None, method="gd", maxiter=1, rng=0)
    assert not done.converged
    with pytest.raises(eagle.ConvergenceError):
        eagle.complete(holes, rank=None, method="gd", maxiter=1, rng=0, raise_on_failure=True)


@pytest.mark.parametrize("method", sorted(eagle.METHODS))
def test_every_method_fills_alike_without_truncation(method):
    X = low_rank(11, 25, 9, 9) + np.eye(25, 9)
    missing = block(X, range(12, 17), [0, 4])
    done = eagle.complete(with_holes(X, missing), rank=None, method=method, rng=0)
    assert done.converged
    plain = eagle.complete(with_holes(X, missing), rank=None, method="direct", rng=0)
    limit = max(10 * aim(method), tolerance(float, amplification(X, missing)))
    assert relative_error(done.X[missing], plain.X[missing]) <= limit


def test_random_complex_rows_are_not_confused_with_their_conjugates():
    rng = np.random.default_rng(12)
    X = normal(rng, (14, 2), complex) @ normal(rng, (2, 6), complex)
    missing = block(X, [0, 5], [1, 2])
    done = eagle.complete(with_holes(X, missing), rng=0)
    assert relative_error(done.X, X) <= tolerance(complex, amplification(X, missing))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_estimate_for_a_given_rank_is_near_the_curve_at_that_rank(rank):
    rng = np.random.default_rng(13)
    X = rng.standard_normal((30, 12))
    done = eagle.complete(with_holes(X, block(X, range(5), range(4))), rank=rank, rng=0)
    curve = done.groups[0].curve
    assert len(curve) == 9
    # It differs by the leverage of five rows among 25: a standard error of some ten per cent.
    assert done.error_estimate == pytest.approx(curve[rank], rel=0.15)


@pytest.mark.parametrize("size", [1e-3, 1e4])
def test_ridge_scales_with_the_square_of_the_table(size):
    rng = np.random.default_rng(14)
    X = rng.standard_normal((30, 12))
    holes = with_holes(X, block(X, range(5), range(4)))
    one = eagle.complete(holes, rank=None, ridge=3.0, rng=0)
    other = eagle.complete(holes * size, rank=None, ridge=3.0 * size**2, rng=0)
    assert other.error_estimate == pytest.approx(one.error_estimate, rel=1e-9)
    assert relative_error(other.X / size, one.X) <= tolerance(float, 100)


def test_more_noise_is_expected_to_give_a_larger_error():
    rng = np.random.default_rng(15)
    X, noise = low_rank(15, 50, 14, 3), rng.standard_normal((50, 14))
    missing = block(X, range(10), range(4)) | block(X, range(10, 16), range(6, 9))
    sizes = [0, 1e-4, 1e-2, 1]
    tables = [with_holes(X + size * noise, missing) for size in sizes]
    estimates = [eagle.complete(table, rng=0).error_estimate for table in tables]
    assert estimates[0] <= tolerance(float, amplification(X, missing))
    assert estimates == sorted(estimates)


def test_completions_and_groups_can_be_compared_and_kept_in_sets():
    first, second = (eagle.complete([[1.0, 2], [2, 4], [3, np.nan]], rng=0) for _ in range(2))
    assert first == first
    assert first != second
    assert len({first, second, *first.groups, *second.groups}) == 4


def test_a_completion_prints_as_a_summary():
    X = low_rank(16, 18, 9, 3)
    lines = str(eagle.complete(with_holes(X, block(X, range(4), [0, 5, 8])), rng=0)).splitlines()
    assert lines[0] == "eagle.Completion: 18 x 9 float64"
    assert lines[1] == "  filled          12 of 162 entries, row groups: 1"
    assert lines[2:4] == ["  rank            3", "  scaling         none"]
    assert lines[4].startswith("  expected error  ")
    assert [line.split()[:2] for line in lines[7:]] == [
        ["column", "filled"], ["0", "4"], ["5", "4"], ["8", "4"]
    ]  # fmt: skip
    assert "expected error  unknown" in str(eagle.complete([[1.0, 2], [2, np.nan]], rng=0))
