"""Corrected semi-normal equations: A is read and left alone, and the bound holds."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse

import eagle
from eagle.algebra.operand import PIECE
from eagle.methods.seminormal import SPREAD, SemiNormal
from eagle.problem.blocks import Problem
from eagle.problem.options import Options
from eagle.run import flow
from tests.systems import normal, orthonormal, system
from tests.tolerances import relative_error, tolerance

exact = pytest.importorskip("benchmarks.fuzz.exact", reason="exact answers take python-flint")

THIN = (7000, 20)  # too large for what bounds its own error at once
UNITS = 2.0**20
CONDITIONS = [1e3, 1e11]  # one factor, and the product of two


def the_answer(A, B, C):
    """``B A^+ C`` in rational arithmetic, rounded once."""
    B = np.eye(A.shape[1], dtype=A.dtype) if B is None else B
    C = np.eye(A.shape[0], dtype=A.dtype) if C is None else C
    return exact.rounded(exact.unfactored(*map(exact.rationals, (B, A, C))), A.dtype)


def settled(A, B=None, C=None):
    """The state when nothing is left to gain, and the value."""
    problem, method = Problem.create(A, B, C), SemiNormal()
    state = method.init(problem, Options())
    while not state.settled:
        state.taken += 1
        assert state.taken <= method.default_maxiter
        state = method.step(state)
    return state, problem.restore(method.output(state))


def thin(seed=0, *, d=90, n=5, condition=1e3, dtype=np.float64, wide=False):
    rng = np.random.default_rng(seed)
    A = orthonormal(rng, d, n, dtype) * eagle.problems.spectrum(n, condition)
    A = A @ orthonormal(rng, n, n, dtype).conj().T
    A = A.conj().T if wide else A
    return A, normal(rng, (2, A.shape[1]), dtype), normal(rng, (len(A), 3), dtype)


def noisy(condition, noise=10.0, seed=0):
    """A least-squares problem whose solution is known although most of C is noise."""
    A, _, _ = thin(seed, d=THIN[0] // 2, n=THIN[1], condition=condition)
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal(THIN[1]), noise * rng.standard_normal(len(A))
    return np.concatenate([A, A]), np.concatenate([A @ x + noise, A @ x - noise]), x


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("given", ["B and C", "C", "B", "neither"])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_both_orientations_give_the_rational_answer(wide, dtype, given, condition):
    A, B, C = thin(wide=wide, dtype=dtype, d=24, n=3, condition=condition)
    B, C = (B if "B" in given else None), (C if "C" in given else None)
    state, value = settled(A, B, C)
    D = the_answer(A, B, C)
    estimate = state.certificate.error_estimate
    assert relative_error(value, D) <= 10 * estimate
    assert estimate <= tolerance(dtype, condition**2)  # C and A disagree
    assert state.rank == 3
    assert condition / 3 < state.condition < 3 * condition
    B = np.eye(A.shape[1]) if B is None else B
    gap = B - B @ np.linalg.pinv(A) @ A if wide else np.zeros_like(B)
    share = np.linalg.norm(gap) / np.linalg.norm(B)
    assert share / 3 <= state.certificate.inconsistency <= 3 * share


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("fits", [False, True])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_bound_holds_and_is_not_cowardly(wide, fits, condition):
    ratios = []
    for seed in range(40):
        A, B, C = thin(seed, wide=wide, condition=condition * 10.0 ** (seed % 6 - 3))
        if fits:
            C = A @ B.T
        state, value = settled(A, B, C)
        error = relative_error(value, the_answer(A, B, C))
        estimate = state.certificate.error_estimate
        ratios.append(estimate / max(error, np.finfo(float).eps / 10))
    assert min(ratios) > 1 / 3  # of three standard deviations
    assert np.median(ratios) < 20


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("unit", [1.0, UNITS, 1 / UNITS])
def test_units_of_measurement_change_nothing(wide, unit):
    A, B, C = thin(wide=wide)
    plain, value = settled(A, B, C)
    # Of all entries, and of each column or row on its own.
    scale = unit * 2.0 ** np.arange(0, 50, 10)
    scaled = (scale[:, None] * A, B, scale[:, None] * C) if wide else (A * scale, B * scale, C)
    state, again = settled(*scaled)
    np.testing.assert_allclose(again, value, rtol=1e-7)
    assert state.condition == pytest.approx(plain.condition, rel=0.5)
    assert state.floor == pytest.approx(plain.floor, rel=0.5)


@pytest.mark.parametrize("rows", [None, 2, 6])
def test_inconsistency_is_what_a_wide_matrix_does_not_explain_of_b(rows):
    seen, true = [], []
    for seed in range(20):
        A, _, C = thin(seed, condition=10, n=40, wide=True)
        B = (
            None
            if rows is None
            else np.random.default_rng(seed).standard_normal((rows, A.shape[1]))
        )
        state, _ = settled(A, B, C)
        whole = np.eye(A.shape[1]) if B is None else B
        true.append(np.linalg.norm(whole - whole @ np.linalg.pinv(A) @ A) / np.linalg.norm(whole))
        seen.append(state.certificate.inconsistency)
    assert np.mean(seen) == pytest.approx(np.mean(true), rel=0.1)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("wide", [False, True])
def test_rounding_of_the_blocks_is_what_first_order_theory_says(wide, fits):
    """Its mean square, from a few columns of random numbers, within what those scatter."""
    ratios = []
    for seed in range(20):
        A, _, _ = thin(seed, condition=10, n=40, wide=wide)
        rng = np.random.default_rng(seed)
        B, C = rng.standard_normal((3, A.shape[1])), rng.standard_normal((len(A), 5))
        if fits:
            B, C = (B @ A.T) @ A, A @ (A.T @ C)
        state, _ = settled(A, B, C)
        work, P = state.work, np.linalg.pinv(state.work.A)
        A, B, C, long = work.A, work.B, work.C, work.A.shape[1] > work.A.shape[0]
        X = P @ C
        x, c = np.linalg.norm(X, axis=1), np.linalg.norm(C, axis=1)
        y = np.linalg.norm(P.T @ X if long else C - A @ X, axis=1)
        M = np.eye(len(P)) - P @ A if long else P @ P.T
        w, v = np.sqrt(A**2 @ x**2 + c**2), np.sqrt(y**2 @ A**2)
        parts = np.linalg.norm(B @ P * w), np.linalg.norm(B @ M * v), np.linalg.norm(B * x)
        expected = SPREAD * work.algebra.eps * np.linalg.norm(parts) / np.linalg.norm(B @ X)
        ratios.append(state.floor / expected)
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1, rel=0.15)
    assert 1 / 3 < min(ratios) <= max(ratios) < 3


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_a_squared_condition_beyond_rounding_takes_a_second_factor(order, wide, dtype):
    A, B, _ = thin(d=THIN[0], n=THIN[1], condition=1e10, wide=wide, dtype=dtype)
    A = np.array(A, order=order)
    X = A.conj().T @ normal(np.random.default_rng(1), (len(A), 2), dtype)
    result = eagle.solve(A, B, A @ X, rng=0)
    assert isinstance(result.method, SemiNormal)
    assert result.converged
    assert result.rank == THIN[1]
    assert 1e10 / 3 < result.condition < 3e10
    assert relative_error(result.value, B @ X) <= tolerance(np.float64, 1e10)


@pytest.mark.parametrize("wide", [False, True])
def test_a_direction_that_may_be_rounding_is_refused(wide):
    for condition, refused in ((5e11, False), (3e13, True)):  # 3 max(d, n) eps = 4.7e-12
        A, _, _ = thin(d=THIN[0], n=THIN[1], condition=condition, wide=wide)
        C = A @ np.ones((A.shape[1], 1))
        if refused:
            with pytest.raises(np.linalg.LinAlgError, match="rank-deficient"):
                settled(A, None, C)
        else:
            assert settled(A, None, C)[0].rank == THIN[1]


def test_a_rank_that_rounding_to_single_precision_has_lifted_takes_no_second_factor():
    A = system(THIN, rank=THIN[1] - 1, condition=3).A.astype(np.float32)
    assert np.linalg.matrix_rank(A.astype(float)) == THIN[1]
    result = eagle.lstsq(A, np.ones(len(A), np.float32), rng=0)
    assert result.rank == THIN[1] - 1


@pytest.mark.parametrize(("noise", "least", "most"), [(10.0, 2, 4), (0.0, 8, 11)])
def test_what_a_step_leaves_is_in_the_estimate(noise, least, most):
    """With noise in C it is rounding of the last step, without it what the first ones left."""
    ratios = []
    for seed in range(24):
        condition = 10.0 ** np.random.default_rng(seed).uniform(least, most)
        A, C, x = noisy(condition, noise, seed)
        state, value = settled(A, None, C[:, None])
        ratios.append(state.certificate.error_estimate / relative_error(value[:, 0], x))
    assert min(ratios) > 1 / 2


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rank", [1, 4])
def test_a_deficient_matrix_is_refused(rank, wide):
    A = system((90, 5), rank=rank).A
    A = A.T if wide else A
    with pytest.raises(np.linalg.LinAlgError, match="rank-deficient"):
        settled(A, None, np.ones((len(A), 1)))


@pytest.mark.parametrize("condition", [10, 1e7])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("sizes", ["rows", "columns"])
def test_rows_or_columns_of_unlike_size_are_in_the_estimate(wide, sizes, condition):
    """The factor mixes them; a step with A itself sees what that did."""
    for seed in range(40):
        A, _, C = thin(seed, d=24, n=4, condition=condition, wide=wide)
        exponents = np.random.default_rng(seed).integers(-20, 21, max(A.shape))
        scale = 2.0 ** exponents[: A.shape[sizes == "columns"]]
        A *= scale if sizes == "columns" else scale[:, None]
        try:
            state, value = settled(A, None, C)
        except np.linalg.LinAlgError:  # two or three rows carry all of A
            assert wide == (sizes == "columns")
            continue
        error = relative_error(value, the_answer(A, None, C))
        assert error <= 10 * state.certificate.error_estimate + 1e-14


def test_what_the_data_do_not_determine_ends_the_search():
    A, C, x = noisy(3e6)
    with pytest.warns(eagle.ConvergenceWarning, match="do not determine more"):
        result = eagle.lstsq(A, C, rng=0)
    assert result.method == SemiNormal()
    assert result.status is eagle.Status.STAGNATED
    assert result.floor <= result.error_estimate <= 4 * result.floor < 0.4
    assert relative_error(result.x, x) <= result.error_estimate
    assert "fell back" not in result.plan
    assert "direct" not in result.advice


def test_where_nothing_is_determined_a_lower_rank_is_tried(monkeypatch):
    A, C, _ = noisy(1e9)
    ran, run = [], flow._run
    monkeypatch.setattr(flow, "_run", lambda choice: ran.append(choice.method) or run(choice))
    with pytest.warns(eagle.ConvergenceWarning):
        eagle.lstsq(A, C, rng=0)
    assert ran == [SemiNormal(), eagle.Direct("cod")]


@pytest.mark.parametrize("d", [400, 5000])
def test_small_thin_problems_hold_their_factor_too(d):
    A, _, C = thin(d=d, n=20, condition=1e4)
    result = eagle.lstsq(A, C, rng=0)
    assert result.method == SemiNormal()
    assert relative_error(result.x, np.linalg.lstsq(A, C)[0]) <= 10 * result.error_estimate
    with pytest.warns(eagle.ConvergenceWarning):
        short = eagle.lstsq(A, C, rng=0, maxiter=1, method=SemiNormal())
    assert short.status is eagle.Status.MAX_ITERATIONS


@pytest.mark.parametrize("column", [0.0, 1e-200])
def test_a_column_whose_square_underflows_is_refused(column):
    A, _, C = thin()
    A[:, 2] *= column
    with pytest.raises(np.linalg.LinAlgError, match="zero or nearly so"):
        settled(A, None, C)


def test_a_rank_deficient_thin_matrix_still_has_its_answer():
    found = system(THIN, rank=11, kind="both inconsistent")
    result = eagle.solve(found.A, found.B, found.C, rng=0)
    assert result.rank == 11
    assert relative_error(result.value, found.value) <= tolerance(np.float64, 10)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_a_is_neither_changed_nor_copied(order, wide, dtype):
    A, B, C = thin(d=6000, n=120, condition=10, wide=wide, dtype=dtype)
    A = np.array(A, order=order)
    before = A.copy()
    eagle.solve(A, B, C, rng=0)  # what is loaded once
    tracemalloc.start()
    result = eagle.solve(A, B, C, rng=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(result.method, SemiNormal)
    assert peak < 0.9 * A.nbytes  # probes, right-hand sides and a small square
    np.testing.assert_array_equal(A, before)


def test_a_tolerance_that_is_met_at_once_does_not_silence_the_bound():
    A, B, C = thin(d=THIN[0], n=THIN[1], condition=1e5)
    C = A @ B.T
    C += normal(np.random.default_rng(1), C.shape, np.float64)  # of which A explains little
    lazy, full = (eagle.solve(A, B, C, rng=0, rtol=rtol) for rtol in (0.5, None))
    assert isinstance(lazy.method, SemiNormal)
    assert lazy.error_estimate >= full.error_estimate / 2
    assert relative_error(lazy.value, full.value) <= 10 * lazy.error_estimate


@pytest.mark.parametrize("condition", [10, 1e4])
def test_single_precision_holds_its_factor_as_far_as_that_goes(condition):
    rng = np.random.default_rng(2)
    A, _, _ = thin(d=2000, n=120, condition=condition)
    A = A.astype(np.float32)
    C = (A.astype(float) @ rng.standard_normal(120)).astype(np.float32)
    result = eagle.lstsq(A, C, rng=0)
    assert isinstance(result.method, SemiNormal) or condition > 10
    right = np.linalg.lstsq(A.astype(float), C.astype(float), rcond=None)[0]
    error = relative_error(result.value, right)
    assert error <= tolerance(np.float32, condition, constant=1)
    assert error <= result.error_estimate
    assert result.value.dtype == np.float32


@pytest.mark.parametrize("condition", [10, 1e9])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("kind", ["sparse", "file by rows", "file by columns"])
def test_a_thin_sparse_matrix_or_file_is_read_in_blocks(
    kind, wide, condition, tmp_path, monkeypatch
):
    monkeypatch.setattr("eagle.run.plan.SMALL", 0)
    monkeypatch.setattr("eagle.algebra.operand.PIECE", 2**20)  # bytes, a third of A
    A, B, _ = thin(d=6000, n=60, condition=condition, wide=wide)
    X = A.T @ np.random.default_rng(0).standard_normal((len(A), 2))
    C = A @ X
    if kind == "sparse":
        given, options = scipy.sparse.csr_array(A), {}
    else:
        np.save(tmp_path / "A.npy", np.array(A, order="C" if kind == "file by rows" else "F"))
        given, options = np.load(tmp_path / "A.npy", mmap_mode="r"), {"memory_limit": 10**9}
    result = eagle.solve(given, B, C, rng=0, **options)
    assert isinstance(result.method, SemiNormal)
    assert result.converged
    assert relative_error(result.value, B @ X) <= tolerance(np.float64, condition)


def test_a_thin_deficient_sparse_matrix_still_has_its_answer(monkeypatch):
    monkeypatch.setattr("eagle.run.plan.SMALL", 0)
    found = system((2000, 40), rank=11)
    result = eagle.solve(scipy.sparse.csr_array(found.A), found.B, found.C, rng=0)
    assert not isinstance(result.method, SemiNormal)
    assert relative_error(result.value, found.value) <= tolerance(np.float64, 10)


def test_a_wide_deficient_file_takes_no_identity_as_long_as_it_is(tmp_path):
    A, _, _ = thin(d=20_000, n=200, wide=True)
    A[100:] = A[:100]
    np.save(tmp_path / "A.npy", A)
    given, limit = np.load(tmp_path / "A.npy", mmap_mode="r"), 2 * PIECE + 2**24
    tracemalloc.start()
    with pytest.warns(eagle.ConvergenceWarning, match="memory limit"):
        result = eagle.lstsq(given, A @ np.ones(20_000), memory_limit=limit, rng=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.status is eagle.Status.MEMORY_LIMIT
    assert peak <= limit


def test_a_memory_limit_that_a_factor_respects_takes_one():
    A, _, _ = thin(d=40_000, n=100, condition=1e9)
    C = A @ np.ones(100)
    limit = A.nbytes
    eagle.lstsq(A, C, memory_limit=limit, rng=0)  # what is loaded once
    tracemalloc.start()
    result = eagle.lstsq(A, C, memory_limit=limit, rng=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(result.method, SemiNormal)
    assert peak <= limit
    assert relative_error(result.x, np.ones(100)) <= tolerance(np.float64, 1e9)
    with pytest.warns(eagle.ConvergenceWarning, match="memory limit"):
        small = eagle.lstsq(A, C, memory_limit=2**23, rng=0)
    assert not isinstance(small.method, SemiNormal)
