"""Leading dimensions: every matrix is solved as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle import ConvergenceWarning, Status
from tests.systems import DTYPES, quietly, system
from tests.tolerances import relative_error, tolerance


def batch(shape, **settings):
    """Systems of one shape in an array of them, and stacks of their blocks."""
    count = int(np.prod(shape))
    systems = [system("tall", seed=seed, **settings) for seed in range(count)]

    def stack(name):
        blocks = np.stack([getattr(each, name) for each in systems])
        return blocks.reshape(shape + blocks.shape[1:])

    return {name: stack(name) for name in ("A", "B", "C", "pinv", "value", "W")}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["auto", "eagle", "direct", "compressed", "sketched"])
def test_every_matrix_has_the_value_that_it_has_alone(method, dtype):
    many = batch((2, 3), condition=3, rank=5, dtype=dtype)
    result = eagle.solve(many["A"], many["B"], many["C"], method=method, rng=0)
    assert result.converged
    assert result.value.shape == (2, 3, 3, 2)
    assert result.value.dtype == dtype
    assert result.results.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert relative_error(result.value[index], many["value"][index]) <= tolerance(dtype, 10)
        assert np.array_equal(result.results[index].value, result.value[index])


def test_leading_dimensions_broadcast():
    many = batch((3,), condition=3)
    B = np.stack([many["B"][0], many["B"][1]])[:, None]
    result = eagle.solve(many["A"], B, many["C"][0], rng=0)
    assert result.value.shape == (2, 3, 3, 2)
    wanted = B[1, 0] @ many["pinv"][2] @ many["C"][0]
    assert relative_error(result.value[1, 2], wanted) <= tolerance(np.float64, 10)


def test_every_function_takes_batches():
    many = batch((4,), condition=3)
    A, B, C = many["A"], many["B"], many["C"]
    limit = tolerance(np.float64, 10)
    assert relative_error(eagle.pinv(A, rng=0), many["pinv"]) <= limit
    assert relative_error(eagle.estimate(A, B, rng=0).value, many["W"]) <= limit
    assert relative_error(eagle.lstsq(A, C, rng=0).value, many["pinv"] @ C) <= limit
    one = eagle.lstsq(A, C[0, :, 0], rng=0).value
    assert one.shape == (4, 11)
    assert relative_error(one, many["pinv"] @ C[0, :, 0]) <= limit
    K = np.swapaxes(A, 1, 2) @ A
    slices = eagle.nystrom(K, A, rng=0).value
    wanted = A @ np.linalg.solve(K, np.swapaxes(A, 1, 2))
    assert relative_error(slices, wanted) <= tolerance(np.float64, 100)
    with pytest.raises(ValueError, match=r"K_mm must be square, got shape \(4, 17, 11\)"):
        eagle.nystrom(A, A)


def test_scales_of_different_matrices_do_not_meet():
    """One norm for the batch would lose the small one."""
    given = system("tall", condition=100)
    A = np.stack([given.A * 1e-140, given.A, given.A * 1e140])
    B = np.stack([given.B * 1e-140, given.B, given.B * 1e140])
    result = eagle.solve(A, B, given.C, method="eagle", rng=0)
    for value in result.value:
        assert relative_error(value, given.value) <= tolerance(np.float64, 100)


def test_each_has_its_own_status_and_the_worst_is_told():
    easy, hard = system("tall", condition=1.5), system("tall", condition=1e4)
    blocks = [np.stack([getattr(each, name) for each in (easy, hard)]) for name in "ABC"]
    with pytest.warns(ConvergenceWarning, match=r"^1 of 2 problems; the first: GradientDescent"):
        result = eagle.solve(*blocks, method="gd", maxiter=300, rng=0)
    assert [each.status for each in result.results] == [Status.CONVERGED, Status.MAX_ITERATIONS]
    assert result.status is Status.MAX_ITERATIONS
    assert result.error_estimate == result.results[1].error_estimate
    assert result.iterations == 300
    with pytest.raises(eagle.ConvergenceError, match="1 of 2 problems"):
        eagle.solve(*blocks, method="gd", maxiter=300, rng=0, raise_on_failure=True)
    assert "2 x 3 x 2" in str(result)


def test_ranks_and_plans_are_told_together():
    full, deficient = system("tall", condition=3), system("tall", rank=4, condition=3)
    A = np.stack([full.A, deficient.A])
    result = eagle.lstsq(A, full.C, method="direct", rng=0)
    assert result.rank is None
    assert [each.rank for each in result.results] == [11, 4]
    assert result.plan == "2 x asked for: Direct"
    assert result.flops == sum(each.flops for each in result.results)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3)])
def test_an_empty_batch_has_an_empty_value(shape):
    A = np.zeros((*shape, 4, 3), np.float32)
    result = eagle.lstsq(A, np.ones(4, np.float32))
    assert result.value.shape == (*shape, 3)
    assert result.value.dtype == np.float32
    assert result.converged


def test_what_does_not_fit_is_refused_before_any_work():
    many = batch((3,), condition=3)
    with pytest.raises(ValueError, match=r"dimensions do not broadcast: A \(3,\), B \(2,\), C"):
        eagle.solve(many["A"], many["B"][:2], many["C"])
    bad = many["B"].copy()
    bad[2, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^B with shape \(3, 3, 11\) contains NaN"):
        eagle.solve(many["A"], bad, many["C"], callback=lambda state: pytest.fail("worked"))
    with pytest.raises(ValueError, match=r"^C with shape \(16, 2\) must have as many rows as A"):
        eagle.solve(many["A"], many["B"], many["C"][:, :-1])
    with pytest.raises(ValueError, match=r"^b with shape \(3, 16, 2\) must have as many rows"):
        eagle.lstsq(many["A"], many["C"][:, :-1])
    with pytest.raises(ValueError, match=r"^A must be 2-D or more, got shape \(3,\)"):
        eagle.pinv(np.ones(3))
    with pytest.raises(ValueError, match="rank must be at most 11"):
        eagle.pinv(many["A"], rank=12)


def test_equal_seeds_give_equal_batches_and_a_time_limit_is_for_all():
    many = batch((3,), condition=3)
    blocks = many["A"], many["B"], many["C"]
    first, second = (eagle.solve(*blocks, method="sketched", rng=5) for _ in range(2))
    assert np.array_equal(first.value, second.value)
    late = quietly(eagle.solve, *blocks, method="eagle", time_limit=1e-9)
    assert {each.status for each in late.results} == {Status.TIME_LIMIT}
