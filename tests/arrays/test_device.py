"""What runs on a device: the answers, endings and words of the CPU, and nothing copied to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eagle
from eagle.algebra import homes as arrays
from tests.arrays.libraries import DEVICES
from tests.systems import DTYPES, KINDS, SHAPES, quietly, stacks, system
from tests.tolerances import relative_error, tolerance

METHODS = ["auto", "eagle", "direct"]


def sent(device, given, names="ABC"):
    return [device.make(getattr(given, name)) for name in names]


def batch(shape, **settings):
    """Systems and stacks of their blocks."""
    systems = [system("tall", seed=seed, **settings) for seed in range(int(np.prod(shape)))]
    return systems, [block.reshape(shape + block.shape[1:]) for block in stacks(systems)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [None, 1, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_easy_problems_are_solved_to_the_floor(device, shape, rank, dtype, method):
    given = system(shape, rank=rank, condition=4 if rank != 1 else 1, dtype=dtype, seed=1)
    result = eagle.solve(*sent(device, given), method=method, rng=0)
    assert result.converged
    assert isinstance(result.value, device.kind)
    assert result.value.dtype == device.dtype(np.dtype(dtype).name)
    assert relative_error(device.numpy(result.value), given.value) <= tolerance(dtype, 4)
    assert result.error_estimate <= tolerance(dtype, 4)
    assert result.inconsistency <= tolerance(dtype, 4)
    assert result.rank == (rank or min(SHAPES[shape]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("schedule", ["minimax", "paper", "trained", (0.45, 1.1)])
def test_eagle_takes_the_steps_that_it_takes_on_the_cpu(shape, rank, kind, schedule):
    """The same rules on the same probes, so the same endings; rounding may add a step."""
    given = system(shape, rank=rank, kind=kind, condition=300, seed=2)
    method = eagle.Eagle(schedule)
    here = eagle.solve(given.A, given.B, given.C, method=method, rng=0)
    with DEVICES["strict device"]() as device:
        there = eagle.solve(*sent(device, given), method=method, rng=0)
        error = relative_error(device.numpy(there.value), given.value)
    assert there.status is here.status
    assert there.rank == here.rank
    assert there.condition == pytest.approx(here.condition, rel=0.1)
    assert error <= tolerance(float, 300)
    assert error <= 10 * there.error_estimate + tolerance(float)
    if not (rank and kind == "both inconsistent"):  # whether to begin again is a close call there
        assert abs(there.iterations - here.iterations) <= 1
        assert there.inconsistency == pytest.approx(here.inconsistency, rel=0.01, abs=1e-12)


@pytest.mark.parametrize("spectrum", eagle.problems.SPECTRA)
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e12])
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_hard_spectra_end_at_the_floor(shape, rank, condition, spectrum):
    given = eagle.problems.low_rank(
        *SHAPES[shape], rank=rank, condition=condition, kind=spectrum, rng=3
    )
    with DEVICES["strict device"]() as device:
        blocks = [device.make(block) for block in (given.A, given.B, given.C)]
        result = eagle.solve(*blocks, method="eagle", rng=4)
        error = given.error(device.numpy(result.value))
    assert result.converged
    assert error <= tolerance(float, 10)
    assert result.rank in (None, rank or min(SHAPES[shape]))


@pytest.mark.parametrize("method", METHODS)
def test_every_function_and_a_ridge(device, method):
    given = system("tall", condition=3, kind="inconsistent C")
    A, B, C = sent(device, given)
    U, s, Vh = np.linalg.svd(given.A, full_matrices=False)
    K = given.A.T @ given.A
    limit = tolerance(float, 3**2)
    for ridge in (0.0, 0.3):
        options = {"method": method, "ridge": ridge, "rng": 1}
        inverse = (Vh.T * (s / (s**2 + ridge))) @ U.T
        kernel = (Vh.T * (s**2 / (s**4 + ridge))) @ Vh
        for value, truth in [
            (eagle.solve(A, B, C, **options).value, given.B @ inverse @ given.C),
            (eagle.lstsq(A, C, **options).value, inverse @ given.C),
            (eagle.lstsq(A, device.make(given.C[:, 0]), **options).value, inverse @ given.C[:, 0]),
            (eagle.estimate(A, B, **options).value, given.B @ inverse),
            (eagle.pinv(A, **options), inverse),
            (eagle.pinv(device.make(given.A.T), **options), inverse.T),
            (
                eagle.nystrom(device.make(K), A, **options).value,
                given.A @ kernel @ given.A.T,
            ),
        ]:
            assert relative_error(device.numpy(value), truth) <= limit


@pytest.mark.parametrize("shape", SHAPES)
def test_every_function_for_a_rank_that_is_not_full(device, shape):
    given = system(shape, rank=6, condition=100, kind="both inconsistent")
    A, B, C = sent(device, given)
    options = {"method": "eagle", "rng": 1}
    for value, truth in [
        (eagle.pinv(A, **options), given.pinv),
        (eagle.estimate(A, B, **options).value, given.W),
        (eagle.lstsq(A, C, **options).value, given.pinv @ given.C),
    ]:
        assert relative_error(device.numpy(value), truth) <= tolerance(float, 100)


@pytest.mark.parametrize("shape", [(60, 60), (80, 60), (60, 80)])
def test_the_restart_is_what_saves_inconsistent_blocks(device, shape, monkeypatch):
    """Without it, from the other side, the same problems come out much worse."""
    systems = [
        system(shape, rank=20, condition=1e6, kind="both inconsistent", seed=seed)
        for seed in range(3)
    ]
    A, B, C = map(device.make, stacks(systems))

    def worst():
        values = device.numpy(quietly(eagle.solve, A, B, C, method="eagle", rng=0).value)
        pairs = zip(values, systems, strict=True)
        return max(relative_error(value, each.value) for value, each in pairs)

    good = worst()
    monkeypatch.setattr(
        "eagle.methods.eagle.method._leaking", lambda state: np.zeros(len(state.places), bool)
    )
    assert good < 0.02 * worst()
    assert good <= tolerance(float, 1e6)


def test_every_matrix_of_a_batch_is_solved_as_if_alone(device):
    systems, blocks = batch((2, 3), condition=30, rank=5)
    A, B, C = map(device.make, blocks)
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    assert tuple(result.value.shape) == (2, 3, 3, 2)
    for index in np.ndindex(2, 3):
        one = result.results[index]
        each = systems[index[0] * 3 + index[1]]
        alone = eagle.solve(*sent(device, each), rng=0)
        assert np.array_equal(device.numpy(one.value), device.numpy(result.value)[index])
        assert relative_error(device.numpy(one.value), each.value) <= tolerance(float, 30)
        assert (one.status, one.rank) == (alone.status, alone.rank)


def test_scales_and_conditions_of_different_matrices_do_not_meet(device):
    """One norm for the batch would lose the small one, one schedule the ill-conditioned one."""
    easy, hard = system("tall", condition=2), system("tall", condition=1e8, rank=7)
    given = [(easy, 1e-140), (hard, 1.0), (easy, 1e140), (hard, 1e-9)]
    A, B = (
        device.make(np.stack([getattr(each, name) * scale for each, scale in given]))
        for name in "AB"
    )
    C = device.make(np.stack([each.C for each, _ in given]))
    result = eagle.solve(A, B, C, method="eagle", rng=0)
    assert result.converged
    for value, (each, _) in zip(device.numpy(result.value), given, strict=True):
        assert relative_error(value, each.value) <= tolerance(float, 10)
    iterations = [one.iterations for one in result.results]
    assert iterations[0] == iterations[2] < iterations[1] - 5
    assert abs(iterations[1] - iterations[3]) <= 1  # a batch multiplies in an order of its own
    assert [one.rank for one in result.results] == [11, 7, 11, 7]


def test_each_has_its_own_status_and_the_worst_is_told(device):
    easy, hard = system("tall", condition=1.5), system("tall", condition=1e6)
    A, B, C = map(device.make, stacks((easy, hard)))
    with pytest.warns(eagle.ConvergenceWarning, match=r"^1 of 2 problems; the first: Eagle ended"):
        result = eagle.solve(A, B, C, method="eagle", maxiter=8, rng=0)
    statuses = [one.status for one in result.results]
    assert statuses == [eagle.Status.CONVERGED, eagle.Status.MAX_ITERATIONS]
    assert result.iterations == 8
    assert relative_error(device.numpy(result.value)[0], easy.value) <= tolerance(float, 2)
    with pytest.raises(eagle.ConvergenceError):
        eagle.solve(A, B, C, method="eagle", maxiter=8, rng=0, raise_on_failure=True)


def test_rtol_stops_early_and_tells_the_truth(device):
    given = system("tall", condition=1e6)
    loose = eagle.solve(*sent(device, given), method="eagle", rtol=1e-3, rng=0)
    full = eagle.solve(*sent(device, given), method="eagle", rng=0)
    assert loose.converged
    assert loose.iterations < full.iterations
    error = relative_error(device.numpy(loose.value), given.value)
    assert error <= 10 * loose.error_estimate <= 1e-2
    impossible = quietly(eagle.solve, *sent(device, given), method="eagle", rtol=1e-30, rng=0)
    assert impossible.status is eagle.Status.STAGNATED
    late = quietly(eagle.solve, *sent(device, given), method="eagle", time_limit=1e-9, rng=0)
    assert (late.status, late.iterations) == (eagle.Status.TIME_LIMIT, 1)


def test_a_callback_sees_the_whole_batch_and_stops_it(device):
    _, blocks = batch((3,), condition=1e4)
    A, B, C = map(device.make, blocks)
    seen = []

    def callback(state):
        seen.append((state.iteration, tuple(state.value.shape)))
        assert isinstance(state.value, device.kind)
        return state.iteration == 4

    result = eagle.solve(A, B, C, method="eagle", callback=callback, rng=0)
    assert seen == [(iteration, (3, 3, 2)) for iteration in (1, 2, 3, 4)]
    assert {one.status for one in result.results} == {eagle.Status.STOPPED_BY_CALLBACK}


def test_histories_have_one_record_for_each_iteration(device):
    given = system("tall", condition=1e4)
    result = eagle.solve(*sent(device, given), method="eagle", rng=0)
    assert [record.iteration for record in result.history] == list(range(1, result.iterations + 1))
    assert result.history[-1].error_estimate <= 1e-12
    matmuls = [record.matmuls for record in result.history]
    assert matmuls == sorted(set(matmuls))
    assert result.flops > matmuls[-1] * 17 * 11
    assert str(result).startswith("eagle.Result: 3 x 2 float64, CONVERGED")


@pytest.mark.parametrize("option", [{"rank": 4}, {"cutoff": 1e-2}])
def test_truncation_is_for_an_svd(device, option):
    given = system("tall", condition=1e4)
    s = eagle.problems.spectrum(11, 1e4)
    kept = 4 if "rank" in option else int((s > 1e-2 * s[0]).sum())
    U, _, Vh = np.linalg.svd(given.A, full_matrices=False)
    truth = (given.B @ Vh.T[:, :kept] / s[:kept]) @ (U.T[:kept] @ given.C)
    for method in ("auto", "direct"):
        result = eagle.solve(*sent(device, given), method=method, rng=0, **option)
        assert result.rank == kept
        assert relative_error(device.numpy(result.value), truth) <= tolerance(float, s[0] / s[kept])
    with pytest.raises(
        ValueError, match=f"{next(iter(option))} cannot be honoured by Eagle.*'direct'"
    ):
        eagle.solve(*sent(device, given), method="eagle", **option)


def test_what_a_device_cannot_do_is_refused_with_what_to_use_instead(device):
    A = device.make(np.eye(3, 2))
    others = sorted(set(eagle.METHODS) - {"eagle", "direct"})
    for method in [*others, eagle.Direct("lu")]:
        with pytest.raises(ValueError, match=r"on the CPU, and A is .*: use method='auto', 'dir"):
            eagle.pinv(A, method=method)
    with pytest.raises(ValueError, match=r"Eagle\(schedule='cholesky'.* computes on the CPU"):
        eagle.pinv(A, method=eagle.Eagle("cholesky"))
    with pytest.raises(ValueError, match="memory_limit is for arrays on the CPU"):
        eagle.pinv(A, memory_limit=100)
    with pytest.raises(ValueError, match=r"^A with shape \(2, 2\) contains NaN or infinity"):
        eagle.pinv(device.make(np.array([[1.0, np.inf], [0, 1]])))
    with pytest.raises(ValueError, match=r"^b with shape \(2, 1, 2\) contains NaN or infinity"):
        eagle.lstsq(device.make(np.eye(1)), device.make(np.full((2, 1, 2), np.nan)))
    with pytest.raises(ValueError, match=r"dimensions do not broadcast: A \(2,\), b \(3,\)"):
        eagle.lstsq(device.make(np.ones((2, 3, 2))), device.make(np.ones((3, 3, 1))))
    with pytest.raises(ValueError, match=r"^C with shape \(4, 1\) must have as many rows"):
        eagle.solve(A, device.make(np.ones((1, 2))), device.make(np.ones((4, 1))))


@pytest.mark.parametrize("rank", [None, 12])
@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8])
@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
def test_mixed_precision_has_the_error_of_double(device, shape, condition, rank):
    """Any Q will do: what rounding in single precision does to it costs nothing."""
    problem = eagle.problems.low_rank(*shape, rank=rank, condition=condition, rng=0)
    blocks = [device.make(block) for block in (problem.A, problem.B, problem.C)]
    result = eagle.solve(*blocks, method=eagle.Eagle(precision="mixed"), rng=0)
    assert result.converged
    assert result.value.dtype == device.dtype("float64")
    assert problem.error(device.numpy(result.value)) <= tolerance(float)
    assert result.rank == (rank or min(shape))
    assert condition / 3 <= result.condition <= 10 * condition
    here = eagle.solve(
        problem.A, problem.B, problem.C, method=eagle.Eagle(precision="mixed"), rng=0
    )
    assert abs(result.iterations - here.iterations) <= 3


def test_mixed_precision_conditions_many_steps_at_a_time(device):
    given = eagle.problems.low_rank(60, 40, condition=1e6, rng=1)
    blocks = [device.make(block) for block in (given.A, given.B, given.C)]
    mixed = eagle.solve(*blocks, method=eagle.Eagle(precision="mixed"), rng=0)
    double = eagle.solve(*blocks, method="eagle", rng=0)
    assert len(mixed.history) <= 0.75 * len(double.history)
    single = [device.make(np.asarray(X, np.float32)) for X in (given.A, given.B, given.C)]
    there = eagle.solve(*single, method=eagle.Eagle(precision="mixed"), rng=0)
    same = eagle.solve(*single, method="eagle", rng=0)
    assert np.array_equal(device.numpy(there.value), device.numpy(same.value))


def test_mixed_precision_is_for_each_matrix_of_a_batch_by_itself(device):
    """Nothing to do in single precision for the first, many steps for the others."""
    systems = [
        system("tall", rank=rank, condition=condition, kind=kind, seed=seed)
        for seed, (condition, rank, kind) in enumerate(
            [(1.2, None, "consistent"), (1e7, None, "consistent"), (1e3, 5, "both inconsistent")]
        )
    ]
    A, B, C = map(device.make, stacks(systems))
    method = eagle.Eagle(precision="mixed")
    result = eagle.solve(A, B, C, method=method, rng=0)
    assert result.converged
    assert result.method == method
    for one, each, condition in zip(result.results, systems, (1.2, 1e7, 1e6), strict=True):
        limit = tolerance(float, condition if each is systems[2] else 10)
        assert relative_error(device.numpy(one.value), each.value) <= limit
        alone = eagle.solve(*sent(device, each), method=method, rng=0)
        assert (one.status, one.rank) == (alone.status, alone.rank)
        assert abs(one.iterations - alone.iterations) <= 1
        assert len(one.history) == one.iterations


def test_nothing_and_zero_have_the_answers_of_numpy(device):
    for shape in [(0, 3), (3, 0), (0, 0)]:
        value = eagle.pinv(device.make(np.zeros(shape)))
        assert tuple(value.shape) == shape[::-1]
    A = device.make(np.stack([np.zeros((3, 2)), np.eye(3, 2)]))
    result = eagle.estimate(A, device.make(np.ones((1, 2))), rng=0)
    assert result.converged
    wanted = [[[0, 0, 0]], [[1, 1, 0]]]
    assert relative_error(device.numpy(result.value), wanted) <= tolerance(float)
    assert [one.rank for one in result.results] == [0, 2]
    assert [round(one.inconsistency, 12) for one in result.results] == [1, 0]
    empty = eagle.lstsq(device.make(np.zeros((2, 0, 4, 3))), device.make(np.ones(4)))
    assert tuple(empty.value.shape) == (2, 0, 3)
    assert empty.converged


def test_equal_seeds_give_equal_results(device):
    given = system("tall", condition=100)
    first, second = (eagle.solve(*sent(device, given), rng=5) for _ in range(2))
    assert np.array_equal(device.numpy(first.value), device.numpy(second.value))
    assert first.error_estimate == second.error_estimate


def test_only_a_few_numbers_reach_the_host(device, monkeypatch):
    """For 40 matrices of 64 x 48: fewer numbers an iteration than a row of each has."""
    rng = np.random.default_rng(0)
    A, B, C = (
        device.make(rng.standard_normal((40, *shape))) for shape in [(64, 48), (20, 48), (64, 30)]
    )
    home = type(arrays.find_home(A=A))
    moved = []

    def counted(self, array):
        moved.append(math.prod(array.shape))
        return device.numpy(array)

    monkeypatch.setattr(home, "to_host", counted)
    monkeypatch.setattr(home, "view", lambda self, array: pytest.fail("numpy looked"))
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    assert sum(moved) <= 40 * 48 * result.iterations
    assert max(moved) <= 40 * 48
    assert len(moved) <= 3 * result.iterations + 10


def test_auto_has_an_svd_try_what_eagle_could_not(device, monkeypatch):
    """EAGLE with three iterations is not accurate on one of two."""
    easy, hard = system("tall", condition=1), system("tall", condition=1e5)
    A, B, C = map(device.make, stacks((easy, hard)))
    monkeypatch.setattr(eagle.Eagle, "default_maxiter", 7)
    result = eagle.solve(A, B, C, rng=0)
    assert result.converged
    assert "was not accurate for 1 problems, which an SVD tried too" in result.plan
    for value, each in zip(device.numpy(result.value), (easy, hard), strict=True):
        assert relative_error(value, each.value) <= tolerance(float, 1e5)


def test_without_array_api_compat_the_message_says_what_to_install(device, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat", None)
    with pytest.raises(
        ImportError, match=r"needs array-api-compat: pip install 'eagle-solver\[arr"
    ):
        eagle.pinv(device.make(np.eye(2)))


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    leading=st.sampled_from([(), (1,), (3,), (2, 2)]),
    rank=st.integers(1, 20),
    condition=st.sampled_from([1.0, 30.0, 1e5]),
    dtype=st.sampled_from(DTYPES),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_any_consistent_batch(shape, leading, rank, condition, dtype, method, seed):
    rank = min(rank, *shape)
    condition = condition if rank > 1 else 1.0
    if np.dtype(dtype).name in ("float32", "complex64"):
        condition = min(condition, 30.0)
    count = int(np.prod(leading))
    systems = [
        system(shape, rank=rank, condition=condition, dtype=dtype, seed=seed + place)
        for place in range(count)
    ]
    with DEVICES["strict device"]() as device:
        blocks = [
            device.make(block.reshape(leading + block.shape[1:])) for block in stacks(systems)
        ]
        result = eagle.solve(*blocks, method=method, rng=seed)
        values = device.numpy(result.value).reshape(count, 3, 2)
    assert result.converged
    for value, each in zip(values, systems, strict=True):
        assert relative_error(value, each.value) <= tolerance(dtype, condition)


@pytest.mark.parametrize(("method", "dtype"), [("eagle", np.float64), ("direct", np.float32)])
def test_jax_computes_where_its_arrays_are(method, dtype):
    given = system("tall", condition=10, rank=5, dtype=dtype)
    with DEVICES["jax"]() as device:
        result = eagle.solve(*sent(device, given), method=method, rng=0)
        assert result.converged
        assert isinstance(result.value, device.kind)
        assert result.value.dtype == dtype
        assert relative_error(device.numpy(result.value), given.value) <= tolerance(dtype, 10)


def test_the_rank_is_counted_exactly_where_singular_values_are_not_all_gathered(device):
    given = eagle.problems.low_rank(300, 300, condition=1e12, rng=0)
    assert eagle.solve(*sent(device, given), rng=0).rank == 300
