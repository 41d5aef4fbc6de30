"""The exact oracle: its rational answers, its verdicts, and what was wrong against it once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
from flint import fmpq, fmpq_mat

import eagle
from benchmarks import fuzz
from benchmarks.fuzz import designs, exact, promise
from tests.systems import normal
from tests.tolerances import relative_error, tolerance

FILES = Path(__file__).parent / "data" / "exact"


def wide(X: np.ndarray) -> mpmath.matrix:
    return mpmath.matrix([[mpmath.mpmathify(complex(x)) for x in row] for row in X])


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.375])
def test_the_rational_answer_is_the_formula_in_sixty_digits(gaussian, ridge):
    rng = np.random.default_rng(3)
    shapes = {"B": (2, 5), "L": (4, 3), "R": (3, 5), "C": (4, 2)}
    blocks = {
        name: rng.integers(-3, 4, shape) * 2.0 ** rng.integers(-9, 9, shape[1])
        + (1j * rng.integers(-3, 4, shape) if gaussian else 0)
        for name, shape in shapes.items()
    }
    found = exact.answer(*map(exact.rationals, blocks.values()), ridge)
    with mpmath.workdps(60):
        B, L, R, C = map(wide, blocks.values())
        A = L * R
        if ridge:  # the definition, without factors
            inverse = A.H * mpmath.inverse(A * A.H + ridge * mpmath.eye(4))
        else:
            inverse = R.H * mpmath.inverse(R * R.H) * mpmath.inverse(L.H * L) * L.H
        expected = B * inverse * C
        values = exact.rounded(found, blocks["L"].dtype)
        assert mpmath.norm(wide(values) - expected) <= 2e-16 * mpmath.norm(expected)
    if not ridge:
        whole = blocks["B"], blocks["L"] @ blocks["R"], blocks["C"]
        assert exact.unfactored(*map(exact.rationals, whole)) == found


@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_a_pseudo_inverse_has_the_four_properties_exactly(shape):
    rng = np.random.default_rng(0)
    L, R = rng.integers(-2, 3, (shape[0], 2)), rng.integers(-2, 3, (2, shape[1]))
    A = exact.rationals((L @ R).astype(float))
    eye = [exact.rationals(np.eye(side)) for side in shape]
    for X in (
        exact.unfactored(eye[1], A, eye[0]),
        exact.answer(eye[1], *(exact.rationals(F.astype(float)) for F in (L, R)), eye[0]),
    ):
        assert A * X * A == A
        assert X * A * X == X
        assert (A * X).transpose() == A * X
        assert (X * A).transpose() == X * A


def test_floating_point_numbers_become_the_same_rationals_and_come_back():
    X = np.array([[0.1, -3e300, 5e-324], [0.0, 2.0**-1022, 1 / 3]])
    found = exact.rationals(X)
    for i, j in np.ndindex(X.shape):
        p, q = X[i, j].as_integer_ratio()
        assert found[i, j] == fmpq(p, q)
    assert (exact.rounded(found) == X).all()
    assert exact.rounded(fmpq_mat([[fmpq(1, 3)]])) == 1 / 3


def test_a_number_is_always_the_same_problem_and_its_answer_that_of_its_blocks():
    for index in range(12):
        first, second = exact.draw(index, 5), exact.draw(index, 5)
        assert all(np.array_equal(first.__dict__[X], second.__dict__[X]) for X in "ACD")
        d, n = first.A.shape
        if first.ridge:
            continue
        A, B, C = (
            exact.rationals(np.asarray(X, first.A.dtype))
            for X in (
                first.A,
                np.eye(n) if first.B is None else first.B,
                np.eye(d) if first.C is None else first.C,
            )
        )
        assert (exact.rounded(exact.unfactored(B, A, C), first.A.dtype) == first.D).all()


def test_every_kind_is_drawn():
    kinds = [exact.draw(index).kind for index in range(250)]
    expected = {
        "dtype": {"float32", "float64", "complex64", "complex128"},
        "function": {"solve", "lstsq", "estimate", "nystrom", "pinv"},
        "form": {"dense", "sparse", "operator", "batch 2", "batch 3", "batch 200"},
        "consistent": {"both", "B", "C", "none"},
        "ridge": {"none", "ridge"},
        "rank": {"full", "deficient"},
    }
    for name, values in expected.items():
        assert {kind[name] for kind in kinds} == values
    words = {word for kind in kinds for word in kind["graded"].split("+")}
    assert words == {"no", "rows", "columns", "inner"}


def test_every_kind_of_column_is_drawn():
    words = {w for index in range(60) for w in designs.draw(index)[2]["columns"].split("+")}
    assert words == {*designs.COLUMNS, "constant"}


def first_dense(method: str) -> tuple[exact.Exact, fuzz.Case]:
    """An ungraded problem that the method solves well."""
    for index in range(100):
        problem = exact.draw(index)
        kind = problem.kind
        plain = (
            kind["rank"] == "full"
            and kind["graded"] == "no"
            and kind["function"] == "solve"
            and kind["form"] == "dense"
        )
        if plain and kind["dtype"] == "float64" and np.any(problem.D):
            case = problem.case(method)
            assert case is not None
            return problem, case
    raise AssertionError


@pytest.mark.parametrize("method", ["auto", "lsmr", "distributed tsqr"])
def test_a_wrong_value_is_reported_and_a_right_one_is_not(method):
    problem, case = first_dense(method)
    assert promise.forward(case, problem.D, problem.kind).outcome == "kept"
    wrong = promise.forward(case, problem.D * (1 + 1e-6), problem.kind)
    assert (wrong.outcome, wrong.failed, wrong.silent) == ("beyond", True, False)
    assert wrong.error == pytest.approx(1e-6, rel=1e-3)
    assert wrong.promise == pytest.approx(wrong.estimate / wrong.error)


def test_a_value_that_belongs_to_no_neighbouring_blocks_is_silently_wrong(monkeypatch):
    problem, case = first_dense("auto")
    honest = eagle.solve

    def doubled(*blocks, **options):
        result = honest(*blocks, **options)
        return dataclasses.replace(result, value=2 * result.value)

    monkeypatch.setattr(eagle, "solve", doubled)
    trial = promise.forward(case, problem.D, problem.kind)
    assert (trial.outcome, trial.silent) == ("beyond", True)
    assert trial.error == pytest.approx(1)


def test_what_is_flagged_breaks_no_promise():
    problem, case = first_dense("gd")
    case.options["maxiter"] = 1
    trial = promise.forward(case, -problem.D, problem.kind)
    assert (trial.outcome, trial.failed) == ("flagged", False)


def test_numpy_ten_times_as_accurate_is_a_failure_although_the_promise_is_kept():
    trial = promise.Trial(0, "auto", "kept", 1e-3, 1e-3, rival=1e-5)
    assert trial.worse
    assert trial.failed
    assert not dataclasses.replace(trial, rival=2e-4).failed


def test_a_campaign_counts_saves_and_says_how_to_see_a_failure_again(monkeypatch, tmp_path, capsys):
    options = ["--exact", "--seed", "7", "--problems", "6", "--methods", "auto", "svd"]
    assert fuzz.main(options) == 0
    clean = capsys.readouterr().out
    assert "6 problems, 12 solves" in clean
    assert clean.rstrip().endswith(": 0 failures")
    honest = exact.answer
    monkeypatch.setattr(exact, "answer", lambda *blocks: 2 * honest(*blocks))
    assert fuzz.main([*options, "--save", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "--exact --seed 7 --replay 0 --methods 'auto': beyond" in said
    saved = sorted(tmp_path.glob("exact-7-*.npz"))
    assert saved
    with np.load(saved[0]) as blocks:
        assert {"A", "D", "ridge", "rng"} <= set(blocks)


def test_two_processes_find_what_one_finds(capsys):
    options = ["--exact", "--problems", "4", "--methods", "gelsd", "cg"]
    tables = []
    for jobs in ("1", "2"):
        fuzz.main([*options, "--jobs", jobs])
        lines = capsys.readouterr().out.splitlines()[1:]
        tables.append([line for line in lines if "solves/s" not in line])
    assert tables[0] == tables[1]


def test_designs_are_judged_against_the_exact_solution(monkeypatch):
    for index in range(40):
        A, _, kind = designs.draw(index)
        wide = A.astype(float)
        if np.linalg.cond(wide) < 1e3:
            break
    (trial,) = designs.trials(index, 0, ["gelsd"], None)
    assert trial.kind == kind
    assert trial.error <= 1e-4
    monkeypatch.setattr(designs, "unfactored", lambda *blocks: 2 * exact.unfactored(*blocks))
    (wrong,) = designs.trials(index, 0, ["gelsd"], None)
    assert wrong.failed
    assert wrong.error == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["--exact", "--designs"])
def test_an_unknown_method_is_refused_in_one_sentence(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        fuzz.main([name, "--methods", "guess"])
    assert "--methods: 'guess' is not one of auto, minimax" in capsys.readouterr().err


WRONG_ONCE = {
    "case01": "lsmr",
    "case02": "newton-schulz",
    "case03": "cg",
    "case04": eagle.Direct("gelsy"),
    "case05": "compressed",
    "case06": "auto",
    "case07": eagle.Direct("gelsd"),
    "case08": "auto",
    "case09": "compressed",
}


@pytest.mark.parametrize(("name", "method"), WRONG_ONCE.items(), ids=WRONG_ONCE)
@pytest.mark.filterwarnings("ignore::eagle.ConvergenceWarning")
def test_the_error_of_a_converged_value_is_within_ten_estimates(name, method):
    with np.load(FILES / f"{name}.npz") as blocks:
        A, B, C, D = (blocks[X] for X in "ABCD")
        rng = int(blocks["rng"])
    again = exact.rounded(exact.unfactored(*map(exact.rationals, (B, A, C))))
    np.testing.assert_allclose(again, D, rtol=np.finfo(float).eps)
    result = eagle.solve(A, B, C, method=method, rng=rng)
    error = np.linalg.norm(result.value - D) / np.linalg.norm(D)
    assert result.converged or method == "lsmr"  # which iterates for its own `rtol`, and says so
    assert error <= 10 * result.error_estimate + promise.floor(A.dtype)


@pytest.mark.parametrize(
    ("seed", "index", "method"),
    [
        (9001, 3016, "compressed"),
        (9101, 434, "sketched"),
        (9101, 351, "distributed cg"),  # whose norms overflowed when squared
    ],
)
def test_so_it_is_with_sparse_matrices_operators_and_on_several_machines(seed, index, method):
    (trial,) = exact.trials(index, seed, [method], None)
    assert trial.outcome in ("kept", "flagged")


@pytest.mark.parametrize(
    ("seed", "index", "method"),
    [
        (9001, 6616, "minimax"),
        (9001, 9584, "auto"),
        (9001, 9932, "auto"),
        (9001, 10028, "auto"),
        (9001, 10028, "minimax"),
        (9301, 338, "minimax"),
        (9301, 338, "svd"),
        (9302, 167, "auto"),
        (9302, 167, "minimax"),
        (9302, 186, "auto"),
    ],
)
def test_so_it_is_in_a_batch(seed, index, method):
    """Graded, of low rank or in single precision, with a B or C that misfits."""
    problem = exact.draw(index, seed)
    problem.form = f"batch {exact.MANY}"
    trial = promise.forward(problem.case(method), problem.D, problem.kind)
    assert trial.outcome == ("flagged" if index == 6616 else "kept")
    assert not trial.failed


def test_a_problem_with_an_exact_answer_is_replayed(capsys):
    assert fuzz.main(["--exact", "--seed", "9001", "--replay", "9584", "--methods", "auto"]) == 0
    said = json.loads(capsys.readouterr().out)
    (trial,) = exact.trials(9584, 9001, ["auto"], None)
    assert (said["index"], said["method"], said["outcome"]) == (9584, "auto", "kept")
    assert (said["error"], said["kind"]) == (trial.error, trial.kind)
    assert (said["rival"], said["failed"]) == (None, False)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("dtype", [float, complex])
def test_rational_arithmetic_answers_for_any_blocks(shape, ridge, dtype):
    rng = np.random.default_rng(5)
    A, B, C = (normal(rng, sides, dtype) for sides in (shape, (2, shape[1]), (shape[0], 2)))
    units = np.array([1e-200] + [1.0] * (shape[1] - 1))
    unit, A = A, A * units
    for left, right in [(B, C), (None, C), (B, None), (None, None)]:
        b = np.eye(shape[1]) if left is None else left
        c = np.eye(shape[0]) if right is None else right
        if ridge:
            wanted = b @ A.conj().T @ np.linalg.solve(A @ A.conj().T + ridge * np.eye(len(A)), c)
        elif shape[0] >= shape[1]:
            wanted = (b / units) @ np.linalg.pinv(unit) @ c
        else:  # the column that is nearly zero has no part in it
            wanted = b @ np.linalg.pinv(A) @ c
        found = exact.given(A, left, right, ridge)
        assert relative_error(found, wanted) <= tolerance(float, 100)


@pytest.mark.parametrize(("apart", "determined"), [(1e-8, False), (1e-6, True)])
def test_a_design_is_determined_if_more_than_last_bits_tell_its_columns_apart(apart, determined):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 1))
    A = np.hstack([x, 3 * x + apart * rng.standard_normal((50, 1))]).astype(np.float32)
    assert designs._determined(A, 2) is determined
    assert designs._determined(A.astype(float), 2)
