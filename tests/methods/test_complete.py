"""The complete orthogonal decomposition, its rank and its bound against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import eagle
from eagle.methods import complete, pivoted
from eagle.methods.pivoted import Orthogonal, Reflected, Triangular
from tests.systems import normal, orthonormal, system
from tests.tolerances import relative_error, tolerance

exact = pytest.importorskip("benchmarks.fuzz.exact", reason="exact answers take python-flint")

EPS = float(np.finfo(np.float64).eps)
SINGLE = float(np.finfo(np.float32).eps)
REAL_AND_COMPLEX = pytest.mark.parametrize("dtype", [np.float64, np.complex128])


def the_answer(A, B, C):
    """``B A^+ C`` in rational arithmetic, rounded once."""
    B = np.eye(A.shape[1], dtype=A.dtype) if B is None else B
    return exact.rounded(exact.unfactored(*map(exact.rationals, (B, A, C))), A.dtype)


def integers(rng, shape, dtype):
    draw = rng.integers(-3, 4, shape).astype(float)
    return draw + 1j * rng.integers(-3, 4, shape) if np.dtype(dtype).kind == "c" else draw


def graded(rng, size, most):
    return 2.0 ** rng.integers(-most, most + 1, size)


def drawn(seed, most, dtype=np.float64):
    """Blocks of known rank, exact in double precision, consistent or not."""
    rng = np.random.default_rng([seed, most])
    d, n = rng.integers(1, 10, 2)
    while True:
        rank = int(rng.integers(1, min(d, n) + 1))
        L, R = integers(rng, (d, rank), dtype), integers(rng, (rank, n), dtype)
        if min(np.linalg.matrix_rank(L), np.linalg.matrix_rank(R)) == rank:
            break
    L, R = L * graded(rng, (d, 1), most), R * graded(rng, n, most)
    B = integers(rng, (2, rank), dtype) @ R if rng.random() < 0.5 else integers(rng, (2, n), dtype)
    C = L @ integers(rng, (rank, 2), dtype) if rng.random() < 0.5 else integers(rng, (d, 2), dtype)
    return L @ R, B, C, rank


@REAL_AND_COMPLEX
@pytest.mark.parametrize("most", [0, 10, 25])
@pytest.mark.parametrize("given", [True, False])
def test_value_rank_and_bound_are_those_of_rational_arithmetic(most, dtype, given):
    ratios = []
    for seed in range(60):
        A, B, C, rank = drawn(seed, most, dtype)
        B = B if given else None
        found, answer = complete.solve(A, B, C, EPS)
        assert found.rank == rank
        D = the_answer(A, B, C)
        size, error = np.linalg.norm(D), np.linalg.norm(answer.value - D)
        assert error <= 3 * answer.error + EPS * size
        if error:
            ratios.append(answer.error / error)
    if not most:
        assert np.median(ratios) < 30


@pytest.mark.filterwarnings("ignore::eagle.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(60))
def test_entries_of_all_sizes_have_an_answer_or_an_estimate_that_says_no(seed):
    """Entries from 1e-270 to 1e+270 in one block: their squares and quotients are no numbers."""
    rng = np.random.default_rng(seed)
    d, n = rng.integers(1, 7, 2)
    A = integers(rng, (d, n), float) * 2.0 ** rng.integers(-900, 901, (d, n))
    B, C = integers(rng, (2, n), float), integers(rng, (d, 2), float)
    result = eagle.solve(A, B, C, rng=0)
    D = the_answer(A, B, C)
    size = np.abs(D).max(initial=0.0)
    error = np.linalg.norm((result.value - D) / size) if size else 0.0
    assert error <= 10 * (result.error_estimate + EPS) or not np.isfinite(size)


@REAL_AND_COMPLEX
@pytest.mark.parametrize("rank", [3, 6])
def test_reflectors_of_a_very_tall_matrix_multiply_as_what_they_stand_for(rank, dtype, monkeypatch):
    given = system((40, 6), rank=rank, condition=1e3, kind="both inconsistent", dtype=dtype)
    written, plain = complete.solve(given.A, given.B, given.C, EPS)
    for module in (complete, pivoted):
        monkeypatch.setattr(module, "LARGE", 0)
    held, answer = complete.solve(given.A, given.B, given.C, EPS)
    assert isinstance(held.left.Q, Reflected)
    assert not isinstance(written.left.Q, Reflected)
    assert held.left.Q.shape == written.left.Q.shape
    bound = tolerance(np.float64, 1e3)
    assert relative_error(answer.value, plain.value) <= bound
    assert answer.error <= 10 * plain.error
    for X, apply in ((given.C, "times"), (given.B.conj().T, "adjoint_times")):
        assert relative_error(getattr(held, apply)(X), getattr(written, apply)(X)) <= bound
    assert held.unexplained(given.C) == pytest.approx(written.unexplained(given.C))


@REAL_AND_COMPLEX
def test_a_factor_without_pivots_inverts_and_projects(dtype, rng):
    F = np.asfortranarray(normal(rng, (9, 4), dtype))
    X, before = normal(rng, (9, 2), dtype), F.copy()
    found, inverse = Orthogonal.plain(F), np.linalg.pinv(F)
    np.testing.assert_allclose(found.times(X), inverse @ X, atol=1e-14)
    np.testing.assert_allclose(found.adjoint_times(X[:4]), inverse.conj().T @ X[:4], atol=1e-14)
    np.testing.assert_allclose(found.inverse(), inverse, atol=1e-14)
    np.testing.assert_allclose(found.projected(X), F @ (inverse @ X), atol=1e-14)
    np.testing.assert_array_equal(F, before)


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (20, 20)])
@pytest.mark.parametrize("kind", ["consistent", "both inconsistent"])
def test_the_bound_is_not_cowardly(condition, shape, kind):
    ratios = []
    for seed in range(12):
        found = system(shape, condition=condition, kind=kind, seed=seed)
        _, answer = complete.solve(found.A, found.B, found.C, EPS)
        D = the_answer(found.A, found.B, found.C)
        ratios.append(answer.error / np.linalg.norm(answer.value - D))
    assert min(ratios) > 1 / 3
    # Of d n rounding errors, which have either sign, norms count the sum.
    assert np.median(ratios) < 5 * (shape[0] * shape[1]) ** 0.5


@REAL_AND_COMPLEX
@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (7, 7)])
@pytest.mark.parametrize("rank", [1, 4, 6])
def test_powers_of_two_on_rows_and_columns_change_neither_rank_nor_value(shape, rank, dtype):
    rng = np.random.default_rng(rank)
    (d, n), A = shape, system(shape, rank=rank, dtype=dtype).A
    found = complete.decompose(A, EPS)
    r, c = graded(rng, (d, 1), 300), graded(rng, n, 300)
    other = complete.decompose(r * A * c, EPS)
    assert found.rank == other.rank == rank
    S = r * A * c / other.rows / other.columns.T
    assert np.abs(S).max() <= 2
    s = np.linalg.svd(S, compute_uv=False)
    assert s[0] / s[rank - 1] <= 30 * found.condition
    # Of full column rank: (A c)^+ = c^-1 A^+, to every digit that A^+ has.
    if rank == n:
        X = normal(rng, (d, 2), dtype)
        value = complete.decompose(A * c, EPS).times(X) * c[:, None]
        assert relative_error(value, found.times(X)) <= tolerance(np.float64, 10)


@REAL_AND_COMPLEX
@pytest.mark.parametrize("scaled", [False, True])
def test_the_condition_is_that_of_a(dtype, scaled):
    A = system("tall", rank=6, condition=1e3, dtype=dtype).A
    if scaled:
        A = A * 2.0 ** np.arange(0, 33, 3)
    s = np.linalg.svd(A, compute_uv=False)
    found = complete.decompose(A, EPS)
    assert (found.columns is not None) == scaled
    assert 0.1 < found.condition * s[5] / s[0] < 10


@REAL_AND_COMPLEX
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("shape", "rank"), [((9, 5), 5), ((5, 9), 5), ((9, 7), 3), ((6, 6), 6)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_decomposition_is_the_inverse_and_its_adjoint(shape, rank, scaled, dtype, turned):
    rng, (d, n) = np.random.default_rng(0), shape
    A = integers(rng, (d, rank), dtype) @ integers(rng, (rank, n), dtype)
    if scaled:
        A = 2.0 ** np.arange(0, 6 * d, 6)[:, None] * A * 2.0 ** np.arange(0, 6 * n, 6)
    found = complete.decompose(A, EPS)
    assert found.rank == rank
    assert isinstance(found.right, Triangular if rank == n else Orthogonal)
    assert (found.rows is not None) == scaled
    found.turned = turned
    X, Y = integers(rng, (d, 2), dtype), integers(rng, (n, 2), dtype)
    forward, backward = found.times, found.adjoint_times
    if turned:
        forward, backward = backward, forward
    limit = tolerance(np.float64, 1e5 if scaled else 1e3)
    assert relative_error(forward(X), the_answer(A, None, X)) <= limit
    assert relative_error(backward(Y), the_answer(A.conj().T, None, Y)) <= limit


@REAL_AND_COMPLEX
@pytest.mark.parametrize("rows", [False, True])
def test_factors_invert_and_project(dtype, rows):
    rng = np.random.default_rng(3)
    F = normal(rng, (8, 3), dtype) * (graded(rng, (8, 1), 20) if rows else 1.0)
    factor, plus = Orthogonal.of(F), the_answer(F, None, np.eye(8).astype(dtype))
    X, Y = normal(rng, (8, 2), dtype), normal(rng, (3, 2), dtype)
    limit = tolerance(np.float64, 1e3)
    assert relative_error(factor.times(X), plus @ X) <= limit
    assert relative_error(factor.adjoint_times(Y), plus.conj().T @ Y) <= limit
    assert relative_error(factor.inverse(), plus) <= limit
    assert relative_error(factor.projected(X), F @ (plus @ X)) <= limit
    rest = np.eye(8) - F @ plus
    np.testing.assert_allclose(factor.lost()[:, 0], np.linalg.norm(rest, axis=1), atol=1e-7)


@REAL_AND_COMPLEX
@pytest.mark.parametrize("scaled", [False, True])
def test_a_square_factor_is_solved_with_and_not_factorised_again(dtype, scaled):
    rng = np.random.default_rng(4)
    scale = graded(rng, (4, 1), 9) if scaled else None
    T, pivots = np.triu(integers(rng, (4, 4), dtype)) + 5 * np.eye(4), np.array([2, 0, 3, 1])
    F = np.zeros((4, 4), dtype)  # F^H = T P^H c, so that row pivots[i] of F / c is T^H's row i
    F[pivots] = T.conj().T
    F = F if scale is None else scale * F
    factor, X = Triangular(T.astype(dtype), pivots, scale), integers(rng, (4, 2), dtype)
    limit = tolerance(np.float64, 10)
    for value, matrix in ((factor.times(X), F), (factor.adjoint_times(X), F.conj().T)):
        assert relative_error(matrix @ value, X) <= limit
    assert relative_error(factor.inverse() @ F, np.eye(4)) <= limit


def test_the_bound_of_a_number_counts_each_of_its_three_roundings():
    A, B, C = (np.array([[x]]) for x in (2.0, 3.0, 5.0))
    for block, size in ((B, 7.5), (None, 2.5)):
        _, answer = complete.solve(A, block, C, EPS)
        assert answer.value == size
        assert answer.error == pytest.approx(3 * size * EPS)


def test_what_does_not_fit_is_measured_on_either_side():
    A, B, C, _ = drawn(5, 0)
    for seed in range(60):
        A, B, C, _ = drawn(seed, 0)
        found, answer = complete.solve(A, B, C, EPS)
        if not B.any() or not C.any():
            continue
        P = np.linalg.pinv(A)
        gap = np.linalg.norm(B - B @ P @ A) / np.linalg.norm(B)
        assert answer.inconsistency == pytest.approx(gap, abs=1e-13)
        gap = np.linalg.norm(C - A @ (P @ C)) / np.linalg.norm(C)
        assert found.unexplained(C) == pytest.approx(gap, abs=1e-13)
        gap = np.linalg.norm(np.eye(len(A)) - A @ P) / len(A) ** 0.5
        assert found.unexplained(None) == pytest.approx(gap, abs=1e-7)


@pytest.mark.parametrize("shape", [(40, 3), (3, 40)])
@pytest.mark.parametrize("given", [("B", "C"), ("C",), ("B",), ()])
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_inconsistency_is_that_of_the_users_blocks(shape, given, ridge):
    rng, (d, n) = np.random.default_rng(1), shape
    A = rng.standard_normal(shape)
    B = rng.standard_normal((2, n)) if "B" in given else None
    C = rng.standard_normal((d, 3)) if "C" in given else None
    W = A.T @ np.linalg.inv(A @ A.T + ridge * np.eye(d)) if ridge else np.linalg.pinv(A)
    rows = np.eye(n) if B is None else B
    gap = np.linalg.norm(rows - rows @ W @ A) / np.linalg.norm(rows)
    method, options = eagle.Direct("cod"), {"rng": 0, "ridge": ridge}
    if given == ("B", "C"):
        result = eagle.solve(A, B, C, method=method, **options)
    elif given == ("C",):
        result = eagle.lstsq(A, C, method=method, **options)
    elif given == ("B",):
        result = eagle.estimate(A, B, method=method, **options)
    else:
        inverse = eagle.pinv(A, method=method, **options)  # which is what there is of it
        found = np.linalg.norm(rows - inverse @ A) / np.linalg.norm(rows)
        assert found == pytest.approx(gap, rel=0.5, abs=1e-12)
        return
    assert result.inconsistency == pytest.approx(gap, rel=0.5, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (3, 3)])
def test_the_smallest_and_the_emptiest(shape):
    A = np.ones(shape)
    found, answer = complete.solve(A, None, np.eye(len(A)), EPS)
    assert found.rank == 1
    assert relative_error(answer.value, A.T / A.size) <= tolerance(np.float64)
    nothing, answer = complete.solve(0 * A, None, np.eye(len(A)), EPS)
    assert nothing.rank == 0
    assert not answer.value.any()
    assert answer.error == 0
    assert answer.inconsistency == 1
    assert nothing.unexplained(None) == 1


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_zero_rows_and_columns_are_left_out(shape):
    rng, (d, n) = np.random.default_rng(0), shape
    A = rng.standard_normal(shape) * graded(rng, (d, 1), 15)
    A[[0, 3]], A[:, [1, 5]] = 0.0, 0.0
    B, C = rng.standard_normal((2, n)), rng.standard_normal((d, 2))
    found, answer = complete.solve(A, B, C, EPS)
    D = the_answer(A, B, C)
    assert found.rank == 4
    assert np.linalg.norm(answer.value - D) <= 3 * answer.error


@pytest.mark.parametrize("level", [0.02, 0.6, 1.0, 10.0])
def test_a_direction_that_may_be_one_is_in_the_error(level):
    """In units of max(d, n) eps; dropped up to 3, and not without a word from .4 on."""
    rng = np.random.default_rng(0)
    U, V = orthonormal(rng, 8, 5, np.float64), orthonormal(rng, 5, 5, np.float64)
    s = np.array([1.0, 0.5, 0.3, 0.2, 8 * EPS * level])  # the diagonal of T is up to 3 times that
    A, C = (U * s) @ V.T, rng.standard_normal((8, 1))
    found, answer = complete.solve(A, None, C, EPS)
    assert found.rank == 4 + (level == 10)
    if found.doubtful:
        assert answer.error > np.linalg.norm(answer.value)
    assert found.doubtful == (0.4 < level < 3)


def test_rounding_to_single_precision_makes_no_directions():
    rng = np.random.default_rng(0)
    for shape in ((6, 4), (20, 10), (60, 40), (300, 7)):
        A = rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1]))
        A = A.astype(np.float32).astype(float)
        found = complete.decompose(A, SINGLE)
        assert found.rank == 3
        assert not found.doubtful
        assert complete.decompose(A, EPS).rank == min(shape)  # had it been given in double


def test_numbers_that_single_precision_holds_exactly_keep_their_directions():
    t = np.arange(1.0, 65)
    A = np.stack([t**0, t, t + 2.0**-18], axis=1) * 2.0**18  # one column differs by 1 in 2^24
    found = complete.decompose(A, SINGLE)
    assert found.rank == 2  # 1, t and t + 2^-18 span two
    A = np.stack([t, t + 2.0**-18 * (t == 7)], axis=1)
    assert complete.decompose(A, SINGLE).rank == 2


def line(count):
    t = np.arange(count, dtype=np.float32)
    return np.stack([np.ones_like(t), t], axis=1), np.array([1, 1], np.float32)


def trend(count):
    t = np.arange(count, dtype=np.float32)
    return np.stack([np.ones_like(t), t, t**2], axis=1), np.array([5, 3, 2], np.float32)


def correlated(count):
    rng = np.random.default_rng(0)
    u = rng.standard_normal(count)
    A = np.column_stack([u, u + rng.standard_normal(count) / 15000]).astype(np.float32)
    return A, np.array([3, -2], np.float32)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no wider numbers than double")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("weights", [(0, 2), (3, 5), (0.5, -1)])
def test_time_stamps_in_single_precision_are_fitted_to_all_its_digits(weights, twice):
    """Condition 1e12: double precision alone leaves three digits of the intercept."""
    t = (np.float32(1.6e9) + 2.0**17 * np.arange(27)).astype(np.float32)
    A = np.column_stack([np.ones_like(t), t, 2 * t][: 2 + twice])
    b = (weights[0] + weights[1] * t.astype(float)).astype(np.float32)
    times, values = ([Fraction(float(each)) for each in block] for block in (t, b))
    middle, level = sum(times) / len(t), sum(values) / len(t)
    around = [each - middle for each in times]
    slope = sum(x * y for x, y in zip(around, values, strict=True)) / sum(x * x for x in around)
    shares = [slope / 5, 2 * slope / 5] if twice else [slope]  # of a column that is there twice
    truth = np.array([float(each) for each in (level - slope * middle, *shares)])
    result = eagle.lstsq(A, b, rng=0)
    error = relative_error(result.value, truth)
    assert error <= tolerance(np.float32, constant=1)
    assert error <= 10 * result.error_estimate


@pytest.mark.parametrize(
    ("design", "count"),
    [(line, 4000), (line, 8000), (line, 9000), (trend, 1000), (correlated, 1000)],
)
def test_designs_in_single_precision_are_fitted_as_in_double(design, count):
    A, x = design(count)
    b = (A.astype(float) @ x.astype(float)).astype(np.float32)
    result = eagle.lstsq(A, b, rng=0)
    right = the_answer(A.astype(float), None, b[:, None].astype(float))[:, 0]
    error = relative_error(result.value, right)
    assert result.converged
    assert error <= 2 * result.error_estimate
    assert result.error_estimate <= tolerance(np.float32, constant=1)
    np.testing.assert_allclose(result.value, x, rtol=1e-2)


@pytest.mark.parametrize("shape", [(8, 60_000), (60_000, 8)])
def test_no_identity_of_the_long_side_is_written_out(shape):
    """It would take 27 GiB."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal(shape).astype(np.float32)
    b = rng.standard_normal(shape[0]).astype(np.float32)
    right = np.linalg.lstsq(A.astype(float), b.astype(float), rcond=None)[0]
    result = eagle.lstsq(A, b, rng=0, method=eagle.Direct("cod"))
    assert relative_error(result.value, right) <= tolerance(np.float32, constant=1)
    P = eagle.pinv(A, rng=0, method=eagle.Direct("cod"))
    small = P @ A if len(A) > A.shape[1] else A @ P
    assert relative_error(small, np.eye(8)) <= tolerance(np.float32)


def test_an_answer_that_overflows_has_no_estimate():
    A = np.diag([1.0, 2.0**-1000])
    C = np.array([[1.0], [2.0**300]])
    with pytest.warns(eagle.ConvergenceWarning, match="overflowed"):
        result = eagle.solve(A, np.eye(2), C, method=eagle.Direct("cod"))
    assert result.status.name == "NONFINITE"
    assert result.error_estimate == np.inf


def test_what_rounding_to_single_precision_has_lifted_is_relative_to_its_columns():
    """Two columns that differ by 3e-6 of them, thirty roundings, beside one that is large."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(72)
    columns = [np.ones(72), 100 + rng.standard_normal(72), x, x + 3e-6 * rng.standard_normal(72)]
    A = np.stack(columns, axis=1).astype(np.float32)
    b = (A.astype(float) @ [3.0, 1.0, 2.0, 4.0]).astype(np.float32)
    result = eagle.lstsq(A, b, rng=0)
    assert result.rank == 4
    wanted = np.linalg.lstsq(A.astype(float), b.astype(float), rcond=None)[0]
    assert relative_error(result.value, wanted) <= tolerance(np.float32)


@pytest.mark.parametrize("condition", [1e9, 1e11, 1e13])
@pytest.mark.parametrize("seed", range(3))
def test_what_left_out_roundings_would_have_changed_is_in_the_estimate(condition, seed):
    given = eagle.problems.low_rank(60, 60, condition=condition, dtype=np.float32, rng=seed)
    result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert result.rank < 60
    truth = the_answer(*(block.astype(float) for block in (given.A, given.B, given.C)))
    assert relative_error(result.value, truth) <= 3 * result.error_estimate
    assert result.error_estimate <= 1000 * SINGLE


def test_a_direction_of_six_roundings_is_kept_however_many_columns_there_are():
    """Each direction is compared with the rounding of its own columns, not of all of them."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 1))
    columns = [rng.standard_normal((40, 23)), x, x + 3e-7 * rng.standard_normal((40, 1))]
    A = np.hstack(columns).astype(np.float32)
    b = (A.astype(float) @ np.arange(1.0, 26.0)).astype(np.float32)
    result = eagle.lstsq(A, b, rng=0)
    assert result.rank == 25
    wanted = np.linalg.lstsq(A.astype(float), b.astype(float), rcond=None)[0]
    assert relative_error(result.value, wanted) <= tolerance(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_what_rounding_alone_tells_apart_is_one_direction(dtype):
    """A trend in two units; a rounded column alone is what may have been something else."""
    trend = np.arange(1.0, 301.0) * (1 if dtype == np.float32 else 1 + 0.5j)
    rng = np.random.default_rng(2)
    A = np.stack([np.ones(300), trend, trend / 299, rng.standard_normal(300)], axis=1)
    A = A.astype(dtype)
    b = A @ np.arange(1, 5).astype(dtype)
    result = eagle.lstsq(A, b, rng=0)
    assert result.rank == 3
    assert "3 of 4 columns to single precision: x is the smallest solution" in str(result)
    smallest = np.linalg.pinv(A.astype(complex), rcond=1e-7) @ b
    assert relative_error(result.value, smallest) <= 10 * tolerance(np.float32)
    whole = np.round(A * 4096) / 4096  # a difference of integers is one
    assert eagle.lstsq(whole.astype(dtype), b, rng=0).rank == 4


@pytest.mark.parametrize(("B", "value"), [(None, 1.5), ([[5.0]], 7.5)])
def test_the_bound_of_a_quotient_adds_a_rounding_of_each_number(B, value):
    B = None if B is None else np.array(B)
    _, answer = complete.solve(np.array([[2.0]]), B, np.array([[3.0]]), 2.0**-52)
    assert answer.value.item() == value
    assert answer.error == pytest.approx(3 * 2.0**-52 * value, rel=1e-12, abs=0)


def test_what_rounding_of_cancelling_entries_does_is_in_the_bound():
    C = np.array([[2.0**30], [2.0 - 2.0**30]])
    _, answer = complete.solve(np.ones((2, 1)), None, C, 2.0**-52)
    assert answer.value.item() == pytest.approx(1.0)
    moved = 2.0**-53 * np.abs(C).sum()  # the mean, of entries that are off by one rounding each
    assert moved <= answer.error <= 10 * moved


def test_a_doubtful_direction_that_makes_no_difference_is_no_error():
    A = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-50]])
    B, C = np.ones((1, 2)), np.full((2, 1), 2.0)
    found, answer = complete.solve(A, B, C, 2.0**-52)
    assert found.doubtful
    assert answer.error <= tolerance(np.float64, 1) * abs(answer.value.item())
    _, answer = complete.solve(A, None, C, 2.0**-52)
    assert answer.error > 0.1
