"""Least squares whose rows count differently, and the norm of what is left."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

import eagle
from tests.systems import normal, system
from tests.tolerances import relative_error, tolerance

WEIGHTS = np.array([3.0, 0.0, 1e-2, 5.0, 1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 4.0])


def problem(dtype=float, shape=(11, 4), columns=None, seed=0):
    rng = np.random.default_rng(seed)
    b = normal(rng, (shape[0],) if columns is None else (shape[0], columns), dtype)
    return normal(rng, shape, dtype).astype(dtype), b.astype(dtype)


def by_lapack(A, b, weights, ridge=0.0):
    root = np.sqrt(weights)
    S = root[:, None] * A
    rhs = root * b if b.ndim == 1 else root[:, None] * b
    if ridge:
        mu = np.sqrt(ridge) * np.eye(A.shape[1])
        S, rhs = np.vstack([S, mu]), np.concatenate([rhs, np.zeros((A.shape[1], *b.shape[1:]))])
    return np.linalg.lstsq(S, rhs, rcond=None)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("shape", [(11, 4), (11, 15), (11, 11)])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_weighted_sum_of_squares_is_least(shape, columns, dtype, ridge):
    A, b = problem(dtype, shape, columns)
    result = eagle.lstsq(A, b, weights=WEIGHTS, ridge=ridge, rng=0)
    wide = np.result_type(dtype, np.float64)
    truth = by_lapack(A.astype(wide), b.astype(wide), WEIGHTS, ridge)
    assert relative_error(result.x, truth) <= tolerance(dtype, 1e4)
    assert result.x.dtype == dtype


@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_residual_norm_is_the_root_of_what_is_minimised(dtype, weighted, columns):
    A, b = problem(dtype, columns=columns)
    weights = WEIGHTS if weighted else None
    result = eagle.lstsq(A, b, weights=weights, rng=0)
    rows = np.sqrt(WEIGHTS) if weighted else np.ones(11)
    residual = (A @ result.x - b).T * rows
    truth = np.linalg.norm(residual, axis=-1)
    assert relative_error(result.residual_norm, truth) <= tolerance(dtype)
    assert isinstance(result.residual_norm, float) == (columns is None)
    numpys = np.linalg.lstsq(A, b, rcond=None)[1]
    if not weighted:
        assert relative_error(np.atleast_1d(result.residual_norm) ** 2, numpys) <= tolerance(dtype)
    assert pickle.loads(pickle.dumps(result)).residual_norm == pytest.approx(result.residual_norm)


def test_residual_norm_is_for_least_squares_and_does_not_overflow():
    A, b = problem()
    assert eagle.solve(A, np.eye(4), b[:, None], rng=0).residual_norm is None
    huge = eagle.lstsq(1e250 * A, 1e250 * b, rng=0)
    truth = eagle.lstsq(A, b, rng=0).residual_norm
    assert huge.residual_norm == pytest.approx(1e250 * truth)


def test_integer_weights_repeat_rows():
    A, b = problem()
    counts = np.array([1, 2, 0, 3, 1, 1, 4, 1, 2, 1, 1])
    repeated = eagle.lstsq(np.repeat(A, counts, axis=0), np.repeat(b, counts), rng=0)
    result = eagle.lstsq(A, b, weights=counts, rng=0)
    assert relative_error(result.x, repeated.x) <= tolerance(float, 1e2)
    assert result.residual_norm == pytest.approx(repeated.residual_norm)


@pytest.mark.parametrize("kind", ["sparse", "operator", "mapped", "list"])
def test_whatever_lstsq_takes_may_have_weights(kind, tmp_path):
    A, b = problem()
    np.save(tmp_path / "A.npy", A)
    given = {
        "sparse": scipy.sparse.csr_array(A),
        "operator": aslinearoperator(A),
        "mapped": np.load(tmp_path / "A.npy", mmap_mode="r"),
        "list": A.tolist(),
    }[kind]
    result = eagle.lstsq(given, b, weights=WEIGHTS.tolist(), rtol=1e-12, method="auto", rng=0)
    truth = by_lapack(A, b, WEIGHTS)
    assert relative_error(result.x, truth) <= tolerance(float, 1e4)
    residual = np.linalg.norm(np.sqrt(WEIGHTS) * (A @ truth - b))
    assert result.residual_norm == pytest.approx(residual)


def test_batches_broadcast():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((5, 1, 11, 4)), rng.standard_normal((3, 11, 2))
    weights = rng.uniform(0.1, 2, (3, 11))
    result = eagle.lstsq(A, b, weights=weights, rng=0)
    assert result.x.shape == (5, 3, 4, 2)
    assert result.residual_norm.shape == (5, 3, 2)
    for i, j in np.ndindex(5, 3):
        truth = by_lapack(A[i, 0], b[j], weights[j])
        assert relative_error(result.x[i, j], truth) <= tolerance(float, 1e3)


def test_arrays_of_other_libraries():
    torch = pytest.importorskip("torch")
    A, b = problem()
    tensors = torch.from_numpy(A).requires_grad_(), torch.from_numpy(b)
    truth = by_lapack(A, b, WEIGHTS)
    for weights in (WEIGHTS, torch.from_numpy(WEIGHTS), WEIGHTS.tolist()):
        result = eagle.lstsq(*tensors, weights=weights, rng=0)
        assert relative_error(result.x.detach(), truth) <= tolerance(float, 1e4)
    result.x.sum().backward()
    root = torch.from_numpy(np.sqrt(WEIGHTS))
    other = torch.from_numpy(A).requires_grad_()
    (torch.linalg.pinv(root[:, None] * other) @ (root * tensors[1])).sum().backward()
    assert relative_error(tensors[0].grad, other.grad) <= tolerance(float, 1e4)
    strict = pytest.importorskip("array_api_strict")
    result = eagle.lstsq(strict.asarray(A), strict.asarray(b), weights=WEIGHTS, rng=0)
    assert relative_error(np.from_dlpack(result.x), truth) <= tolerance(float, 1e4)
    assert float(result.residual_norm) > 0


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (-WEIGHTS, ValueError, r"weights must be at least 0, got -3 in row 0"),
        (0 * WEIGHTS, ValueError, r"weights are all zero, so that no row counts"),
        (
            WEIGHTS[:5],
            ValueError,
            r"weights with shape \(5,\) must have one entry for each of the 11",
        ),
        (3.0, ValueError, r"weights with shape \(\) must have one entry"),
        (WEIGHTS * np.nan, ValueError, r"weights with shape \(11,\) contain NaN or infinity"),
        (WEIGHTS * 1j, TypeError, r"weights must be real numbers, got dtype complex128"),
        (["a"] * 11, TypeError, r"weights must be real numbers, got dtype <U1"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, error, message):
    with pytest.raises(error, match=f"^{message}"):
        eagle.lstsq(*problem(), weights=weights)


def test_weights_belong_to_lstsq():
    given = system("tall")
    with pytest.raises(TypeError, match=r"^pinv\(\) got an unexpected keyword argument 'weights'$"):
        eagle.pinv(given.A, weights=WEIGHTS)
