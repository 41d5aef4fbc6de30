"""The certificate bounds the truth, and inconsistency is what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import eagle
from eagle.algebra.numbers import Many
from eagle.methods.base import Method, State
from eagle.problem.blocks import Problem
from eagle.problem.certificate import COUNT, Probes, judge
from tests.systems import KINDS, SHAPES, normal, quietly, solve, system
from tests.tolerances import relative_error, tolerance

FACTOR = 10  # stated in the documentation: the truth is at most ten times the estimate
METHODS = {
    "minimax": eagle.Eagle(),
    "paper": eagle.Eagle("paper"),
    "trained": eagle.Eagle("trained"),
    "cholesky": eagle.Eagle("cholesky"),
    "mixed": eagle.Eagle(precision="mixed"),
    "sketched": eagle.Sketched(7),
    "compressed": eagle.Compressed(),
    "gelsd": eagle.Direct(),
    "gelsy": eagle.Direct("gelsy"),
    "gelsy, numba": eagle.Direct("gelsy", kernel="numba"),
    "cg": eagle.ConjugateGradient(),
    "lsmr": eagle.LSMR(),
    "newton-schulz": eagle.NewtonSchulz(),
}


def extended(blocks, rng):
    """Probes of a problem and the exact extended value."""
    problem = Problem.create(blocks.A, blocks.B, blocks.C)
    probes = Probes.draw(problem, rng)
    rows, columns = probes.problem.rows(), probes.problem.columns()
    return probes, rows @ np.linalg.pinv(problem.A, rcond=1e-13) @ columns


def judged(probes, value, *, resolved=False, quick=False, **known):
    """The certificate of a value, as of a method that knows nothing unless told."""
    return probes.certify(value, resolved=resolved, quick=quick, **known)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", eagle.problems.SPECTRA)
@pytest.mark.parametrize("condition", [1e2, 1e5, 1e9])
def test_the_estimate_bounds_the_error_over_a_wide_family(name, kind, condition):
    """Three shapes and two ranks a case; whatever the status says, the estimate holds."""
    for seed, (d, n, rank) in enumerate(
        [(40, 40, None), (20, 50, None), (50, 20, None), (40, 40, 8), (50, 40, 30)]
    ):
        problem = eagle.problems.low_rank(d, n, rank=rank, condition=condition, kind=kind, rng=seed)
        result = solve(problem, method=METHODS[name], maxiter=500, rng=seed)
        assert problem.error(result.value) <= FACTOR * result.error_estimate


@pytest.mark.parametrize("name", ["minimax", "cholesky", "gelsd"])
@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_the_estimate_is_not_absurdly_large(name, condition):
    """Within a thousand times the truth or ``eps`` on problems solved to rounding."""
    for seed in range(20):
        problem = eagle.problems.low_rank(40, 40, condition=condition, rng=seed)
        result = eagle.solve(problem.A, problem.B, problem.C, method=METHODS[name], rng=seed)
        assert result.error_estimate <= 1000 * max(problem.error(result.value), np.finfo(float).eps)


@pytest.mark.parametrize("iterations", range(1, 16, 2))
@pytest.mark.parametrize("name", ["minimax", "paper", "cg", "newton-schulz"])
def test_the_estimate_bounds_the_error_of_a_run_that_was_cut_short(name, iterations):
    for seed in range(6):
        problem = eagle.problems.low_rank(
            40, 40, condition=1e4, kind="spike" if seed % 2 else "log", rng=seed
        )
        result = solve(problem, method=METHODS[name], maxiter=iterations, rng=seed)
        assert problem.error(result.value) <= FACTOR * result.error_estimate


@pytest.mark.parametrize("side", ["C along the smallest", "B along the smallest", "both"])
@pytest.mark.parametrize("iterations", [3, 6, 9, 40])
def test_data_along_the_smallest_direction_do_not_fool_it(side, iterations):
    """The probes see that direction weakly; the weights cancel."""
    rng = np.random.default_rng(0)
    U, V = (
        np.linalg.qr(rng.standard_normal((30, 30)))[0],
        np.linalg.qr(rng.standard_normal((30, 30)))[0],
    )
    s = eagle.problems.spectrum(30, 1e5)
    A = (U * s) @ V.T
    G, H = rng.standard_normal((2, 30)), rng.standard_normal((30, 2))
    if side != "B along the smallest":
        H[:-1] *= 1e-8
    if side != "C along the smallest":
        G[:, :-1] *= 1e-8
    B, C, D = (G * s) @ V.T, (U * s) @ H, (G * s) @ H
    result = quietly(eagle.solve, A, B, C, method="eagle", maxiter=iterations, rng=1)
    assert relative_error(result.value, D) <= FACTOR * result.error_estimate


@pytest.mark.parametrize("level", [1e-12, 1e-6, 1e-2, 1.0])
@pytest.mark.parametrize("quick", [True, False])
def test_a_wrong_value_is_found_out(level, quick, rng):
    """An error of rank one in W, however the data see it, is measured within the factor."""
    blocks = eagle.problems.low_rank(30, 20, condition=100, rng=0)
    probes, exact = extended(blocks, rng)
    d, n = probes.problem.shape
    # A direction that the method treats wrongly: the error of every row and column follows.
    u = normal(rng, (30,), float)
    error = np.outer(
        probes.problem.rows() @ np.linalg.pinv(probes.problem.A) @ u, u @ probes.problem.columns()
    )
    error *= level * np.linalg.norm(exact[:d, :n]) / np.linalg.norm(error[:d, :n])
    estimate = judged(probes, exact + error, quick=quick).error_estimate
    assert level / FACTOR <= estimate <= 100 * level + 1e-11


@pytest.mark.parametrize("level", [1e-8, 1e-3])
def test_a_method_that_wrongly_claims_to_be_done_is_found_out(level, rng):
    """The claim caps what white probes say; range probes need no claim."""
    probes, exact = extended(eagle.problems.low_rank(30, 20, condition=10, rng=0), rng)
    wrong = exact * (1 + level)
    claimed = judged(probes, wrong, resolved=True, condition=10.0).error_estimate
    assert level / FACTOR <= claimed <= FACTOR * level


def test_an_exact_value_has_an_estimate_of_rounding(rng):
    probes, exact = extended(eagle.problems.low_rank(30, 20, condition=10, rng=0), rng)
    assert judged(probes, exact).error_estimate <= tolerance(float, 10, constant=100)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_has_no_bound(bad, rng):
    probes, exact = extended(eagle.problems.low_rank(12, 10, rng=0), rng)
    exact[0, 0] = bad
    assert judged(probes, exact).error_estimate == np.inf


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [None, 6])
@pytest.mark.parametrize("name", ["minimax", "cholesky", "gelsd"])
def test_inconsistency_is_what_a_does_not_explain_of_b(shape, rank, name):
    d, n = SHAPES[shape]
    seen, true = [], []
    for seed in range(12):
        blocks = system(shape, rank=rank, kind="inconsistent B", seed=seed)
        result = eagle.solve(blocks.A, blocks.B, blocks.C, method=METHODS[name], rng=seed)
        true.append(np.linalg.norm(blocks.B - blocks.W @ blocks.A) / np.linalg.norm(blocks.B))
        seen.append(result.inconsistency)
    if rank is None and n <= d:
        assert max(seen) <= tolerance(float, 10)
    else:
        assert np.mean(seen) == pytest.approx(np.mean(true), rel=0.25)
        assert all(0.3 * t < s < 3 * t for s, t in zip(seen, true, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["minimax", "cholesky", "gelsd"])
def test_the_inconsistency_of_a_ridge_is_that_of_the_users_blocks(shape, name):
    """Of one matrix from a decomposition, of many from probes of their own."""
    systems, ridge = [system(shape, kind="inconsistent B", seed=seed) for seed in range(12)], 0.1
    A, B, C = (np.stack([getattr(blocks, name) for blocks in systems]) for name in "ABC")
    W = B @ np.linalg.inv(A.mT @ A + ridge * np.eye(A.shape[-1])) @ A.mT
    true = np.linalg.norm(B - W @ A, axis=(1, 2)) / np.linalg.norm(B, axis=(1, 2))
    options = {"method": METHODS[name], "ridge": ridge}
    one = [eagle.solve(*each, rng=0, **options) for each in zip(A, B, C, strict=True)]
    many = [eagle.solve(A, B, C, rng=seed, **options) for seed in range(12)]
    assert [result.inconsistency for result in one] == pytest.approx(true, rel=0.5)
    seen = np.mean([[part.inconsistency for part in each.results] for each in many], axis=0)
    assert seen == pytest.approx(true, rel=0.5)


def test_consistent_blocks_have_no_inconsistency():
    problem = eagle.problems.low_rank(30, 40, rank=12, condition=100, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method="eagle", rng=0)
    assert result.inconsistency <= tolerance(float, 100)


def test_probes_have_the_answers_they_claim(rng):
    blocks = eagle.problems.low_rank(15, 12, rank=7, condition=50, dtype=complex, rng=0)
    probes, exact = extended(blocks, rng)
    rows, columns = probes.problem.shape
    claimed = np.block(
        [[exact[:rows, :columns], probes.column_answers], [probes.row_answers, probes.corner]]
    )
    assert probes.corner.shape == (2 * COUNT, 2 * COUNT)
    assert relative_error(claimed, exact) <= tolerance(float, 50)


@pytest.mark.parametrize("which", ["B", "C"])
def test_range_probes_hold_without_consistency(which, rng):
    """What makes the certificate work for least squares with a residual."""
    blocks = system("square", rank=5, kind=f"inconsistent {which}")
    probes, exact = extended(blocks, rng)
    rows, columns = probes.problem.shape
    ranged = slice(COUNT, 2 * COUNT)
    assert relative_error(
        exact[:rows, columns:][:, ranged], probes.column_answers[:, ranged]
    ) <= tolerance(float, 100)
    assert relative_error(exact[rows:, :columns][ranged], probes.row_answers[ranged]) <= tolerance(
        float, 100
    )


def test_drawing_probes_leaves_the_blocks_alone(rng):
    problem = Problem.create(*dataclasses.astuple(eagle.problems.low_rank(9, 7, rng=0))[:3])
    A = problem.A.copy()
    probes = Probes.draw(problem, rng)
    assert probes.problem.A is problem.A
    assert np.array_equal(A, problem.A)


def test_two_directions_with_very_different_errors_are_told_apart(rng):
    """The probes see mostly the one that is worse, the user's blocks only the other."""
    d, n, errors = 9, 7, np.array([1e-6, 1e-2])
    U, V = (np.linalg.qr(rng.standard_normal((size, 2)))[0] for size in (d, n))
    A = U @ V.T
    B, C = rng.standard_normal((3, 1)) * V[:, 0], U[:, :1] * rng.standard_normal((1, 2))
    probes = Probes.draw(Problem.create(A, B, C), rng)
    rows, columns = probes.problem.rows(), probes.problem.columns()
    wrong = (rows @ V * (1 - errors)) @ (U.T @ columns)
    estimate = judged(probes, wrong).error_estimate
    assert errors[0] / FACTOR <= estimate <= FACTOR * errors[0]


@pytest.mark.parametrize("resolved", [True, False])
def test_a_misfit_larger_than_the_data_is_error_and_not_inconsistency(resolved, rng):
    """``B - B A^+ A`` is a projection of B."""
    blocks = system("square", rank=5, kind="both inconsistent")
    probes, exact = extended(blocks, rng)
    rows, columns = probes.problem.shape
    exact[:rows] *= 1e3
    exact[:, :columns] *= 1e3
    assert judged(probes, exact, resolved=resolved, own="rows").error_estimate >= 1


@pytest.mark.parametrize("which", ["B", "C"])
def test_a_small_misfit_proves_nothing_where_small_directions_hardly_show(which, rng):
    """Unless the method has dealt with them, or the other block is an identity."""
    A = np.diag([1.0, 1.0, 1.0, 1e-9])
    given, other = rng.standard_normal((2, 4)), rng.standard_normal((4, 2))
    B, C = (given, A @ other) if which == "B" else (given @ A, other)
    A = np.vstack([np.hstack([A, np.zeros((4, 2))]), np.zeros((2, 6))])
    outside = rng.standard_normal((2, 2))
    B = np.hstack([B, outside if which == "B" else 0 * outside])
    C = np.vstack([C, outside if which == "C" else 0 * outside])
    probes = Probes.draw(Problem.create(A, B, C), rng)
    without = np.linalg.pinv(A, rcond=1e-6)  # what has left the small direction out
    value = probes.problem.rows() @ without @ probes.problem.columns()
    for own in ("rows", "columns"):
        for resolved in (False, True):
            assert judged(probes, value, own=own, resolved=resolved).error_estimate > 1e-3


@dataclasses.dataclass(frozen=True)
class Creeping(Method):
    """Probes are exact at once, the user's block comes nearer by a constant factor."""

    rate: float = 0.8
    default_maxiter = 1000

    def init(self, problem, options):
        return State(problem=problem)

    def step(self, state):
        left = self.rate**state.taken
        state.change = left * (1 / self.rate - 1) / (1 - left)
        return state

    def output(self, state):
        problem = state.problem
        value = problem.rows() @ np.linalg.pinv(problem.A) @ problem.columns()
        rows, columns = problem.shape
        value[:rows, :columns] *= 1 - self.rate**state.taken
        return value


@pytest.mark.parametrize("rate", [0.3, 0.8])
@pytest.mark.parametrize("rtol", [1e-2, 1e-6])
def test_a_value_that_creeps_is_within_rtol_when_it_is_said_to_be(rtol, rate):
    problem = eagle.problems.low_rank(9, 7, condition=5, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, method=Creeping(rate), rtol=rtol, rng=0)
    assert result.converged
    assert problem.error(result.value) <= 2 * rtol


@pytest.mark.parametrize("own", ["rows", "columns", None])
def test_until_the_spectrum_is_resolved_white_probes_count_on_both_sides(own, rng):
    """Range probes may be at rest, and know of nothing but rounding errors."""
    probes, value = extended(system((14, 9), kind="log", seed=1), rng)
    d, n = probes.problem.shape
    error = 1e-4 * np.outer(rng.standard_normal(len(value)), rng.standard_normal(value.shape[1]))
    ranged = slice(d + COUNT, d + 2 * COUNT), slice(n + COUNT, n + 2 * COUNT)
    error[ranged[0]] = 1e-12 * rng.standard_normal((COUNT, value.shape[1]))
    error[:, ranged[1]] = 1e-12 * rng.standard_normal((len(value), COUNT))
    error[ranged[0], n:] = 1e-6 * rng.standard_normal((COUNT, 2 * COUNT))
    error[d:, ranged[1]] = 1e-6 * rng.standard_normal((2 * COUNT, COUNT))
    certificate = judged(probes, value + error, own=own)
    actual = np.linalg.norm(error[:d, :n]) / np.linalg.norm((value + error)[:d, :n])
    assert actual <= FACTOR * certificate.error_estimate


@pytest.mark.parametrize("resolved", [False, True])
def test_a_value_beyond_rounding_level_is_error(resolved, rng):
    """``B A^+ C`` is at most ``|B| |C| / (eps |A|)`` without directions that rounding made."""
    probes, value = extended(system((9, 7), kind="log", seed=1), rng)
    rows, columns = probes.problem.shape
    value[:rows, :columns] *= 1e20
    assert judged(probes, value, resolved=resolved, own="rows").error_estimate >= 1


@pytest.mark.parametrize("flipped", [False, True])
def test_cg_does_not_stop_while_the_value_moves(flipped):
    """One step solves ``A w`` to rounding, but not a C that sees both directions alike."""
    A = np.array([[0.5, 0, 0], [0, 1.5e-4, 0]])
    B, C, D = np.array([[1.0, 0.0, 0.0]]), np.array([[3.0], [3.0]]), np.array([[6.0]])
    if flipped:
        A, B, C = A.T, C.T, B.T
    for seed in range(5):
        result = eagle.solve(A, B, C, method="cg", rtol=1e-8, rng=seed)
        assert result.converged
        assert relative_error(result.value, D) <= 1e-8


@pytest.mark.parametrize("resolved", [True, False])
@pytest.mark.parametrize("condition", [None, 1e3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_for_many_are_the_rules_for_one(kind, condition, resolved):
    """On errors of every size in rows, columns and corner, each by itself."""
    rng = np.random.default_rng(0)
    blocks = system((14, 9), kind=kind, seed=1)
    probes, exact = extended(blocks, rng)
    (d, n), p = probes.problem.shape, 4
    cuts = {"white": slice(0, p), "ranged": slice(p, 2 * p)}
    for _ in range(50):
        value = exact.copy()
        for rows in (slice(0, d), slice(d, None)):
            for columns in (slice(0, n), slice(n, None)):
                part = value[rows, columns]
                size = np.linalg.norm(part) * 10.0 ** rng.uniform(-17, 3)
                part += size * rng.standard_normal(part.shape)
        one = judged(probes, value, resolved=resolved, condition=condition, quick=True)
        parts = {"hidden": value[:d, :n]}
        for name, cut in cuts.items():
            parts[f"column_answers_{name}"] = probes.column_answers[:, cut]
            parts[f"column_errors_{name}"] = (value[:d, n:] - probes.column_answers)[:, cut]
            parts[f"row_answers_{name}"] = probes.row_answers[cut]
            parts[f"row_errors_{name}"] = (value[d:, :n] - probes.row_answers)[cut]
            for other, across in cuts.items():
                parts[f"corner_answers_{name}_{other}"] = probes.corner[cut, across]
                errors = value[d:, n:] - probes.corner
                parts[f"corner_errors_{name}_{other}"] = errors[cut, across]
        sizes = {name: np.array([np.linalg.norm(part)]) for name, part in parts.items()}
        known = np.nan if condition is None else condition
        eps, claim = probes.problem.eps, np.array([resolved])
        many = judge(Many, sizes, eps, resolved=claim, condition=np.array([known]))
        assert many.error_estimate == pytest.approx(one.error_estimate, rel=1e-9)
        assert many.inconsistency == pytest.approx(one.inconsistency, rel=1e-9)
        assert many.negligible == one.negligible


@pytest.mark.parametrize(("own", "least"), [(None, 0.1), ("rows", 1.0)])
def test_probes_that_have_not_begun_tell_nothing_of_a_value(own, least):
    """A value far larger than the errors of the probes, which are all of their answers."""
    blocks = eagle.problems.low_rank(30, 20, rng=0)
    problem = Problem.create(blocks.A, blocks.B, blocks.C)
    probes = Probes.draw(problem, np.random.default_rng(1))
    rows, columns = len(probes.row_answers), probes.column_answers.shape[1]
    value = np.zeros((2 + rows, 2 + columns))
    value[:2, :2] = 1e6 * blocks.D
    found = judged(probes, value, own=own)
    assert found.error_estimate == pytest.approx(least)
