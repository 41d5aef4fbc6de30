"""Standard errors of least-squares coefficients."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import eagle
from tests.tolerances import relative_error, tolerance

SIZES = np.array([1.0, 1e3, 1e-4])  # of columns


def draw(*shape, dtype=float, seed=0):
    rng = np.random.default_rng([seed, *shape])
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape)).astype(dtype) if dtype is complex else real


def textbook(A, b, weights=None):
    """Square roots of the diagonal of ``sigma^2 (A^H W A)^-1``."""
    weights = np.ones(len(A)) if weights is None else weights
    covariance = np.linalg.inv(A.conj().T @ (weights[:, None] * A))
    residual = b - A @ (covariance @ (A.conj().T @ (weights * b)))
    variance = (weights * np.abs(residual) ** 2).sum() / (len(A) - A.shape[1])
    return np.sqrt(variance * np.diag(covariance).real)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("columns", [None, 2])
def test_they_are_those_of_the_textbook(columns, weighted, dtype):
    A = draw(30, 3, dtype=dtype)
    b = draw(*((30,) if columns is None else (30, columns)), dtype=dtype)
    weights = np.linspace(0.5, 2, 30) if weighted else None
    found = eagle.lstsq(A * SIZES, b, weights=weights, rng=0).standard_errors
    each = [textbook(A, right, weights) / SIZES for right in b.reshape(30, -1).T]
    truth = each[0] if columns is None else np.transpose(each)
    assert found.shape == truth.shape
    assert np.abs(found / truth - 1).max() <= tolerance(float, 100)


def test_they_are_the_spread_of_coefficients_under_new_noise():
    A, x = draw(40, 3) * [1, 2, 5], np.arange(3.0)
    rng = np.random.default_rng(1)
    results = [eagle.lstsq(A, A @ x + 0.1 * rng.standard_normal(40), rng=0) for _ in range(400)]
    spread = np.std([result.x for result in results], axis=0)
    said = np.sqrt(np.mean([result.standard_errors**2 for result in results], axis=0))
    # A standard deviation from 400 draws has a relative one of 1 / sqrt(800): four of these.
    assert np.abs(said / spread - 1).max() <= 4 / np.sqrt(800)


def test_batches_and_a_solver_have_them():
    A, b = draw(4, 1, 12, 3), draw(2, 12)[..., None]
    found = eagle.lstsq(A, b, rng=0).standard_errors
    assert found.shape == (4, 2, 3, 1)
    for i, j in np.ndindex(4, 2):
        truth = textbook(A[i, 0], b[j, :, 0])
        assert relative_error(found[i, j, :, 0], truth) <= tolerance(float, 1e3)
    kept = eagle.Solver(A[0, 0]).lstsq(b[0, :, 0])
    assert relative_error(kept.standard_errors, textbook(A[0, 0], b[0, :, 0])) <= 1e-10
    assert eagle.solve(A[0, 0], np.eye(3), b[0], rng=0).standard_errors is None


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_entries_of_any_size_neither_overflow_nor_vanish(scale):
    A, b = draw(12, 3), draw(12)
    plain = eagle.lstsq(A, b, rng=0).standard_errors
    assert relative_error(eagle.lstsq(scale * A, scale * b, rng=0).standard_errors, plain) <= 1e-10


def test_single_precision_stays_and_is_computed_in_double():
    t = np.arange(2000, dtype=np.float32)
    A, b = np.column_stack([np.ones_like(t), t, t * t]), np.sin(t)
    found = eagle.lstsq(A, b, rng=0).standard_errors
    wide = A.astype(float) / [1, 2e3, 4e6]
    assert found.dtype == np.float32
    assert np.abs(found / (textbook(wide, b) / [1, 2e3, 4e6]) - 1).max() <= 1e-5


def test_arrays_of_other_libraries_get_their_own():
    torch = pytest.importorskip("torch")
    A, b = draw(12, 3), draw(12)
    found = eagle.lstsq(torch.from_numpy(A), torch.from_numpy(b), rng=0).standard_errors
    assert isinstance(found, torch.Tensor)
    assert relative_error(found.numpy(), textbook(A, b)) <= tolerance(float, 1e3)
    half = eagle.lstsq(torch.from_numpy(A).half(), torch.from_numpy(b).half(), rng=0)
    assert half.standard_errors.dtype == torch.float16
    tracked = eagle.lstsq(torch.from_numpy(A).requires_grad_(), torch.from_numpy(b), rng=0)
    with pytest.raises(ValueError, match="not differentiated, nor traced: detach x first"):
        _ = tracked.standard_errors


@pytest.mark.parametrize(
    ("A", "options", "message"),
    [
        (np.ones((6, 2)), {}, "need A of full column rank, got rank 1 of 2 columns"),
        (np.eye(3), {}, "more rows than coefficients, got 3 rows and 3 coefficients"),
        (draw(6, 2), {"ridge": 1.0}, "the solution was shaped by ridge"),
        (draw(6, 2), {"rank": 2}, "the solution was shaped by rank"),
        (draw(6, 2), {"cutoff": 1e-8}, "the solution was shaped by cutoff"),
        (scipy.sparse.csr_array(draw(6, 2)), {"method": "lsmr"}, "need a dense A"),
    ],
)
def test_they_are_refused_where_there_are_none(A, options, message):
    with pytest.raises(ValueError, match=message):
        _ = eagle.lstsq(A, np.ones(A.shape[0]), rng=0, **options).standard_errors
