"""Every method gives the value of the pooled data, however they are split."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
import eagle.distributed as many
from eagle.distributed.session import Session
from tests.distributed.machines import (
    ITERATIVE,
    PROJECTORS,
    REDUCTIONS,
    SIZES,
    simulate,
    split,
    uneven,
)
from tests.systems import DTYPES, KINDS, quietly, system
from tests.tolerances import relative_error, tolerance

METHODS = (*ITERATIVE, *REDUCTIONS)
FACTOR = 10  # the truth is at most this times the estimate


def test_there_is_a_test_for_every_method():
    assert set(METHODS) == set(many.METHODS)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", SIZES)
def test_the_value_is_that_of_the_pooled_data(name, size):
    case = system((13, 40), condition=10, seed=size)
    A, B = split(case, uneven(40, size))
    result = simulate(A, B, case.C, method=name, rng=0)
    assert result.converged, result
    error = relative_error(result.value, case.value)
    assert error <= 1e-9
    assert error <= FACTOR * result.error_estimate + tolerance(float)
    assert result.rounds > 0
    assert result.bytes_sent > 0


@pytest.mark.parametrize("name", [*METHODS, "auto"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept(name, dtype):
    case = system((9, 21), condition=4, dtype=dtype)
    A, B = split(case, [8, 15])
    result = simulate(A, B, case.C, method=name, rng=0)
    assert result.value.dtype == dtype
    assert result.converged, result
    assert relative_error(result.value, case.value) <= max(
        1e-9, tolerance(dtype, 100 if name == "gram" else 20)
    )


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "rank"), [((9, 30), None), ((9, 30), 5), ((20, 12), None)])
def test_inconsistent_blocks_and_rank_deficient_ones(name, kind, shape, rank):
    """Never biased: converged means the value of the pooled data, to what was asked for."""
    case = system(shape, rank=rank, condition=5, kind=kind)
    A, B = split(case, [shape[1] // 4, shape[1] // 2])
    result = simulate(A, B, case.C, method=name, rng=0, rtol=1e-8)
    error = relative_error(result.value, case.value)
    assert error <= FACTOR * result.error_estimate + tolerance(float, 10)
    # A Gram matrix cannot tell small directions from none: there it may doubt a right value.
    assert result.converged or (name == "gram" and (rank is not None or shape[0] > shape[1]))
    assert error <= 1e-7


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_give_equal_results_and_machines_agree(name):
    case = system((13, 30), condition=10)
    A, B = split(case, [4, 19])

    def work(comm):
        return many.solve(A[comm.rank], B[comm.rank], case.C, comm=comm, method=name, rng=3)

    first = many.run_local(3, work)
    second = many.run_local(3, work)
    for result in first[1:]:
        np.testing.assert_array_equal(result.value, first[0].value)
        assert result.rounds == first[0].rounds
        assert result.error_estimate == first[0].error_estimate
        assert result.status is first[0].status
    # Factorisations depend on where arrays lie in memory, in their last bits, and so may the last
    # iteration; ten times the 1e-10 that each of the two aims at covers both.
    assert relative_error(second[0].value, first[0].value) <= 1e-9


@pytest.mark.parametrize("name", METHODS)
def test_serial_equals_one_machine(name):
    case = system((13, 30), condition=10)
    options = {"method": name, "rng": 0, "maxiter": 3}
    serial = quietly(many.solve, case.A, case.B, case.C, comm=many.SerialComm(), **options)
    local = simulate([case.A], [case.B], case.C, **options)
    # The normal equations square the condition number.
    assert relative_error(serial.value, local.value) <= tolerance(float, 10**2)
    assert (serial.rounds, serial.bytes_sent) == (local.rounds, local.bytes_sent)


@pytest.mark.parametrize("name", METHODS)
def test_inputs_are_not_written_to(name):
    case = system((7, 16), condition=3)
    A, B = split(case, [5])
    kept = [array.copy() for array in (*A, *B, case.C)]
    simulate(A, B, case.C, method=name, rng=0)
    for array, before in zip((*A, *B, case.C), kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("name", [*METHODS, "auto"])
def test_more_machines_than_columns(name):
    case = system((6, 3), condition=3)
    A, B = split(case, [1, 1, 2, 2, 3])
    assert sum(block.shape[1] == 0 for block in A) == 3
    result = simulate(A, B, case.C, method=name, rng=0, rtol=1e-8)
    assert relative_error(result.value, case.value) <= 1e-7


@pytest.mark.parametrize("name", [*METHODS, "auto"])
def test_zero_and_empty_problems_have_the_answer_of_pinv(name):
    d, n = 4, 6
    A, B, C = np.zeros((d, n)), np.ones((2, n)), np.ones((d, 3))
    for cut in (0, 2):
        result = simulate([A[:, :cut], A[:, cut:]], [B[:, :cut], B[:, cut:]], C, method=name, rng=0)
        np.testing.assert_array_equal(result.value, np.zeros((2, 3)))
        assert result.converged
        assert result.inconsistency == 1
    for rows, columns in ((0, 3), (2, 0)):
        X = np.ones((d, n))
        result = simulate([X], [np.ones((rows, n))], np.ones((d, columns)), method=name, rng=0)
        assert result.value.shape == (rows, columns)
        assert result.converged
    result = simulate([X[:, :0]] * 2, [B[:, :0]] * 2, C, method=name, rng=0)
    np.testing.assert_array_equal(result.value, np.zeros((2, 3)))


@pytest.mark.parametrize("name", METHODS)
def test_entries_near_the_ends_of_the_range(name):
    case = system((5, 12), condition=3)
    for a, b, c in ((290, 290, -280), (-290, -290, 0), (250, 0, 300)):
        A, B = split(case, [4])
        result = simulate(
            [block * 10.0**a for block in A],
            [block * 10.0**b for block in B],
            case.C * 10.0**c,
            method=name,
            rng=0,
        )
        expected = case.value * 10.0 ** (b + c - a)
        assert result.converged
        assert relative_error(result.value, expected) <= 1e-9


@given(
    d=st.integers(1, 12),
    counts=st.lists(st.integers(0, 14), min_size=1, max_size=6).filter(any),
    rank=st.integers(1, 12),
    dtype=st.sampled_from([np.float64, np.complex128]),
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(["krylov", "tsqr", "compressed", "pooled", "eagle", "cg"]),
    seed=st.integers(0, 100),
)
def test_whatever_the_split(d, counts, rank, dtype, kind, name, seed):
    n = sum(counts)
    rank = min(rank, d, n)
    case = system((d, n), rank=rank, condition=8, dtype=dtype, kind=kind, seed=seed)
    A, B = split(case, list(np.cumsum(counts)[:-1]))
    result = simulate(A, B, case.C, method=name, rng=seed, rtol=1e-8, maxiter=3000)
    error = relative_error(result.value, case.value)
    assert error <= FACTOR * result.error_estimate + tolerance(float, 100)


def test_a_result_prints_what_the_network_did():
    case = system((5, 12), condition=3)
    result = many.simulate([case.A[:, :4], case.A[:, 4:]], [case.B[:, :4], case.B[:, 4:]], case.C)
    text = str(result)
    assert text.startswith("eagle.distributed.Result: 3 x 2 float64, CONVERGED\n")
    assert f"{result.rounds} rounds, {result.bytes_sent} bytes per machine" in text
    assert "nan" not in text
    assert isinstance(result, eagle.Result)


def test_a_failure_warns_once_or_raises():
    shards = many.shards_with_diversity(0.01, 3, d=30, rng=0)
    arguments = (shards.A, shards.B, shards.C)
    with pytest.warns(eagle.ConvergenceWarning, match="MAX_ITERATIONS after") as caught:
        result = many.simulate(*arguments, method="eagle", maxiter=5, rng=0)
    assert len(caught) == 1
    assert result.iterations == 5
    with pytest.raises(eagle.ConvergenceError) as failure:
        many.simulate(*arguments, method="eagle", maxiter=5, rng=0, raise_on_failure=True)
    np.testing.assert_array_equal(failure.value.result.value, result.value)


def test_a_time_limit_stops_all_machines_in_the_same_round(monkeypatch):
    shards = many.shards_with_diversity(1e-4, 3, d=30, rng=0)

    def work(comm):
        try:
            many.solve(
                shards.A[comm.rank], shards.B[comm.rank], shards.C, comm=comm, method="eagle",
                time_limit=0.1 * (comm.rank + 1), raise_on_failure=True,
            )  # fmt: skip
        except eagle.ConvergenceError as failure:
            return failure.result

    with pytest.raises(ValueError, match="time limit"):
        many.run_local(3, work)

    # On the clock of one machine alone the limit passes, after seven readings.
    readings = itertools.count()
    late = property(lambda self: 100.0 if self.comm.rank == 1 and next(readings) > 6 else 0.0)
    monkeypatch.setattr(Session, "elapsed", late)

    def same(comm):
        with pytest.raises(eagle.ConvergenceError) as failure:
            many.solve(
                shards.A[comm.rank], shards.B[comm.rank], shards.C, comm=comm, method="eagle",
                time_limit=10.0, raise_on_failure=True,
            )  # fmt: skip
        return failure.value.result

    results = many.run_local(3, same)
    assert {result.status for result in results} == {eagle.Status.TIME_LIMIT}
    (iterations,) = {result.iterations for result in results}
    assert 1 < iterations < 10


@pytest.mark.parametrize("name", PROJECTORS)
def test_single_precision_stops_at_its_own_default(name):
    shards = many.shards_with_diversity(0.3, 4, d=40, dtype=np.float32, condition=5, rng=0)
    result = simulate(shards.A, shards.B, shards.C, method=name, rng=0)
    assert result.converged, result
    assert shards.error(result.value) <= tolerance(np.float32, 20)


@pytest.mark.parametrize("name", [*ITERATIVE, *REDUCTIONS])
@pytest.mark.parametrize("power", [-40, -20, 20, 40])
def test_the_unit_of_A_does_not_matter(name, power):
    shards = many.shards_with_diversity(0.3, 3, d=12, columns=16, condition=3, noise=0.1, rng=0)
    blocks = [np.ldexp(block, power) for block in shards.A]
    result = simulate(blocks, shards.B, shards.C, method=name, rng=0)
    assert result.converged
    assert shards.error(np.ldexp(result.value, power)) <= 1e-10
