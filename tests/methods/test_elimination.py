"""LU measures its own error: exact rationals say by how much."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle.methods import elimination
from eagle.methods.cross import Cross
from eagle.problem.options import Options
from eagle.run.flow import on_host
from tests.systems import DTYPES, normal, system
from tests.tolerances import relative_error, tolerance

SIDES = 3, 12, 25
KINDS = "plain", "ill-conditioned", "graded rows", "graded columns", "graded", "growing"


def matrix(kind, n, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    powers = 2.0 ** rng.integers(-15, 16, (2, n))
    if kind == "ill-conditioned":
        U, _, Vh = np.linalg.svd(A)
        A = U @ np.diag(np.logspace(0, -10, n)) @ Vh
    if kind in ("graded rows", "graded"):
        A = powers[0][:, None] * A
    if kind in ("graded columns", "graded"):
        A = A * powers[1]
    if kind == "growing":  # pivots double from row to row
        A = np.eye(n) - np.tril(np.ones((n, n)), -1) + 1e-3 * A
        A[:, -1] = 1
    return A


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIDES)
@pytest.mark.parametrize("absent", ["", "B", "C", "BC"])
def test_the_estimate_bounds_the_error_of_exact_problems_and_is_not_cowardly(kind, n, absent):
    flint = pytest.importorskip("flint")
    fmpq, fmpq_mat = flint.fmpq, flint.fmpq_mat

    def exact(X):
        return fmpq_mat([[fmpq(*x.as_integer_ratio()) for x in row] for row in X.tolist()])

    def size(X):
        squares = sum((x * x for x in X.entries()), fmpq(0))
        return (int(squares.p) / int(squares.q)) ** 0.5

    ratios = []
    for seed in range(3):
        A = matrix(kind, n, seed)
        rng = np.random.default_rng(seed + 100)
        B, C = rng.standard_normal((2, n)), rng.standard_normal((n, 12))
        B, C = None if "B" in absent else B, None if "C" in absent else C
        try:
            result = on_host((A, B, C), eagle.Direct("lu"), Options(rng=seed), ("A", "B", "C"))
        except np.linalg.LinAlgError:
            assert np.linalg.cond(A) > 1e10
            continue
        truth = exact(A).inv() if C is None else exact(A).solve(exact(C))
        truth = truth if B is None else exact(B) * truth
        error = size(exact(result.value) - truth) / size(truth)
        assert error <= 10 * result.error_estimate
        ratios.append(result.error_estimate / error)
    assert not ratios or np.median(ratios) <= 100


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("adjoint", [False, True])
def test_factors_solve_from_both_sides_however_a_lies_in_memory(dtype, order, adjoint):
    rng = np.random.default_rng(0)
    A = np.array(normal(rng, (9, 9), dtype), dtype, order=order)
    X = normal(rng, (9, 3), dtype).astype(dtype)
    lu = elimination.eliminate(A)
    found = lu.adjoint_times(X) if adjoint else lu.times(X)
    assert relative_error((A.conj().T if adjoint else A) @ found, X) <= tolerance(dtype, 100)
    known, answer = elimination.solve(lu, None, X, rng, adjoint=adjoint)
    assert relative_error(answer.value, found) <= tolerance(dtype, 10)
    assert 0.3 <= known.condition / np.linalg.cond(A) <= 30


def test_what_elimination_loses_on_rows_of_unlike_size_is_refined():
    """A row so large that it is the first pivot with its smallest entry, and swamps the others."""
    rng = np.random.default_rng(0)
    A, X = rng.standard_normal((40, 40)), rng.standard_normal((40, 12))
    A[7, 0] = 1e-6
    A[7] *= 2.0**30
    C = A @ X
    lu = elimination.eliminate(np.asfortranarray(A))
    answer = elimination.solve(lu, None, C, rng, adjoint=False)[1]
    limit = tolerance(np.float64, np.linalg.cond(A / np.abs(A).max(axis=1)[:, None]))
    assert relative_error(lu.times(C), X) > 10 * limit
    assert relative_error(answer.value, X) <= limit
    assert answer.error <= limit * np.linalg.norm(X)


@pytest.mark.parametrize("rank", [1, 30, 250, 295])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_where_elimination_ends_the_rows_and_columns_before_make_up_a(rank, order, dtype):
    given = system((300, 300), rank=rank, condition=1e4, dtype=dtype)
    found = elimination.eliminate(np.array(given.A, order=order)).skeleton()
    assert found.rank == rank
    core = np.asfortranarray(given.A[found.rows])
    whole = given.A[:, found.columns] @ found.times(core)
    assert relative_error(whole, given.A) <= tolerance(np.float64, 1e6)


def test_a_nonsingular_matrix_has_no_smaller_skeleton():
    rng = np.random.default_rng(0)
    assert elimination.eliminate(rng.standard_normal((50, 50))).skeleton() is None


def test_a_singular_square_matrix_is_answered_by_the_elimination_that_failed():
    given = system((300, 300), rank=280, condition=1e6)
    result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert isinstance(result.method, Cross)
    assert "280 rows and columns at which it came to an end make up A" in result.plan
    error = relative_error(result.value, given.value)
    assert error <= tolerance(np.float64, 1e4)
    assert error <= 10 * result.error_estimate


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_a_small_square_matrix_in_single_precision_takes_lu_in_double(dtype):
    given = system("square", condition=100, dtype=dtype)
    result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert result.method == eagle.Direct("lu")
    assert result.value.dtype == dtype
    wide = np.result_type(dtype, np.float64)
    right = given.B.astype(wide) @ np.linalg.solve(given.A.astype(wide), given.C.astype(wide))
    eps = np.finfo(dtype).eps
    assert relative_error(result.value, right) <= eps  # it is rounded once, at the end
    assert eps / 2 <= result.error_estimate <= 2 * eps


def test_a_rank_that_rounding_to_single_precision_has_lifted_is_no_matter_for_lu():
    given = system("square", rank=12, condition=3)
    A = given.A.astype(np.float32)
    assert np.linalg.matrix_rank(A.astype(float)) == 13
    result = eagle.lstsq(A, given.C.astype(np.float32), rng=0)
    assert result.method == eagle.Direct("cod")
    assert result.rank == 12


@pytest.mark.parametrize("size", [2.0**-40, 1.0, 2.0**40])
def test_the_condition_is_that_of_a_whatever_c_is(size):
    """Norms of Frobenius, from a few columns: at most n times the spectral ones, and half."""
    rng, n = np.random.default_rng(0), 20
    A = rng.standard_normal((n, n))
    C = size * rng.standard_normal((n, 10))
    lu, answer = elimination.solve(elimination.eliminate(A), None, C, rng, adjoint=False)
    frobenius = np.linalg.norm(A) * np.linalg.norm(np.linalg.inv(A))
    assert frobenius / 3 <= lu.condition <= 3 * elimination.COUNT * frobenius
    assert answer.error <= tolerance(float, np.linalg.cond(A)) * np.linalg.norm(answer.value)
