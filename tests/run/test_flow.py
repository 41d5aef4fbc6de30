"""From blocks to results, whatever their algebra: the same answers, endings and words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eagle
from eagle import Status
from tests.algebras import PLACES
from tests.systems import DTYPES, KINDS, SHAPES, system
from tests.tolerances import relative_error, tolerance

METHODS = ["auto", "eagle", "direct"]
SCHEDULES = ["minimax", "paper", "trained", (0.45, 1.1)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_easy_problems_are_solved_to_the_floor(algebra, shape, dtype, method):
    for rank in (None, 1, 5):
        given = system(shape, rank=rank, condition=4 if rank != 1 else 1, dtype=dtype, seed=1)
        (result,) = algebra.solve([given], method)
        assert result.converged
        assert result.value.dtype == dtype
        assert relative_error(result.value, given.value) <= tolerance(dtype, 4)
        assert result.error_estimate <= tolerance(dtype, 4)
        assert result.inconsistency <= tolerance(dtype, 4)
        assert result.rank == (rank or min(SHAPES[shape]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_many_take_the_steps_that_each_takes_alone(many, shape, schedule):
    """The same rules on the same probes, so the same endings; rounding may add a step."""
    cases = [*itertools.product((None, 5), KINDS)]
    systems = [system(shape, rank=rank, kind=kind, condition=300, seed=2) for rank, kind in cases]
    method = eagle.Eagle(schedule)
    alone = PLACES["dense"].solve(systems, method, rng=many.seed(0))
    together = many.solve(systems, method)
    for (rank, kind), each, here, there in zip(cases, systems, alone, together, strict=True):
        error = relative_error(there.value, each.value)
        assert there.status is here.status
        assert there.rank == here.rank
        assert there.method == method
        assert there.condition == pytest.approx(here.condition, rel=0.1)
        assert error <= tolerance(float, 300)
        assert error <= 10 * there.error_estimate + tolerance(float)
        assert [record.iteration for record in there.history] == [*range(1, there.iterations + 1)]
        if not (rank and kind == "both inconsistent"):  # whether to begin again is a close call
            assert abs(there.iterations - here.iterations) <= 1
            # One alone is measured whole, many by a few probes: a mean square of those.
            assert there.inconsistency <= 3 * here.inconsistency + 1e-12
            assert here.inconsistency <= 3 * there.inconsistency + 1e-12


@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_hard_spectra_end_at_the_floor(algebra, shape, rank):
    systems = [
        eagle.problems.low_rank(*SHAPES[shape], rank=rank, condition=condition, kind=kind, rng=3)
        for kind in eagle.problems.SPECTRA
        for condition in (1e2, 1e6, 1e12)
    ]
    for each, result in zip(systems, algebra.solve(systems, "eagle", rng=4), strict=True):
        assert result.converged
        assert each.error(result.value) <= tolerance(float, 10)
        assert result.rank in (None, rank or min(SHAPES[shape]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_every_function_and_a_ridge(algebra, method, ridge):
    given = system("tall", condition=3, kind="inconsistent C")
    A, B, C = given.A, given.B, given.C
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    inverse = (Vh.T * (s / (s**2 + ridge))) @ U.T
    kernel = (Vh.T * (s**2 / (s**4 + ridge))) @ Vh
    limit = tolerance(float, 3**2)
    for function, blocks, truth in [
        (eagle.solve, (A, B, C), B @ inverse @ C),
        (eagle.lstsq, (A, C), inverse @ C),
        (eagle.estimate, (A, B), B @ inverse),
        (eagle.pinv, (A,), inverse),
        (eagle.pinv, (A.T,), inverse.T),
        (eagle.nystrom, (A.T @ A, A), A @ kernel @ A.T),
    ]:
        (found,) = algebra.call(function, [blocks], method=method, ridge=ridge, rng=1)
        assert relative_error(getattr(found, "value", found), truth) <= limit


@pytest.mark.parametrize("shape", SHAPES)
def test_every_function_for_a_rank_that_is_not_full(algebra, shape):
    given = system(shape, rank=6, condition=100, kind="both inconsistent")
    for function, blocks, truth in [
        (eagle.pinv, (given.A,), given.pinv),
        (eagle.estimate, (given.A, given.B), given.W),
        (eagle.lstsq, (given.A, given.C), given.pinv @ given.C),
    ]:
        (found,) = algebra.call(function, [blocks], method="eagle", rng=1)
        assert relative_error(getattr(found, "value", found), truth) <= tolerance(float, 100)


@pytest.mark.parametrize("shape", [(60, 60), (80, 60), (60, 80)])
def test_the_restart_is_what_saves_inconsistent_blocks(algebra, shape, monkeypatch):
    """Without it, from the other side, the same problems come out much worse."""
    systems = [
        system(shape, rank=20, condition=1e6, kind="both inconsistent", seed=seed)
        for seed in range(5)
    ]

    def errors():
        results = algebra.solve(systems, "eagle", maxiter=60)
        pairs = zip(results, systems, strict=True)
        return [relative_error(one.value, each.value) for one, each in pairs]

    good = errors()
    monkeypatch.setattr(
        "eagle.methods.eagle.method._leaking",
        lambda state: state.num.full(False, state.problem.scale),
    )
    assert np.median(good) < 0.05 * np.median(errors())  # one alone may be lucky, or not
    assert max(good) <= tolerance(float, 1e6)


def test_scales_and_conditions_of_different_matrices_do_not_meet(many):
    """One norm for all would lose the small one, one schedule the ill-conditioned one."""
    easy, hard = system("tall", condition=2), system("tall", condition=1e8, rank=7)
    given = [(easy, 1e-140), (hard, 1.0), (easy, 1e140), (hard, 1e-9)]
    blocks = [(each.A * scale, each.B * scale, each.C) for each, scale in given]
    results = many.call(eagle.solve, blocks, method="eagle")
    for result, (each, _) in zip(results, given, strict=True):
        assert result.converged
        assert relative_error(result.value, each.value) <= tolerance(float, 10)
    iterations = [one.iterations for one in results]
    assert iterations[0] == iterations[2] < iterations[1] - 5
    assert abs(iterations[1] - iterations[3]) <= 1
    assert [one.rank for one in results] == [11, 7, 11, 7]
    short = many.call(eagle.solve, blocks, method="eagle", maxiter=iterations[0])
    ends = [Status.CONVERGED, Status.MAX_ITERATIONS] * 2
    assert [one.status for one in short] == ends


def test_rtol_stops_early_and_tells_the_truth(algebra):
    given = [system("tall", condition=1e6, seed=seed) for seed in range(3)]
    loose = algebra.solve(given, "eagle", rtol=1e-3)
    full = algebra.solve(given, "eagle")
    for one, other, each in zip(loose, full, given, strict=True):
        assert one.converged
        assert one.iterations < other.iterations
        assert relative_error(one.value, each.value) <= 10 * one.error_estimate <= 1e-2
    for one in algebra.solve(given, "eagle", rtol=1e-30):
        assert one.status is Status.STAGNATED
    for one in algebra.solve(given, "eagle", time_limit=1e-9):
        assert (one.status, one.iterations) == (Status.TIME_LIMIT, 1)


def test_an_accuracy_is_reached_by_those_that_start_again_too(algebra):
    """Side by side with others that do not, which go on as if alone."""
    kinds = ["consistent", "both inconsistent"]
    given = [system("square", rank=5, kind=kind, condition=30, seed=1) for kind in kinds]
    for one, each in zip(algebra.solve(given, "eagle", rtol=1e-10), given, strict=True):
        assert one.converged
        assert relative_error(one.value, each.value) <= 1e-9
        assert len(one.history) == one.iterations


def test_histories_have_one_record_for_each_iteration(algebra):
    (result,) = algebra.solve([system("tall", condition=1e4)], "eagle")
    assert [record.iteration for record in result.history] == list(range(1, result.iterations + 1))
    matmuls = [record.matmuls for record in result.history]
    assert matmuls == sorted(set(matmuls))
    assert result.flops > matmuls[-1] * 17 * 11 * (1 if algebra.together < 2 else 0.5)
    assert str(result).startswith("eagle.Result: 3 x 2 float64, CONVERGED")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "option", [{"rank": 4}, {"cutoff": 0.1}, {"rank": 4, "ridge": 0.2}], ids=str
)
@pytest.mark.parametrize("method", ["auto", "direct"])
def test_truncation_is_for_an_svd(algebra, method, option, dtype):
    """By an SVD of each in double precision."""
    given = [
        system("wide", condition=20, kind="inconsistent C", dtype=dtype, seed=k) for k in range(3)
    ]
    wide = np.result_type(dtype, np.float64)
    for one, each in zip(algebra.solve(given, method, **option), given, strict=True):
        U, s, Vh = np.linalg.svd(each.A.astype(wide), full_matrices=False)
        kept = np.arange(len(s)) < option.get("rank", len(s))
        kept = kept & (s > option.get("cutoff", 0) * s[0])
        weights = np.where(kept, s / (s**2 + option.get("ridge", 0.0)), 0)
        truth = (each.B @ Vh.conj().T * weights) @ (U.conj().T @ each.C)
        assert relative_error(one.value, truth) <= tolerance(dtype, 20**2)
        assert one.value.dtype == dtype
        if "ridge" not in option:
            assert one.rank == kept.sum()
    with pytest.raises(ValueError, match=f"{next(iter(option))} cannot be honoured by Eagle.*"):
        algebra.solve(given, "eagle", **option)


@pytest.mark.parametrize("rank", [None, 12])
@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
def test_mixed_precision_has_the_error_of_double(algebra, shape, rank):
    """Any Q will do: what rounding in single precision does to it costs nothing."""
    conditions, method = (1e1, 1e4, 1e8), eagle.Eagle(precision="mixed")
    given = [
        eagle.problems.low_rank(*shape, rank=rank, condition=condition, rng=0)
        for condition in conditions
    ]
    for condition, each, one in zip(conditions, given, algebra.solve(given, method), strict=True):
        assert one.converged
        assert one.method == method
        assert each.error(one.value) <= tolerance(float)
        assert one.rank == (rank or min(shape))
        assert condition / 3 <= one.condition <= 10 * condition
        assert len(one.history) == one.iterations


def test_mixed_precision_conditions_many_steps_at_a_time(algebra):
    given = eagle.problems.low_rank(60, 40, condition=1e6, rng=1)
    (mixed,) = algebra.solve([given], eagle.Eagle(precision="mixed"))
    (double,) = algebra.solve([given], "eagle")
    assert len(mixed.history) <= 0.75 * len(double.history)
    single = [tuple(X.astype(np.float32) for X in (given.A, given.B, given.C))]
    (there,) = algebra.call(eagle.solve, single, method=eagle.Eagle(precision="mixed"))
    (same,) = algebra.call(eagle.solve, single, method="eagle")
    assert np.array_equal(there.value, same.value)


def test_mixed_precision_is_for_each_matrix_by_itself(many):
    """Nothing to do in single precision for the first, many steps for the others."""
    cases = [(1.2, None, "consistent"), (1e7, None, "consistent"), (1e3, 5, "both inconsistent")]
    systems = [
        system("tall", rank=rank, condition=condition, kind=kind, seed=seed)
        for seed, (condition, rank, kind) in enumerate(cases)
    ]
    method = eagle.Eagle(precision="mixed")
    alone = PLACES["dense"].solve(systems, method, rng=many.seed(0))
    found = many.solve(systems, method)
    for one, other, each, condition in zip(found, alone, systems, (10, 10, 1e6), strict=True):
        assert relative_error(one.value, each.value) <= tolerance(float, condition)
        assert (one.status, one.rank) == (other.status, other.rank)
        assert abs(one.iterations - other.iterations) <= 1
        assert len(one.history) == one.iterations


@pytest.mark.parametrize("method", ["eagle", "direct"])
def test_zeros_have_the_answers_of_numpy(algebra, method):
    systems = [system("tall", condition=3, seed=seed) for seed in range(4)]
    blocks = [[each.A, each.B, each.C] for each in systems]
    for place in range(3):
        blocks[place][place] = 0 * blocks[place][place]
    results = algebra.call(eagle.solve, blocks, method=method)
    assert all(one.converged for one in results)
    assert [one.value.any() for one in results] == [False] * 3 + [True]
    assert [one.rank for one in results] == [0, 11, 11, 11]
    assert [round(one.inconsistency, 12) for one in results] == [1, 0, 0, 0]


def test_equal_seeds_give_equal_results(algebra):
    given = [system("tall", condition=100)]
    (first,), (second,) = (algebra.solve(given, "eagle", rng=5) for _ in range(2))
    assert np.array_equal(first.value, second.value)
    assert first.error_estimate == second.error_estimate


def test_the_rank_is_counted_exactly_where_singular_values_are_not_all_gathered(algebra):
    size = 120 if algebra.name == "stacked" else 300  # longer sides are solved one by one there
    given = eagle.problems.low_rank(size, size, condition=1e12, rng=0)
    (result,) = algebra.solve([given], "eagle")
    assert result.rank == size


@given(
    place=st.sampled_from([name for name, each in PLACES.items() if each.together]),
    d=st.integers(1, 24),
    n=st.integers(1, 24),
    rank=st.integers(1, 24),
    exponent=st.floats(0, 6),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS),
    method=st.sampled_from(["auto", "direct", *map(eagle.Eagle, SCHEDULES)]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100)
def test_any_problem_among_many_is_solved_or_told(
    place, d, n, rank, exponent, dtype, kind, method, seed
):
    condition = 10.0 ** (exponent if np.finfo(dtype).eps < 1e-10 else exponent / 3)
    rank = min(d, n, rank)
    systems = [
        system((d, n), rank=rank, condition=condition, dtype=dtype, kind=kind, seed=seed + k)
        for k in range(4)
    ]
    grown = condition if kind == "consistent" else condition**2
    results = PLACES[place].solve(systems, method, rng=seed)
    for one, each in zip(results, systems, strict=True):
        assert one.value.dtype == dtype
        if one.converged:
            error = relative_error(one.value, each.value)
            assert error <= 10 * one.error_estimate + tolerance(dtype, grown)
            assert one.rank in (None, rank)
        assert [record.iteration for record in one.history] == [*range(1, one.iterations + 1)]
    (alone,) = PLACES["dense"].solve(systems[:1], method, rng=seed)
    first = results[0]
    assert first.converged or not alone.converged or kind == "both inconsistent"
    if first.converged and alone.converged:
        assert relative_error(first.value, alone.value) <= 2 * tolerance(dtype, grown)
