"""Leading dimensions: every matrix is solved as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
from eagle import ConvergenceWarning, Status
from eagle.run import batch as batches
from eagle.run import flow
from eagle.run.batch import SOME
from tests.systems import DTYPES, quietly, stacks, system
from tests.tolerances import relative_error, tolerance


def batch(shape, **settings):
    """Stacks of blocks, by name, with these leading dimensions."""
    systems = [system("tall", seed=seed, **settings) for seed in range(int(np.prod(shape)))]
    names = ("A", "B", "C", "pinv", "value", "W")
    blocks = zip(names, stacks(systems, names), strict=True)
    return {name: block.reshape(shape + block.shape[1:]) for name, block in blocks}


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


def test_each_has_its_own_status_and_the_worst_is_told():
    easy, hard = system("tall", condition=1.5), system("tall", condition=1e4)
    blocks = stacks((easy, hard))
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


def test_who_stops_one_problem_is_told_of_the_others():
    many = batch((3,), condition=100)
    answers = iter([True])
    with pytest.warns(ConvergenceWarning, match=r"^2 of 3 problems; .* MAX_ITERATIONS"):
        result = eagle.solve(
            many["A"],
            many["B"],
            many["C"],
            method="gd",
            maxiter=2,
            callback=lambda state: next(answers, False),
            rng=0,
        )
    statuses = [each.status for each in result.results]
    assert statuses == [Status.STOPPED_BY_CALLBACK, *[Status.MAX_ITERATIONS] * 2]


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


def together(count, shape, **settings):
    """Systems of one shape, and stacks of their blocks."""
    systems = [system(shape, seed=seed, **settings) for seed in range(count)]
    return systems, stacks(systems)


def no_single(*arguments):
    """In the place of what solves one problem."""
    pytest.fail("solved one by one")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", [{}, {"rank": 4}, {"cutoff": 0.1}, {"ridge": 0.2}])
@pytest.mark.parametrize("method", ["eagle", "direct", "auto"])
def test_spectral_options_of_many_are_those_of_each(method, option, dtype, monkeypatch):
    """By an SVD of each in double precision."""
    _, (A, B, C) = together(batches.MANY, "wide", condition=20, kind="inconsistent C", dtype=dtype)
    if method == "eagle" and option.keys() & {"rank", "cutoff"}:
        with pytest.raises(ValueError, match="cannot be honoured by Eagle"):
            eagle.pinv(A, method=method, **option)
        return
    monkeypatch.setattr(flow, "_single", no_single)
    U, s, Vh = np.linalg.svd(A.astype(np.result_type(dtype, np.float64)), full_matrices=False)
    kept = np.arange(s.shape[1]) < option.get("rank", s.shape[1])
    kept = kept & (s > option.get("cutoff", 0) * s[:, :1])
    weights = np.where(kept, s / (s**2 + option.get("ridge", 0.0)), 0)
    inverse = (np.swapaxes(Vh.conj(), 1, 2) * weights[:, None, :]) @ np.swapaxes(U.conj(), 1, 2)
    limit = tolerance(dtype, 20**2)
    for result, wanted in [
        (eagle.solve(A, B, C, method=method, rng=0, **option), B @ inverse @ C),
        (eagle.lstsq(A, C, method=method, rng=0, **option), inverse @ C),
        (eagle.lstsq(A, C[0, :, 0], method=method, rng=0, **option), inverse @ C[0, :, 0]),
        (eagle.estimate(A, B, method=method, rng=0, **option), B @ inverse),
    ]:
        assert result.converged
        assert result.value.dtype == dtype
        for one, truth in zip(result.results, wanted, strict=True):
            assert relative_error(one.value, truth) <= limit
        if option.keys() & {"rank", "cutoff"}:
            assert [one.rank for one in result.results] == kept.sum(axis=1).tolist()


def test_many_do_not_depend_on_threads_or_tiles(monkeypatch):
    import numba

    systems, blocks = together(40, "tall", condition=1e3)
    first = eagle.solve(*blocks, method="eagle", rng=3)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(batches, "CACHEFUL", 1000)
    second = eagle.solve(*blocks, method="eagle", rng=3)
    for one, other, each in zip(first.results, second.results, systems, strict=True):
        assert (one.iterations, one.status) == (other.iterations, other.status)
        assert len(one.history) == len(other.history)
        assert relative_error(one.value, each.value) <= tolerance(float, 10)
        assert relative_error(other.value, each.value) <= tolerance(float, 10)


def test_many_share_a_time_limit_and_are_watched_one_by_one():
    systems, blocks = together(SOME, "tall", condition=1e4)
    late = quietly(eagle.solve, *blocks, method="eagle", time_limit=1e-9, rng=0)
    assert {(one.status, one.iterations) for one in late.results} == {(Status.TIME_LIMIT, 1)}
    seen = []
    eagle.solve(*blocks, method="eagle", callback=lambda state: seen.append(state.value), rng=0)
    assert {value.shape for value in seen} == {(3, 2)}
    wanted = eagle.solve(*blocks, method="eagle", rtol=1e-5, rng=0)
    assert wanted.converged
    assert wanted.iterations < eagle.solve(*blocks, method="eagle", rng=0).iterations
    for one, each in zip(wanted.results, systems, strict=True):
        assert one.error_estimate <= 1e-5
        assert relative_error(one.value, each.value) <= 1e-4
