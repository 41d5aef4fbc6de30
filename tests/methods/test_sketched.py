"""Sketches: one epoch of exact steps is enough, the printed steps are Algorithm 1's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eagle
from eagle.algebra.operand import Mapped
from eagle.methods.sketched.method import SAMPLINGS, default_size
from eagle.methods.sketched.orthogonal import WORK, _append, leaks, remember, take_out
from eagle.problem.blocks import Problem
from eagle.problem.certificate import COUNT, Probes
from eagle.problem.options import Options
from eagle.update import LIFTS, Blocks, update
from tests.systems import KINDS, SHAPES, quietly, solve, system
from tests.tolerances import relative_error, tolerance


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("part", [2, 4, 8, 16])
def test_exact_steps_need_one_epoch_whatever_the_condition(part, condition):
    problem = eagle.problems.low_rank(96, 96, condition=condition, rng=0)
    result = solve(problem, eagle.Sketched(96 // part))
    assert result.converged
    assert result.iterations <= 2 * part
    assert result.rank == 96
    # Backward stable: the error does not grow with the condition number.
    assert problem.error(result.value) <= tolerance(np.float64, 96)


@given(
    d=st.integers(1, 30),
    n=st.integers(1, 30),
    size=st.integers(1, 40),
    condition=st.floats(1, 1e6),
    dtype=st.sampled_from([np.float32, np.float64, np.complex128]),
    share=st.floats(0.1, 1),
    seed=st.integers(0, 50),
)
def test_any_sketch_size_finds_the_value(d, n, size, condition, dtype, share, seed):
    rank = max(1, int(share * min(d, n)))
    condition = min(condition, 0.01 / np.finfo(dtype).eps)
    problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, dtype=dtype, rng=seed)
    result = solve(problem, eagle.Sketched(size))
    error = problem.error(result.value)
    assert error <= 10 * result.error_estimate + tolerance(dtype) or not result.converged
    assert error <= tolerance(dtype, condition) * max(d, n)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_sampling_has_the_same_limit(shape, sampling):
    problem = eagle.problems.low_rank(*SHAPES[shape], condition=100, rng=3)
    result = solve(problem, eagle.Sketched(4, sampling=sampling))
    assert result.converged
    assert problem.error(result.value) <= tolerance(np.float64, 100)


def next_sketch(state, sampling):
    """S of the next step, (n, size), from a copy of the random numbers that it will draw."""
    rng, n = copy.deepcopy(state.rng), state.A.shape[1]
    width = min(state.size, n - state.position)
    if sampling == "orthonormal":
        return np.linalg.qr(rng.standard_normal((n, width)))[0]
    if sampling == "columns":
        return np.eye(n)[:, rng.choice(n, width, replace=False)]
    order = state.order if len(state.order) else rng.permutation(n)
    return np.eye(n)[:, order[state.position : state.position + width]]


@pytest.mark.parametrize("lift", LIFTS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_printed_steps_are_algorithm_1(sampling, lift):
    """And count their products, ``2 m k n`` operations each."""
    given = system("tall", condition=3)
    problem = Problem.create(given.A, given.B, given.C)
    method = eagle.Sketched(3, sampling=sampling, lift=lift, step_sizes=(0.4, 0.9))
    state = method.init(problem, Options(rng=0))
    (d, n), (rows, columns) = given.A.shape, problem.shape
    blocks = Blocks(given.A, given.B, given.C, np.zeros((rows, columns)))
    for _ in range(n // 3):
        S, flops = next_sketch(state, sampling), state.flops
        state = method.step(state)
        square = np.linalg.norm(blocks.A @ S, 2) ** 2
        blocks = update(blocks, 0.4 / square, 0.9 / square, sketch=S, lift=lift)
        for name, wanted in zip("ABCD", blocks, strict=True):
            assert relative_error(getattr(state, name), wanted) <= tolerance(np.float64)
        terms = 3 * d * (3 + columns) + (d + rows) * 3 * columns
        if sampling == "orthonormal":
            terms += d * n * 3
        if lift == "full":
            terms += 3 * d * n
        if lift == "full" or sampling == "orthonormal":
            terms += (d + rows) * 3 * n
        assert state.flops - flops == 2 * terms


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_exact_steps_take_out_a_sketch_at_a_time(sampling):
    """As many directions as it has columns, of what no sketch before had."""
    given = system("tall", condition=3)
    state = eagle.Sketched(3, sampling=sampling).init(
        Problem.create(given.A, given.B, given.C), Options(rng=0)
    )
    seen = np.zeros((len(given.A), 0))
    work = []
    for _ in range(3):
        S, flops = next_sketch(state, sampling), state.flops
        eagle.Sketched(3, sampling=sampling).step(state)
        seen = np.concatenate([seen, given.A @ S], axis=1)
        assert state.seen == np.linalg.matrix_rank(seen)
        outside = given.C - seen @ np.linalg.lstsq(seen, given.C)[0]
        assert relative_error(state.C, outside) <= tolerance(np.float64, 100)
        work.append(state.flops - flops)
    if sampling == "orthonormal":
        (d, n), columns = given.A.shape, given.C.shape[1]
        known = [0, 3, 6]  # directions that are taken out twice, then a QR factorisation
        assert work == [
            2 * (d * n * 3 + 2 * k * d * 6 + d * 3 + d * 9 + 3 * d * 2 * columns) for k in known
        ]


def test_what_is_left_is_that_of_the_white_probes():
    given = system("tall", condition=3)
    problem = Probes.draw(
        Problem.create(given.A, given.B, given.C), np.random.default_rng(0)
    ).problem
    method = eagle.Sketched(4, step_sizes=(0.4, 0.9))
    state = method.init(problem, Options(rng=0))
    white = slice(given.C.shape[1], given.C.shape[1] + COUNT)
    start = np.linalg.norm(state.C[:, white])
    for _ in range(3):  # 11 columns, 4 at a time
        state = method.step(state)
    assert state.left == pytest.approx(np.linalg.norm(state.C[:, white]) / start, rel=1e-12)


@pytest.mark.parametrize("step_sizes", ["exact", (0.9, 1.0)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_is_wanted_never_changes(step_sizes, sampling):
    """``D_l + W C_l`` with ``W = B A^+`` is the value at every step."""
    given = system("tall", condition=3)
    W = given.B @ given.pinv
    method = eagle.Sketched(3, sampling=sampling, step_sizes=step_sizes)
    problem = Problem.create(given.A, given.B, given.C)
    state = method.init(problem, Options(rng=0))
    for _ in range(6):
        state = method.step(state)
        assert relative_error(state.D + W @ state.C, W @ given.C) <= tolerance(np.float64, 10)


def test_the_full_lift_scales_and_the_paper_s_does_not():
    problem = eagle.problems.low_rank(96, 96, condition=1e2, rng=0)
    steps = {}
    for lift in LIFTS:
        method = eagle.Sketched(24, lift=lift, step_sizes=(0.95, 1.0))
        steps[lift] = solve(problem, method, rtol=1e-6, maxiter=400).iterations
    assert steps["full"] <= 16 * 4  # epochs of 4
    assert steps["paper"] > 3 * steps["full"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [2, 5, 100])
def test_inconsistent_blocks_of_a_rank_deficient_matrix(shape, size):
    given = system(shape, rank=5, kind="both inconsistent", condition=10, seed=2)
    result = solve(given, eagle.Sketched(size))
    assert result.converged
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 10**2)
    assert result.inconsistency > 0.01


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lift", LIFTS)
def test_exact_steps_remove_the_bias_that_printed_ones_leave(shape, lift):
    given = system(shape, rank=5, kind="both inconsistent", condition=3, seed=1)
    result = solve(given, eagle.Sketched(4, lift=lift, step_sizes=(0.95, 1.0)), maxiter=3000)
    assert result.converged
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)
    assert result.inconsistency > 0.01


def test_a_stochastic_step_with_all_columns_is_gradient_descent():
    problem = eagle.problems.low_rank(20, 12, condition=3, rng=0)
    whole = solve(problem, eagle.StochasticGradientDescent(12), maxiter=5, rtol=1e-15)
    gradient = solve(problem, eagle.GradientDescent(), maxiter=5, rtol=1e-15)
    # Gradient descent keeps its step one per cent clear of the edge.
    assert relative_error(whole.value, gradient.value) < 0.05


def test_sketches_need_fewer_epochs_than_stochastic_gradients():
    problem = eagle.problems.low_rank(64, 48, condition=30, rng=0)
    sketched = solve(problem, eagle.Sketched(12), rtol=1e-6)
    stochastic = solve(problem, eagle.StochasticGradientDescent(12), rtol=1e-6)
    assert sketched.converged
    assert stochastic.converged
    assert sketched.iterations * 20 < stochastic.iterations


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("tall", "inconsistent B"), ("square", "inconsistent B"), ("wide", "inconsistent C")],
)
def test_stochastic_gradients_on_inconsistent_rows_say_that_they_fail(shape, kind):
    """Of a wide A the columns are what is solved for."""
    given = system(shape, rank=5, kind=kind, condition=2, seed=4)
    result = solve(given, "sgd", maxiter=300)
    assert result.status is eagle.Status.MAX_ITERATIONS
    assert 0.01 < relative_error(result.value, given.value) <= 10 * result.error_estimate


def test_the_default_size_is_an_eighth():
    assert [default_size(n) for n in (1, 5, 40, 64, 800)] == [1, 5, 8, 8, 100]


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 2.5}, TypeError, "size must be an integer"),
        ({"lift": "half"}, ValueError, "lift must be one of 'paper', 'full'"),
        ({"sampling": "rows"}, ValueError, "sampling must be one of 'reshuffled'"),
        ({"lift": "paper", "step_sizes": "exact"}, ValueError, "full lift only"),
        ({"step_sizes": (2.0, 1.0)}, ValueError, "needs 0 < eta <= 1"),
    ],
)
def test_impossible_settings_are_refused(settings, kind, message):
    with pytest.raises(kind, match=message):
        eagle.Sketched(**settings)


def test_an_impossible_batch_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1"):
        eagle.StochasticGradientDescent(0)


@pytest.mark.parametrize("rank", [10, 400])
def test_an_epoch_of_exact_steps_costs_what_the_documentation_says(rank):
    """Every sketch is taken out of what came before twice: ``4 d k (2 n - k)`` operations."""
    problem = eagle.problems.low_rank(600, 400, rank=rank, condition=10, rng=0)
    result = solve(problem, eagle.Sketched(40))
    assert result.iterations == 10
    assert result.flops == pytest.approx(4 * 600 * rank * (2 * 400 - rank), rel=0.1)


@pytest.mark.parametrize("condition", [1e3, 1e9])
def test_the_estimate_is_honest_where_rounding_is_amplified(condition):
    """Rank-deficient A, both sides inconsistent: the error grows with the condition number."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        kind = eagle.problems.SPECTRA[seed % 6]
        blocks = eagle.problems.low_rank(60, 50, rank=20, condition=condition, kind=kind, rng=seed)
        B = blocks.B + rng.standard_normal(blocks.B.shape)
        C = blocks.C + rng.standard_normal(blocks.C.shape)
        U, s, Vh = np.linalg.svd(blocks.A)
        truth = (B @ Vh[:20].T / s[:20]) @ (U[:, :20].T @ C)
        method = eagle.Sketched((3, 10, 25)[seed % 3])
        result = quietly(eagle.solve, blocks.A, B, C, method=method, rng=seed)
        error = relative_error(result.value, truth)
        assert result.rank == 20
        assert error <= tolerance(np.float64, condition, constant=1000)
        assert error <= 10 * result.error_estimate


def test_noise_that_steps_leave_behind_is_not_taken_for_rank():
    """Sketches of 10 see 20 directions in two steps, the last of them very weakly."""
    problem = eagle.problems.low_rank(60, 50, rank=20, condition=1e6, rng=0)
    for seed in range(40):
        result = eagle.solve(problem.A, problem.B, problem.C, method=eagle.Sketched(10), rng=seed)
        assert result.rank == 20
        assert problem.error(result.value) <= tolerance(np.float64, 50)


@pytest.mark.parametrize("size", [2, 5])
def test_rounding_errors_never_make_more_directions_than_there_can_be(size):
    """Even if no noise is told from directions, and columns are drawn again and again."""
    given = system("tall")
    method = eagle.Sketched(size, sampling="columns")
    for seed in range(5):
        state = method.init(Problem.create(given.A, given.B, given.C), Options(rng=seed))
        state.noise = 0.0
        for _ in range(15):
            state = method.step(state)
            assert state.seen <= min(given.A.shape)


def test_what_is_outside_does_not_depend_on_the_phase_of_b():
    """``i B`` has the size of B, whatever part of it is real."""
    given = system("tall", rank=5, kind="inconsistent B", dtype=np.complex128)
    outside = []
    for B in (given.B, 1j * given.B):
        state = eagle.Sketched(3).init(Problem.create(given.A, B, given.C), Options(rng=0))
        while state.position < given.A.shape[1]:
            take_out(state, "reshuffled")
        assert state.seen == 5
        outside.append(state.outside)
    assert np.all(outside[0] > 0.01)
    assert outside[1] == pytest.approx(outside[0], rel=1e-12)


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_only_what_a_does_not_explain_leaks(kind, rows):
    """Also where a sketch has seen its last direction so weakly that rounding is amplified."""
    given = system("tall", rank=4, kind=kind, rows=rows, condition=1e8)
    blocks = Problem.create(given.A, given.B, given.C)
    for seed in range(20):
        problem = Probes.draw(blocks, np.random.default_rng(seed)).problem
        state = eagle.Sketched(2).init(problem, Options(rng=seed))
        while state.position < given.A.shape[1]:
            take_out(state, "reshuffled")
        remember(state)
        assert leaks(state) == (kind in ("inconsistent B", "both inconsistent"))


# --- memory -------------------------------------------------------------------------------------


def test_exact_steps_keep_a_basis_and_no_copy_of_a():
    import tracemalloc

    problem = eagle.problems.low_rank(2500, 2000, rank=20, condition=10, rng=0)
    limit = 8 * 10**6  # a fifth of A
    solve(problem, eagle.Sketched(20), memory_limit=limit)  # imports
    tracemalloc.start()
    result = solve(problem, eagle.Sketched(20), memory_limit=limit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.rank == 20
    assert problem.error(result.value) <= tolerance(np.float64, 50)
    assert peak <= limit


def test_memory_is_within_the_limit_whether_the_basis_fits_or_not():
    """Old basis, new basis and the copies of a sketch: 100 + 200 + 6 * 25 columns, 1.8 MB."""
    import tracemalloc

    problem = eagle.problems.low_rank(500, 200, condition=10, rng=0)
    method = eagle.Sketched(25)
    solve(problem, method)  # imports
    for limit, status in ((1_500_000, "MEMORY_LIMIT"), (2_000_000, "CONVERGED")):
        tracemalloc.start()
        result = solve(problem, method, memory_limit=limit)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.status.name == status
        assert peak <= limit


@pytest.mark.parametrize("fits", [True, False])
def test_the_basis_of_earlier_epochs_counts_as_memory(fits):
    given = system("tall")
    state = eagle.Sketched(3).init(Problem.create(given.A, given.B, given.C), Options(rng=0))
    d, new, kept = len(given.A), 3, 4
    state.basis = np.zeros((d, kept))
    state.limit = 8 * d * (new + WORK * state.size + kept) - (not fits)
    _append(state, np.ones((d, new)), np.ones((len(given.B), new)), np.ones(new))
    assert state.out_of_memory is not fits
    assert state.seen == (new if fits else 0)


def test_a_basis_that_does_not_fit_is_told():
    problem = eagle.problems.low_rank(300, 250, condition=10, rng=0)
    result = solve(problem, eagle.Sketched(10), memory_limit=300_000)
    assert result.status is eagle.Status.MEMORY_LIMIT
    assert problem.error(result.value) <= 10 * result.error_estimate
    assert solve(problem, eagle.Sketched(10), memory_limit=2 * 10**6).converged


def test_a_limit_narrows_the_default_sketch():
    problem = eagle.problems.low_rank(800, 700, rank=10, condition=10, rng=0)
    wide, narrow = solve(problem, "sketched"), solve(problem, "sketched", memory_limit=10**6)
    assert narrow.converged
    assert narrow.iterations > wide.iterations


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (eagle.Sketched(100), "sketches of 100 columns"),
        (eagle.Sketched(5, step_sizes=(0.9, 1.0)), "steps that work on a copy"),
        (eagle.Sketched(5, lift="paper"), "steps that work on a copy"),
    ],
)
def test_a_limit_under_which_no_step_is_possible_is_refused(method, what):
    problem = eagle.problems.low_rank(300, 250, rank=10, rng=0)
    with pytest.raises(ValueError, match=rf"memory_limit must be at least \d+ bytes for {what}"):
        solve(problem, method, memory_limit=200_000)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_is_read_a_sketch_at_a_time(order, tmp_path, monkeypatch):
    """No more of it than a sketch is ever copied."""
    problem = eagle.problems.low_rank(120, 100, rank=8, condition=10, rng=0)
    np.save(tmp_path / "A.npy", np.array(problem.A, order=order))
    A = np.load(tmp_path / "A.npy", mmap_mode="r")
    widths = []
    columns = Mapped.columns

    def watched(self, index):
        out = columns(self, index)
        widths.append(out.shape)
        return out

    monkeypatch.setattr(Mapped, "columns", watched)
    result = eagle.solve(A, problem.B, problem.C, method=eagle.Sketched(6), rng=0)
    length, side = (120, 100) if order == "F" else (100, 120)
    assert problem.error(result.value) <= tolerance(np.float64, 50)
    assert {rows for rows, _ in widths} == {length}
    assert max(width for _, width in widths) == 6
    assert sum(width for _, width in widths) == side  # one epoch


@pytest.mark.parametrize("size", [3, 7])
def test_columns_that_are_drawn_again_never_make_more_directions_than_a_has(size):
    """Left-overs of columns seen before are rounding errors, which a small epsilon hides badly."""
    A = (1 / (np.arange(12)[:, None] + np.arange(18) + 1.0)).astype(np.float32)
    method = eagle.Sketched(size, sampling="columns")
    for seed in range(20):
        result = quietly(eagle.solve, A, A[:2], A[:, :2], method=method, rng=seed)
        assert result.rank is None or result.rank <= 12


@pytest.mark.parametrize("size", [1.0, 1e8])
def test_the_estimate_does_not_depend_on_units(size):
    each = system("tall", condition=10)
    result = eagle.solve(size * each.A, each.B, each.C, method="sketched", rng=0)
    assert result.error_estimate <= tolerance(float, condition=10)
