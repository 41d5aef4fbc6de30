"""Both kernels do what their formula says, and the same as each other."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle import algebra as kernels
from eagle.algebra import blas
from tests.systems import DTYPES, normal, solve
from tests.tolerances import relative_error, tolerance

over_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def array(rng, shape, dtype, order="F"):
    return np.array(normal(rng, shape, dtype), dtype=dtype, order=order)


@over_dtypes
@pytest.mark.parametrize("adjoint", ["", "X", "Y"])
@pytest.mark.parametrize("orders", ["FF", "FC", "CF", "CC"])
def test_product_multiplies_in_any_order_and_adjoint(dtype, adjoint, orders, rng):
    X = array(rng, (7, 5) if adjoint == "X" else (5, 7), dtype, orders[0])
    Y = array(rng, (4, 7) if adjoint == "Y" else (7, 4), dtype, orders[1])
    wanted = (X.conj().T if adjoint == "X" else X) @ (Y.conj().T if adjoint == "Y" else Y)
    assert relative_error(
        blas.product(X, Y, adjoint=adjoint, scale=-2.0), -2 * wanted
    ) <= tolerance(dtype)


@over_dtypes
def test_gram_and_hermitian_products_use_the_upper_triangle_only(dtype, rng):
    A = array(rng, (9, 6), dtype)
    out = np.full((6, 6), np.nan, dtype, order="F")
    G = blas.gram(
        A, out=np.array(np.triu(np.zeros((6, 6))) + np.tril(out, -1), dtype=dtype, order="F")
    )
    assert relative_error(np.triu(G), np.triu(A.conj().T @ A)) <= tolerance(dtype)
    spare = np.empty((9, 6), dtype, order="F")
    whole = np.triu(G) + np.triu(G, 1).conj().T
    assert relative_error(blas.times_hermitian(A, G, out=spare), A @ whole) <= tolerance(dtype)


@over_dtypes
def test_shifted_cholesky_factorises_and_its_inverse_applies(dtype, rng):
    A = array(rng, (9, 6), dtype)
    G = np.array(A.conj().T @ A, order="F")
    R, shift = blas.shifted_cholesky(G.copy(order="F"), 0.25)
    R = np.triu(R)
    assert shift == 0.25
    assert relative_error(R.conj().T @ R, G + 0.25 * np.eye(6, dtype=dtype)) <= tolerance(dtype)
    B = array(rng, (4, 6), dtype)
    assert relative_error(blas.times_inverse(B.copy(order="F"), R) @ R, B) <= tolerance(
        dtype, np.linalg.cond(R)
    )


def test_an_indefinite_matrix_raises_its_own_shift():
    R, shift = blas.shifted_cholesky(np.asfortranarray(np.diag([1.0, -0.5])), 1e-3)
    assert shift > 0.5
    assert np.isfinite(R).all()


def test_a_matrix_with_nan_gives_a_factor_of_nan_and_does_not_hang():
    R, _ = blas.shifted_cholesky(np.asfortranarray([[np.nan, 0.0], [0.0, 1.0]]), 1e-3)
    assert np.isnan(R).all()


@over_dtypes
@pytest.mark.parametrize("module", [blas, small])
def test_lanczos_finds_the_spectrum_in_as_many_steps_as_there_are_values(module, dtype, rng):
    """With the upper triangle only, and no value that the start vector does not contain."""
    Q = np.linalg.qr(normal(rng, (12, 12), dtype))[0]
    values = np.array([1.0, 2.0, 5.0] * 4)
    G = np.array(np.triu((Q * values) @ Q.conj().T), dtype=dtype, order="F")
    start = array(rng, (12,), dtype)
    found = module.ritz_values(G, start, 3, 1e-6)
    assert found == pytest.approx([1, 2, 5], rel=tolerance(dtype, 10), abs=0)
    only = (Q[:, values < 3] @ Q[:, values < 3].conj().T @ start).astype(dtype)
    found = module.ritz_values(G, only, 2, 1e-6)
    assert found == pytest.approx([1, 2], rel=tolerance(dtype, 10), abs=0)


@pytest.mark.parametrize("module", [blas, small])
@pytest.mark.parametrize("start", [np.zeros(3), np.full(3, np.nan)])
def test_lanczos_from_nothing_finds_nothing(module, start):
    assert len(module.ritz_values(np.eye(3, order="F"), start, 3, 0.0)) == 0


@over_dtypes
def test_one_inverse_iteration_finds_the_smallest_singular_value(dtype, rng):
    Q = np.linalg.qr(normal(rng, (8, 8), dtype))[0]
    G = (Q * np.array([1.0] * 7 + [1e-4])) @ Q.conj().T
    R = np.asfortranarray(np.triu(scipy.linalg.cholesky(G)).astype(dtype))
    assert blas.inverse_quotient(R, array(rng, (8,), dtype)) == pytest.approx(1e-4, rel=0.05)


@over_dtypes
@pytest.mark.parametrize("module", [blas, small])
def test_contract_updates_and_measures(module, dtype, rng):
    B, C, D = (array(rng, shape, dtype) for shape in [(5, 6), (9, 8), (5, 8)])
    first, second = array(rng, (6, 8), dtype), array(rng, (9, 8), dtype)
    wanted_D, wanted_C = D + 0.5 * (B @ first), C - 0.5 * second
    moved, size, user, white = module.contract(B, C, D, first, second, 0.5, 3, 2, 4)
    assert relative_error(D, wanted_D) <= tolerance(dtype)
    assert relative_error(C, wanted_C) <= tolerance(dtype)
    truth = [
        np.linalg.norm((0.5 * B @ first)[:3, :2]),
        np.linalg.norm(wanted_D[:3, :2]),
        np.linalg.norm(wanted_C[:, :2]),
        np.linalg.norm(wanted_C[:, 2:6]),
    ]
    assert [moved, size, user, white] == pytest.approx(truth, rel=tolerance(dtype), abs=0)


@over_dtypes
def test_norm_is_safe_where_squares_overflow(dtype):
    big = np.finfo(dtype).max / 4
    assert blas.norm(np.full((2, 2), big, dtype)) == pytest.approx(2 * float(big), rel=1e-5)
    assert blas.norm(np.zeros((0, 3), dtype)) == 0


@over_dtypes
@pytest.mark.parametrize("schedule", ["minimax", "cholesky"])
@pytest.mark.parametrize("maxiter", [2, None])
@pytest.mark.parametrize(
    ("d", "n", "rank"), [(12, 9, None), (9, 12, None), (12, 12, 4), (1, 1, None)]
)
def test_numba_and_blas_agree_to_rounding(dtype, schedule, maxiter, d, n, rank):
    """At the end, and on the way; how many iterations there are is for rounding to say."""
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=30, dtype=dtype, rng=0)
    one, other = (
        solve(problem, eagle.Eagle(schedule, kernel=kernel), maxiter=maxiter).value
        for kernel in ("blas", "numba")
    )
    assert relative_error(one, other) <= tolerance(dtype, 30)


def test_numba_is_for_small_matrices_and_for_those_who_ask():
    little, large = np.zeros((8, 8)), np.zeros((8, kernels.CROSSOVER + 1))
    assert kernels.choose("numba", little) is small
    assert kernels.choose("numba", large) is blas
    assert kernels.choose("blas", little) is blas


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 48, 100, 113])
def test_a_loop_is_split_into_whole_tiles_evenly_in_order(threads, length, monkeypatch):
    import numba

    from eagle.algebra.threads import threaded

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
    parts = threaded(lambda start, stop, word: (start, stop, word), length, 16, "word")
    starts, stops, words = zip(*parts, strict=True)
    assert starts == (0, *stops[:-1])
    assert stops[-1] == length
    assert len(parts) <= threads
    most = math.ceil(math.ceil(length / 16) / threads) * 16  # tiles of the thread with the most
    assert [stop - start for start, stop in zip(starts, stops, strict=True)][:-1] == [most] * (
        len(parts) - 1
    )
    assert stops[-1] - starts[-1] <= most
    assert set(words) == {"word"}


def test_nobody_pays_for_numba_who_does_not_need_it():
    program = (
        "import sys, eagle; p = eagle.problems.low_rank(240, 240, rng=0)\n"
        "eagle.solve(p.A, p.B, p.C, method='eagle', rng=0)\n"
        "eagle.solve([[2.0]], [[1.0]], [[1.0]], method='eagle', rng=0)\n"
        "heavy = {'numba', 'torch', 'sklearn', 'mpi4py', 'matplotlib', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("G", [np.ones((3, 3)), np.zeros((3, 3)), np.diag([1.0, 0.0, 1.0])])
def test_a_shift_of_nothing_is_raised_for_a_singular_matrix(G, dtype):
    R, shift = blas.shifted_cholesky(np.array(G, dtype, order="F"), 0.0)
    R = np.triu(R)
    assert 0 < shift <= 1e3 * np.finfo(dtype).eps
    assert np.abs(R.conj().T @ R - (G + shift * np.eye(3))).max() <= tolerance(dtype)


@given(
    n=st.integers(1, 30),
    rank=st.integers(1, 5),
    exponent=st.integers(-140, 140),
    dtype=st.sampled_from([np.float64, np.complex128]),
    seed=st.integers(0, 20),
)
def test_the_largest_eigenvalue_is_a_squared_norm_near_underflow_too(
    n, rank, exponent, dtype, seed
):
    X = normal(np.random.default_rng(seed), (rank, n), dtype) * 10.0**exponent
    expected = np.linalg.norm(X, 2) ** 2
    H = np.asfortranarray(X.conj().T @ X)
    assert blas.largest_eigenvalue(H) == pytest.approx(expected, rel=tolerance(float, n))
    H[0, 0] = np.nan
    assert np.isnan(blas.largest_eigenvalue(H))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_the_trace_of_a_product_is_that_of_its_entries(dtype):
    X, Y = (normal(np.random.default_rng(k), (7, 5), dtype).astype(dtype) for k in (0, 1))
    expected = np.trace(X.conj().T @ Y).real
    size = np.linalg.norm(X) * np.linalg.norm(Y)
    for order in "CF":
        found = blas.trace(np.asarray(X, order=order), np.asarray(Y, order=order))
        assert abs(found - expected) <= tolerance(dtype) * size
