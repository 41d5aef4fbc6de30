"""Options mean what they mean on one machine, or are refused by all machines before any work."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
import eagle.distributed as many
from eagle.distributed.session import Session
from tests.distributed.machines import ITERATIVE, PROJECTORS, REDUCTIONS, simulate, split, uneven
from tests.systems import system
from tests.tolerances import relative_error, tolerance

POOLED = ("gd", "cg", "pooled", "seminormal")


@pytest.fixture
def case():
    return system((9, 30), condition=5, kind="inconsistent B")


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", [*POOLED, *REDUCTIONS, "auto"])
@pytest.mark.parametrize("ridge", [1e-3, 0.7, 1e3])
@pytest.mark.parametrize("size", [1, 3, 12])
def test_a_ridge(name, ridge, size, case):
    A, B = split(case, uneven(30, size))
    result = simulate(A, B, case.C, method=name, ridge=ridge, rng=0)
    inverse = np.linalg.inv(case.A @ case.A.T + ridge * np.eye(9))
    truth = case.B @ case.A.T @ inverse @ case.C
    assert result.converged, result
    error = relative_error(result.value, truth)
    assert error <= min(1e-9, 10 * result.error_estimate + tolerance(float))


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", [*POOLED, *REDUCTIONS, "auto"])
def test_a_ridge_is_in_the_units_of_the_data(name, case):
    """Blocks far from one are scaled before anybody works with them."""
    A, B = split(case, [7, 20])
    values = [
        simulate([np.ldexp(X, power) for X in A], B, case.C, method=name, rng=0,
                 ridge=float(np.ldexp(0.7, 2 * power))).value
        for power in (0, 120)
    ]  # fmt: skip
    assert relative_error(np.ldexp(values[1], 120), values[0]) <= 1e-9


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", [*REDUCTIONS, "auto"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("option", ["rank", "cutoff"])
def test_truncation(name, ridge, option, case):
    A, B = split(case, [7, 20])
    U, s, Vh = np.linalg.svd(case.A, full_matrices=False)
    value = 4 if option == "rank" else (s[3] + s[4]) / 2 / s[0]
    result = simulate(A, B, case.C, method=name, ridge=ridge, rng=0, **{option: value})
    truth = case.B @ (Vh[:4].T * (s[:4] / (s[:4] ** 2 + ridge))) @ U[:, :4].T @ case.C
    assert result.converged, result
    assert relative_error(result.value, truth) <= 1e-10
    if not ridge:
        assert result.rank == 4


@pytest.mark.parametrize("name", ITERATIVE)
def test_what_a_method_cannot_honour_is_refused_by_all_with_the_same_words(name, case):
    refused = {"rank": 3, "cutoff": 0.1} | ({"ridge": 1.0} if name in PROJECTORS else {})

    def work(comm):
        said = []
        for option, value in refused.items():
            with pytest.raises(ValueError, match="cannot honour it") as caught:
                many.solve(case.A, case.B, case.C, comm=comm, method=name, **{option: value})
            said.append(str(caught.value))
        assert comm.rounds == len(refused)  # the agreements
        return said

    first, *others = many.run_local(3, work)
    assert others == [first] * 2
    for option, message in zip(refused, first, strict=True):
        start = f"rank 0: {option}: method {name!r} cannot honour it; use 'auto' or one of "
        assert message.startswith(start)


def test_one_reduction_has_nothing_for_a_checkpoint(case, tmp_path):
    with pytest.raises(ValueError, match="checkpoint: with rank there is one reduction"):
        many.simulate([case.A], [case.B], case.C, rank=2, checkpoint=tmp_path)
    result = simulate([case.A], [case.B], case.C, ridge=1.0, checkpoint=tmp_path, rng=0)
    assert result.method == "pooled"


@pytest.mark.parametrize("name", ["eagle", "krylov", "cg"])
def test_a_callback_of_one_machine_stops_all_in_the_same_round(name):
    shards = many.shards_with_diversity(0.01, 3, d=30, rng=0)
    seen = []

    def work(comm):
        def callback(snapshot):
            seen.append(snapshot)
            return snapshot.iteration == 4

        mine = callback if comm.rank == 1 else None
        return many.solve(
            shards.A[comm.rank], shards.B[comm.rank], shards.C, comm=comm, method=name, rng=0,
            callback=mine, raise_on_failure=True,
        )  # fmt: skip

    results = many.run_local(3, work)
    assert {result.status for result in results} == {eagle.Status.STOPPED_BY_CALLBACK}
    assert {result.iterations for result in results} == {5}  # one round later
    assert [snapshot.iteration for snapshot in seen] == [1, 2, 3, 4, 5]
    assert not seen[0].value.any()
    np.testing.assert_array_equal(seen[-1].value, results[0].value)


@pytest.mark.parametrize("name", [*ITERATIVE, *REDUCTIONS, "auto"])
def test_a_callback_sees_every_iteration_and_changes_nothing(name):
    shards = many.shards_with_diversity(0.3, 3, d=20, rng=0)
    seen = []
    plain, watched = (
        simulate(shards.A, shards.B, shards.C, method=name, rng=0, callback=callback)
        for callback in (None, seen.append)
    )
    assert len(seen) == watched.iterations or (name == "compressed" and len(seen) == 1)
    np.testing.assert_array_equal(plain.value, watched.value)


def test_progress_draws_one_bar(case, capsys):
    A, B = split(case, [7, 20])
    many.simulate(A, B, case.C, method="cg", progress=True, rng=0)
    drawn = capsys.readouterr().err
    assert "distributed cg" in drawn
    assert "iterations" in drawn


@pytest.mark.usefixtures("apart")
def test_a_sketch_out_of_time_grows_no_further_and_is_not_called_converged(monkeypatch):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((80, 200)), rng.standard_normal((2, 200))
    blocks = np.split(A, 2, axis=1), np.split(B, 2, axis=1)
    monkeypatch.setattr(Session, "elapsed", property(lambda self: 5.0))
    result = simulate(
        *blocks, rng.standard_normal((80, 2)), method="compressed", time_limit=1.0, rng=0
    )
    assert result.status is eagle.Status.TIME_LIMIT
    assert result.iterations == 1
    assert result.error_estimate > 0.1
