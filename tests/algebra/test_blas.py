"""What is done with the blocks of one matrix is what its formula says."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from eagle.algebra import blas
from eagle.algebra.base import lanczos, ritz_values
from eagle.algebra.dense import Dense
from tests.systems import DTYPES, normal
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
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("wide", [False, True])
def test_the_gram_matrix_of_a_conditioned_matrix_never_forms_it_whole(
    dtype, order, wide, rng, monkeypatch
):
    monkeypatch.setattr(blas, "ROWS", 8)  # of 20: the last block is shorter
    A = array(rng, (4, 20) if wide else (20, 4), dtype, order)
    R = np.asfortranarray(np.triu(array(rng, (4, 4), dtype)) + 4 * np.eye(4, dtype=dtype))
    scale = np.array([1.0, 2.0, 0.5, 4.0])
    whole = (A.conj().T if wide else A) * scale.astype(A.real.dtype) @ np.linalg.inv(R)
    G = blas.conditioned_gram(A, scale, R)
    assert relative_error(np.triu(G), np.triu(whole.conj().T @ whole)) <= tolerance(dtype)


@pytest.mark.parametrize("adjoint", ["", "X"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_long_sum_is_rounded_like_a_short_one(order, adjoint, rng):
    A = np.array(rng.random((2**16, 3)), order=order)
    A = A if adjoint else np.array(A.T, order=order)
    b = rng.random((2**16, 1))
    exact = [math.fsum(row * b[:, 0]) for row in (A.T if adjoint else A)]
    errors = blas.product(A, b, adjoint=adjoint)[:, 0] / exact - 1
    assert np.abs(errors).max() <= 4 * np.finfo(float).eps


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


def ritz(G, start, steps, weight):
    """Ritz values that mean something, in order."""
    coefficients = lanczos(Dense.of(G.dtype), G, start[:, None], steps)
    found = ritz_values(*coefficients, weight)
    return np.sort(found[~np.isnan(found)])


@over_dtypes
def test_lanczos_finds_the_spectrum_in_as_many_steps_as_there_are_values(dtype, rng):
    """With the upper triangle only, and no value that the start vector does not contain."""
    Q = np.linalg.qr(normal(rng, (12, 12), dtype))[0]
    values = np.array([1.0, 2.0, 5.0] * 4)
    G = np.array(np.triu((Q * values) @ Q.conj().T), dtype=dtype, order="F")
    start = array(rng, (12,), dtype)
    found = ritz(G, start, 3, 1e-6)
    assert found == pytest.approx([1, 2, 5], rel=tolerance(dtype, 10), abs=0)
    only = (Q[:, values < 3] @ Q[:, values < 3].conj().T @ start).astype(dtype)
    found = ritz(G, only, 2, 1e-6)
    assert found == pytest.approx([1, 2], rel=tolerance(dtype, 10), abs=0)


@pytest.mark.parametrize("start", [np.zeros(3), np.full(3, np.nan)])
def test_lanczos_from_nothing_finds_nothing(start):
    with np.errstate(invalid="ignore"):
        assert len(ritz(np.eye(3, order="F"), start, 3, 0.0)) == 0


@over_dtypes
def test_one_inverse_iteration_finds_the_smallest_singular_value(dtype, rng):
    Q = np.linalg.qr(normal(rng, (8, 8), dtype))[0]
    G = (Q * np.array([1.0] * 7 + [1e-4])) @ Q.conj().T
    R = np.asfortranarray(np.triu(scipy.linalg.cholesky(G)).astype(dtype))
    assert blas.inverse_quotient(R, array(rng, (8,), dtype)) == pytest.approx(1e-4, rel=0.05)


@over_dtypes
def test_norm_is_safe_where_squares_overflow(dtype):
    big = np.finfo(dtype).max / 4
    assert blas.norm(np.full((2, 2), big, dtype)) == pytest.approx(2 * float(big), rel=1e-5)
    assert blas.norm(np.zeros((0, 3), dtype)) == 0


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
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
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
