"""Second opinions: what probes cannot see is in the estimate all the same."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle import Direct, Eagle, Status
from eagle.problem.blocks import Problem
from eagle.run import batch as batches
from eagle.run import opinions
from tests.systems import quietly, stacks, system
from tests.tolerances import relative_error, tolerance


@pytest.mark.parametrize("condition", [3, 300, 3e4])
@pytest.mark.parametrize("method", ["auto", "eagle", Direct("gelsy", kernel="numba")])
def test_of_many_that_misfit_on_both_sides_the_estimate_is_that_of_each(method, condition):
    """What rounding does to the answer is one formula, with an SVD or a decomposition."""
    systems = [
        system("tall", rank=4, condition=condition, kind="inconsistent", seed=seed)
        for seed in range(batches.MANY)
    ]
    many = eagle.solve(*stacks(systems), method=method, rng=0)
    for one, each in list(zip(many.results, systems, strict=True))[::20]:
        alone = eagle.solve(each.A, each.B, each.C, method="direct", rng=0)
        cod = eagle.solve(each.A, each.B, each.C, method=Direct("cod"), rng=0)
        assert relative_error(one.value, each.value) <= 10 * one.error_estimate
        assert cod.error_estimate / 10 <= one.error_estimate <= 10 * cod.error_estimate
        assert alone.error_estimate >= cod.error_estimate


@pytest.mark.parametrize("kind", ["inconsistent B", "inconsistent C"])
def test_of_many_that_misfit_on_one_side_the_condition_counts_once(kind):
    """Its square comes with what both sides leave: of the other one nothing is left."""
    count, condition = batches.MANY, 1e5
    systems = [
        system("tall", rank=4, condition=condition, kind=kind, seed=seed) for seed in range(count)
    ]
    many = eagle.solve(*stacks(systems), method="eagle", rng=0)
    median = np.median([one.error_estimate for one in many.results])
    assert median <= tolerance(float, condition=condition)


@pytest.mark.parametrize("count", [3, batches.SOME, batches.MANY])
@pytest.mark.parametrize("ridge", [0.0, 2.0**-60])
def test_of_many_a_direction_in_small_units_is_no_noise(count, ridge):
    A = np.array([[3.0, 1.0], [1.0, 2.0]]) * np.array([1.0, 2.0**-60])
    eye = np.eye(2)
    wanted = np.linalg.inv(A.T @ A + ridge * eye) @ A.T
    wanted = np.linalg.inv(A) if not ridge else wanted
    auto = eagle.solve(np.stack([A] * count), eye, eye, ridge=ridge, rng=0)
    asked = quietly(
        eagle.solve, np.stack([A] * count), eye, eye, ridge=ridge, method=Eagle(), rng=0
    )
    for result in (auto, asked):
        for one in result.results:
            error = relative_error(one.value, wanted)
            assert error <= 10 * one.error_estimate
            assert one.converged or one.status is Status.STAGNATED
    assert auto.converged
    assert relative_error(auto.value[0], wanted) <= tolerance(float, 10)


def test_directions_that_scaling_would_round_away_are_kept():
    """The range of what is given is wider than that beside a largest entry of 1."""
    eye = np.eye(2)
    for A, B, wanted in [
        (np.diag([1e300, 1e-100]), eye, np.diag([1e-300, 1e100])),
        (np.diag([1e20, 1e-30]).astype(np.float32), eye, np.diag([1e-20, 1e30])),
        (np.diag([1e300, 1e-100]), np.array([[1e300, 1e-90]]), np.array([[1.0, 1e10]])),
        (np.diag([1e300, 1e-100]), 1e200 * eye, np.diag([1e-100, 1e300])),
    ]:
        result = quietly(eagle.solve, A, B.astype(A.dtype), eye.astype(A.dtype), rng=0)
        np.testing.assert_allclose(result.value, wanted, rtol=tolerance(A.dtype))
        assert result.rank == 2
        for method in ("gelsy", "svd"):
            other = quietly(
                eagle.solve, A, B.astype(A.dtype), eye.astype(A.dtype), method=Direct(method), rng=0
            )
            assert not other.converged


def design(d, seed):
    """A quadratic in years, counts beside, and y that does not fit: columns of unlike sizes."""
    rng = np.random.default_rng(seed)
    year = 1950.0 + np.sort(rng.integers(0, 75, d))
    columns = [np.ones(d), year, year**2, *rng.poisson(2000, (10, d)), np.arange(d)]
    A = np.stack(columns, axis=1)
    return A, A.sum(axis=1, keepdims=True) + 1e5 * rng.standard_normal((d, 1))


@pytest.mark.parametrize("method", [Eagle("cholesky"), Eagle(), Direct("gelsy"), Direct("gelsd")])
@pytest.mark.parametrize("wide", [False, True])
def test_of_a_thin_design_of_any_size_a_converged_value_has_its_error(method, wide):
    """Probes see errors of the method, not what units and misfits make of rounding."""
    exact = pytest.importorskip("benchmarks.fuzz.exact", reason="it takes python-flint")
    excess = []
    for seed in range(7):
        A, y = design(3000, seed)
        assert not opinions.is_cheap(Problem.create(A, None, y))
        x = exact.given(A, None, y)
        if wide:
            result = quietly(eagle.estimate, A.T, y.T, method=method, rng=0)
        else:
            result = quietly(eagle.lstsq, A, y, method=method, rng=0)
        error = relative_error(result.value.reshape(x.shape), x)
        assert error <= 10 * result.error_estimate
        excess.append(result.error_estimate / error if result.converged else 1.0)
    assert np.median(excess) <= 1e3  # one error alone may be small by luck


@pytest.mark.parametrize("method", [Eagle("cholesky"), Direct("gelsy"), Direct("gelsd")])
def test_two_opinions_that_agree_are_a_small_error(method):
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((3000, 14)), rng.standard_normal((3000, 1))
    assert not opinions.is_cheap(Problem.create(A, None, y))
    result = eagle.lstsq(A, y, method=method, rng=0)
    assert result.converged
    assert result.error_estimate <= 1e3 * np.finfo(float).eps * np.linalg.cond(A)


def test_a_second_opinion_takes_less_than_the_method_took():
    A = np.random.default_rng(0).standard_normal((400, 50))
    problem = Problem.create(A, None, None)
    once = 2.0 * A.size * 50
    assert opinions.is_worth_it(problem, once)
    assert not opinions.is_worth_it(problem, once / 2)
    assert opinions.is_worth_it(problem, once, 2**23)
    assert not opinions.is_worth_it(problem, once, A.nbytes)  # there is no room for it
    assert not opinions.is_worth_it(Problem.create(A[:60], None, None), 1e9)  # it is not thin
