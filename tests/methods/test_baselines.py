"""The baselines keep the promises of their textbooks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse.linalg

import eagle
from eagle.algebra.blas import product
from eagle.methods import norms
from eagle.methods.norms import squared_norm, squared_norm_bound
from eagle.problem.blocks import Problem
from eagle.problem.options import Options
from tests.systems import DTYPES, SHAPES, normal, orthonormal, quietly, solve, system
from tests.tolerances import relative_error, tolerance


def with_values(values, d=20, n=16, dtype=np.float64, seed=0):
    """A, B, C with the given distinct singular values, each several times; B and C Gaussian."""
    rng = np.random.default_rng(seed)
    s = np.resize(np.asarray(values, float), min(d, n))
    A = (orthonormal(rng, d, len(s), dtype) * s) @ orthonormal(rng, n, len(s), dtype).conj().T
    return A, normal(rng, (3, n), dtype), normal(rng, (d, 2), dtype)


def steps(method, blocks, count):
    """The states of the first steps."""
    problem = Problem.create(*blocks)
    state = method.init(problem, Options(rng=0))
    for _ in range(count):
        state = method.step(state)
        yield state


# --- conjugate gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(20, 16), (16, 20)])
@pytest.mark.parametrize("values", [[1.0], [1, 0.5], [1, 0.6, 0.3], [1, 0.8, 0.5, 0.3, 0.2]])
def test_cg_ends_after_as_many_steps_as_there_are_distinct_singular_values(values, shape, dtype):
    A, B, C = with_values(values, *shape, dtype=dtype)
    truth = B @ np.linalg.pinv(A) @ C
    *before, last = [
        eagle.ConjugateGradient().output(state).copy()
        for state in steps(eagle.ConjugateGradient(), (A, B, C), len(values))
    ]
    scale = 2.0 ** Problem.create(A, B, C).exponent
    # The normal equations square the condition number.
    assert relative_error(scale * last, truth) <= tolerance(float, 5**2)
    # It needs all of them: one step earlier it is not there.
    assert not before or relative_error(scale * before[-1], truth) > 1e-4
    consistent = B @ np.linalg.pinv(A) @ A, A @ np.linalg.pinv(A) @ C
    result = eagle.solve(A, *consistent, method="cg", rng=0)
    assert result.iterations <= len(values) + 1


@pytest.mark.parametrize("condition", [10.0, 100.0])
def test_cg_beats_its_bound_and_gradient_descent(condition):
    """``2 ((k - 1) / (k + 1))^j`` with k the condition of A bounds the error of CGLS."""
    problem = eagle.problems.low_rank(60, 50, condition=condition, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method="cg", rng=0)
    rate = (condition - 1) / (condition + 1)
    assert result.iterations <= np.log(1e-8 / 2 / condition) / np.log(rate)
    rival = solve(problem, "gd", maxiter=result.iterations)
    assert problem.error(rival.value) > 1e3 * problem.error(result.value)


def test_cg_never_lets_the_residual_grow():
    A, B, C = with_values(np.geomspace(1, 1e-2, 16))
    sizes = [
        np.linalg.norm(s.residual, axis=1) for s in steps(eagle.ConjugateGradient(), (A, B, C), 30)
    ]
    assert (np.diff(sizes, axis=0) <= tolerance(float)).all()
    assert len(sizes) == 30


@pytest.mark.parametrize("kind", ["inconsistent B", "both inconsistent"])
@pytest.mark.parametrize("shape", SHAPES)
def test_cg_stays_at_the_answer_however_long_it_runs(shape, kind):
    """With B outside the row space the gradient ends as noise, which is no direction to go."""
    problem = system(shape, rank=5, kind=kind, condition=3)
    blocks = (problem.A, problem.B, problem.C)
    for state in steps(eagle.ConjugateGradient(), blocks, 300):
        last = state
    value = Problem.create(*blocks).restore(eagle.ConjugateGradient().output(last))
    assert relative_error(value, problem.value) <= tolerance(float, 3**2)
    assert last.settled


def test_cg_residual_is_what_it_says():
    A, B, C = with_values(np.geomspace(1, 0.1, 16))
    for state in steps(eagle.ConjugateGradient(), (A, B, C), 12):
        residual = state.B - state.W @ state.work.A
        assert relative_error(state.residual, residual) <= tolerance(float, 10)


# --- gradient descent ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4])
@pytest.mark.parametrize("shape", SHAPES)
def test_gd_never_lets_the_residual_grow(shape, condition, dtype):
    problem = system(shape, condition=condition, dtype=dtype, kind="both inconsistent")
    blocks = (problem.A, problem.B, problem.C)
    previous = np.inf
    for state in steps(eagle.GradientDescent(), blocks, 40):
        size = np.linalg.norm(state.B - state.W @ state.work.A)
        assert size <= previous + tolerance(dtype) * np.linalg.norm(state.B)
        previous = size
    assert size < np.linalg.norm(state.B)


def test_gd_shrinks_the_error_along_a_direction_by_its_rate():
    A, B, C = with_values([1.0, 0.5], d=13, n=12)
    U, s, _ = np.linalg.svd(A)
    truth = B @ np.linalg.pinv(A)
    states = steps(eagle.GradientDescent(), (A, B, C), 20)
    errors = []
    for state in states:
        errors.append(state.W.copy())
        step, scale = state.step_size, np.abs(state.work.A).max() / np.abs(A).max()
    problem = Problem.create(A, B, C)
    slow = [
        np.linalg.norm((W - np.ldexp(truth, _w_exponent(problem, B))) @ U[:, 11]) for W in errors
    ]
    rate = 1 - step * (scale * s[-1]) ** 2
    # After 20 steps 1e-3 is left of an error of size one, and of its digits.
    assert np.divide(slow[1:], slow[:-1]) == pytest.approx(rate, rel=tolerance(float, 1e3), abs=0)
    assert rate == pytest.approx(1 - 0.25 / 1.01, abs=2e-3)


def _w_exponent(problem: Problem, B: np.ndarray) -> int:
    """Power of two between the user's ``B A^+`` and the scaled one."""
    scaled = int(np.log2(np.abs(problem.B).max() / np.abs(B).max()).round())
    return scaled + problem.scale


# --- Newton-Schulz ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", SHAPES)
def test_newton_schulz_converges_with_order_two(shape, dtype):
    """``I - A Y`` is squared at every step."""
    problem = system(shape, dtype=dtype, condition=5)
    residuals = []
    for state in steps(eagle.NewtonSchulz(), (problem.A, problem.B, problem.C), 14):
        A, d, n = state.problem.A, *state.problem.A.shape
        outside = np.eye(d) - A @ state.Y if d <= n else np.eye(n) - state.Y @ A
        residuals.append(np.linalg.norm(outside, 2))
    for now, then in itertools.pairwise(residuals):
        assert then == pytest.approx(now**2, rel=1e-6, abs=tolerance(float, 5))
    assert residuals[-1] <= tolerance(float, 5)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_newton_schulz_takes_two_steps_a_binary_digit_of_the_condition(condition):
    problem = eagle.problems.low_rank(30, 24, condition=condition, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method="newton-schulz", rng=0)
    least = 2 * np.log2(condition)
    assert least <= result.iterations <= least + 16


def test_newton_schulz_loses_accuracy_with_the_condition_and_says_so():
    errors = {}
    for condition in (1e2, 1e4, 1e6, 1e8):
        problem = eagle.problems.low_rank(40, 40, condition=condition, rng=0)
        result = solve(problem, method="newton-schulz", rng=0)
        errors[condition] = problem.error(result.value)
        assert errors[condition] <= tolerance(float, condition)
        assert errors[condition] <= 10 * result.error_estimate + tolerance(float)
    assert errors[1e8] > 1e3 * errors[1e2]
    eagles = eagle.solve(problem.A, problem.B, problem.C, method="eagle", rng=0)
    assert problem.error(eagles.value) < 1e-3 * errors[1e8]


# --- LSMR ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["consistent", "inconsistent C"])
@pytest.mark.parametrize("shape", SHAPES)
def test_lsmr_is_scipys_on_a_single_right_hand_side(shape, kind):
    problem = system(shape, kind=kind)
    b = problem.C[:, 0]
    theirs = scipy.sparse.linalg.lsmr(problem.A, b, atol=1e-14, btol=1e-14, conlim=0, maxiter=1000)[
        0
    ]
    mine = quietly(eagle.lstsq, problem.A, b, method="lsmr", rtol=1e-12, rng=0)
    assert relative_error(mine.value, theirs) <= tolerance(float, 10**2)


def test_lsmr_iterations_are_those_of_its_hardest_right_hand_side():
    """One distinct singular value takes one iteration of bidiagonalisation, two take two."""
    for values in ([1.0], [1.0, 0.5], [1.0, 0.6, 0.3]):
        A, B, C = with_values(values)
        result = quietly(eagle.solve, A, B, C, method="lsmr", rng=0)
        assert len(values) <= result.iterations <= len(values) + 1


def test_lsmr_stops_each_right_hand_side_at_maxiter():
    problem = system("tall", condition=1e3)
    result = solve(problem, method="lsmr", maxiter=3, rng=0)
    assert result.iterations == 3
    assert result.status is eagle.Status.MAX_ITERATIONS


# --- stochastic gradients -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_an_epoch_of_sgd_projects_on_every_block_once(shape, dtype):
    """Block Kaczmarz without replacement, ``W += (B - W A) S S^H A^H / ||A S||^2``."""
    problem = system(shape, dtype=dtype)
    method = eagle.StochasticGradientDescent(size=4)
    state = method.init(Problem.create(problem.A, problem.B, problem.C), Options(rng=0))
    A, B = state.work.A, state.B
    n = A.shape[1]
    for _ in range(2):
        order = state.order.copy()
        assert sorted(order) == list(range(n))
        for start in range(0, n, 4):
            At, W = A[:, order[start : start + 4]], state.W.copy()
            residual = B[:, order[start : start + 4]] - W @ At
            method.step(state)
            wanted = W + residual @ At.conj().T / np.linalg.norm(At, 2) ** 2
            assert relative_error(state.W, wanted) <= tolerance(dtype)
        assert not np.array_equal(state.order, order)
    # No block may be the only one whose change was small.
    assert state.confirmations == -(-n // 4)


# --- direct solvers -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["consistent", "both inconsistent"])
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_direct_drivers_agree(shape, rank, kind, dtype):
    problem = system(shape, rank=rank, kind=kind, dtype=dtype)
    drivers = ["gelsd", "gelsy", "svd"] + (["qr"] if rank is None else [])
    for driver in drivers:
        result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Direct(driver), rng=0)
        assert result.converged
        assert result.iterations == 1
        assert result.rank == (rank or min(SHAPES[shape]))
        assert relative_error(result.value, problem.value) <= tolerance(dtype, 10)
        if driver in ("gelsd", "svd"):
            assert result.condition == pytest.approx(10, rel=tolerance(dtype, 10))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_qr_driver_refuses_what_is_rank_deficient(shape):
    problem = system(shape, rank=6)
    with pytest.raises(np.linalg.LinAlgError, match=r"rank-deficient.*'gelsy' or 'gelsd'"):
        eagle.solve(problem.A, problem.B, problem.C, method=eagle.Direct("qr"))


@pytest.mark.parametrize("driver", ["gelsd", "gelsy", "svd"])
def test_singular_values_at_rounding_level_are_zero_and_that_is_said(driver):
    A = np.diag([1.0, 0.5, 1e-17])
    with pytest.warns(eagle.ConvergenceWarning):  # they may as well have a small unit
        value = eagle.pinv(A, method=eagle.Direct(driver), rng=0)
    assert relative_error(value, np.diag([1.0, 2.0, 0.0])) <= tolerance(float)
    assert relative_error(eagle.pinv(A), np.diag([1.0, 2.0, 1e17])) <= tolerance(float)


# --- norms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_estimates_lie_on_their_side_of_the_norm(shape, dtype):
    A = np.asfortranarray(system(shape, dtype=dtype, condition=100).A)
    truth = np.linalg.norm(A, 2) ** 2
    assert 0.97 * truth <= squared_norm(A) <= truth * (1 + tolerance(dtype))
    bound = squared_norm_bound(A)
    assert truth * (1 - tolerance(dtype)) <= bound <= truth * np.sqrt(A.size)


def test_a_norm_estimate_stops_when_it_stands(rng, monkeypatch):
    """Equal singular values stand at the second product, and an iteration takes two."""
    taken = []
    monkeypatch.setattr(norms, "product", lambda *a, **o: taken.append(a) or product(*a, **o))
    assert squared_norm(np.asfortranarray(orthonormal(rng, 9, 6, float))) == pytest.approx(1.0)
    assert len(taken) == 4


def test_norms_of_nothing_are_zero():
    assert squared_norm(np.zeros((3, 2))) == 0.0
    assert squared_norm_bound(np.zeros((3, 2))) == 0.0
    assert squared_norm_bound(np.zeros((0, 2))) == 0.0


def test_newton_schulz_gives_every_direction_its_doublings_and_no_more():
    """For diagonal A all is exact. ``-2 log2(eps d |A|)`` are 102 doublings, the end takes five."""
    for least in (1e-13, 1e-15):  # above rounding level: to be found
        A = np.diag([1.0, least])
        result = eagle.estimate(A, np.ones((1, 2)), method="newton-schulz", rng=0)
        assert result.converged
        assert relative_error(result.value, [[1, 1 / least]]) <= tolerance(float)
    A, B = np.diag([1.0, 1e-17]), np.array([[1e-20, 1.0]])  # below, and B has nothing else
    result = quietly(eagle.estimate, A, B, method="newton-schulz", rng=0)
    assert not result.converged
    assert result.iterations == 108


def test_newton_schulz_waits_for_directions_that_are_still_growing():
    """The last change of Y is small long before the small singular values have arrived."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((n, 5)))[0] for n in (9, 8))
    s = np.array([1.0, 0.7, 0.5, 0.3, 1e-10])
    A, B = (U * s) @ V.T, rng.standard_normal((2, 9)) @ ((U * s) @ V.T)
    C = rng.standard_normal((9, 2))
    result = quietly(eagle.solve, A, B, C, method="newton-schulz", rng=0)
    assert result.iterations > 2 * np.log2(1e10)


def test_lsmr_says_when_a_right_hand_side_took_too_long():
    problem = eagle.problems.low_rank(40, 30, condition=1e6, rng=0)
    result = quietly(eagle.lstsq, problem.A, problem.C, method="lsmr", maxiter=3, rng=0)
    assert result.status is eagle.Status.MAX_ITERATIONS


def test_qr_refuses_what_the_diagonal_of_r_does_not_show():
    """Singular to working precision, with ones on the diagonal of R."""
    A = np.eye(60) - np.triu(np.ones((60, 60)), 1)
    with pytest.raises(np.linalg.LinAlgError, match="rank-deficient"):
        eagle.solve(A, A, A, method=eagle.Direct("qr"), rng=0)


@pytest.mark.parametrize("method", ["cg", "lsmr", "gd", "sgd"])
def test_a_right_hand_side_outside_of_the_range_has_the_solution_zero(method):
    result = eagle.lstsq([[1.0, 0], [0, 1], [0, 0]], [0.0, 0, 1], method=method, rng=0)
    assert result.converged
    assert not result.x.any()
