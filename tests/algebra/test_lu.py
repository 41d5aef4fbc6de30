"""Many small square problems by elimination, and what each says about itself."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle.algebra.lu import SIZES, eliminated
from eagle.methods import elimination
from eagle.problem.options import Options
from eagle.run import batch
from eagle.run.batch import MANY, SHORT
from tests.algebra.test_qr import stacked
from tests.systems import DTYPES, KINDS, normal
from tests.tolerances import relative_error, tolerance

LU = eagle.Direct("lu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given_b", [False, True])
def test_sizes_are_the_norms_that_they_are_named_by(dtype, given_b):
    rng = np.random.default_rng(0)
    A, B, C = (
        normal(rng, shape, dtype).astype(dtype) for shape in ((3, 7, 7), (3, 2, 7), (3, 7, 3))
    )
    A[1, :, 0] = 0
    G = elimination.gaussian(rng, 7, np.dtype(dtype))
    value, sizes = eliminated(A, B if given_b else None, C, G)
    assert tuple(sizes) == SIZES
    assert np.isnan([sizes[name][1] for name in SIZES]).all()
    for i in (0, 2):
        inverse = np.linalg.inv(A[i].astype(np.complex128))
        b = B[i] if given_b else np.eye(7)
        x = np.linalg.norm(inverse @ C[i], axis=1)
        w = np.sqrt(np.abs(A[i]) ** 2 @ x**2 + np.linalg.norm(C[i], axis=1) ** 2)
        known = {
            "hidden": b @ inverse @ C[i],
            "moved": b @ inverse @ (w[:, None] * G),
            "scaled": b * x,
            "A": A[i],
            "inverse": inverse @ G,
            "B": B[i] if given_b else np.ones((1, 1)),
            "C": C[i],
        }
        limit = tolerance(dtype, float(np.linalg.cond(A[i])))
        for name, X in known.items():
            assert sizes[name][i] == pytest.approx(np.linalg.norm(X), rel=limit)
        assert relative_error(value[i], known["hidden"]) <= limit
        residual = b @ inverse @ (C[i] - A[i] @ (inverse @ C[i]))
        assert sizes["computed"][i] <= limit * sizes["hidden"][i] + np.linalg.norm(residual)


@pytest.mark.parametrize("n", [12, SHORT + 1, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_singular_ones_among_many_are_answered_as_numpy_does(n, kind):
    count = 2 * MANY if n <= 12 else 6
    many = stacked(count, (n, n), ranks=(None, n - 5), condition=10, kind=kind)
    result = eagle.solve(many["A"], many["B"], many["C"], rng=0)
    assert result.converged
    for place, (one, truth) in enumerate(zip(result.results, many["value"], strict=True)):
        assert (one.method == LU) == (place % 2 == 0)
        assert one.rank == (n if place % 2 == 0 else n - 5)
        error = relative_error(one.value, truth)
        assert error <= tolerance(float, 1e3)
        assert error <= 10 * one.error_estimate + tolerance(float, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, SHORT, SHORT + 1])
def test_every_function_solves_nonsingular_stacks_by_elimination(n, dtype):
    rng = np.random.default_rng(n)
    A = normal(rng, (MANY, n, n), dtype).astype(dtype) + 2 * n**0.5 * np.eye(n, dtype=dtype)
    B, C = normal(rng, (MANY, 2, n), dtype).astype(dtype), normal(rng, (n, 3), dtype).astype(dtype)
    inverse = np.linalg.inv(A.astype(np.complex128))
    found = {
        "solve": (eagle.solve(A, B, C, rng=0), B @ inverse @ C),
        "lstsq": (eagle.lstsq(A, C, rng=0), inverse @ C),
        "estimate": (eagle.estimate(A, B, rng=0), B @ inverse),
    }
    for result, truth in found.values():
        assert result.method == LU
        assert result.value.dtype == dtype
        for one, wanted in zip(result.results, truth, strict=True):
            error = np.linalg.norm(one.value - wanted) / np.linalg.norm(wanted)
            assert error <= min(10 * one.error_estimate, tolerance(dtype, 100))


def test_equal_seeds_give_equal_results_whatever_the_number_of_threads(monkeypatch):
    import numba

    rng = np.random.default_rng(0)
    A, C = rng.standard_normal((500, 5, 5)), rng.standard_normal((500, 5, 1))
    one = eagle.lstsq(A, C, rng=3)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    other = eagle.lstsq(A, C, rng=3)
    assert np.array_equal(one.value, other.value)
    assert [r.error_estimate for r in one.results] == [r.error_estimate for r in other.results]


def test_scales_are_each_matrix_its_own():
    rng = np.random.default_rng(0)
    A, C = rng.standard_normal((MANY, 4, 4)), rng.standard_normal((MANY, 4, 1))
    plain = eagle.lstsq(A, C, rng=0)
    powers = np.ones((MANY, 1, 1))
    powers[3], powers[5] = 2.0**600, 2.0**-600
    scaled = eagle.lstsq(A * powers, C * powers, rng=0)
    assert np.array_equal(scaled.value, plain.value)
    assert scaled.converged
    A[7] = 0
    zero = eagle.lstsq(A, C, rng=0)
    assert not zero.value[7].any()
    assert zero.results[7].rank == 0


def test_the_kernels_rules_are_those_of_single_matrices():
    rng = np.random.default_rng(0)
    A, B, C = (rng.standard_normal(shape) for shape in ((5, 6, 6), (5, 2, 6), (5, 6, 4)))
    options = Options(rng=0)
    ours, theirs = (solve(A, B, C, options) for solve in (batch._compiled, batch._one_by_one))
    assert relative_error(ours[0], theirs[0]) <= tolerance(float, 1e3)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert ((one / other > 0.1) & (one / other < 10)).all()  # of four Gaussian columns each
