"""What every method promises; a new line in the registry is tested from here by itself."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import pickle
import time

import numpy as np
import pytest

import eagle
from eagle.methods import as_method
from eagle.methods.base import State
from eagle.methods.direct import DRIVERS
from eagle.methods.eagle.schedule import NAMED
from eagle.problem.blocks import Problem
from eagle.problem.options import Options
from tests.systems import DTYPES, KINDS, SHAPES, aim, quietly, solve, system
from tests.tolerances import relative_error, tolerance

INSTANCES = {name: kind() for name, kind in eagle.METHODS.items()}
INSTANCES |= {f"eagle {name}": eagle.Eagle(name) for name in (*NAMED, "cholesky")}
INSTANCES |= {"eagle pair": eagle.Eagle((0.45, 1.1))}
INSTANCES |= {
    f"direct {driver}": eagle.Direct(driver) for driver in DRIVERS if driver not in ("lu", "qr")
}
INSTANCES |= {"eagle mixed": eagle.Eagle(precision="mixed")}
INSTANCES |= {"direct numba": eagle.Direct("gelsy", kernel="numba")}
FULL_RANK = INSTANCES | {"direct qr": eagle.Direct("qr")}
SLOW = 2000  # iterations that a first-order method gets before it has to say that it failed

MOVING = ("eagle", "cg", "gd", "newton-schulz", "sgd")  # a step is a change of the whole value

over_instances = pytest.mark.parametrize("name", INSTANCES)
over_full_rank = pytest.mark.parametrize("name", FULL_RANK)


def honest(result: eagle.Result, error: float, floor: float) -> bool:
    """Whether the error is within ten times the estimate, or the result says that it failed."""
    return error <= 10 * result.error_estimate + floor or not result.converged


@over_full_rank
@pytest.mark.parametrize("kind", eagle.problems.SPECTRA)
@pytest.mark.parametrize("condition", [10.0, 1e5])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_reaches_the_truth_or_says_it_did_not(name, shape, condition, kind):
    problem = eagle.problems.low_rank(*SHAPES[shape], condition=condition, kind=kind, rng=1)
    result = solve(problem, method=FULL_RANK[name], maxiter=SLOW, rng=2)
    assert honest(result, problem.error(result.value), tolerance(float))


@over_full_rank
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("condition", [10.0, 1e5])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_method_says_about_a_is_right(name, shape, condition, rank):
    """The rank exactly, the condition to an order of magnitude; None is an answer too."""
    if rank is not None and name not in INSTANCES:
        rank = None
    problem = eagle.problems.low_rank(*SHAPES[shape], rank=rank, condition=condition, rng=1)
    result = solve(problem, method=FULL_RANK[name], maxiter=SLOW, rng=2)
    if result.converged:
        assert result.rank in (None, rank or min(SHAPES[shape]))
    if result.converged and result.condition is not None:
        # Krylov methods see the singular values they need, which may be fewer.
        least = 1.0 if name == "lsmr" else condition / 30
        assert least <= result.condition <= condition * 30


@over_instances
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [None, 1, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_solves_an_easy_problem(name, shape, rank, dtype):
    problem = eagle.problems.low_rank(*SHAPES[shape], rank=rank, condition=4, dtype=dtype, rng=3)
    result = eagle.solve(problem.A, problem.B, problem.C, method=INSTANCES[name], rng=4)
    rtol = aim(INSTANCES[name], dtype)
    assert result.converged
    assert problem.error(result.value) <= max(10 * rtol, tolerance(dtype, 4))
    # The 4 x 4 corner that the estimate divides by is half its mean once in 1000: chi^2_16 < 4.
    assert result.error_estimate <= max(rtol, 2 * tolerance(dtype, 4))
    assert result.inconsistency <= max(10 * rtol, tolerance(dtype, 4))
    assert result.value.dtype == np.dtype(dtype)


@over_instances
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_method_is_fooled_by_inconsistent_blocks(name, shape, rank, kind):
    problem = system(shape, rank=rank, kind=kind, condition=3, seed=5)
    result = solve(problem, method=INSTANCES[name], maxiter=SLOW, rng=6)
    assert honest(result, relative_error(result.value, problem.value), tolerance(float, 3**2))


@over_instances
@pytest.mark.parametrize("rtol", [None, 1e-4])
@pytest.mark.parametrize("small", [1e-3, 1e-7, 1e-11])
@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_method_forgets_a_small_direction(name, shape, kind, small, rtol):
    """It hardly shows in A, or in the blocks made from A, and has its full share of the value."""
    rng = np.random.default_rng(11)
    d, n = SHAPES[shape]
    s = np.where(np.arange(5) < 4, 1.0, small)
    U, V = (np.linalg.qr(rng.standard_normal((size, 5)))[0] for size in (d, n))
    A, G, H = (U * s) @ V.T, rng.standard_normal((3, d)), rng.standard_normal((n, 2))
    B = G @ A if kind in ("consistent", "inconsistent C") else rng.standard_normal((3, n))
    C = A @ H if kind in ("consistent", "inconsistent B") else rng.standard_normal((d, 2))
    value = (B @ V / s) @ (U.T @ C)
    result = quietly(eagle.solve, A, B, C, method=INSTANCES[name], maxiter=SLOW, rtol=rtol, rng=12)
    # Rounding errors of A turn the small direction.
    floor = max(tolerance(float, 1 / small), rtol or 0.0)
    assert honest(result, relative_error(result.value, value), floor)


@over_instances
@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_solves_least_squares_with_a_residual(name, shape):
    """The most common use of all: A of full rank, b outside its range."""
    problem = system(shape, kind="inconsistent C", condition=3, seed=7)
    result = eagle.lstsq(problem.A, problem.C, method=INSTANCES[name], maxiter=SLOW, rng=8)
    assert result.converged
    slack = max(10 * aim(INSTANCES[name]), tolerance(float, 3**2))
    assert relative_error(result.value, problem.pinv @ problem.C) <= slack


@over_instances
@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_honours_a_ridge(name, shape):
    problem = system(shape, kind="both inconsistent", condition=3, seed=9)
    A, ridge = problem.A, 0.3
    inverse = A.T @ np.linalg.inv(A @ A.T + ridge * np.eye(len(A)))
    options = {"method": INSTANCES[name], "maxiter": SLOW, "ridge": ridge, "rng": 10}
    slack = max(10 * aim(INSTANCES[name]), tolerance(float, 3**2))
    for result, truth in [
        (quietly(eagle.solve, A, problem.B, problem.C, **options), problem.B @ inverse @ problem.C),
        (quietly(eagle.lstsq, A, problem.C, **options), inverse @ problem.C),
        (quietly(eagle.estimate, A, problem.B, **options), problem.B @ inverse),
    ]:
        assert relative_error(result.value, truth) <= slack
        assert honest(result, relative_error(result.value, truth), slack)


@over_full_rank
def test_every_method_counts_its_work(name):
    problem = system("tall", condition=3)
    result = eagle.solve(problem.A, problem.B, problem.C, method=FULL_RANK[name], rng=0)
    history = result.history
    assert history
    assert [record.iteration for record in history] == list(range(1, len(history) + 1))
    matmuls = [record.matmuls for record in history]
    seconds = [record.seconds for record in history]
    assert matmuls[0] > 0
    assert matmuls == sorted(matmuls)
    assert len(set(matmuls)) == len(matmuls)
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert seconds[-1] <= result.seconds
    # No product with A takes fewer flops than one with a single vector.
    assert result.flops >= matmuls[-1] * problem.A.size
    assert history[-1].error_estimate == result.error_estimate
    assert all(record.change >= 0 for record in history)


@pytest.mark.parametrize("size", [1.0, 0.0])
def test_seconds_are_no_more_than_have_passed(size):
    problem = system("tall")
    begun = time.perf_counter()
    result = eagle.solve(size * problem.A, problem.B, problem.C, method="cg", rng=0)
    assert 0 < result.seconds <= time.perf_counter() - begun


@pytest.mark.parametrize("name", [name for name in INSTANCES if name.split()[0] in MOVING])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_change_in_the_history_is_that_of_the_value(name, shape):
    problem = system(shape, condition=3)
    values = []
    result = solve(problem, INSTANCES[name], maxiter=8, callback=lambda s: values.append(s.value))
    assert len(values) >= 3
    for (before, after), record in zip(itertools.pairwise(values), result.history[1:], strict=True):
        change = np.linalg.norm(after - before) / np.linalg.norm(after)
        assert record.change == pytest.approx(change, abs=tolerance(float))


def test_a_product_counts_two_operations_per_entry_and_term():
    for dtype, factor in ((np.float32, 1), (np.complex128, 4)):
        given = system((4, 3), dtype=dtype)
        state = State(problem=Problem.create(given.A, given.B, given.C))
        state.count(2, 3, 5)
        assert (state.flops, state.matmuls) == (60 * factor, 1)
        state.count(2, 3, 5, half=True)
        assert (state.flops, state.matmuls) == (90 * factor, 2)


@over_full_rank
def test_complex_products_count_four_times(name):
    flops = {}
    for dtype in (np.float64, np.complex128):
        given = system("tall", dtype=dtype, condition=1)
        result = solve(given, method=FULL_RANK[name], maxiter=1, rng=0)
        flops[dtype] = result.flops / len(result.history)
    assert flops[np.complex128] == 4 * flops[np.float64]


@pytest.mark.parametrize("name", eagle.METHODS)
def test_every_method_is_public_frozen_and_documented(name):
    kind = eagle.METHODS[name]
    assert getattr(eagle, kind.__name__) is kind
    assert kind.__name__ in eagle.__all__
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__.count("\n") > 3
    assert ">>>" in kind.__doc__
    for part in ("init", "step", "output"):
        assert inspect.getdoc(getattr(kind, part))
    assert as_method(name) == kind()
    assert name == name.lower()


@over_full_rank
def test_settings_are_values(name):
    method = FULL_RANK[name]
    assert eval(repr(method), vars(eagle).copy()) == method
    assert pickle.loads(pickle.dumps(method)) == method
    assert hash(method) == hash(dataclasses.replace(method))
    assert as_method(method) is method
    for field in dataclasses.fields(method):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(method, field.name, None)


@over_full_rank
def test_every_method_declares_what_the_driver_needs(name):
    method = FULL_RANK[name]
    assert method.supports <= {"rank", "cutoff", "memory_limit"}
    assert method.factorises_for <= {"rank", "cutoff", "ridge"}
    assert method.default_rtol is None or 0 < method.default_rtol < 1
    assert method.default_maxiter >= 1
    given = system("tall")
    problem = Problem.create(given.A, given.B, given.C)
    assert isinstance(method.init(problem, Options(rng=0)), State)


@over_full_rank
@pytest.mark.parametrize("which", ["ABC", "AB", "AC", "A"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_leaves_the_problem_alone_and_the_output_has_its_shape(name, shape, which):
    given = system(shape)
    problem = Problem.create(
        given.A, given.B if "B" in which else None, given.C if "C" in which else None
    )
    extra = (0, 0) if FULL_RANK[name].certifies else (2, 3)  # it needs no probes
    problem = dataclasses.replace(
        problem,
        row_probes=problem.A[: extra[0]].copy(),
        column_probes=problem.A[:, : extra[1]].copy(),
    )
    blocks = [problem.A, problem.B, problem.C, problem.row_probes, problem.column_probes]
    before = [None if block is None else block.tobytes() for block in blocks]
    method = FULL_RANK[name]
    state = method.init(problem, Options(rng=0))
    for _ in range(2):
        state = method.step(state)
        rows, columns = problem.shape
        assert method.output(state).shape == (rows + extra[0], columns + extra[1])
    assert [None if block is None else block.tobytes() for block in blocks] == before


@over_instances
@pytest.mark.parametrize("maxiter", [1, 3])
def test_maxiter_is_never_exceeded(name, maxiter):
    problem = system("tall", condition=1e3, kind="inconsistent B")
    result = solve(problem, method=INSTANCES[name], maxiter=maxiter, rng=0)
    assert result.iterations <= maxiter
    assert honest(result, relative_error(result.value, problem.value), tolerance(float, 1e3))


@over_instances
def test_the_state_of_one_solve_does_not_leak_into_the_next(name):
    first, second = system("tall", condition=3), system("wide", condition=3, seed=1)
    method = INSTANCES[name]
    alone = eagle.solve(second.A, second.B, second.C, method=method, rng=0)
    eagle.solve(first.A, first.B, first.C, method=method, rng=0)
    again = eagle.solve(second.A, second.B, second.C, method=method, rng=0)
    assert np.array_equal(alone.value, again.value)


@over_instances
def test_a_value_of_rounding_errors_claims_no_digits(name):
    """B and C see nothing of A: the answer is zero, and what comes out instead is noise."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((d, 3)))[0] for d in (9, 7))
    A = u[:, :1] @ v[:, :1].T
    B, C = v[:, 1:].T @ (np.eye(7) - v[:, :1] @ v[:, :1].T), u[:, 1:]
    result = quietly(eagle.solve, A, B, C, method=INSTANCES[name], maxiter=200, rng=0)
    noise = np.linalg.norm(result.value)
    assert not result.converged or noise <= tolerance(float)
    assert not result.converged or result.error_estimate > 0.1 or noise == 0


def test_no_state_has_another_meaning_for_a_word_of_all_states():
    """The driver reads them: a floor of singular values once counted as one of errors."""
    words, kinds, seen = {each.name for each in dataclasses.fields(State)}, [State], 0
    for kind in kinds:
        kinds += kind.__subclasses__()
        seen += 1
        assert kind is State or not words & set(kind.__annotations__), kind.__name__
    assert seen > len(eagle.METHODS)
