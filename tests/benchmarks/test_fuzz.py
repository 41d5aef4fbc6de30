"""A slice of the fuzz campaign, and that its judge is not asleep."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import eagle
from benchmarks import fuzz
from benchmarks.fuzz import campaign, cases, truth
from tests.tolerances import relative_error, tolerance

SLICE = 20


@pytest.mark.parametrize("start", range(0, 400, SLICE))
def test_no_answer_is_silently_wrong(start):
    for index in range(start, start + SLICE):
        verdict = fuzz.run(fuzz.draw(index))
        assert verdict.outcome not in ("SILENT", "crashed"), (
            f"python -m benchmarks fuzz --replay {index}: {verdict}"
        )


WRONG_ONCE = {
    0: (41443, 58740, 60177, 71086, 80737, 88439, 91488, 96298),
    1: (4497, 7062, 7618, 15901, 35849, 70899, 99814),
    2: (47424,),
    3: (45407, 66163, 87663),
    4: (9408,),
    5: (67027, 69277),
    6: (11120,),
    9403: (6949, 39107, 42534, 88740),
    9402: (1186, 5131, 15859, 21096, 23904, 37948, 49709, 49906, 72055),
}


@pytest.mark.parametrize(("seed", "index"), [(s, i) for s in WRONG_ONCE for i in WRONG_ONCE[s]])
def test_what_was_wrong_once_is_not_wrong_again(seed, index):
    assert fuzz.run(fuzz.draw(index, seed)).outcome in ("right", "flagged", "flagged right")


def test_a_number_is_always_the_same_problem():
    for index in (3, 17):
        first, second = fuzz.draw(index), fuzz.draw(index)
        assert first.A.tobytes() == second.A.tobytes()
        assert (first.method, first.options, first.seed) == (
            second.method,
            second.options,
            second.seed,
        )
        assert fuzz.run(first) == fuzz.run(second)


@pytest.mark.parametrize("family", fuzz.FAMILIES)
def test_every_family_is_finite_in_double_precision(family, rng):
    for d, n in ((1, 1), (1, 7), (7, 1), (9, 5), (5, 9)):
        with np.errstate(all="ignore"):
            A = fuzz.FAMILIES[family](rng, d, n)
        assert A.shape == (d, n)
        assert np.isfinite(A).all()


@pytest.mark.parametrize("shape", [(6, 6), (9, 5), (5, 9)])
def test_the_reference_has_more_digits_than_a_double(shape):
    d, n = shape
    A = 1 / (np.arange(d)[:, None] + np.arange(n) + 1.0)
    B, C = np.ones((2, d)) @ A, A @ np.arange(1.0, n + 1)[:, None]
    (answer,) = fuzz.reference(A, B, C)
    with mpmath.workdps(60):
        wide = [mpmath.matrix(block.tolist()) for block in (A, B, C)]
        if d >= n:
            inner = mpmath.lu_solve(wide[0].H * wide[0], wide[0].H * wide[2])
        else:
            inner = wide[0].H * mpmath.lu_solve(wide[0] * wide[0].H, wide[2])
        exact = wide[1] * inner
        pairs = zip(answer.value[:, 0], exact, strict=True)
        errors = [abs(mpmath.mpf(np.format_float_positional(v)) - e) for v, e in pairs]
        size = max(abs(e) for e in exact)
    assert max(errors) <= 1e3 * float(np.finfo(np.longdouble).eps) * size


def test_singular_vectors_of_the_reference_are_orthonormal_to_the_last_digit(rng):
    A = (rng.standard_normal((12, 7)) + 1j * rng.standard_normal((12, 7))).astype(np.clongdouble)
    A *= 10.0 ** -np.arange(7)
    U, s, V = truth._svd(A / np.abs(A).max())
    eps = float(np.finfo(np.longdouble).eps)
    for X in (U, V):
        assert np.abs(X.conj().T @ X - np.eye(7)).max() <= 100 * eps
    assert np.abs((U * s) @ V.conj().T - A / np.abs(A).max()).max() <= 100 * eps
    assert (np.diff(s) < 0).all()


def test_a_wrong_value_is_found_out(rng):
    problem = eagle.problems.low_rank(9, 7, condition=1e3, rng=0)
    answers = fuzz.reference(problem.A, problem.B, problem.C)
    assert fuzz.judge(problem.D, 1e-15, answers)[1] <= 1
    for wrong in (problem.D * (1 + 1e-9), -problem.D, problem.D + 1e-9 * np.abs(problem.D).max()):
        assert fuzz.judge(wrong, 1e-12, answers)[1] > 1
        assert fuzz.judge(wrong, 3.0, answers)[1] <= 1
    assert fuzz.judge(problem.D * np.nan, 1.0, answers)[1] == np.inf


def test_what_is_wrong_is_silent_only_without_a_warning(monkeypatch):
    case = fuzz.draw(1)
    problem = eagle.problems.low_rank(9, 7, condition=10, rng=0)
    case.A = case.given = problem.A
    case.B, case.C, case.function, case.options = problem.B, problem.C, "solve", {}
    case.instance = eagle.Direct()
    assert fuzz.run(case).outcome == "right"
    answers = fuzz.reference(case.A, 2 * case.B, case.C)
    assert fuzz.run(case, answers).outcome == "right"  # rational arithmetic knows better
    monkeypatch.setattr(campaign, "_exactly", lambda *given: False)
    assert fuzz.run(case, answers).outcome == "SILENT"
    case.instance, case.options = eagle.GradientDescent(), {"maxiter": 1}
    assert fuzz.run(case, answers).outcome in ("flagged", "flagged right")


def test_every_rank_within_rounding_has_an_answer(rng):
    s = np.array([1.0, 0.5, 1e-15, 1e-15])
    U, V = (np.linalg.qr(rng.standard_normal((n, 4)))[0] for n in (6, 5))
    A = (U * s) @ V.T
    B, C = rng.standard_normal((2, 5)), rng.standard_normal((6, 2))
    ranks = [answer.rank for answer in fuzz.reference(A, B, C)]
    assert ranks[0] == 2
    assert ranks[-1] >= 4
    first = fuzz.reference(A, B, C)[0].value.astype(float)
    expected = (B @ V[:, :2] / s[:2]) @ (U[:, :2].T @ C)
    assert relative_error(first, expected) <= tolerance(float, 4)


@pytest.mark.parametrize("ridge", [0.3, 1e-6])
def test_the_reference_of_a_ridge_is_the_formula(ridge, rng):
    A, B, C = (rng.standard_normal(shape) for shape in ((5, 7), (2, 7), (5, 3)))
    (answer,) = fuzz.reference(A, B, C, ridge=ridge)
    expected = B @ A.T @ np.linalg.inv(A @ A.T + ridge * np.eye(5)) @ C
    assert relative_error(answer.value.astype(float), expected) <= tolerance(float, 100)


def test_a_campaign_goes_on_where_it_stopped(tmp_path, capsys):
    path = tmp_path / "state.json"
    options = ["--no-rivals", "--checkpoint", str(path)]
    assert fuzz.main([*options, "--problems", "6"]) == 0
    assert fuzz.main([*options, "--problems", "12"]) == 0
    once, all_at_once = fuzz.Tally.load(path, 0), tmp_path / "whole.json"
    fuzz.main(["--no-rivals", "--checkpoint", str(all_at_once), "--problems", "12"])
    assert once == fuzz.Tally.load(all_at_once, 0)
    assert sum(once.ours.values()) == once.done == 12
    assert "12 problems: 0 silent wrong answers" in capsys.readouterr().out
    with pytest.raises(ValueError, match="belongs to seed 0"):
        fuzz.Tally.load(path, 1)


def test_a_campaign_that_starts_later_counts_its_own_problems(tmp_path, capsys):
    path = tmp_path / "state.json"
    options = ["--no-rivals", "--checkpoint", str(path)]
    assert fuzz.main([*options, "--start", "5", "--problems", "2"]) == 0
    assert "\n2 problems: 0 silent wrong answers" in capsys.readouterr().out
    assert fuzz.main([*options, "--problems", "3"]) == 0
    tally = fuzz.Tally.load(path, 0)
    assert (tally.start, tally.done, sum(tally.ours.values())) == (5, 8, 3)
    with pytest.raises(SystemExit, match="2"):
        fuzz.main([*options, "--start", "4"])
    assert f"--start: {path} starts at 5" in capsys.readouterr().err


def test_an_infinite_estimate_allows_nothing_of_a_size_of_zero():
    """Judged by the floor alone, and without a warning."""
    zero = np.zeros((1, 1))
    answers = fuzz.reference(np.eye(1), zero, np.ones((1, 1)))
    assert fuzz.judge(zero, np.inf, answers) == (0, 0, 0)
    assert fuzz.judge(np.ones((1, 1)), np.inf, answers)[1] == 0
    assert fuzz.judge(np.ones((1, 1)), 0.0, answers)[1] > 1


def test_between_two_possible_ranks_everything_is_right_and_beyond_them_nothing():
    """A singular value at rounding level may be anything up to there."""
    U, V = (np.linalg.qr(np.random.default_rng(i).standard_normal((5, 5)))[0] for i in range(2))
    s = np.array([1.0, 1e-2, 1e-4, 1e-17, 0.0])
    A = (U[:, :4] * s[:4]) @ V[:, :4].T
    B, C = V[:, 2:4].T, U[:, 2:4]
    answers = fuzz.reference(A, B, C)
    assert [answer.rank for answer in answers][:2] == [3, 4]
    low, high = (np.asarray(answer.value, float) for answer in answers[:2])
    for part in (0.1, 0.5, 0.9):
        assert fuzz.judge(low + part * (high - low), 0.0, answers)[1] <= 1
    assert fuzz.judge(low - 20 * (high - low), 0.0, answers[:2])[1] > 1


@pytest.mark.parametrize("index", [929, 1187])
def test_what_extended_precision_has_no_digits_for_rational_arithmetic_decides(index, monkeypatch):
    """Entries from 1e-250 to 1e300: the value is right, and the reference is not."""
    family = "mixed scales"
    monkeypatch.setattr(cases, "FAMILIES", {family: fuzz.FAMILIES[family]})
    case = fuzz.draw(index, 77)
    assert fuzz.run(case).outcome == "right"
    monkeypatch.setattr(campaign, "_exactly", lambda *given: False)
    assert fuzz.run(case).outcome == "SILENT"


def test_rational_arithmetic_forgives_no_wrong_value():
    case = fuzz.draw(1)
    problem = eagle.problems.low_rank(6, 5, condition=10, rng=0)
    case.A, case.B, case.C, case.options = problem.A, problem.B, problem.C, {}
    assert campaign._exactly(case, problem.D, 1e-16)
    assert not campaign._exactly(case, problem.D * (1 + 1e-10), 1e-16)


def test_rivals_are_judged_by_the_same_measure():
    case = fuzz.draw(1)
    problem = eagle.problems.low_rank(9, 7, condition=10, rng=0)
    case.A, case.B, case.C = problem.A, problem.B, problem.C
    right = fuzz.rivals(case, fuzz.reference(case.A, case.B, case.C))
    wrong = fuzz.rivals(case, fuzz.reference(case.A, 2 * case.B, case.C))
    assert set(right.values()) == {"right"}
    assert set(wrong.values()) == {"SILENT"}
    assert {"scipy gelsd", "scipy gelsy"} <= set(right)


@pytest.mark.parametrize("name", ["--start", "--replay", "--seed"])
def test_a_negative_number_is_refused_in_one_sentence(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        fuzz.main([name, "-3"])
    assert f"{name}: must be at least 0, got -3" in capsys.readouterr().err
