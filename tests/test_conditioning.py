"""Conditioning does to singular values what its formula says, and to nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from eagle.algebra import blas
from eagle.methods.eagle.conditioning import LIFT, Cholesky, Polynomial
from eagle.methods.eagle.schedule import Constant, Minimax, largest
from tests.systems import DTYPES, normal, orthonormal
from tests.tolerances import relative_error, tolerance

over_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def blocks(s, dtype, rows=3, seed=0):
    """``U, V`` of an A with these singular values, A itself, and B in its row space."""
    rng = np.random.default_rng(seed)
    U, V = orthonormal(rng, len(s) + 5, len(s), dtype), orthonormal(rng, len(s), len(s), dtype)
    A = np.array((U * s) @ V.conj().T, dtype=dtype, order="F")
    B = np.array(normal(rng, (rows, len(A)), dtype) @ A, dtype=dtype, order="F")
    return U, V, A, B


def applied(conditioner, A, B, lower, rho):
    """``A Q`` and ``B Q``; the rest of what `apply` returns."""
    gram = blas.gram(A, out=np.zeros((A.shape[1],) * 2, A.dtype, order="F"))
    spare = np.empty_like(A) if isinstance(conditioner, Polynomial) else np.empty((0, 0), A.dtype)
    new, B, _, expected = conditioner.apply(A.copy(order="F"), B.copy(), gram, spare, 0, lower, rho)
    return new, B, expected


@over_dtypes
@pytest.mark.parametrize("schedule", [Minimax(), Constant(1 / 3, 1.0), Constant(0.5, 1.0)])
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_polynomial_step_is_its_formula(schedule, size, dtype):
    """``Q = (I - eta rho A^H A) sqrt(rho) / mu``, which keeps A's singular vectors."""
    s = np.array([1.0, 0.7, 0.3, 0.05])
    U, V, A, B = blocks(size * s, dtype)
    conditioner = Polynomial(schedule)
    eta, _ = conditioner.pair(0.05)
    new, other, expected = applied(conditioner, A, B, 0.05, size**-2)
    mapped = s * (1 - eta * s**2) / largest(eta)
    assert relative_error(new, (U * mapped) @ V.conj().T) <= tolerance(dtype)
    Q = (V * (mapped / (size * s))) @ V.conj().T
    assert relative_error(other, B.astype(Q.dtype) @ Q) <= tolerance(dtype)
    assert expected == pytest.approx(min(mapped), rel=1e-12)
    assert conditioner.original(expected) == pytest.approx(0.05, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize(("size", "least", "count"), [(1.0, 1e-3, 6), (3.0, 1e-2, 5)])
def test_steps_in_single_precision_are_their_formula(size, least, count, dtype):
    """As many as it says; what rounding does to Q is done to A and to B."""
    s = np.geomspace(1, least, 12)
    U, V, A, B = blocks(size * s, dtype)
    W = B @ (V / (size * s)) @ U.conj().T
    conditioner = Polynomial(Minimax())
    new, other, steps = conditioner.apply_single(A, B, 0, 0.0, size**-2)
    assert steps == len(conditioner.lifts) == count
    mapped = s
    for eta in conditioner.lifts:
        mapped = mapped * (1 - eta * mapped**2) / largest(eta)
    assert 1 / conditioner.growth == pytest.approx(np.prod(largest(np.array(conditioner.lifts))))
    assert relative_error(new, (U * mapped) @ V.conj().T) <= tolerance(
        np.float32, conditioner.growth
    )
    assert relative_error(other, W @ new) <= tolerance(dtype, conditioner.growth)


def test_the_last_lift_is_that_of_the_last_step():
    _, _, A, B = blocks(np.array([1.0, 0.5, 1e-4]), float)
    conditioner = Polynomial(Minimax())
    for lower in (0.0, 0.0, 0.6):  # each with another eta
        before = np.linalg.svd(A, compute_uv=False)[-1]
        A, B, _ = applied(conditioner, A, B, lower, 1.0)
        lift = np.linalg.svd(A, compute_uv=False)[-1] / before
    assert len(set(conditioner.lifts)) == 3
    assert conditioner.last_lift == pytest.approx(lift, rel=1e-4)


@pytest.mark.parametrize("eta", [0.2, 1 / 3, 0.4, 1 / 1.9, 0.9])
def test_the_top_is_where_singular_values_stay(eta):
    top = Polynomial(Constant(eta, 1.0), lifts=[eta]).top
    assert 0 < top <= 1
    assert top * (1 - eta * top**2) / largest(eta) == pytest.approx(top, rel=1e-14)


@over_dtypes
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_cholesky_step_is_its_formula_and_remembers_the_smallest(size, dtype):
    """``R^H R = A^H A + shift I``: ``s -> s / sqrt(s^2 + shift)``, and W stays."""
    s = np.array([1.0, 0.8, 0.5, 0.02])
    U, V, A, B = blocks(size * s, dtype)
    B[0] = V[:, -1].conj()  # a probe of the smallest alone, which is exact
    conditioner = Cholesky(lifts=[0.5])
    new, other, expected = applied(conditioner, A, B, 0.02 / LIFT, size**-2)
    first, shift = conditioner.lifts
    assert shift == pytest.approx(0.02**2, rel=1e-6)
    rounding = tolerance(dtype, 1 / shift)  # of a Gram matrix, relative to its smallest eigenvalue
    mapped = s / np.sqrt(s**2 + shift)
    assert np.linalg.svd(new, compute_uv=False) == pytest.approx(mapped, rel=rounding)
    W = B.astype(V.dtype) @ (V / (size * s)) @ U.conj().T
    assert relative_error(other, W @ new) <= tolerance(dtype, 1 / 0.02)
    assert expected is None
    assert conditioner.growth == pytest.approx(1 / shift**0.5, rel=1e-6)
    before = np.sqrt(first * 0.02**2 / (1 - 0.02**2))
    assert conditioner.original(1.0) == pytest.approx(before, rel=rounding)


def test_cholesky_steps_are_undone_in_the_order_that_they_were_done():
    conditioner, s = Cholesky(lifts=[1e-8, 1e-2]), 1e-6
    image = s
    for shift in conditioner.lifts:
        image = image / np.sqrt(image**2 + shift)
    assert image < 0.5**0.5
    assert conditioner.original(image) == pytest.approx(s, rel=1e-12, abs=0)
