"""The scaled problem: exact scaling, truncation, ridge, and what comes back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle.algebra.dense import safe_range
from eagle.methods.factored import condition_of, solve_factored
from eagle.problem.blocks import Problem
from eagle.problem.checks import as_block, check_sizes
from tests.systems import DTYPES, SHAPES, System, normal, system
from tests.tolerances import relative_error, tolerance


def whole(problem: Problem) -> np.ndarray:
    """``B A^+ C`` of a scaled problem, in the user's units."""
    d, n = problem.A.shape
    B = np.eye(n, dtype=problem.A.dtype) if problem.B is None else problem.B
    C = np.eye(d, dtype=problem.A.dtype) if problem.C is None else problem.C
    return problem.restore(B @ np.linalg.pinv(problem.A) @ C)


def truncated(problem, rank, cutoff):
    """With the singular value decomposition that `Direct` would use."""
    factors = np.linalg.svd(problem.A, full_matrices=False)
    return problem.truncated(factors, rank, cutoff)


def create(problem: System, which: str = "ABC") -> Problem:
    return Problem.create(
        problem.A, problem.B if "B" in which else None, problem.C if "C" in which else None
    )


def reference(problem: System, which: str, inverse: np.ndarray) -> np.ndarray:
    """``B inverse C`` with identities for the blocks that are not given."""
    left = problem.B @ inverse if "B" in which else inverse
    return left @ problem.C if "C" in which else left


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_extreme_blocks_are_scaled_exactly_to_a_largest_entry_near_one(dtype, factor):
    given = system("tall", dtype=dtype)
    factor = np.dtype(dtype).type(factor if np.finfo(dtype).eps > 1e-10 else factor**3)
    problem = Problem.create(given.A * factor, given.B, given.C / factor)
    for block, original in [(problem.A, given.A * factor), (problem.C, given.C / factor)]:
        parts = np.abs([block.real, block.imag])
        assert 0.5 <= parts.max() < 1
        ratio = original.real[0, 0] / block.real[0, 0]
        assert np.frexp(ratio)[0] == 0.5  # a power of two
        assert np.array_equal(block * ratio, original)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ordinary_blocks_are_used_as_they_are(dtype):
    """A copy of A would be the largest array of a solve."""
    given = system("square", dtype=dtype)
    problem = create(given)
    assert problem.A is given.A
    assert problem.exponent == problem.scale == 0


@given(
    st.sampled_from([-900, -300, 300, 900]),
    st.sampled_from([-500, 500]),
    st.sampled_from([-500, 500]),
)
def test_scaling_by_powers_of_two_does_not_change_a_bit_of_the_scaled_blocks(a, b, c):
    given = system((4, 3))
    blocks = [np.ldexp(given.A, a), np.ldexp(given.B, b), np.ldexp(given.C, c)]
    problem = Problem.create(*blocks)
    shifts = [_shift(problem.A, given.A), _shift(problem.B, given.B), _shift(problem.C, given.C)]
    assert problem.scale == a - shifts[0]
    assert problem.exponent == (b - shifts[1]) + (c - shifts[2]) - (a - shifts[0])
    for block, original, shift in zip(
        (problem.A, problem.B, problem.C), (given.A, given.B, given.C), shifts, strict=True
    ):
        assert np.array_equal(np.ldexp(original, shift), block)


@pytest.mark.parametrize("power", [-300, 300])
@pytest.mark.parametrize("name", "ABC")
def test_values_of_many_blocks_come_back_in_their_units(many, name, power):
    """Powers of two change no digit."""
    given = [system("tall", kind="both inconsistent", seed=seed) for seed in range(2)]
    sized = [
        dataclasses.replace(each, **{name: getattr(each, name) * 2.0**power}) for each in given
    ]
    problem = many.problem(*sized)
    A, B, C = (many.fetch(block) for block in (problem.A, problem.B, problem.C))
    found = many.fetch(problem.restore(many.send(B @ np.linalg.pinv(A) @ C)))
    for value, each in zip(found, given, strict=True):
        wanted = each.value * 2.0 ** (-power if name == "A" else power)
        assert relative_error(value, wanted) <= tolerance(float, 10)


@pytest.mark.parametrize("names", ["ABC", "A"])
def test_no_identity_needs_to_be_written_out(algebra, names, rng):
    """Neither for the products with the rows and columns of a problem nor with its probes."""
    given = [system("tall", seed=seed) for seed in range(2 if algebra.together else 1)]
    problem = algebra.problem(*given, names=names)
    leading, (d, n), k = problem.A.shape[:-2], problem.A.shape[-2:], 4
    probes = [rng.standard_normal((*leading, *shape)) for shape in [(2, n), (d, 3)]]
    rows, columns = (algebra.send(X) for X in probes)
    problem = dataclasses.replace(problem, row_probes=rows, column_probes=columns)
    X, W, Q = (rng.standard_normal((*leading, *shape)) for shape in [(n, k), (k, d), (d, k)])
    B, C = (algebra.fetch(block) for block in (problem.rows(), problem.columns()))
    for found, wanted in [
        (problem.rows_times(algebra.send(X)), B @ X),
        (problem.times_columns(algebra.send(W)), W @ C),
        (problem.columns_in(algebra.send(Q)), Q.mT @ C),
    ]:
        assert relative_error(algebra.fetch(found), wanted) <= tolerance(float)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ridge_leaves_room_for_probes_of_its_own(algebra, shape):
    given = [system(shape, seed=seed) for seed in range(2 if algebra.together else 1)]
    problem = algebra.problem(*given).ridged(0.1)
    d, n = problem.A.shape[-2:]
    assert (d, n) != SHAPES[shape]
    assert tuple(problem.row_probes.shape[-2:]) == (0, n)
    assert tuple(problem.column_probes.shape[-2:]) == (d, 0)


def _shift(block: np.ndarray, original: np.ndarray) -> int:
    """Powers of two between a scaled block and the original one."""
    return int(np.frexp(block[0, 0] / original[0, 0])[1]) - 1


@pytest.mark.parametrize("which", ["ABC", "AB", "AC", "A"])
@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_that_are_not_given_stand_for_identities(shape, which):
    given = system(shape, kind="both inconsistent")
    problem = create(given, which)
    assert relative_error(whole(problem), reference(given, which, given.pinv)) <= tolerance(
        float, 10
    )
    assert problem.shape == reference(given, which, given.pinv).shape


@pytest.mark.parametrize("which", ["ABC", "AB", "AC", "A"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_problem_has_the_adjoint_value(shape, which):
    given = system(shape, dtype=np.complex128, kind="both inconsistent")
    problem = create(given, which)
    adjoint = problem.adjoint()
    assert relative_error(whole(adjoint), whole(problem).conj().T) <= tolerance(float, 10)
    assert adjoint.extent == problem.extent[::-1]
    twice = adjoint.adjoint()
    assert np.array_equal(twice.A, problem.A)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", ["ABC", "AB", "AC", "A"])
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_ridge_is_an_appended_identity(shape, rank, which, dtype):
    given = system(shape, rank=rank, dtype=dtype, kind="both inconsistent")
    A, ridge = given.A.astype(complex), 0.3
    inverse = A.conj().T @ np.linalg.inv(A @ A.conj().T + ridge * np.eye(len(A)))
    problem = create(given, which).ridged(ridge)
    d, n = problem.extent
    assert relative_error(whole(problem), reference(given, which, inverse)) <= tolerance(dtype, 10)
    assert problem.A.dtype == np.dtype(dtype)
    assert (d, n) == given.A.shape
    assert np.array_equal(np.ldexp(1.0, problem.scale) * problem.A[:d, :n], given.A)
    assert sum(problem.A.shape) == sum(given.A.shape) + max(
        problem.A.shape[0] - given.A.shape[0], problem.A.shape[1] - given.A.shape[1]
    )


@pytest.mark.parametrize("which", ["ABC", "A"])
@pytest.mark.parametrize("ridge", [1e-300, 1e300])
@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_ridge_overflows(ridge, size, dtype, which):
    if dtype == np.float32:
        size = size ** (1 / 6)
    given = system("tall", dtype=dtype)
    problem = Problem.create(
        given.A * dtype(size), *((given.B, given.C) if "B" in which else (None, None))
    ).ridged(ridge)
    for block in (problem.A, problem.B, problem.C):
        assert block is None or (np.isfinite(block).all() and np.abs(block).max() <= 16)
    assert problem.A.any()


@pytest.mark.parametrize(
    ("dtype", "size", "ridge"), [(np.float64, 1e200, 1e-320), (np.float32, 1, 1e-100)]
)
@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("method", ["direct", "compressed"])
def test_a_ridge_below_the_range_of_the_dtype_is_none(method, shape, dtype, size, ridge):
    given = system(shape, dtype=dtype, condition=3)
    blocks = dtype(size) * given.A, dtype(size) * given.B, given.C
    result = eagle.solve(*blocks, method=method, rank=4, ridge=ridge, rng=0)
    plain = eagle.solve(*blocks, method=method, rank=4, rng=0)
    assert result.converged
    np.testing.assert_array_equal(result.value, plain.value)


@pytest.mark.parametrize(
    ("dtype", "size", "ridge"), [(np.float64, 1e200, 1e-320), (np.float32, 1, 1e-60)]
)
def test_a_ridge_that_is_none_for_one_is_none_for_many(algebra, dtype, size, ridge):
    """Its square root beside an A of order one is below ``tiny / eps^2``."""
    given = system("tall", dtype=dtype, condition=3, rank=4)
    given = dataclasses.replace(given, A=dtype(size) * given.A, B=dtype(size) * given.B)
    problem = algebra.problem(given)
    assert problem.ridged(ridge) is problem
    for method in ("eagle", "direct"):
        (result,) = algebra.solve([given], method, ridge=ridge)
        (plain,) = algebra.solve([given], method)
        np.testing.assert_array_equal(result.value, plain.value)


def test_a_ridge_larger_than_the_matrix_shares_its_scale():
    given = system("tall")
    problem = create(given).ridged(2.0**40)
    assert np.array_equal(np.ldexp(problem.A[:17, :11], problem.scale), given.A)
    assert np.array_equal(np.ldexp(problem.A[17:], problem.scale), 2.0**20 * np.eye(11))


@pytest.mark.parametrize("factored", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_value_under_a_large_ridge_comes_back_in_its_units(shape, factored):
    """To first order ``B A^H C / ridge``."""
    given, ridge = system(shape, kind="both inconsistent"), 2.0**60
    problem = create(given)
    if factored:
        problem = truncated(problem, None, 0.0).ridged(ridge)
        value = problem.restore(solve_factored(problem))
    else:
        value = whole(problem.ridged(ridge))
    # The value is smaller than what rounding makes of one entry by mu = 2**30.
    limit = tolerance(float, 1 if factored else 2.0**30)
    assert relative_error(value, given.B @ given.A.T @ given.C / ridge) <= limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_small_ridge_appends_has_no_rounding_errors_from_the_range_of_a(dtype):
    """``mu (A A^H + mu^2 I)^-1 C``, whose part in the range is smaller than ``eps |C| / mu``."""
    eps = float(np.finfo(dtype).eps)
    given = system("wide", rank=4, dtype=dtype, condition=3)
    problem = truncated(create(given), 4, None).ridged(eps)
    U, s, _ = problem.factors
    rows = np.concatenate([np.zeros((4, given.A.shape[1]), dtype), U.conj().T], axis=1)
    problem = dataclasses.replace(problem, row_probes=rows)
    found = solve_factored(problem)[-4:]
    wanted = (problem.mu / (s**2 + problem.mu**2))[:, None] * (U.conj().T @ given.C)
    # Rounding leaves eps |C| of the inside, which the second projection takes out but for eps.
    assert relative_error(found, wanted) <= tolerance(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 12, 10**6])
def test_fourth_powers_within_the_safe_range_are_numbers(size, dtype):
    low, high = safe_range(np.dtype(dtype), size)
    assert low * high == size**0.5  # symmetric about entries of size one
    assert low < 1 < high
    real = np.dtype(dtype).type(0).real.dtype
    entry = real.type(low / size**0.5)
    assert entry**4 > np.finfo(real).tiny
    assert size * real.type(high) ** 4 < np.finfo(real).max


def test_a_ridge_of_zero_and_a_zero_matrix_leave_the_problem_alone():
    given = system("tall")
    problem = create(given)
    assert problem.ridged(0.0) is problem
    zero = Problem.create(0 * given.A, given.B, given.C)
    assert zero.ridged(1.0) is zero


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_truncation_keeps_the_best_approximation(shape, dtype):
    given = system(shape, dtype=dtype)
    U, s, Vh = np.linalg.svd(given.A.astype(complex), full_matrices=False)
    best = (U[:, :4] * s[:4]) @ Vh[:4]
    for problem in (
        truncated(create(given), 4, None),
        truncated(create(given), None, (s[4] + s[3]) / 2 / s[0]),
    ):
        A = problem.A.dense()
        assert relative_error(np.ldexp(1.0, problem.scale) * A, best) <= tolerance(dtype)
        U4, s4, V4 = problem.factors
        assert relative_error((U4 * s4) @ V4, A) <= tolerance(dtype)
        assert s4.shape == (4,)
        turned = problem.adjoint()
        U4, s4, V4 = turned.factors
        assert relative_error((U4 * s4) @ V4, A.conj().T) <= tolerance(dtype)
        assert relative_error(turned.A.dense(), A.conj().T) <= tolerance(dtype)


def test_a_cutoff_drops_singular_values_at_it_and_keeps_those_above():
    problem = Problem.create(np.diag([4.0, 2.0, 1.0]), None, None)
    assert len(truncated(problem, None, 0.25).factors[1]) == 2
    assert len(truncated(problem, None, 0.2499).factors[1]) == 3
    assert len(truncated(problem, None, 0.0).factors[1]) == 3


def test_a_rank_beyond_the_numerical_rank_inverts_no_rounding_noise():
    given = system("tall", rank=5)
    assert len(truncated(create(given), 9, None).factors[1]) == 5


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_factors_answer_probes_and_ridges_too(shape, dtype, ridge):
    """Every row and column, also those that a ridge has appended."""
    given = system(shape, rank=6, condition=3, dtype=dtype, kind="both inconsistent")
    problem = truncated(create(given), 4, None).ridged(ridge)
    A = problem.A.dense()
    rng = np.random.default_rng(0)
    problem = dataclasses.replace(
        problem,
        row_probes=normal(rng, (2, A.shape[1]), dtype).astype(dtype),
        column_probes=normal(rng, (A.shape[0], 3), dtype).astype(dtype),
    )
    wanted = problem.rows() @ np.linalg.pinv(A, rcond=1e-3) @ problem.columns()
    assert relative_error(solve_factored(problem), wanted) <= tolerance(dtype, 10)
    rank, condition = condition_of(problem)
    assert rank == (min(A.shape) if ridge else 4)
    assert condition >= 1


def test_a_vector_comes_back_as_a_vector():
    given = system("tall")
    problem = Problem.create(given.A, None, given.C[:, 0])
    assert problem.shape == (11, 1)
    assert whole(problem).shape == (11,)
    assert relative_error(whole(problem), given.pinv @ given.C[:, 0]) <= tolerance(float, 10)
    assert whole(problem.ridged(1e-30)).shape == (11,)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_values_are_restored(shape, dtype):
    problem = Problem.create(np.ones((3, 3), dtype), np.ones((shape[0], 3)), np.ones((3, shape[1])))
    assert problem.restore(np.zeros(shape, problem.A.dtype)).shape == shape


def test_restoring_copies():
    problem = Problem.create(np.eye(2), None, None)
    value = np.eye(2)
    assert not np.shares_memory(problem.restore(value), value)


def test_as_block_does_not_copy_what_is_fine():
    A = np.eye(3, dtype=np.float32)
    assert as_block("A", A) is A
    assert as_block("b", A[0], vectors=True).shape == (3,)
    holes = np.array([[1.0, np.nan]])
    assert as_block("X", holes, finite=False) is holes


# --- the gallery --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", eagle.problems.SPECTRA)
@pytest.mark.parametrize(("shape", "rank"), [((9, 7), None), ((7, 9), 4), ((8, 8), 2), ((8, 8), 1)])
def test_gallery_problems_have_the_spectrum_and_the_value_they_claim(shape, rank, kind, dtype):
    blocks = eagle.problems.low_rank(
        *shape, 3, 2, rank=rank, condition=50, kind=kind, dtype=dtype, rng=1
    )
    rank = rank or min(shape)
    s = np.linalg.svd(blocks.A, compute_uv=False)
    assert np.abs(s[:rank] - blocks.singular_values).max() <= tolerance(dtype)
    assert s[rank:].max(initial=0.0) <= tolerance(dtype)
    assert blocks.singular_values[0] == 1.0
    assert rank == 1 or blocks.singular_values[-1] == pytest.approx(1 / 50)
    assert (np.diff(blocks.singular_values) <= 0).all()
    reference = blocks.B @ np.linalg.pinv(blocks.A, rcond=1e-3) @ blocks.C
    assert blocks.error(reference) <= tolerance(dtype, 50)
    X = np.block([[blocks.A, blocks.C], [blocks.B, blocks.D]])
    assert np.linalg.matrix_rank(X, tol=1e-4) == rank
    assert {block.dtype for block in (blocks.A, blocks.B, blocks.C, blocks.D)} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_noise_makes_b_inconsistent_by_its_size_and_the_value_follows(dtype):
    options = {"rank": 6, "condition": 10, "dtype": dtype, "rng": 2}
    noisy = eagle.problems.low_rank(30, 20, 5, 4, noise=0.1, **options)
    clean = eagle.problems.low_rank(30, 20, 5, 4, **options)
    assert relative_error(noisy.B, clean.B) == pytest.approx(0.1)
    inverse = np.linalg.pinv(noisy.A, rcond=1e-6)
    assert noisy.error(noisy.B @ inverse @ noisy.C) <= tolerance(float, 10)
    assert relative_error(noisy.B @ inverse @ noisy.A, noisy.B) > 0.05


def test_the_gallery_is_reproducible_and_checks_its_arguments():
    make = eagle.problems.low_rank
    assert np.array_equal(make(5, 4, rng=3).A, make(5, 4, rng=3).A)
    assert not np.array_equal(make(5, 4, rng=3).A, make(5, 4, rng=4).A)
    for error, options, message in [
        (ValueError, {"rank": 5}, "^rank must be at most 4"),
        (ValueError, {"condition": 0.5}, "^condition must be finite, at least 1"),
        (ValueError, {"kind": "steep"}, "^kind must be one of 'log', .* got 'steep'"),
        (ValueError, {"noise": -1.0}, "^noise must be"),
        (ValueError, {"rows": 0}, "^rows must be at least 1"),
        (TypeError, {"columns": 2.0}, "^columns must be an integer"),
        (TypeError, {"dtype": int}, "^dtype must be float32, .* got int64"),
    ]:
        with pytest.raises(error, match=message):
            make(5, 4, **options)


def test_sizes_of_batches_are_compared_by_their_last_two_dimensions():
    A, B, C = np.zeros((2, 3, 5)), np.zeros((2, 4, 5)), np.zeros((2, 3, 6))
    check_sizes(A, B, C)
    with pytest.raises(ValueError, match=r"B with shape \(2, 5, 4\) must have as many columns"):
        check_sizes(A, np.swapaxes(B, -1, -2), C)
    with pytest.raises(ValueError, match=r"C with shape \(2, 6, 3\) must have as many rows"):
        check_sizes(A, B, np.swapaxes(C, -1, -2))
