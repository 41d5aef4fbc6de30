"""The same A again and again: right, certified, anew where it has to be."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse

import eagle
from eagle.methods.complete import Decomposition
from eagle.methods.direct import QR
from eagle.methods.elimination import LU
from tests.systems import DTYPES, KINDS, SHAPES, normal, system
from tests.tolerances import relative_error, tolerance


def answers(solver, B, C, b):
    return [solver.solve(B, C), solver.lstsq(C), solver.lstsq(b), solver.estimate(B)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_are_those_of_solve(shape, rank, kind, dtype):
    given = system(shape, rank=rank, dtype=dtype, kind=kind)
    solver = eagle.Solver(given.A, rng=0)
    truths = [given.value, given.pinv @ given.C, given.pinv @ given.C[:, 0], given.W]
    limit = tolerance(dtype, 100)
    for result, truth in zip(answers(solver, given.B, given.C, given.C[:, 0]), truths, strict=True):
        assert relative_error(result.value, truth) <= max(limit, 10 * result.error_estimate)
        assert result.error_estimate <= tolerance(dtype, 1e3)
        assert result.converged
        assert result.plan.startswith("held: ")
        assert result.value.dtype == dtype
    assert relative_error(solver.pinv(), given.pinv) <= limit
    assert solver.rank == (rank or min(given.A.shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
def test_the_estimate_is_no_smaller_than_the_error(shape, condition):
    """In exact units: beside a solve in four times the precision."""
    mpmath = pytest.importorskip("mpmath")
    given = system(
        (9, 5) if shape == "tall" else (5, 9) if shape == "wide" else (6, 6), condition=condition
    )
    solver = eagle.Solver(given.A, rng=0)
    with mpmath.workdps(60):
        A = mpmath.matrix(given.A.tolist())
        tall = A.rows >= A.cols
        inverse = mpmath.inverse(A.T * A) * A.T if tall else A.T * mpmath.inverse(A * A.T)
        for b in (given.C[:, 0], np.random.default_rng(1).standard_normal(len(given.A))):
            truth = np.array((inverse * mpmath.matrix(b.tolist())).tolist(), float)[:, 0]
            result = solver.lstsq(b)
            assert relative_error(result.x, truth) <= 10 * result.error_estimate
            assert result.error_estimate <= tolerance(float, condition**2)


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"ridge": 0.3}, None),
        ({"rank": 3}, None),
        ({"cutoff": 0.2}, None),
        ({"rank": 3, "ridge": 0.3}, None),
        ({}, "direct"),
        ({}, "compressed"),
        ({}, eagle.Direct("lu")),
        ({}, "eagle"),
        ({"rtol": 1e-6}, "cg"),
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_options_and_methods_mean_the_same(shape, options, method):
    if method == eagle.Direct("lu") and shape != "square":
        return
    given = system(shape)
    settings = {**options, "rng": 0} | ({} if method is None else {"method": method})
    solver = eagle.Solver(given.A, **settings)
    limit = max(10 * options.get("rtol", 0), tolerance(float, 1e3))
    for one, other in zip(
        answers(solver, given.B, given.C, given.C[:, 0]),
        [
            eagle.solve(given.A, given.B, given.C, **settings),
            eagle.lstsq(given.A, given.C, **settings),
            eagle.lstsq(given.A, given.C[:, 0], **settings),
            eagle.estimate(given.A, given.B, **settings),
        ],
        strict=True,
    ):
        assert relative_error(one.value, other.value) <= limit
        if "ridge" not in options:  # whose bias the definition counts
            assert one.inconsistency == pytest.approx(other.inconsistency, rel=2, abs=1e-10)


def test_what_is_held_depends_on_a():
    for shape, rank, condition, kind in [
        ("square", None, 10, LU),
        ("tall", None, 10, QR),
        ("wide", None, 10, QR),
        ("tall", 5, 10, Decomposition),
        ("square", 5, 10, Decomposition),
        ("tall", None, 1e10, Decomposition),
    ]:
        given = system(shape, rank=rank, condition=condition)
        solver = eagle.Solver(given.A)
        assert solver.lstsq(given.C).inverse.__class__ is kind
        assert repr(solver).endswith(f"holds {kind.__name__}>")


def test_what_is_held_and_wrong_is_not_believed():
    given = system("tall", condition=10)
    solver = eagle.Solver(given.A, rng=0)
    object.__setattr__(solver._held.inverse, "R", 1.001 * solver._held.inverse.R)
    result = solver.lstsq(given.C)
    assert not result.plan.startswith("held: ")
    assert relative_error(result.x, given.pinv @ given.C) <= tolerance(float, 100)


def test_its_owner_may_change_a():
    given = system("tall")
    A = given.A.copy()
    solver = eagle.Solver(A, rng=0)
    A[:] = 0
    result = solver.lstsq(given.C)
    assert relative_error(result.x, given.pinv @ given.C) <= tolerance(float, 100)
    assert (
        relative_error(result.residual_norm, np.linalg.norm(given.A @ result.x - given.C, axis=0))
        <= 1e-10
    )


@pytest.mark.parametrize("power", [-900, 900])
def test_entries_near_the_ends_of_the_range(power):
    given = system("tall")
    A = np.ldexp(given.A, power)
    result = eagle.Solver(A, rng=0).lstsq(np.ldexp(given.C, power // 2))
    truth = np.ldexp(given.pinv @ given.C, power // 2 - power)
    assert relative_error(result.x, truth) <= tolerance(float, 100)


def test_nothing_and_zeros():
    assert eagle.Solver(np.zeros((4, 3))).lstsq(np.ones(4)).x.tolist() == [0, 0, 0]
    assert eagle.Solver(np.zeros((4, 0))).lstsq(np.ones(4)).x.shape == (0,)
    assert eagle.Solver(np.eye(3)).lstsq(np.zeros(3)).x.tolist() == [0, 0, 0]
    assert eagle.Solver(np.eye(3)).lstsq(np.zeros((3, 0))).x.shape == (3, 0)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.linalg.aslinearoperator])
def test_sparse_matrices_and_operators(kind):
    problem = eagle.problems.low_rank(60, 40, 3, 4, rank=5, condition=10.0, rng=0)
    solver = eagle.Solver(kind(problem.A), rng=0)
    assert problem.error(solver.solve(problem.B, problem.C).value) <= 1e-7


def test_complex_right_hand_sides_of_a_real_matrix():
    given = system("tall")
    C = given.C + 1j * given.C[::-1]
    result = eagle.Solver(given.A, rng=0).lstsq(C)
    assert relative_error(result.x, given.pinv @ C) <= tolerance(float, 100)
    assert result.x.dtype == np.complex128


def test_a_copy_by_pickle_answers_the_same():
    given = system("tall")
    solver = eagle.Solver(given.A, rng=0)
    other = pickle.loads(pickle.dumps(solver))
    assert np.array_equal(solver.lstsq(given.C).x, other.lstsq(given.C).x)


def test_threads_do_not_notice_each_other():
    given = system("tall")
    solvers = [eagle.Solver(given.A, rng=0), eagle.Solver(given.A, method="eagle", rng=0)]
    rng = np.random.default_rng(0)
    sides = [normal(rng, (len(given.A), 2), float) for _ in range(16)]
    for solver in solvers:
        alone = [solver.lstsq(C).x.tobytes() for C in sides]
        with ThreadPoolExecutor(8) as pool:
            assert [each.x.tobytes() for each in pool.map(solver.lstsq, sides)] == alone


@pytest.mark.parametrize("name", ["torch", "array_api_strict"])
def test_arrays_of_other_libraries(name):
    library = pytest.importorskip(name)
    given = system("tall", dtype=np.float32)
    A, B, C = (library.asarray(block) for block in (given.A, given.B, given.C))
    solver = eagle.Solver(A, rng=0)
    result = solver.solve(B, C)
    assert isinstance(result.value, type(A))
    assert result.value.dtype == library.float32
    assert relative_error(np.asarray(result.value), given.value) <= tolerance(np.float32, 100)
    with pytest.raises(TypeError, match=r"^A is .* and b is a numpy array: pass arrays of one lib"):
        solver.lstsq(given.C)


def test_gradients_are_not_lost_without_a_word():
    torch = pytest.importorskip("torch")
    A = torch.eye(3, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"^A is differentiated or traced, .* use eagle\.solve"):
        eagle.Solver(A.clone().requires_grad_())
    with pytest.raises(TypeError, match=r"^b is differentiated or traced"):
        eagle.Solver(A).lstsq(torch.ones(3, dtype=torch.float64).requires_grad_())


BAD = {
    "rows of b": (lambda s: s.lstsq(np.ones(4)), ValueError, r"^b with shape \(4,\) must have as"),
    "columns of B": (
        lambda s: s.estimate(np.ones((2, 17))),
        ValueError,
        r"^B with shape \(2, 17\)",
    ),
    "rows of C": (lambda s: s.solve(np.ones((2, 11)), np.ones((4, 1))), ValueError, r"^C with sh"),
    "NaN": (lambda s: s.lstsq(np.full(17, np.nan)), ValueError, r"^b with shape .* contains NaN"),
    "objects": (lambda s: s.lstsq(np.array([None] * 17)), TypeError, r"^b must be numeric"),
    "batch": (lambda s: s.lstsq(np.ones((2, 17, 1))), ValueError, r"^b must be 1-D or 2-D, got"),
}


@pytest.mark.parametrize("case", BAD)
def test_blocks_that_do_not_fit_are_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call(eagle.Solver(system("tall").A))


@pytest.mark.parametrize(
    ("A", "options", "error", "message"),
    [
        (np.ones((2, 3, 3)), {}, ValueError, r"^A must be 2-D for a solver, got shape \(2, 3, 3\)"),
        (np.full((3, 2), np.inf), {}, ValueError, r"^A with shape \(3, 2\) contains NaN or inf"),
        (np.eye(3), {"rank": 4}, ValueError, r"^rank must be at most 3"),
        (np.eye(3), {"tol": 4}, TypeError, r"^Solver\(\) got .* 'tol'; did you mean 'rtol'\?"),
        (np.eye(3), {"method": "ax"}, ValueError, r"^method 'ax' is not one of"),
    ],
)
def test_solvers_that_cannot_be(A, options, error, message):
    with pytest.raises(error, match=message):
        eagle.Solver(A, **options)


def test_a_call_that_fails_warns_where_it_was_called():
    given = system("tall")
    solver = eagle.Solver(given.A, method="gd", maxiter=2, rng=0)
    with pytest.warns(eagle.ConvergenceWarning, match="GradientDescent ended with") as caught:
        solver.lstsq(given.C)
    assert caught[0].filename == __file__
    strict = eagle.Solver(given.A, method="gd", maxiter=2, raise_on_failure=True, rng=0)
    with pytest.raises(eagle.ConvergenceError, match="GradientDescent ended with"):
        strict.lstsq(given.C)
