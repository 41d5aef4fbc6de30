"""Least squares of rows that are not kept: the answer of all at once, and what is said about it."""

from __future__ import annotations

import functools
import itertools
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse

import eagle
from eagle import StreamingLstsq
from eagle.algebra.running import RunningFactor
from tests.systems import DTYPES, normal
from tests.tolerances import relative_error, tolerance


def data(rng, m=120, n=8, k=2, condition=10.0, noise=0.1, dtype=np.float64):
    """Rows whose singular values fall in equal ratios, and a right-hand side with noise."""
    U = np.linalg.qr(normal(rng, (m, n), dtype))[0]
    V = np.linalg.qr(normal(rng, (n, n), dtype))[0]
    A = (U * np.logspace(0, -np.log10(condition), n)) @ V
    b = A @ normal(rng, (n, k), dtype) + noise * normal(rng, (m, k), dtype)
    return A.astype(dtype), b.astype(dtype)


def streamed(A, b, cuts, weights=None, **settings):
    """A stream that has seen all rows, in chunks that end at `cuts`."""
    stream = StreamingLstsq(**settings)
    edges = [0, *cuts, len(A)]
    for start, stop in itertools.pairwise(edges):
        some = None if weights is None else weights[start:stop]
        stream.partial_fit(A[start:stop], b[start:stop], some)
    return stream


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cuts", [[], [1, 1, 2, 60], range(1, 120), [7]])
def test_is_least_squares_of_all_rows_however_they_are_cut(rng, dtype, cuts):
    A, b = data(rng, dtype=dtype)
    result = streamed(A, b, cuts).solve(rng=0)
    wide = np.result_type(dtype, np.float64)
    wanted = np.linalg.lstsq(A.astype(wide), b.astype(wide), rcond=None)[0]
    assert result.value.dtype == dtype
    assert relative_error(result.value, wanted) < tolerance(dtype, 10)
    residual = np.linalg.norm(A.astype(wide) @ wanted - b)
    assert result.residual_norm == pytest.approx(residual, rel=1e-12 if wide == dtype else 1e-5)
    assert (result.converged, result.rows) == (True, 120)


def test_the_condition_number_is_never_squared(rng):
    """At 1e9 the normal equations have no digit left."""
    A, b = data(rng, condition=1e9, noise=0)
    x = np.linalg.lstsq(A, b, rcond=None)[0]
    result = streamed(A, b, range(10, 120, 10)).solve(rng=0)
    assert relative_error(result.value, x) < tolerance(float, 1e9)
    assert relative_error(np.linalg.solve(A.T @ A, A.T @ b), x) > 1e-3


@pytest.mark.parametrize("condition", [1e1, 1e5, 1e9])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1.0])
def test_the_estimate_bounds_the_error(rng, condition, noise):
    """Integers, so that the reference is exact: solved in rationals."""
    flint = pytest.importorskip("flint")
    A, b = data(rng, 40, 5, 1, condition, noise)
    A = np.round(A * 2.0**40) / 2.0**40
    rows = flint.fmpz_mat([[int(x) for x in row] for row in A * 2.0**40])
    right = flint.fmpz_mat([[int(x)] for x in np.round(b[:, 0] * 2.0**40)])
    b = np.round(b * 2.0**40) / 2.0**40
    exact = (rows.transpose() * rows).solve(rows.transpose() * right)
    wanted = np.array([[float(int(q.p) / int(q.q))] for q in exact.entries()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eagle.ConvergenceWarning)
        result = streamed(A, b, range(3, 40, 3)).solve(rng=0)
    error = relative_error(result.value, wanted)
    assert error <= result.error_estimate
    # Wedin's bound is for the worst perturbation; ours has a Frobenius norm for a spectral one.
    assert result.error_estimate <= 1e5 * max(error, tolerance(float))


def test_the_updates_errors_are_measured_and_not_guessed(rng):
    """A factor that has gone wrong by 1e-6 cannot claim more digits than that."""
    A, b = data(rng)
    stream = streamed(A, b, [50])
    assert stream.solve(rng=0).error_estimate < 1e-11
    stream._running.R[3, 5] *= 1 + 1e-6
    assert stream.solve(rng=0).error_estimate > 1e-8


@pytest.mark.parametrize("m", [3, 20])
def test_rank_deficient_and_short_streams_have_the_least_norm(rng, m):
    A = rng.standard_normal((m, 2)) @ rng.standard_normal((2, 7))
    b = rng.standard_normal(m)
    result = streamed(A, b, [1]).solve(rng=0)
    condition = np.linalg.svd(A)[1][0] / np.linalg.svd(A)[1][1]
    assert relative_error(result.value, np.linalg.pinv(A, rcond=1e-10) @ b) < tolerance(
        float, condition**2
    )
    assert result.value.shape == (7,)
    assert result.rank == 2


@pytest.mark.parametrize("options", [{"ridge": 0.3}, {"rank": 3}, {"cutoff": 0.05}])
def test_ridge_rank_and_cutoff_are_those_of_all_rows(rng, options):
    A, b = data(rng, condition=1e3)
    result = streamed(A, b, [31, 64]).solve(**options, rng=0)
    wanted = eagle.lstsq(A, b, **options, rng=0).value
    assert relative_error(result.value, wanted) < tolerance(float, 1e3)
    assert relative_error(result.value, wanted) <= result.error_estimate
    assert result.residual_norm == pytest.approx(np.linalg.norm(A @ wanted - b), rel=1e-10)


def test_weights_count_rows(rng):
    A, b = data(rng, 40)
    weights = rng.integers(0, 4, 40)
    one = streamed(A, b, [11, 13], weights).solve(rng=0)
    other = streamed(np.repeat(A, weights, 0), np.repeat(b, weights, 0), [20]).solve(rng=0)
    assert relative_error(one.value, other.value) < tolerance(float, 10)
    assert one.residual_norm == pytest.approx(other.residual_norm)


@pytest.mark.parametrize("cuts", [[], [13, 60], range(1, 120)])
def test_a_row_counts_less_the_more_rows_came_after_it(rng, cuts):
    A, b = data(rng)
    root = 0.95 ** (np.arange(120)[::-1, None] / 2)
    wanted = np.linalg.lstsq(root * A, root * b, rcond=None)[0]
    result = streamed(A, b, cuts, forget=0.95).solve(rng=0)
    assert relative_error(result.value, wanted) < tolerance(float, 100)
    assert result.residual_norm == pytest.approx(np.linalg.norm(root * (A @ wanted - b)))


def test_forgetting_follows_what_changes(rng):
    A = rng.standard_normal((400, 3))
    before, after = np.array([1.0, 2, 3]), np.array([3.0, 2, 1])
    b = np.concatenate([A[:200] @ before, A[200:] @ after])
    result = streamed(A, b, [150], forget=0.8).solve(rng=0)
    assert relative_error(result.value, after) < 1e-8
    assert relative_error(streamed(A, b, [150]).solve(rng=0).value, after) > 0.1


@pytest.mark.parametrize("forget", [1.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_merges_in_any_grouping(rng, forget, dtype):
    A, b = data(rng, dtype=dtype)
    whole = streamed(A, b, [], forget=forget).solve(rng=0)
    parts = [streamed(A[i : i + 30], b[i : i + 30], [9], forget=forget) for i in range(0, 120, 30)]
    left = functools.reduce(StreamingLstsq.merge, parts, StreamingLstsq(forget=forget))
    right = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    for merged in (left, right):
        result = merged.solve(rng=0)
        assert relative_error(result.value, whole.value) < tolerance(dtype, 100)
        assert (result.rows, merged.chunks) == (120, 8)
        assert result.residual_norm == pytest.approx(whole.residual_norm, rel=1e-5)
    assert [part.rows for part in parts] == [30] * 4  # they are as they were


def test_goes_on_after_solving_and_after_pickling(rng):
    A, b = data(rng)
    stream = streamed(A[:70], b[:70], [3])
    stream.solve(rng=0)
    stream = pickle.loads(pickle.dumps(stream)).update(A[70:], b[70:])
    whole = np.linalg.lstsq(A, b, rcond=None)[0]
    assert relative_error(stream.solve(rng=0).value, whole) < tolerance(float, 10)
    assert "120 rows of 8" in repr(stream)


@pytest.mark.parametrize("power", [-300, 300])
def test_entries_near_the_ends_of_the_range(rng, power):
    A, b = data(rng)
    result = streamed(A * 10.0**power, b, [50]).solve(rng=0)
    wanted = np.linalg.lstsq(A, b, rcond=None)[0]
    assert relative_error(result.value * 10.0**power, wanted) < tolerance(float, 10)
    assert result.converged


def test_memory_is_that_of_the_factor(rng):
    stream = StreamingLstsq()
    for _ in range(60):
        A = rng.standard_normal((1000, 10))
        stream.partial_fit(A, A[:, 0])
    assert len(pickle.dumps(stream)) < 20 * 15**2 * 8


def test_a_right_hand_side_with_nothing_to_explain_is_no_failure(rng):
    A, _ = data(rng, noise=0)
    outside = rng.standard_normal(120)
    outside -= A @ np.linalg.lstsq(A, outside, rcond=None)[0]
    result = streamed(A, outside, [40]).solve(rng=0)
    assert np.linalg.norm(result.value) < 1e-12
    assert result.converged
    assert streamed(A, 0 * outside, [40]).solve(rng=0).value.tolist() == [0] * 8


def test_a_stream_that_cannot_be_solved_says_so(rng):
    A, b = data(rng, condition=1e13, noise=1)
    with pytest.warns(eagle.ConvergenceWarning, match="error estimate"):
        streamed(A, b, [50]).solve(rng=0)
    with pytest.raises(eagle.ConvergenceError):
        streamed(A, b, [50]).solve(rng=0, raise_on_failure=True)


# What chunks may be


def test_tensors_frames_record_batches_sparse_matrices(rng):
    torch, pd, pa = (pytest.importorskip(name) for name in ("torch", "pandas", "pyarrow"))
    A, b = data(rng, k=1)
    wanted = np.linalg.lstsq(A, b, rcond=None)[0][:, 0]
    frame = pd.DataFrame(A)
    batch = pa.RecordBatch.from_pandas(pd.DataFrame(A, columns=list("abcdefgh")))
    kinds = [
        (torch.tensor(A), torch.tensor(b[:, 0])),
        (frame, pd.Series(b[:, 0])),
        (batch, b[:, 0]),
        (scipy.sparse.csr_array(A), b[:, 0]),
        (A.tolist(), b[:, 0].tolist()),
    ]
    for rows, right in kinds:
        result = StreamingLstsq().partial_fit(rows, right).solve(rng=0)
        assert relative_error(result.value, wanted) < tolerance(float, 10)


# Bad input


@pytest.mark.parametrize(
    ("A", "b", "weights", "error", "message"),
    [
        ([[1.0, 2, 3]], [1.0], None, ValueError, "chunk 3: A has 3 columns, but those .* had 2"),
        ([[1.0, np.nan]], [1.0], None, ValueError, r"chunk 3: A with .* contains NaN"),
        ([[1.0, 2]], [np.inf], None, ValueError, r"chunk 3: b with .* contains NaN or infinity"),
        ([[1.0, 2]], [1.0, 2], None, ValueError, r"chunk 3: b .* must have as many rows as A"),
        ([[1.0, 2]], [[1.0, 2]], None, ValueError, "chunk 3: b has shape .* one number a row"),
        ([1.0, 2], [1.0], None, ValueError, "chunk 3: A must be 2-D"),
        ([["a", "b"]], [1.0], None, TypeError, "chunk 3: A must be numeric"),
        ([[1.0, 2]], [1.0], [-1.0], ValueError, "chunk 3: weights must be finite and at least 0"),
        ([[1.0, 2]], [1.0], [1.0, 2], ValueError, r"chunk 3: weights must have shape \(1,\)"),
        ([[1.0, 2]], [1.0], ["a"], TypeError, "chunk 3: weights must be real numbers"),
    ],
)
def test_a_bad_chunk_is_named_and_changes_nothing(rng, A, b, weights, error, message):
    good, right = rng.standard_normal((20, 2)), rng.standard_normal(20)
    stream = streamed(good, right, [10])
    before = stream.solve(rng=0).value
    with pytest.raises(error, match=message):
        stream.partial_fit(A, b, weights)
    assert stream.chunks == 2
    np.testing.assert_array_equal(stream.solve(rng=0).value, before)


def test_bad_calls_are_named(rng):
    stream = streamed(rng.standard_normal((9, 2)), rng.standard_normal(9), [])
    other = streamed(rng.standard_normal((9, 3)), rng.standard_normal(9), [])
    with pytest.raises(ValueError, match="there was no chunk yet"):
        StreamingLstsq().solve()
    with pytest.raises(ValueError, match="other has seen rows of A and b with"):
        stream.merge(other)
    with pytest.raises(ValueError, match=r"other forgets with forget=0\.5"):
        stream.merge(StreamingLstsq(forget=0.5))
    with pytest.raises(TypeError, match="other must be a StreamingLstsq"):
        stream.merge(3)
    for forget, error in ((0, ValueError), (1.5, ValueError), ("a", TypeError)):
        with pytest.raises(error, match="forget must be"):
            StreamingLstsq(forget=forget)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rdige'; did you mean"):
        stream.solve(rdige=1.0)


# The factor by itself


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_the_factor_has_the_gram_matrix_of_all_rows(rng, dtype):
    M = normal(rng, (50, 6), dtype)
    running = RunningFactor(6, dtype)
    for start in (0, 1, 2, 20):
        running.add(M[start : {0: 1, 1: 2, 2: 20, 20: 50}[start]])
    assert np.allclose(np.tril(running.R, -1), 0)
    assert relative_error(running.R.conj().T @ running.R, M.conj().T @ M) < tolerance(float)
