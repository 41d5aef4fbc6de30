"""EAGLE against its theory: the invariant, the lift, the order, the iteration counts, the traps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle.methods.eagle import rules
from eagle.methods.eagle.method import _contract, _leaking, _measure, _pull, _rank
from eagle.methods.eagle.rules import EagleState
from eagle.methods.eagle.schedule import largest, lifted
from eagle.problem.blocks import Problem
from eagle.problem.certificate import COUNT, Probes
from eagle.problem.options import Options
from tests.systems import DTYPES, KINDS, SHAPES, normal, solve, system
from tests.tolerances import relative_error, tolerance

SCHEDULES = ("minimax", "paper", "trained", "cholesky", (0.45, 1.1))
SIZES = {
    "square": (240, 240, None),
    "wide": (100, 400, None),
    "tall": (400, 100, None),
    "rank 40": (240, 240, 40),
}
over_schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)


def start(problem, method, *, C: bool = True, seed: int = 0) -> EagleState:
    """A state before its first step, with probes."""
    blocks = Problem.create(problem.A, problem.B, problem.C if C else None)
    return method.init(Probes.draw(blocks, np.random.default_rng(seed)).problem, Options())


def begun(algebra, given, method) -> EagleState:
    """The same of one matrix or of one among many."""
    probes = Probes.draw(algebra.problem(given), np.random.default_rng(0))
    return method.init(probes.problem, Options())


def tell(algebra, state, **numbers):
    """Let a state know something about all of its matrices."""
    for name, value in numbers.items():
        setattr(state, name, algebra.known(value, state.problem.scale))


def invariant(state: EagleState) -> np.ndarray:
    """``D + B A^+ C`` of the current blocks, user's part."""
    rows, columns = state.user
    return (
        state.D[:rows, :columns]
        + state.B[:rows] @ np.linalg.lstsq(state.A, state.C[:, :columns])[0]
    )


@over_schedules
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_invariant_holds_at_every_step(schedule, shape, dtype):
    problem = eagle.problems.low_rank(*SHAPES[shape], condition=20, dtype=dtype, rng=3)
    method = eagle.Eagle(schedule)
    state = start(problem, method)
    first = invariant(state)
    for _ in range(6):
        method.step(state)
        assert relative_error(invariant(state), first) <= tolerance(dtype, 20)


@pytest.mark.parametrize("schedule", ["minimax", "paper"])
def test_the_condition_falls_by_what_the_map_says(schedule):
    """While A is ill-conditioned a step divides its condition number by ``1 / mu``."""
    problem = eagle.problems.low_rank(40, 40, condition=1e8, rng=0)
    method = eagle.Eagle(schedule)
    state = start(problem, method)
    method.step(state)  # the first one normalises
    conditions = []
    for _ in range(8):
        conditions.append(np.linalg.cond(state.A))
        method.step(state)
    for before, after, eta in zip(conditions, conditions[1:], state.lifts[1:], strict=False):
        s = 1 / before
        assert after == pytest.approx(1 / lifted(s, eta), rel=0.05)
    if schedule == "minimax":
        assert conditions[0] / conditions[-1] > 2.1**7
        assert 1 / largest(0.9) == pytest.approx(2.465, abs=1e-3)


@pytest.mark.parametrize("schedule", ["minimax", "paper"])
def test_the_end_is_quadratic(schedule):
    """``kappa - 1`` and with it the error is squared by a step once kappa is near 1."""
    problem = eagle.problems.low_rank(30, 30, condition=1.5, kind="linear", rng=0)
    method = eagle.Eagle(schedule)
    state = start(problem, method)
    defects = []
    while not state.conditioned:
        s = np.linalg.svd(state.A, compute_uv=False)
        defects.append(s[0] / s[-1] - 1)
        method.step(state)
    assert len(defects) >= 3
    pairs = itertools.pairwise(defects[1:])
    assert all(after <= 3 * before**2 + tolerance(float) for before, after in pairs)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("condition", "most"), [(1e2, 12), (1e4, 17), (1e8, 28), (1e12, 37)])
def test_iterations_to_the_accuracy_floor(size, condition, most):
    d, n, rank = SIZES[size]
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method="eagle", rng=0)
    rival = problem.B @ scipy.linalg.lstsq(problem.A, problem.C)[0]
    assert result.converged
    assert result.iterations <= most
    error = problem.error(result.value)
    assert error <= 10 * problem.error(rival)
    if condition <= 1e8:
        assert error <= 1e-13


@pytest.mark.parametrize(("condition", "most"), [(1e2, 3), (1e4, 4), (1e8, 6), (1e12, 9)])
@pytest.mark.parametrize("size", SIZES)
def test_cholesky_conditions_in_a_few_steps(size, condition, most):
    d, n, rank = SIZES[size]
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Eagle("cholesky"), rng=0)
    assert result.converged
    assert result.iterations <= most
    assert problem.error(result.value) <= 1e-13


@pytest.mark.parametrize("schedule", ["minimax", "cholesky"])
@pytest.mark.parametrize("condition", [1e1, 1e3])
def test_single_precision_reaches_its_own_floor(schedule, condition):
    problem = eagle.problems.low_rank(120, 120, condition=condition, dtype=np.float32, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Eagle(schedule), rng=0)
    rival = problem.B @ scipy.linalg.lstsq(problem.A, problem.C)[0]
    assert result.value.dtype == np.float32
    assert result.converged
    assert problem.error(result.value) <= max(10 * problem.error(rival), tolerance(np.float32))


@pytest.mark.parametrize("schedule", ["minimax", "paper", "trained", "cholesky"])
@pytest.mark.parametrize("kind", eagle.problems.SPECTRA)
@pytest.mark.parametrize("condition", [1e8, 1e12])
@pytest.mark.parametrize(
    ("d", "n", "rank"), [(60, 60, None), (30, 90, None), (90, 30, None), (80, 60, 50)]
)
def test_a_small_change_is_not_taken_for_convergence(schedule, kind, condition, d, n, rank):
    """A few directions dominate; the rest hide below them, down to a single one at 1e-12."""
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, kind=kind, rng=1)
    result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Eagle(schedule), rng=3)
    assert result.converged
    assert problem.error(result.value) <= 2e-14
    assert problem.error(result.value) <= 10 * result.error_estimate


@pytest.mark.parametrize("schedule", ["minimax", "cholesky"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [None, 9])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_no_inconsistency_and_no_rank_deficiency_is_too_much(
    schedule, kind, rank, shape, condition
):
    """Least squares is no better than ``eps * condition`` here, and neither are we asked to be."""
    blocks = system(shape, rank=rank, condition=condition, kind=kind)
    result = eagle.solve(blocks.A, blocks.B, blocks.C, method=eagle.Eagle(schedule), rng=0)
    error = relative_error(result.value, blocks.value)
    assert result.converged
    assert error <= tolerance(float, condition)
    assert error <= 10 * result.error_estimate + tolerance(float)  # probes round by themselves


@pytest.mark.parametrize(("schedule", "condition"), [("minimax", 1e6), ("cholesky", 1e2)])
@pytest.mark.parametrize("shape", [(60, 60), (80, 60), (60, 80)])
def test_the_restart_is_what_saves_inconsistent_blocks(schedule, condition, shape, monkeypatch):
    """Without it, from the other side, the same problem comes out much worse."""
    blocks = system(shape, rank=20, condition=condition, kind="both inconsistent")
    method = eagle.Eagle(schedule)
    good = eagle.solve(blocks.A, blocks.B, blocks.C, method=method, rng=0)
    monkeypatch.setattr("eagle.methods.eagle.method._leaking", lambda state: False)
    bad = solve(blocks, method=method, rng=0, maxiter=60)
    assert relative_error(good.value, blocks.value) < 0.02 * relative_error(bad.value, blocks.value)


@over_schedules
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_estimation_form_gives_the_same_as_carrying_an_identity(schedule, shape, dtype):
    """``W C = D`` for every C, and W without C = I equals D with it."""
    problem = eagle.problems.low_rank(*SHAPES[shape], condition=20, dtype=dtype, rng=5)
    method = eagle.Eagle(schedule)
    W = eagle.estimate(problem.A, problem.B, method=method, rng=0).value
    carried = eagle.solve(
        problem.A, problem.B, np.eye(len(problem.A), dtype=dtype), method=method, rng=0
    ).value
    D = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0).value
    assert relative_error(W, carried) <= tolerance(dtype, 20)
    assert relative_error(W @ problem.C, D) <= tolerance(dtype, 20)


def test_the_estimation_form_agrees_with_the_contraction_at_every_step():
    """Not only in the limit: ``W_l C = D_l`` step by step."""
    problem = eagle.problems.low_rank(17, 11, condition=20, rng=5)
    method = eagle.Eagle("paper")
    carried, plain = start(problem, method), start(problem, method, C=False)
    rows, columns = carried.user
    carried.rho = plain.rho = rules.NORM_MARGIN**-2  # or each would measure ||A|| = 1 its own way
    for _ in range(6):
        method.step(carried)
        method.step(plain)
        found = plain.D[:rows] @ problem.C
        assert relative_error(found, carried.D[:rows, :columns]) <= tolerance(float, 20)


def test_estimating_allocates_no_identity_of_the_long_side():
    """``estimate`` on a tall A holds nothing of size d x d: C = I is not carried."""
    import tracemalloc

    problem = eagle.problems.low_rank(3000, 20, condition=10, rng=0)
    eagle.estimate(problem.A, problem.B, method="eagle", rng=0)
    tracemalloc.start()
    eagle.estimate(problem.A, problem.B, method="eagle", rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * 8 * 3000**2


@pytest.mark.parametrize("schedule", ["minimax", "cholesky"])
def test_at_most_three_arrays_of_the_size_of_a(schedule):
    import tracemalloc

    problem = eagle.problems.low_rank(500, 500, condition=1e4, rng=0)
    method = eagle.Eagle(schedule)
    eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    tracemalloc.start()
    eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Plus a few rows and columns: probes, B, C, D.
    assert peak <= 3 * problem.A.nbytes + 40 * 500 * 8 * 10


@pytest.mark.parametrize("schedule", ["minimax", "paper", "trained", "cholesky"])
@pytest.mark.parametrize("kind", ["log", "spike", "cliff"])
def test_contractions_that_wait_change_nothing_but_the_cost(schedule, kind):
    """On large matrices C waits until A is conditioned, unless someone watches the value."""
    problem = eagle.problems.low_rank(420, 410, 3, 20, condition=1e6, kind=kind, rng=0)
    method = eagle.Eagle(schedule)
    waiting = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    watched = eagle.solve(
        problem.A, problem.B, problem.C, method=method, rng=0, callback=lambda state: None
    )
    assert problem.error(waiting.value) <= 1e-13
    assert relative_error(waiting.value, watched.value) <= 1e-13
    assert waiting.iterations <= 1.3 * watched.iterations + 1


@pytest.mark.parametrize("rtol", [1e-2, 1e-6, 1e-10])
def test_rtol_is_met_and_saves_iterations(rtol):
    problem = eagle.problems.low_rank(50, 50, condition=1e4, rng=2)
    result = eagle.solve(problem.A, problem.B, problem.C, method="eagle", rtol=rtol, rng=0)
    floor = eagle.solve(problem.A, problem.B, problem.C, method="eagle", rng=0)
    assert result.converged
    assert problem.error(result.value) <= 10 * rtol
    assert result.iterations < floor.iterations


def test_an_impossible_rtol_ends_as_stagnated():
    problem = eagle.problems.low_rank(20, 20, condition=1e2, rng=0)
    with pytest.warns(eagle.ConvergenceWarning, match="STAGNATED"):
        result = eagle.solve(problem.A, problem.B, problem.C, method="eagle", rtol=1e-30, rng=0)
    assert result.status is eagle.Status.STAGNATED


def test_flops_are_those_of_the_products():
    """At n = d conditioning takes half a product for the Gram matrix and one to apply it."""
    n = 300
    problem = eagle.problems.low_rank(n, n, 1, 1, condition=1e6, rng=0)
    seen = []
    method = eagle.Eagle()
    state = start(problem, method)
    for _ in range(4):
        before = state.flops
        method.step(state)
        seen.append((state.flops - before) / (2 * n**3))
    assert all(1.5 < step < 1.5 + 6 * 10 / n for step in seen)


@pytest.mark.parametrize("schedule", ["minimax", "cholesky"])
def test_conditioning_counts_rows_of_a_and_of_b(schedule):
    problem = eagle.problems.low_rank(17, 11, rng=0)
    state = start(problem, eagle.Eagle(schedule))
    _measure(state, True, None)
    before = state.flops
    state.conditioner.apply(state, True)
    rows = 17 + len(state.B)
    assert state.flops - before == (1 if schedule == "cholesky" else 2) * rows * 11**2


def test_steps_in_single_precision_count_q_as_well():
    """A Gram matrix, X and Q a step; A and B at the end."""
    problem = eagle.problems.low_rank(17, 11, condition=1e4, rng=0)
    state = start(problem, eagle.Eagle(precision="mixed"))
    _measure(state, True, None)
    before = state.flops
    assert rules.to_single(state, True)
    state.conditioner.apply_in_single(state, True)
    steps = len(state.lifts)
    assert steps > 2
    wanted = steps * (17 * 11**2 + 2 * (17 + 11) * 11**2) + 2 * (17 + len(state.B)) * 11**2
    assert state.flops - before == wanted


def test_the_spectrum_tells_how_much_the_next_step_leaves():
    """A change that shrinks by ``1 - gamma l^2`` next is settled, whatever the last ratio was."""
    state = start(eagle.problems.low_rank(17, 11, rng=0), eagle.Eagle())
    eps = np.finfo(float).eps
    state.rho, state.lower, state.measured, state.left = 1.0, 0.999, True, 0.0
    state.change = 100 * eps
    rules.judge(state, 110 * eps)
    assert state.settled
    state.lower = 0.5
    rules.judge(state, 110 * eps)
    assert not state.settled


def test_nothing_is_multiplied_for_what_a_trace_tells(algebra, monkeypatch):
    """The rank of an isometry, and that nothing is outside the row space of full rank."""
    given = eagle.problems.low_rank(17, 11, rng=0)
    state = begun(algebra, given, eagle.Eagle())
    state.A = algebra.block(np.linalg.qr(given.A)[0])
    tell(algebra, state, rho=1.0, lower=1.0, left=0.0, conditioned=True)
    before = state.flops
    assert algebra.number(_rank(state)) == 11
    assert state.flops == before
    monkeypatch.setattr(type(state.problem.algebra), "product", None)
    assert not algebra.number(_leaking(state))


@pytest.mark.parametrize("pair", [(0.9, 1.0), (1 / 1.9, 1.0), (0.45, 1.1)])
def test_traces_tell_the_rank_of_what_has_gathered_or_that_it_has_not(algebra, pair):
    """Singular values of an A that was well conditioned from the start may all be 1."""
    given = eagle.problems.low_rank(12, 8, condition=1.0, rng=0)
    state = begun(algebra, given, eagle.Eagle(pair))
    U, _, Vh = np.linalg.svd(given.A, full_matrices=False)
    top = state.conditioner.top
    for s in (np.ones(8), np.full(8, top), np.array([1, 1, 1, 1, top, top, top, 0.95 * top])):
        state.A = algebra.block((U * s) @ Vh)
        tell(algebra, state, rho=1.0, lower=s[-1])
        near = top > 0.9 or s[0] == top
        assert algebra.number(_rank(state)) == pytest.approx(8 if near else np.nan, nan_ok=True)


def test_the_first_eta_is_capped_and_the_end_is_that_of_the_schedule(algebra):
    """With eta = 0.9 singular values in [.244, 1] are as good as they get: no step gains."""
    method = eagle.Eagle((0.9, 1.0))
    state = method.step(begun(algebra, system((12, 8), condition=3), method))
    assert algebra.number(state.conditioned)
    assert state.lifts == []
    assert state.conditioner.done == pytest.approx(0.99 * lifted(1.0, 0.9))
    state = method.step(begun(algebra, system((12, 8), condition=1e4), method))
    assert not algebra.number(state.conditioned)
    assert [algebra.number(lift) for lift in state.lifts] == [0.5]
    state = method.step(state)
    assert [algebra.number(lift) for lift in state.lifts] == [0.5, 0.9]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_contraction_updates_and_measures(algebra, dtype):
    """``D += step B A^H C``, ``C -= step A A^H C``; sizes of the user's part and white probes."""
    state = begun(algebra, system("tall", dtype=dtype), eagle.Eagle("paper"))
    tell(algebra, state, rho=0.5)
    rows, columns = state.user
    rng = np.random.default_rng(0)
    B, C = algebra.numbers(state.B), algebra.numbers(state.C).copy()
    pull, push = (normal(rng, (size, C.shape[1]), dtype).astype(dtype) for size in (11, 17))
    _contract(state, algebra.block(pull), algebra.block(push))
    D, left = 0.5 * (B @ pull), C - 0.5 * push
    limit = tolerance(dtype)
    assert relative_error(algebra.numbers(state.D), D) <= limit
    assert relative_error(algebra.numbers(state.C), left) <= limit
    assert algebra.number(state.change) == pytest.approx(1, rel=limit)
    size = np.linalg.norm(D[:rows, :columns])
    assert algebra.number(state.peak) == pytest.approx(size, rel=limit)
    for name, part in [
        ("user_left", slice(0, columns)),
        ("left", slice(columns, columns + COUNT)),
    ]:
        size = np.linalg.norm(left[:, part]) / np.linalg.norm(C[:, part])
        assert algebra.number(getattr(state, name)) == pytest.approx(size, rel=limit)


@pytest.mark.parametrize("kind", ["inconsistent C", "both inconsistent"])
def test_only_what_is_outside_the_row_space_leaks(kind):
    given = system("tall", rank=5, kind=kind)
    state = start(given, eagle.Eagle())
    U, _, Vh = np.linalg.svd(state.A)
    state.D[:] = state.B @ given.pinv @ state.C
    # A partial isometry with noise, as the last steps leave it.
    noise = 1e-6 * np.random.default_rng(0).standard_normal(state.A.shape)
    inner = U[:, 5:11] @ (U[:, 5:11].T @ noise @ Vh[5:].T) @ Vh[5:]
    state.A = np.asfortranarray(U[:, :5] @ Vh[:5] + inner)
    state.rho, state.condition = 1.0, 10.0
    state.left, state.conditioned = 0.0, True
    assert _leaking(state) == (kind == "both inconsistent")


@given(
    d=st.integers(1, 14),
    n=st.integers(1, 14),
    rank=st.integers(1, 14),
    condition=st.floats(1, 1e6),
    schedule=st.sampled_from(SCHEDULES),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_any_consistent_problem_is_solved_to_rounding(d, n, rank, condition, schedule, dtype, seed):
    rank = min(rank, d, n)
    if np.finfo(dtype).eps > 1e-10:
        condition = min(condition, 1e3)
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, dtype=dtype, rng=seed)
    result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Eagle(schedule), rng=seed)
    scale = np.linalg.norm(problem.B) * np.linalg.norm(problem.C) / np.linalg.norm(problem.A, 2)
    distance = np.linalg.norm((result.value - problem.D).astype(np.complex128))
    assert result.converged
    assert distance <= tolerance(dtype, np.sqrt(rank)) * max(
        scale, float(np.linalg.norm(problem.D))
    )


@pytest.mark.parametrize("pair", [(0.8, 1.2), (1.0, 1.0), (0.1, 2.0)])
@pytest.mark.parametrize("kind", ["consistent", "both inconsistent"])
def test_a_bad_pair_is_slow_but_never_silently_wrong(pair, kind):
    """Beyond eta = 1/2 the map does not settle at 1; eta = 1 annihilates what is there."""
    blocks = system("square", rank=6, condition=10, kind=kind)
    result = solve(blocks, method=eagle.Eagle(pair), rng=0)
    error = relative_error(result.value, blocks.value)
    assert error <= 10 * result.error_estimate or not result.converged


def test_an_unknown_schedule_is_told_every_name():
    with pytest.raises(ValueError, match="'minimax', 'paper', 'trained', 'cholesky' or a pair"):
        eagle.Eagle("best")


@pytest.mark.parametrize("rank", [None, 20])
@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("shape", [(90, 90), (150, 60), (60, 150)])
def test_mixed_precision_has_the_error_of_double(shape, condition, rank):
    """Any Q will do: what rounding in single precision does to it costs nothing."""
    problem = eagle.problems.low_rank(*shape, rank=rank, condition=condition, rng=0)
    method = eagle.Eagle(precision="mixed")
    result = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
    assert result.converged
    assert problem.error(result.value) <= tolerance(float)
    assert result.rank == (rank or min(shape))
    assert condition / 3 <= result.condition <= 10 * condition


def test_mixed_precision_conditions_many_steps_at_a_time():
    problem = eagle.problems.low_rank(90, 60, condition=1e4, rng=0)
    blocks = problem.A, problem.B, problem.C
    mixed = eagle.solve(*blocks, method=eagle.Eagle(precision="mixed"), rng=0)
    double = eagle.solve(*blocks, method="eagle", rng=0)
    assert len(mixed.history) <= 0.75 * len(double.history)
    single = [block.astype(np.float32) for block in blocks]
    there = eagle.solve(*single, method=eagle.Eagle(precision="mixed"), rng=0)
    assert np.array_equal(there.value, eagle.solve(*single, method="eagle", rng=0).value)


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("size", [100, 300])
def test_the_rank_is_counted_exactly_where_singular_values_are_not_all_gathered(size, precision):
    for condition in (10.0, 1e8, 1e12):
        problem = eagle.problems.low_rank(size, size, condition=condition, rng=0)
        method = eagle.Eagle(precision=precision)
        result = eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
        assert result.rank == size


@pytest.mark.parametrize("C", [False, True])
def test_white_probes_tell_what_is_left_and_how_a_stretches_it(C, monkeypatch):
    """More rows and columns of the user's than probes change nothing about that."""
    state = start(system(rows=2 * COUNT, columns=2 * COUNT), eagle.Eagle(), C=C)
    (rows, columns), axis, seen = state.user, -2 if C else -1, []
    read = rules.read_spectrum
    monkeypatch.setattr(
        rules, "read_spectrum", lambda *given: (seen.append(given[3]), read(*given))
    )
    pull, push = _pull(state)
    _measure(state, True, (pull, push))
    probes = (..., slice(columns, columns + COUNT)) if C else slice(rows, rows + COUNT)
    lengths = [np.linalg.norm(block[probes], axis=axis) for block in (pull, push)]
    assert seen[0] == pytest.approx(lengths[1] / lengths[0])
    if not C:
        _contract(state, pull, push)
        whole = np.linalg.norm(state.B[probes], axis=axis)
        assert state.left == pytest.approx(np.linalg.norm(lengths[0]) / np.linalg.norm(whole))
