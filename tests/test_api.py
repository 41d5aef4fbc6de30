"""The public functions against numpy, closed formulas and 50-digit arithmetic."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle import ConvergenceWarning, Status
from eagle.problem.options import Options
from eagle.run import flow
from eagle.run.plan import Choice
from tests.systems import DTYPES, KINDS, SHAPES, normal, orthonormal, solve, system
from tests.tolerances import relative_error, tolerance

ACCURATE = ("auto", "eagle", "direct")


def bound(dtype, condition, kind, result):
    """Backward-stable accuracy: condition for a residual on one side, its square for both."""
    power = 2 if kind == "both inconsistent" else 1
    assert result.error_estimate <= tolerance(dtype, condition**power, constant=500)
    return tolerance(dtype, condition**power)


# --- agreement with references ------------------------------------------------------------------


@pytest.mark.parametrize("method", ACCURATE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_solve_is_b_times_pseudo_inverse_times_c(shape, rank, kind, dtype, method):
    problem = system(shape, rank=rank, dtype=dtype, kind=kind)
    result = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    assert result.converged
    assert result.value.dtype == np.dtype(dtype)
    assert relative_error(result.value, problem.value) <= bound(dtype, 10, kind, result)


@pytest.mark.parametrize("method", ACCURATE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["consistent", "inconsistent C"])
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_lstsq_is_the_least_squares_solution_of_least_norm(shape, rank, kind, dtype, method):
    problem = system(shape, rank=rank, dtype=dtype, kind=kind)
    truth = problem.pinv.astype(complex) @ problem.C
    result = eagle.lstsq(problem.A, problem.C, method=method, rng=0)
    assert result.converged
    assert relative_error(result.value, truth) <= tolerance(dtype, 10**2)
    vector = eagle.lstsq(problem.A, problem.C[:, 0], method=method, rng=0)
    assert vector.value.shape == (problem.A.shape[1],)
    assert relative_error(vector.value, truth[:, 0]) <= tolerance(dtype, 10**2)


@pytest.mark.parametrize("method", ACCURATE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["consistent", "inconsistent B"])
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_estimate_is_the_map_from_a_to_b(shape, rank, kind, dtype, method):
    problem = system(shape, rank=rank, dtype=dtype, kind=kind)
    result = eagle.estimate(problem.A, problem.B, method=method, rng=0)
    assert result.converged
    assert relative_error(result.value, problem.W) <= tolerance(dtype, 10**2)
    hidden = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    assert relative_error(result.value @ problem.C, hidden.value) <= tolerance(dtype, 10**2)


@pytest.mark.parametrize("method", ACCURATE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_pinv_satisfies_the_four_conditions_of_penrose(shape, rank, dtype, method):
    A = system(shape, rank=rank, dtype=dtype).A
    P = eagle.pinv(A, method=method, rng=0)
    slack = tolerance(dtype, 10**2)
    assert relative_error(A @ P @ A, A) <= slack
    assert relative_error(P @ A @ P, P) <= slack
    assert relative_error((A @ P).conj().T, A @ P) <= slack
    assert relative_error((P @ A).conj().T, P @ A) <= slack


@pytest.mark.parametrize("dtype", DTYPES)
def test_nystrom_is_the_slice_of_the_kernel_and_exact_at_full_rank(dtype):
    rng = np.random.default_rng(0)
    F = normal(rng, (15, 4), dtype)
    K = (F @ F.conj().T).astype(dtype)
    queries = normal(rng, (4, 3), dtype)
    across = (F[:6] @ queries).astype(dtype)
    whole = eagle.nystrom(K[:6, :6], K[:, :6], rng=0)
    slack = tolerance(dtype, np.linalg.cond(F[:6]) ** 2)
    assert relative_error(whole.value, K) <= slack
    assert relative_error(eagle.nystrom(K[:6, :6], K[:, :6], K[:6], rng=0).value, K) <= slack
    there = eagle.nystrom(K[:6, :6], K[:, :6], across, rng=0)
    assert relative_error(there.value, F @ queries) <= slack


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_inconsistency_is_the_part_of_b_that_a_does_not_explain(shape, kind):
    """Four random directions estimate a norm within a factor of three."""
    problem = system(shape, rank=6, kind=kind, rows=8)
    residual = problem.B - problem.B @ problem.pinv @ problem.A
    truth = np.linalg.norm(residual) / np.linalg.norm(problem.B)
    result = eagle.solve(problem.A, problem.B, problem.C, rng=0)
    if kind in ("consistent", "inconsistent C"):
        assert result.inconsistency <= tolerance(float, 10)
    else:
        assert truth / 3 <= result.inconsistency <= truth * 3


# --- ridge, cutoff, rank ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ACCURATE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_ridge_gives_the_closed_formula_in_every_function(shape, rank, dtype, method):
    problem = system(shape, rank=rank, dtype=dtype, kind="both inconsistent")
    A, ridge = problem.A.astype(complex), 0.2
    inverse = A.conj().T @ np.linalg.inv(A @ A.conj().T + ridge * np.eye(len(A)))
    options = {"ridge": ridge, "method": method, "rng": 0}
    A, B, C = problem.A, problem.B, problem.C
    slack = tolerance(dtype, 10)
    assert relative_error(eagle.solve(A, B, C, **options).value, B @ inverse @ C) <= slack
    assert relative_error(eagle.estimate(A, B, **options).value, B @ inverse) <= slack
    assert relative_error(eagle.pinv(A, **options), inverse) <= slack
    assert relative_error(eagle.lstsq(A, C, **options).value, inverse @ C) <= slack
    assert relative_error(eagle.lstsq(A, C[:, 1], **options).value, (inverse @ C)[:, 1]) <= slack


@pytest.mark.parametrize("method", ACCURATE)
@pytest.mark.parametrize("ridge", [1e-12, 1e-4, 1e4])
def test_a_ridge_of_any_size_gives_the_filtered_singular_values(ridge, method):
    problem = system("tall", kind="both inconsistent")
    U, s, Vh = np.linalg.svd(problem.A, full_matrices=False)
    truth = (problem.B @ Vh.T * (s / (s**2 + ridge))) @ (U.T @ problem.C)
    result = eagle.solve(problem.A, problem.B, problem.C, ridge=ridge, method=method, rng=0)
    # Appending sqrt(ridge) costs its ratio to ||A|| if it is the larger.
    slack = tolerance(float, 100 * max(1.0, np.sqrt(ridge)))
    assert relative_error(result.value, truth) <= slack


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ridge_has_its_inconsistency_measured_on_the_users_blocks(shape):
    problem = system(shape, kind="consistent", rows=8)
    A, B = problem.A, problem.B
    W = B @ A.T @ np.linalg.inv(A @ A.T + 0.1 * np.eye(len(A)))
    truth = np.linalg.norm(B - W @ A) / np.linalg.norm(B)
    result = eagle.solve(A, B, problem.C, ridge=0.1, rng=0)
    assert truth / 3 <= result.inconsistency <= truth * 3


@pytest.mark.parametrize("driver", ["gelsd", "svd"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("shape", SHAPES)
def test_rank_and_cutoff_truncate_the_singular_values(shape, ridge, dtype, driver):
    problem = system(shape, dtype=dtype, kind="both inconsistent")
    U, s, Vh = np.linalg.svd(problem.A.astype(complex), full_matrices=False)
    filtered = s[:5] / (s[:5] ** 2 + ridge)
    inverse = (Vh[:5].conj().T * filtered) @ U[:, :5].conj().T
    middle = (s[4] + s[5]) / 2 / s[0]
    A, B, C = problem.A, problem.B, problem.C
    slack = tolerance(dtype, 10**2)
    for truncation in ({"rank": 5}, {"cutoff": middle}):
        options = {"ridge": ridge, "method": eagle.Direct(driver), "rng": 0, **truncation}
        result = eagle.solve(A, B, C, **options)
        assert relative_error(result.value, B @ inverse @ C) <= slack
        assert result.converged
        assert result.error_estimate <= slack
        assert ridge or result.rank == 5
        assert ridge or result.condition == pytest.approx(s[0] / s[4], rel=1e-4)
        assert relative_error(eagle.pinv(A, **options), inverse) <= slack
        assert relative_error(eagle.lstsq(A, C, **options).value, inverse @ C) <= slack
        assert relative_error(eagle.estimate(A, B, **options).value, B @ inverse) <= slack


def test_auto_truncates_too_and_says_how():
    problem = system("tall")
    for options, word in [({"rank": 5}, "rank"), ({"cutoff": 0.3}, "cutoff")]:
        auto = eagle.solve(problem.A, problem.B, problem.C, rng=0, **options)
        direct = eagle.solve(problem.A, problem.B, problem.C, rng=0, method="direct", **options)
        assert np.array_equal(auto.value, direct.value)
        assert auto.plan.startswith(f"auto: {word} truncates")


def test_a_full_rank_and_a_cutoff_of_zero_change_nothing():
    problem = system("square")
    for options in ({"rank": 13}, {"cutoff": 0.0}):
        value = eagle.solve(problem.A, problem.B, problem.C, rng=0, **options).value
        assert relative_error(value, problem.value) <= tolerance(float, 10)


# --- algebra ------------------------------------------------------------------------------------

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 10_000)
dtypes = st.sampled_from([np.float64, np.complex128])
methods = st.sampled_from(ACCURATE)


@given(shapes, seeds, dtypes, methods)
def test_the_value_is_linear_in_b_and_in_c(shape, seed, dtype, method):
    p = system(shape, dtype=dtype, kind="both inconsistent", seed=seed)
    q = system(shape, dtype=dtype, kind="both inconsistent", seed=seed + 1)

    def value(B, C):
        return eagle.solve(p.A, B, C, method=method, rng=0).value

    size = np.linalg.norm(p.B) * np.linalg.norm(p.C) * 10
    slack = tolerance(float, 10 * size)
    left = value(2 * p.B - 3 * q.B, p.C) - (2 * value(p.B, p.C) - 3 * value(q.B, p.C))
    assert np.linalg.norm(left) <= 5 * slack
    right = value(p.B, 2 * p.C - 3 * q.C) - (2 * value(p.B, p.C) - 3 * value(p.B, q.C))
    assert np.linalg.norm(right) <= 5 * slack


@given(shapes, seeds, dtypes, methods)
def test_orthogonal_transformations_pass_through(shape, seed, dtype, method):
    """``(B V) (U A V)^+ (U C) = B A^+ C`` for unitary U and V."""
    p = system(shape, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    U = orthonormal(rng, shape[0], shape[0], dtype)
    V = orthonormal(rng, shape[1], shape[1], dtype)
    value = eagle.solve(U @ p.A @ V, p.B @ V, U @ p.C, method=method, rng=0).value
    assert relative_error(value, p.value) <= tolerance(float, 10**2)


@given(shapes, seeds, methods, st.floats(1e-6, 1e6), st.sampled_from([1, -1, 1j]))
def test_scaling_a_divides_and_scaling_b_and_c_multiplies(shape, seed, method, factor, unit):
    p = system(shape, dtype=np.complex128, seed=seed)
    factor = factor * unit
    for A, B, C, expected in [
        (factor * p.A, p.B, p.C, p.value / factor),
        (p.A, factor * p.B, p.C, p.value * factor),
        (p.A, p.B, factor * p.C, p.value * factor),
    ]:
        value = eagle.solve(A, B, C, method=method, rng=0).value
        assert relative_error(value, expected) <= tolerance(float, 10**2)


@given(shapes, seeds, dtypes, methods)
def test_the_adjoint_problem_has_the_adjoint_value(shape, seed, dtype, method):
    p = system(shape, dtype=dtype, kind="inconsistent B", seed=seed)
    A, B, C = (block.conj().T for block in (p.A, p.B, p.C))
    value = eagle.solve(A, C, B, method=method, rng=0).value
    assert relative_error(value, p.value.conj().T) <= tolerance(float, 10**2)


@given(shapes, seeds, methods)
def test_conjugation_passes_through(shape, seed, method):
    p = system(shape, dtype=np.complex128, seed=seed)
    value = eagle.solve(p.A.conj(), p.B.conj(), p.C.conj(), method=method, rng=0).value
    assert relative_error(value, p.value.conj()) <= tolerance(float, 10**2)


@given(
    st.integers(1, 6),
    st.integers(0, 3),
    seeds,
    dtypes,
    methods,
    st.floats(0.0, 4.0),
    st.sampled_from(KINDS),
)
def test_fifty_digits_agree(n, extra, seed, dtype, method, digits, kind):
    """``B (A^H A)^-1 A^H C`` of the very same floating-point blocks."""
    p = system((n + extra, n), condition=10**digits, kind=kind, dtype=dtype, seed=seed)
    with mpmath.workdps(50):
        A, B, C = (mpmath.matrix(block.tolist()) for block in (p.A, p.B, p.C))
        X = mpmath.inverse(A.transpose_conj() * A) * (A.transpose_conj() * C)
        truth = np.array((B * X).tolist(), dtype=complex)
    result = eagle.solve(p.A, p.B, p.C, method=method, rng=0)
    # The condition counts once for each of B and C that lies outside A.
    power = {"consistent": 0, "both inconsistent": 2}.get(kind, 1)
    assert relative_error(result.value, truth) <= tolerance(float, 10 ** (power * digits))


@pytest.mark.parametrize("method", ["eagle", "auto"])
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("shape", SHAPES)
def test_consistent_problems_are_solved_to_rounding_whatever_the_condition(
    shape, condition, method
):
    problem = eagle.problems.low_rank(*SHAPES[shape], condition=condition, rng=5)
    result = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    assert result.converged
    assert problem.error(result.value) <= tolerance(float)


# --- stopping and telling -----------------------------------------------------------------------


@pytest.mark.parametrize("method", eagle.METHODS)
def test_a_callback_sees_every_iteration(method):
    problem = system("tall", condition=3)
    seen = []
    result = eagle.solve(
        problem.A, problem.B, problem.C, method=method, rng=0, callback=seen.append
    )
    assert [state.iteration for state in seen] == [record.iteration for record in result.history]
    assert [state.change for state in seen] == [record.change for record in result.history]
    # The last line has the final certificate, which may know more than a callback could be told.
    assert [state.error_estimate for state in seen[:-1]] == [
        record.error_estimate for record in result.history[:-1]
    ]
    assert result.history[-1].error_estimate == result.error_estimate
    assert np.array_equal(seen[-1].value, result.value)
    assert seen[0].value.shape == result.value.shape
    assert seen[0].value.dtype == result.value.dtype


def test_a_callback_sees_the_users_units_and_shape():
    problem = system("tall")
    shapes = []
    eagle.lstsq(1e200 * problem.A, problem.C[:, 0], callback=lambda s: shapes.append(s.value))
    assert shapes[0].shape == (11,)
    assert 0 < np.abs(shapes[-1]).max() < 1e-195


@pytest.mark.parametrize("method", ["eagle", "cg", "gd", "newton-schulz", "lsmr"])
def test_a_callback_that_returns_true_stops_without_a_warning(method):
    problem = system("tall")
    result = eagle.solve(
        problem.A,
        problem.B,
        problem.C,
        method=method,
        rng=0,
        callback=lambda state: state.iteration == 2,
        raise_on_failure=True,
    )
    assert result.status is Status.STOPPED_BY_CALLBACK
    assert len(result.history) == 2
    assert not result.converged


@pytest.mark.parametrize("answer", [np.True_, np.array(True)])
def test_a_true_of_numpy_stops_too(answer):
    problem = system("tall")
    result = eagle.solve(
        problem.A, problem.B, problem.C, method="eagle", rng=0, callback=lambda state: answer
    )
    assert result.status is Status.STOPPED_BY_CALLBACK
    assert result.iterations == 1


def test_only_true_stops():
    """A callback that returns its last expression does not stop by accident."""
    problem = system("tall")
    for answer in (None, False, 1, "yes", np.ones(3), np.False_, np.float64(1), np.array([True])):
        result = eagle.solve(
            problem.A, problem.B, problem.C, rng=0, callback=lambda state, answer=answer: answer
        )
        assert result.status is Status.CONVERGED


def test_an_exception_in_a_callback_passes_through():
    def fail(state):
        raise KeyError("mine")

    problem = system("tall")
    with pytest.raises(KeyError, match="mine"):
        eagle.solve(problem.A, problem.B, problem.C, callback=fail)


@pytest.mark.parametrize("method", ["eagle", "cg", "gd", "newton-schulz"])
def test_maxiter_is_respected_and_told(method):
    problem = system("tall")
    with pytest.warns(ConvergenceWarning, match="MAX_ITERATIONS after 2 iterations, error estima"):
        result = eagle.solve(problem.A, problem.B, problem.C, method=method, maxiter=2, rng=0)
    assert result.status is Status.MAX_ITERATIONS
    assert result.iterations == len(result.history) == 2


@pytest.mark.parametrize("method", ["eagle", "cg", "gd", "newton-schulz", "lsmr"])
def test_a_time_limit_ends_after_the_iteration_it_falls_in(method):
    problem = system("tall", condition=100)
    result = solve(problem, method=method, time_limit=1e-9, rng=0)
    assert result.status is Status.TIME_LIMIT
    assert len(result.history) == 1


@pytest.mark.parametrize("method", ["eagle", "cg", "gd"])
@pytest.mark.parametrize("rtol", [1e-2, 1e-5])
def test_rtol_bounds_the_error_and_saves_iterations(method, rtol):
    problem = system("tall")
    loose, tight = (
        eagle.solve(problem.A, problem.B, problem.C, method=method, rtol=each, rng=0)
        for each in (rtol, 1e-9)
    )
    assert loose.converged
    assert tight.converged
    assert loose.error_estimate <= rtol
    assert relative_error(loose.value, problem.value) <= 10 * rtol
    assert loose.iterations < tight.iterations


@pytest.mark.parametrize("method", [*eagle.METHODS, "auto"])
def test_an_unreachable_rtol_is_told(method):
    problem = system("tall", condition=3)
    with pytest.warns(ConvergenceWarning, match=r"ended with status"):
        result = eagle.solve(
            problem.A, problem.B, problem.C, method=method, rtol=1e-30, maxiter=3000, rng=0
        )
    assert result.status in (Status.STAGNATED, Status.MAX_ITERATIONS)
    assert relative_error(result.value, problem.value) <= tolerance(float, 10)


CALLS = {
    "solve": lambda p, **o: eagle.solve(p.A, p.B, p.C, **o),
    "lstsq": lambda p, **o: eagle.lstsq(p.A, p.C, **o),
    "estimate": lambda p, **o: eagle.estimate(p.A, p.B, **o),
    "pinv": lambda p, **o: eagle.pinv(p.A, **o),
    "nystrom": lambda p, **o: eagle.nystrom(p.A, p.B, **o),
}


@pytest.mark.parametrize("function", CALLS)
def test_warnings_point_at_the_line_of_the_caller(function):
    problem = system("square")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[function](problem, method="gd", maxiter=1, rng=0)
    assert [record.category for record in caught] == [ConvergenceWarning]
    assert Path(caught[0].filename).name == Path(__file__).name
    with pytest.raises(eagle.ConvergenceError):
        CALLS[function](problem, method="gd", maxiter=1, rng=0, raise_on_failure=True)


def test_a_bar_is_drawn_on_standard_error_only_when_asked_for(capsys):
    problem = system("tall")
    eagle.solve(problem.A, problem.B, problem.C, method="eagle", rng=0)
    assert capsys.readouterr() == ("", "")
    result = eagle.solve(problem.A, problem.B, problem.C, method="eagle", progress=True, rng=0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Eagle" in err
    assert f"{result.iterations} iterations" in err
    assert "error=" in err


# --- auto ---------------------------------------------------------------------------------------


def test_the_plan_says_why():
    problem = system("tall")
    assert eagle.solve(problem.A, problem.B, problem.C, rng=0).plan.startswith("auto: ")
    asked = eagle.solve(problem.A, problem.B, problem.C, method="cg", rng=0)
    assert asked.plan == "asked for: ConjugateGradient"
    assert eagle.lstsq(np.zeros((0, 2)), np.zeros(0)).plan == "auto: nothing to compute"


def choose_first(monkeypatch, method):
    """Make auto try `method`, and then LAPACK."""

    def choices(name, problem, options):
        yield Choice(method, problem, options, "auto: a slow choice")
        if name == "auto":
            reason = "auto: a slow choice; fell back on LAPACK"
            yield Choice(eagle.Direct(), problem, options, reason)

    monkeypatch.setattr(flow, "choices", choices)


def test_auto_falls_back_on_lapack_when_its_choice_fails(monkeypatch):
    """The plan is made to choose a method that cannot finish."""
    problem = system("tall", kind="both inconsistent")
    slow = eagle.GradientDescent()
    choose_first(monkeypatch, slow)
    result = eagle.solve(problem.A, problem.B, problem.C, maxiter=3, rng=0)
    assert result.method == eagle.Direct()
    assert result.plan.startswith("auto: a slow choice; fell back on LAPACK")
    assert result.converged
    assert relative_error(result.value, problem.value) <= tolerance(float, 10**2)
    asked = solve(problem, method=slow, maxiter=3, rng=0)
    assert asked.method == slow  # what was asked for by name stays


def test_auto_falls_back_on_lapack_when_a_good_value_is_not_good_enough(monkeypatch):
    problem = system("tall", condition=3)
    slow = eagle.GradientDescent()
    choose_first(monkeypatch, slow)
    options = {"rtol": 1e-12, "maxiter": 180, "rng": 0}
    asked = solve(problem, method=slow, **options)
    assert 1e-12 < asked.error_estimate < 1e-8
    result = eagle.solve(problem.A, problem.B, problem.C, **options)
    assert result.method == eagle.Direct()
    assert result.error_estimate <= 1e-12
    assert result.seconds > 0


def test_what_auto_tries_shares_the_time_limit(monkeypatch):
    """The second method finds that the first, which disappointed, has left no time."""
    problem = system("tall", condition=100)
    limits = []

    def run(choice):
        limits.append(choice.options.time_limit)
        return run_choice(choice)

    run_choice = flow._run
    monkeypatch.setattr(flow, "_run", run)
    monkeypatch.setattr(flow, "_disappoints", lambda *given: True)
    monkeypatch.setattr("eagle.run.plan.THIN", 0)
    monkeypatch.setattr("eagle.run.plan.SINGULAR", 0)
    solve(problem, time_limit=5.0)
    assert len(limits) > 1
    assert all(later < earlier for earlier, later in pairwise([5.0, *limits]))
    assert Options(time_limit=2.0).left_after(3.0).time_limit > 0
    assert Options(time_limit=5.0).left_after(3.0).time_limit == 2.0
    assert Options().left_after(3.0).time_limit is None


def test_auto_does_not_go_on_after_a_limit_that_the_user_set(monkeypatch):
    problem = system("tall")
    slow = eagle.GradientDescent()
    choose_first(monkeypatch, slow)
    stopped = eagle.solve(problem.A, problem.B, problem.C, callback=lambda state: True)
    assert stopped.status is Status.STOPPED_BY_CALLBACK
    late = solve(problem, time_limit=1e-9)
    assert late.status is Status.TIME_LIMIT
    assert late.method == slow
