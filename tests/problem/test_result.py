"""What comes back from a solve, apart from the numbers."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import eagle
from eagle import ConvergenceError, ConvergenceWarning, Result, Status
from tests.systems import quietly, solve, system
from tests.tolerances import relative_error, tolerance


@pytest.fixture
def result() -> Result:
    problem = system("tall", kind="inconsistent B")
    return eagle.solve(problem.A, problem.B, problem.C, rng=0)


@pytest.fixture
def failure() -> Result:
    problem = system("tall")
    return solve(problem, method="gd", maxiter=3, rng=0)


def test_a_result_is_frozen(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.value = np.zeros(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.history[0].change = 0.0


def test_results_compare_by_identity_and_can_be_collected(result):
    assert result == result
    assert result != copy.copy(result)
    assert len({result, result}) == 1


def test_converged_means_the_status_says_so(result, failure):
    assert result.converged
    assert result.status is Status.CONVERGED
    assert not failure.converged
    assert failure.status is Status.MAX_ITERATIONS


def test_printing_shows_everything_on_one_screen(result, failure):
    for each in (result, failure):
        text = str(each)
        lines = text.splitlines()
        assert len(lines) <= 12
        for part in (
            "3 x 2 float64",
            each.status.name,
            each.advice,
            repr(each.method),
            each.plan,
            f"{each.iterations} in",
            f"{each.error_estimate:.2g} (relative)",
            f"{each.inconsistency:.2g} (part of B",
        ):
            assert part in text
    assert "rank of A       11" in str(result)
    assert "unknown" in str(failure)


def test_repr_is_one_short_line(result):
    assert repr(result).startswith("<eagle.Result: 3 x 2 float64, CONVERGED, error ")
    assert len(repr(result)) < 100


def test_notebooks_get_a_table(result):
    shown = result._repr_html_()
    assert shown.count("<tr>") == shown.count("</tr>") == 6
    assert "CONVERGED" in shown
    assert "<eagle" not in shown.replace("<b>eagle", "")  # texts are escaped


def test_the_history_is_drawn(result):
    pytest.importorskip("matplotlib").use("agg")
    axes = result.plot()
    assert axes.lines[0].get_label() == "error estimate"
    assert list(axes.lines[0].get_xdata()) == [record.iteration for record in result.history]
    assert result.plot(axes) is axes
    stack = eagle.pinv(np.ones((3, 2, 2)), rng=0)
    batch = eagle.estimate(np.ones((3, 2, 2)), np.eye(2), rng=0)
    assert stack.shape == (3, 2, 2)
    with pytest.raises(ValueError, match="no history to plot: a batch has it in each"):
        batch.plot()


def test_the_value_is_x_too(result):
    assert result.x is result.value


@pytest.mark.parametrize("scale", [1.0, 1e200])
@pytest.mark.parametrize("options", [{}, {"rank": 3}, {"ridge": 0.1, "rank": 3}, {"cutoff": 1e-3}])
@pytest.mark.parametrize("driver", ["gelsd", "svd"])
def test_singular_values_are_those_of_a(driver, options, scale):
    given = system("tall", condition=100)
    result = eagle.lstsq(scale * given.A, given.C, method=eagle.Direct(driver), rng=0, **options)
    truth = scale * np.linalg.svd(given.A, compute_uv=False)
    found = result.singular_values
    assert len(found) == (3 if "rank" in options else len(truth))
    assert relative_error(found, truth[: len(found)]) <= tolerance(float)


def test_who_has_no_singular_values_says_none(result):
    given = system("tall", condition=100)
    assert result.singular_values is None
    ridged = eagle.lstsq(given.A, given.C, method="direct", ridge=0.1, rng=0)
    assert ridged.singular_values is None  # LAPACK saw those of [A; mu I]


def test_the_log_tells_the_plan(caplog):
    given = system("square", condition=3)
    with caplog.at_level("DEBUG", "eagle"):
        result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert result.plan in caplog.text
    assert "CONVERGED after 1 iterations" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "eagle"):
        eagle.solve(given.A, given.B, given.C, rng=0)
    assert caplog.text == ""


def test_inconsistent_data_are_told():
    given = system("wide", rank=4, kind="inconsistent B")
    text = str(eagle.solve(given.A, given.B, given.C, rng=0))
    assert "B has a part that A does not explain" in text
    given = system("wide", rank=4)
    assert "B has a part" not in str(eagle.solve(given.A, given.B, given.C, rng=0))


def test_nothing_is_said_of_what_a_wrong_value_leaves():
    given = system("wide", rank=4, kind="inconsistent B")
    result = quietly(eagle.solve, given.A, given.B, given.C, method="gd", maxiter=2, rng=0)
    assert not result.converged
    assert result.inconsistency > 0.01
    assert "does not explain:" not in str(result)
    fitted = quietly(eagle.lstsq, given.A, given.C, method="gd", maxiter=2, rng=0)
    assert not fitted.converged
    assert "A x is not b" not in str(fitted)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_least_squares_fit_says_what_it_leaves_and_nothing_of_a_b_nobody_gave(
    stacked, columns, weighted
):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 3))
    b = rng.standard_normal((20,) if columns is None else (20, columns))
    weights = rng.uniform(1, 2, 20) if weighted else np.ones(20)
    options = {"weights": weights} if weighted else {}
    x = eagle.lstsq(A, b, **options).x
    roots = np.sqrt(weights).reshape(-1, *[1] * (b.ndim - 1))
    left, whole = np.linalg.norm(roots * (A @ x - b)), np.linalg.norm(roots * b)
    times = np.sqrt(3) if stacked and columns else 1.0
    given = (np.stack([A] * 3), b) if stacked and columns else (A, b)
    text = str(eagle.lstsq(*given, rng=0, **options))
    said = f"residual norm   {times * left:.2g} of ||A x - b||, {left / whole:.2g} of ||b||"
    assert said in text
    assert "A x is not b; no x is closer." in text
    assert "inconsistency" not in text
    assert "part of B" not in text
    fits = str(eagle.lstsq(A, A @ x, rng=0))
    assert "A x is not b" not in fits
    shaped = str(eagle.lstsq(A, b, ridge=1.0, rng=0))
    assert "A x is not b." in shaped


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("columns", [(), (0,), (2,)])
def test_a_fit_to_nothing_prints(shape, columns):
    result = eagle.lstsq(np.empty(shape), np.empty((shape[0], *columns)), rng=0)
    assert result.x.shape == (shape[1], *columns)
    assert not result.x.any()
    assert "residual norm   0 of ||A x - b||, 0 of ||b||" in str(result)


def test_unpacking_a_result_says_where_things_are():
    A = np.eye(3)
    with pytest.raises(TypeError, match=r"no tuple: take result\.x"):
        _x, _residuals, _rank, _s = eagle.lstsq(A, A[0])


def test_advice_names_nothing_that_was_just_tried():
    """The least squares of a Hilbert matrix fall back on LAPACK in double precision."""
    hilbert = 1.0 / (np.arange(12)[:, None] + np.arange(12) + 1.0)
    with pytest.warns(eagle.ConvergenceWarning) as caught:
        result = eagle.lstsq(hilbert, np.ones(12), rng=0)
    assert isinstance(result.method, eagle.Direct)
    assert result.advice.endswith("Loosen `rtol` or set `cutoff` or `ridge`.")
    assert result.advice in str(result)
    assert result.advice in str(caught[0].message)
    late = quietly(eagle.lstsq, hilbert, np.ones(12), method="eagle", maxiter=2, rng=0)
    assert late.advice.endswith("Raise `maxiter` or loosen `rtol`.")
    single = quietly(eagle.lstsq, hilbert.astype(np.float32), np.ones(12, np.float32), method="cg")
    assert "'direct'" in single.advice


@pytest.mark.parametrize("shape", ["square", "tall", "wide"])
@pytest.mark.parametrize("condition", [3, 100, 1e6])
@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        (eagle.Direct("gelsd"), 0.99, 1.01),
        (eagle.Direct("svd"), 0.99, 1.01),
        (eagle.Direct("cod"), 0.5, 1.01),
        (eagle.Direct("qr"), 0.5, 1.01),
        (eagle.Eagle(), 1 / 30, 30),
        (eagle.Eagle("cholesky"), 1 / 30, 30),
    ],
)
def test_the_condition_is_as_good_an_estimate_as_is_said(method, low, high, condition, shape):
    for seed in range(5):
        given = system(shape, condition=condition, seed=seed)
        result = eagle.solve(given.A, given.B, given.C, method=method, rng=0)
        assert low * condition <= result.condition <= high * condition
        assert f"condition about {result.condition:.2g}" in str(result)


def test_a_condition_that_is_not_known_is_not_about_anything():
    given = system((20, 10), condition=3, seed=0)
    result = eagle.solve(given.A, given.B, given.C, method="newton-schulz", rng=0)
    result = dataclasses.replace(result, condition=None)
    assert ", condition unknown" in str(result)


def test_every_status_says_what_to_do():
    names = {status.name for status in Status}
    assert names == {
        "CONVERGED",
        "MAX_ITERATIONS",
        "TIME_LIMIT",
        "MEMORY_LIMIT",
        "STOPPED_BY_CALLBACK",
        "STAGNATED",
        "NONFINITE",
        "TRACED",
    }
    assert len({status.advice for status in Status}) == len(names)
    for status in Status:
        assert status.advice.startswith(status.value)
        assert status.advice.endswith(".")
    assert "`maxiter`" in Status.MAX_ITERATIONS.advice
    assert "`time_limit`" in Status.TIME_LIMIT.advice
    assert "`memory_limit`" in Status.MEMORY_LIMIT.advice
    assert "`rtol`" in Status.STAGNATED.advice


def test_advice_names_only_methods_that_exist():
    for status in Status:
        quoted = status.advice.split("'")[1::2]
        assert set(quoted) <= set(eagle.METHODS)


def test_a_convergence_error_carries_the_result():
    problem = system("tall")
    with pytest.raises(
        ConvergenceError, match="GradientDescent ended with status MAX_ITERATIONS"
    ) as caught:
        eagle.solve(
            problem.A, problem.B, problem.C, method="gd", maxiter=3, rng=0, raise_on_failure=True
        )
    assert caught.value.result.iterations == 3
    assert caught.value.result.advice in str(caught.value)


def test_a_convergence_error_of_a_vector_problem_carries_a_vector():
    problem = system("tall")
    with pytest.raises(ConvergenceError) as caught:
        eagle.lstsq(problem.A, problem.C[:, 0], method="gd", maxiter=3, raise_on_failure=True)
    assert caught.value.result.value.shape == (11,)


def test_errors_and_results_survive_pickling(failure):
    error = pickle.loads(pickle.dumps(ConvergenceError("it failed", failure)))
    assert str(error) == "it failed"
    assert error.result.status is Status.MAX_ITERATIONS
    assert error.result.method == failure.method
    assert error.result.history == failure.history
    assert np.array_equal(error.result.value, failure.value)


def test_warnings_and_errors_are_of_kinds_that_can_be_caught_by_their_base():
    assert issubclass(ConvergenceWarning, UserWarning)
    assert issubclass(ConvergenceError, RuntimeError)


def test_the_value_belongs_to_the_caller(result):
    result.value[0, 0] = 5.0
    assert result.value[0, 0] == 5.0
    assert result.value.flags.c_contiguous
    assert result.value.base is None or result.value.base.flags.owndata
