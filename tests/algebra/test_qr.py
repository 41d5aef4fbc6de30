"""Many small problems at once: the compiled kernel and the certificate of each."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eagle
from eagle import ConvergenceWarning, Status
from eagle.algebra.qr import SIZES, least_squares
from eagle.problem.certificate import COUNT
from eagle.run.batch import MANY, QR, _mirrored
from tests.systems import DTYPES, KINDS, normal, quietly, stacks, system
from tests.tolerances import relative_error, tolerance

FACTOR = 10  # stated in the documentation: the truth is at most ten times the estimate


def stacked(count, shape, *, ranks=(None,), **settings):
    """Stacks of blocks of `count` systems whose ranks take turns."""
    systems = [
        system(shape, rank=ranks[seed % len(ranks)], seed=seed, **settings) for seed in range(count)
    ]
    names = ("A", "B", "C", "pinv", "value", "W")
    return dict(zip(names, stacks(systems, names), strict=True))


@given(
    d=st.integers(1, 40),
    n=st.integers(1, 40),
    rank=st.integers(1, 40),
    exponent=st.floats(0, 6),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=150)
def test_any_shape_rank_and_condition_is_solved_or_told(d, n, rank, exponent, dtype, kind, seed):
    condition = 10.0 ** (exponent if np.finfo(dtype).eps < 1e-10 else exponent / 3)
    rank = min(d, n, rank)
    case = system((d, n), rank=rank, condition=condition, dtype=dtype, kind=kind, seed=seed)
    blocks = (case.A[None], case.B[None], case.C[None])
    result = quietly(eagle.solve, *blocks, method=QR, rng=seed)
    error = relative_error(result.value[0], case.value)
    # B and C that A does not explain make errors of eps condition^2 (Wedin's bound).
    grown = condition if kind == "consistent" else condition**2
    assert error <= tolerance(dtype, grown)
    floor = tolerance(dtype, grown if kind == "both inconsistent" else condition)
    assert error <= FACTOR * result.error_estimate + floor
    assert result.results[0].rank == rank
    assert result.results[0].value.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 12), (9, 14), (14, 9)])
def test_auto_solves_every_function_at_once(shape, dtype):
    many = stacked(2 * MANY, shape, ranks=(None, 5), dtype=dtype, condition=10)
    A, B, C = many["A"], many["B"], many["C"]
    limit = tolerance(dtype, 10)
    results = [eagle.solve(A, B, C, rng=0), eagle.estimate(A, B, rng=0), eagle.lstsq(A, C, rng=0)]
    wanted = [many["value"], many["W"], many["pinv"].astype(A.dtype) @ C]
    for result, value in zip(results, wanted, strict=True):
        assert result.converged
        others = eagle.Direct("lu") if shape[0] == shape[1] else QR
        assert [one.method for one in result.results[:2]] == [others, QR]
        said = "LU" if shape[0] == shape[1] else "compiled QR"
        assert result.plan.startswith(f"{2 * MANY} x auto: {said} for {2 * MANY} problems of")
        for one, truth in zip(result.results, value, strict=True):
            assert relative_error(one.value, truth) <= limit
            assert one.error_estimate <= limit
        assert [each.rank for each in result.results[:2]] == [min(shape), 5]
    for one, truth in zip(eagle.pinv(A, rng=0), many["pinv"], strict=True):
        assert relative_error(one, truth) <= limit
    single = eagle.lstsq(A, C[0, :, 0], rng=0).value
    assert single.shape == (2 * MANY, shape[1])
    assert relative_error(single, many["pinv"] @ C[0, :, 0]) <= limit


def test_the_kernel_and_lapack_agree_on_everything_that_is_said():
    """Consistent or not, from either side: B has more rows than C columns here, and fewer."""
    for rows, columns in ((2, 5), (5, 2)):
        for kind in KINDS:
            many = stacked(
                MANY, (14, 9), ranks=(None, 4), kind=kind, rows=rows, columns=columns, condition=5
            )
            blocks = many["A"], many["B"], many["C"]
            ours = eagle.solve(*blocks, rng=0)
            for one, *each in zip(ours.results[:20], *blocks, strict=False):
                other = eagle.solve(*each, method=eagle.Direct("gelsy"), rng=0)
                assert relative_error(one.value, other.value) <= tolerance(float, 25)
                assert one.rank == other.rank
                # Both draw four probes for it: a chi-squared number of few degrees of freedom.
                assert one.inconsistency <= 5 * other.inconsistency + tolerance(float, 5)
                assert other.inconsistency <= 5 * one.inconsistency + tolerance(float, 5)
                assert (one.inconsistency > 0.1) == (other.inconsistency > 0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_problem_has_its_own_scale_and_zeros_are_solved_one_by_one(dtype):
    many = stacked(MANY, (12, 9), condition=10, dtype=dtype)
    A, B, C = many["A"].copy(), many["B"].copy(), many["C"]
    far = np.finfo(dtype).max / 1e6
    for index, factor in ((3, far), (4, 1 / far)):
        A[index] *= A.real.dtype.type(factor)
        B[index] *= A.real.dtype.type(factor)
    A[5] = 0
    B[6] = 0
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    for index in (2, 3, 4, 7):
        assert relative_error(result.value[index], many["value"][index]) <= tolerance(dtype, 10)
    assert not result.value[5].any()
    assert not result.value[6].any()
    assert [one.method == QR for one in result.results[2:8]] == [*[True] * 3, *[False] * 2, True]


def test_a_value_beyond_the_range_of_its_dtype_is_told():
    A = np.tile(np.eye(3, dtype=np.float16) / 1024, (MANY, 1, 1))
    b = np.ones((MANY, 3, 1), np.float16)
    b[7] = 1000
    result = quietly(eagle.lstsq, A, b, method=QR, rng=0)
    ends = {place: one.status for place, one in enumerate(result.results) if not one.converged}
    assert ends == {7: Status.NONFINITE}
    assert result.value[6] == pytest.approx(1024)


@given(
    d=st.integers(1, 20),
    n=st.integers(1, 20),
    rank=st.integers(1, 20),
    exponent=st.floats(-6, 2),
    scale=st.sampled_from([0, -8, 12]),
    dtype=st.sampled_from(DTYPES),
    form=st.sampled_from(["solve", "lstsq", "estimate"]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=150)
def test_a_ridge_is_what_the_formula_says(d, n, rank, exponent, scale, dtype, form, kind, seed):
    """Against ``B V S (S^2 + ridge)^-1 U^H C`` in double precision."""
    case = system((d, n), rank=min(d, n, rank), condition=10, dtype=dtype, kind=kind, seed=seed)
    A = np.ldexp(1.0, scale).astype(case.A.real.dtype) * case.A
    wide = np.complex128 if A.dtype.kind == "c" else np.float64
    U, s, Vh = np.linalg.svd(A.astype(wide), full_matrices=False)
    ridge = float((10.0**exponent * s[0]) ** 2)
    inverse = (Vh.conj().T * (s / (s**2 + ridge))) @ U.conj().T
    options = {"method": QR, "ridge": ridge, "rng": seed}
    if form == "solve":
        blocks, wanted = (A, case.B, case.C), case.B @ inverse @ case.C
        result = quietly(eagle.solve, *(block[None] for block in blocks), **options)
    elif form == "lstsq":
        wanted = inverse @ case.C
        result = quietly(eagle.lstsq, A[None], case.C[None], **options)
    else:
        wanted = case.B @ inverse
        result = quietly(eagle.estimate, A[None], case.B[None], **options)
    # Rounding moves M, which is A and sqrt(ridge) I, by eps ||M||. That meets ||M^+|| once, and
    # once more where neither B nor C is consistent; identities are not.
    largest, least = np.hypot(s[[0, -1]], ridge**0.5)
    outside = {"solve": KINDS[3:], "lstsq": KINDS[2:], "estimate": KINDS[1::2]}[form]
    again = 1 / least if kind in outside else max(np.linalg.norm(inverse, 2), 1 / largest)
    size = np.linalg.norm(case.B if form != "lstsq" else np.eye(n))
    size *= np.linalg.norm(case.C if form != "estimate" else np.eye(d))
    error = np.linalg.norm(result.value[0] - wanted)
    assert error <= tolerance(dtype, largest / least * again) * size
    alone = quietly(
        eagle.solve,
        A,
        case.B if form != "lstsq" else np.eye(n, dtype=A.dtype),
        case.C if form != "estimate" else np.eye(d, dtype=A.dtype),
        ridge=ridge,
        method=eagle.Direct("gelsy"),
        rng=seed,
    )
    one = result.results[0]
    # Four probes each: a chi-squared number of few degrees of freedom.
    assert one.inconsistency <= 5 * alone.inconsistency + tolerance(dtype, 10)
    assert alone.inconsistency <= 5 * one.inconsistency + tolerance(dtype, 10)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e-30), (np.float64, 1e-200)])
def test_a_ridge_far_larger_than_the_matrix_neither_overflows_nor_claims_digits(dtype, size):
    """The value is ``B A^H C / ridge`` then, and below what rounding makes of sqrt(ridge)."""
    many = stacked(3, (9, 6), dtype=dtype, condition=3)
    A, B, C = (many[name].astype(dtype) for name in "ABC")
    result = quietly(eagle.solve, A * dtype(size), B, C, method=QR, ridge=1.0, rng=0)
    wanted = B @ np.swapaxes(A, 1, 2) @ C * size
    error = max(map(relative_error, result.value.astype(float), wanted))
    assert error <= FACTOR * min(each.error_estimate for each in result.results)
    assert np.abs(result.value).max() <= np.finfo(dtype).eps


def test_auto_solves_a_ridge_at_once_and_keeps_to_a_time_limit():
    many = stacked(MANY, (12, 9), ranks=(None, 5), condition=10)
    A, B, C = many["A"], many["B"], many["C"]
    result = eagle.solve(A, B, C, ridge=0.1, time_limit=60.0, rng=0)
    assert result.converged
    assert {one.method for one in result.results} == {QR}
    inner = np.linalg.inv(A @ np.swapaxes(A, 1, 2) + 0.1 * np.eye(12))
    wanted = B @ np.swapaxes(A, 1, 2) @ inner @ C
    assert relative_error(result.value, wanted) <= tolerance(float, 10)


def test_results_are_made_when_somebody_looks_and_survive_a_pickle():
    many = stacked(MANY, (6, 4), condition=10)
    result = eagle.solve(many["A"], many["B"], many["C"], rng=0)
    assert "results" not in vars(result)
    again = pickle.loads(pickle.dumps(result))
    assert result.results is result.results
    for one, other in zip(result.results, again.results, strict=True):
        assert np.array_equal(one.value, other.value)
        assert one.history == other.history
        assert one.error_estimate == one.history[-1].error_estimate


def test_a_sparse_A_serves_many_problems():
    given = system((12, 9), condition=10)
    B = np.stack([given.B * factor for factor in range(1, MANY + 1)])
    result = eagle.solve(scipy.sparse.csr_array(given.A), B, given.C, rng=0)
    assert result.converged
    assert relative_error(result.value[6], 7 * given.value) <= tolerance(float, 10)


def test_what_the_kernel_did_badly_is_given_to_the_planner():
    """An error estimate above the limit of auto's quick methods is not taken."""
    many = stacked(MANY, (13, 12), condition=10)
    kahan = np.triu(-0.95 * np.ones((12, 12)), 1) + np.eye(12)
    scale = np.sqrt(1 - 0.95**2) ** np.arange(12)
    A = many["A"].copy()
    A[1, :12], A[1, 12] = scale[:, None] * kahan, 0
    B = np.random.default_rng(0).standard_normal((MANY, 3, 13)) @ A
    result = eagle.solve(A, B, many["C"], rng=0)
    assert result.converged
    assert [one.method == QR for one in result.results[:3]] == [True, False, True]
    for one in result.results:
        assert one.error_estimate <= 1e4 * np.finfo(float).eps or one.method != QR


def test_a_wanted_accuracy_is_reached_or_reported():
    many = stacked(20, (12, 9), condition=1e3)
    blocks = many["A"], many["B"], many["C"]
    good = eagle.solve(*blocks, method=QR, rtol=1e-8, rng=0)
    assert good.status is Status.CONVERGED
    with pytest.warns(ConvergenceWarning, match="20 of 20 problems; the first: Direct ended with"):
        bad = eagle.solve(*blocks, method=QR, rtol=1e-20, rng=0)
    assert {one.status for one in bad.results} == {Status.STAGNATED}
    assert np.array_equal(good.value, bad.value)


@pytest.mark.parametrize("option", [{"rank": 2}, {"callback": lambda state: None}])
def test_other_options_are_honoured_one_by_one(option):
    many = stacked(MANY, (6, 4), condition=10)
    given = replace(system((6, 4), condition=10), A=many["A"][7], B=many["B"][7], C=many["C"][7])
    result = eagle.solve(many["A"], many["B"], many["C"], rng=0, **option)
    wanted = eagle.solve(given.A, given.B, given.C, rng=0, **option)
    assert relative_error(result.value[7], wanted.value) <= tolerance(float, 10)
    assert all(one.method != QR for one in result.results)


def test_inputs_may_be_read_only_broadcast_in_any_order_and_half_precise():
    many = stacked(MANY, (12, 9), condition=5)
    A = np.asfortranarray(many["A"])
    A.flags.writeable = False
    B = many["B"][0]
    result = eagle.solve(A, B, many["C"][:1], rng=0)
    wanted = B @ many["pinv"] @ many["C"][:1]
    assert relative_error(result.value, wanted) <= tolerance(float, 5)
    grid = eagle.solve(A.reshape(2, -1, 12, 9), B, many["C"][0], rng=0)
    assert grid.results.shape == (2, MANY // 2)
    assert np.array_equal(grid.value.reshape(result.value.shape), result.value)
    half = eagle.lstsq(many["A"].astype(np.float16), many["C"].astype(np.float16), rng=0)
    assert half.value.dtype == half.results[0].value.dtype == np.float16


def test_results_do_not_depend_on_the_company_or_the_number_of_threads(monkeypatch):
    import numba

    many = stacked(MANY, (12, 9), condition=10)
    blocks = many["A"], many["B"], many["C"]
    every = eagle.solve(*blocks, rng=0)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    assert np.array_equal(eagle.solve(*blocks, rng=0).value, every.value)
    alone = eagle.solve(*(block[:5] for block in blocks), method=QR, rng=0)
    assert np.array_equal(alone.value, every.value[:5])


def test_sizes_are_the_norms_that_they_are_named_by():
    """Against the extended value from what a coarse cutoff leaves of A, so that none is zero."""
    rng = np.random.default_rng(1)
    A, B, C = (normal(rng, shape, complex) for shape in ((1, 7, 5), (1, 2, 5), (1, 7, 3)))
    A[..., 3:] = A[..., :3] @ normal(rng, (3, 2), complex) + 1e-3 * A[..., 3:]
    w, z = normal(rng, (5, 4), complex), normal(rng, (7, 4), complex)
    _, ranks, sizes = least_squares(A, B, C, w, z, 0.05)
    assert ranks == [3]
    a, b, c = A[0], B[0], C[0]
    Q, R, order = scipy.linalg.qr(a, pivoting=True)
    solve = np.linalg.pinv(Q[:, :3] @ R[:3, np.argsort(order)], rcond=1e-12)
    inner, outer = a.conj().T @ z, a @ w
    inner, outer = inner / np.linalg.norm(inner, axis=0), outer / np.linalg.norm(outer, axis=0)
    ws, zs = {"white": w, "ranged": inner}, {"white": z, "ranged": outer}
    wanted = {"hidden": b @ solve @ c}
    for kind in ("white", "ranged"):
        columns, rows = a @ ws[kind], zs[kind].conj().T @ a
        wanted[f"column_answers_{kind}"] = b @ ws[kind]
        wanted[f"row_answers_{kind}"] = zs[kind].conj().T @ c
        wanted[f"column_errors_{kind}"] = b @ solve @ columns - b @ ws[kind]
        wanted[f"row_errors_{kind}"] = rows @ solve @ c - zs[kind].conj().T @ c
        for other in ("white", "ranged"):
            corner = rows @ ws[other]
            wanted[f"corner_answers_{kind}_{other}"] = corner
            if (kind, other) != ("white", "white"):
                wanted[f"corner_errors_{kind}_{other}"] = rows @ solve @ a @ ws[other] - corner
    wanted["condition"] = R[0, 0] / R[2, 2]
    assert set(SIZES) == set(wanted)
    for name in SIZES:
        assert sizes[name][0] == pytest.approx(np.linalg.norm(wanted[name]), rel=1e-9)
        assert sizes[name][0] > 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given_b", [True, False])
@pytest.mark.parametrize(
    ("shape", "rank"), [((7, 5), 5), ((7, 5), 3), ((6, 9), 6), ((11, 12), 9), ((20, 18), 18)]
)
def test_the_kernel_finds_value_and_rank(shape, rank, given_b, dtype):
    """Groups of four rows and what is left over, more columns than lanes, more than one problem."""
    many = stacked(2, shape, ranks=(rank,), condition=5, dtype=dtype)
    rng = np.random.default_rng(0)
    d, n = shape
    w, z = (normal(rng, (size, COUNT), dtype).astype(dtype) for size in (n, d))
    limit = tolerance(dtype, 5)
    value, ranks, _ = least_squares(
        many["A"], many["B"] if given_b else None, many["C"], w, z, limit
    )
    wanted = many["value"] if given_b else many["pinv"] @ many["C"]
    for found, truth in zip(value, wanted, strict=True):
        assert relative_error(found, truth) <= limit
    assert list(ranks) == [rank, rank]


def test_what_is_beyond_the_user_is_solved_and_not_counted():
    rng = np.random.default_rng(2)
    A, B, C = (normal(rng, shape, float) for shape in ((3, 7, 5), (3, 4, 5), (3, 7, 6)))
    w, z = normal(rng, (5, 4), float), normal(rng, (7, 4), float)
    value, _, sizes = least_squares(A, B, C, w, z, 1e-14, user=(2, 3))
    assert relative_error(value, B @ np.linalg.pinv(A) @ C) <= tolerance(float, 100)
    _, _, wanted = least_squares(A, B[:, :2], C[:, :, :3], w, z, 1e-14)
    large = [name for name in SIZES if wanted[name].min() > 1e-12]  # no rounding errors
    assert {"hidden", "row_errors_white", "column_answers_white"} < {*large}
    for name in large:
        assert sizes[name] == pytest.approx(wanted[name], rel=1e-9), name


def test_a_direction_counts_whatever_row_it_is_in():
    """Also if all that is left of its column is one entry."""
    A = np.zeros((8, 9, 2))
    A[:, 0, 0], A[np.arange(8), np.arange(1, 9), 1] = 2, 1
    C = A @ np.array([[3.0], [5.0]])
    probes = np.ones((2, COUNT)), np.ones((9, COUNT))
    value, ranks, _ = least_squares(A, None, C, *probes, tolerance(float))
    assert list(ranks) == [2] * 8
    assert relative_error(value, np.full((8, 2, 1), [[3.0], [5.0]])) <= tolerance(float)


def test_the_adjoint_swaps_rows_and_columns():
    assert {_mirrored(name) for name in SIZES} == set(SIZES)
    assert _mirrored("corner_errors_ranged_white") == "corner_errors_white_ranged"
    assert _mirrored("corner_answers_ranged_white") == "corner_answers_white_ranged"
    assert _mirrored("row_answers_white") == "column_answers_white"
    assert _mirrored("hidden") == "hidden"
