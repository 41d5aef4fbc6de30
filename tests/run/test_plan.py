"""What auto chooses, on a machine of known speed, and what it makes of a failed try."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

import eagle
from eagle.methods.compressed.method import FIRST, SECOND, first_width
from eagle.problem.blocks import Problem
from eagle.problem.certificate import COUNT
from eagle.problem.checks import as_matrix
from eagle.problem.options import Options
from eagle.run import flow
from eagle.run.machine import Rates, memory, rates
from eagle.run.plan import LOOK, SPARSE, VECTOR, choices
from tests.systems import DTYPES, system
from tests.tolerances import relative_error, tolerance

BALANCED = Rates(product=2.0**37, factorisation=2.0**35)


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine whose factorisations run at a quarter of the speed of its products.

    Small matrices have the plan of large ones, and nobody looks for a skeleton.
    """
    monkeypatch.setattr("eagle.run.plan.rates", lambda char: BALANCED)
    monkeypatch.setattr("eagle.run.plan.THIN", 0)
    monkeypatch.setattr("eagle.run.plan.SINGULAR", 0)
    monkeypatch.setattr("eagle.methods.cross.FIRST", 10**6)


def test_what_is_small_is_decomposed_with_care(monkeypatch):
    monkeypatch.setattr("eagle.run.plan.THIN", 100)
    for A in (np.ones((5, 3)), np.ones((1000, 2), np.float32)):
        assert [choice.method for choice in planned(A)] == [eagle.Direct("cod")]
    assert names(planned(np.ones((3000, 2)))) == ["SemiNormal", "Direct"]
    assert [choice.method.driver for choice in planned(np.eye(4))] == ["lu", "cod"]
    far = np.diag([1e300, 1e-300, 1.0])  # scaling rounds it
    assert [choice.method.driver for choice in planned(far)] == ["cod"]


def test_a_singular_square_matrix_of_some_hundreds_is_decomposed(monkeypatch):
    monkeypatch.setattr("eagle.run.plan.SINGULAR", 500)
    given = system((120, 120), rank=70, condition=1e6)
    result = eagle.lstsq(given.A, given.C, rng=0)
    assert result.method == eagle.Direct("cod")
    assert relative_error(result.value, given.pinv @ given.C) <= tolerance(np.float64, 1e6)


def planned(A, B=None, C=None, **options):
    """Everything that auto would try, if nothing were good enough."""
    C = np.ones((A.shape[0], 1)) if C is None else C
    problem = Problem.create(as_matrix("A", A), B, C)
    return list(choices("auto", problem, Options(rng=0, **options)))


def names(tried):
    return [type(choice.method).__name__ for choice in tried]


def wide(d, n, rank, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((d, rank)) @ rng.standard_normal((rank, n))


def test_a_small_matrix_is_not_sketched():
    assert names(planned(np.eye(20, 25))) == ["Eagle", "Direct"]
    assert names(planned(np.eye(20))) == ["Direct", "Eagle", "Direct"]
    assert planned(np.eye(20))[0].method == eagle.Direct("lu")


def test_a_large_matrix_of_low_rank_is_compressed_with_the_sketch_that_showed_it():
    tried = planned(wide(700, 800, 30))
    assert names(tried)[0] == "Compressed"
    assert tried[0].problem.seen.T.size == FIRST
    assert f"a sketch of {FIRST} columns has room" in tried[0].reason
    A = wide(700, 800, 30)
    result = eagle.solve(A, A[:2], A[:, :3], rng=0)
    assert isinstance(result.method, eagle.Compressed)
    assert result.iterations == 1
    assert result.flops == 2 * 700 * 800 * FIRST
    assert relative_error(result.value, A[:2, :3]) <= tolerance(np.float64, 1000)


def test_a_large_square_matrix_is_sketched_before_lu_if_its_rank_looks_low(monkeypatch):
    A = wide(1600, 1600, 60)
    assert names(planned(A)) == ["Direct", "Compressed", "Eagle", "Direct"]
    monkeypatch.setattr("eagle.methods.cross.FIRST", 128)
    tried = planned(A)
    assert names(tried) == ["Compressed", "Direct", "Eagle", "Direct"]
    assert "has room for all of A" in tried[0].reason


def test_a_large_square_matrix_is_sketched_after_lu():
    tried = planned(wide(1600, 1600, 300))
    assert names(tried) == ["Direct", "Compressed", "Eagle", "Direct"]
    assert tried[1].problem.seen.T.size == SECOND
    assert "LU was not accurate" in tried[1].reason


def test_a_large_matrix_of_full_rank_goes_to_eagle():
    rng = np.random.default_rng(0)
    tried = planned(rng.standard_normal((1100, 800)))
    assert names(tried) == ["Eagle", "Direct"]
    assert f"a sketch of {FIRST} columns was not enough" in tried[0].reason


def test_an_accuracy_that_is_enough_is_not_improved_by_another_method(monkeypatch):
    monkeypatch.setattr("eagle.run.flow.FEW", 0)
    problem = eagle.problems.low_rank(LOOK + 20, LOOK, condition=1e6, rng=0)
    result = eagle.solve(problem.A, problem.B, problem.C, rtol=1e-2, rng=0)
    assert result.converged
    assert 1e-2 >= result.error_estimate > np.finfo(float).eps ** 0.5  # it did stop early
    assert isinstance(result.method, eagle.Eagle)
    assert problem.error(result.value) <= 1e-2


def test_looks_that_cost_too_much_are_not_taken(monkeypatch):
    slow = Rates(product=2.0**37, factorisation=2.0**20)
    monkeypatch.setattr("eagle.run.plan.rates", lambda char: slow)
    assert names(planned(wide(800, 700, 30))) == ["Eagle", "Direct"]


def test_a_singular_square_matrix_ends_with_eagle():
    given = system("square", rank=5, condition=3, kind="both inconsistent")
    result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert result.method == eagle.Eagle("cholesky")
    assert "LU was not accurate" in result.plan
    assert "the 5 rows and columns at which it came to an end were not enough" in result.plan
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)


def test_a_nonsingular_square_matrix_takes_lu():
    given = system("square", condition=3)
    result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert result.method == eagle.Direct("lu")
    assert result.rank == 13
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 10)


def test_the_best_of_what_was_tried_is_kept(monkeypatch):
    """C is not made of A: the error grows with the condition number whatever is tried."""
    problem = eagle.problems.low_rank(60, 70, condition=1e11, rng=0)
    C = np.random.default_rng(0).standard_normal((60, 2))
    B = np.random.default_rng(1).standard_normal((3, 70))
    tried = [
        eagle.solve(problem.A, B, C, method=method, rng=0).error_estimate
        for method in (eagle.Eagle("cholesky"), eagle.Direct("cod"))
    ]
    ran = []
    run = flow._run
    monkeypatch.setattr(flow, "_run", lambda choice: ran.append(choice.method) or run(choice))
    result = eagle.solve(problem.A, B, C, rng=0)
    assert 1e-12 < result.error_estimate <= 1.001 * min(tried)
    assert ran == [eagle.Eagle("cholesky"), eagle.Direct("cod")]


@pytest.mark.parametrize("shape", ["explained", "generic"])
def test_an_ill_conditioned_square_matrix_stays_with_lu(shape):
    """No other method could know more of the answer than rounding of the blocks leaves."""
    problem = eagle.problems.low_rank(60, 60, condition=1e11, rng=0)
    C = np.random.default_rng(0).standard_normal((60, 2))
    if shape == "explained":
        result = eagle.solve(problem.A, problem.B, problem.C, rng=0)
        assert problem.error(result.value) <= 10 * result.error_estimate <= 1e-12
    else:
        result = eagle.lstsq(problem.A, C, rng=0)
        assert 1e-9 < result.error_estimate < 1e-4
    assert result.method == eagle.Direct("lu")


@pytest.mark.parametrize("dtype", DTYPES)
def test_lu_is_elimination_with_pivoting(dtype):
    given = system("square", condition=10, dtype=dtype)
    for options in ({}, {"ridge": 0.0}):
        result = eagle.solve(given.A, given.B, given.C, method=eagle.Direct("lu"), rng=0, **options)
        assert relative_error(result.value, given.value) <= tolerance(dtype, 10)
        assert 5 <= result.condition <= 200  # in the 1-norm
    assert relative_error(eagle.pinv(given.A, method=eagle.Direct("lu")), given.pinv) <= tolerance(
        dtype, 10
    )


def test_lu_refuses_what_it_cannot_do():
    with pytest.raises(np.linalg.LinAlgError, match="A is singular to working precision"):
        eagle.pinv(np.ones((3, 3)), method=eagle.Direct("lu"))
    with pytest.raises(ValueError, match=r"square .* 'lu', got shape \(3, 3\) which a ridge makes"):
        eagle.lstsq(np.eye(3), np.ones(3), method=eagle.Direct("lu"), ridge=0.1)
    with pytest.raises(ValueError, match=r"A must be square for the driver 'lu', got shape"):
        eagle.pinv(np.ones((3, 2)), method=eagle.Direct("lu"))


def test_a_spectrum_is_truncated_by_what_is_cheaper():
    assert names(planned(np.eye(20), rank=3)) == ["Direct"]
    assert names(planned(wide(600, 600, 4), cutoff=0.1)) == ["Compressed", "Direct"]


def test_a_sparse_matrix_is_written_out_if_that_is_small(monkeypatch):
    A = scipy.sparse.csr_array(np.diag(np.arange(1.0, 41)))
    assert names(planned(A)) == ["Direct", "Eagle", "Direct"]
    monkeypatch.setattr("eagle.run.plan.SMALL", 0)
    assert names(planned(A)) == ["ConjugateGradient", "Direct", "Eagle", "Direct"]
    assert names(planned(A, rank=2)) == ["Compressed"]
    monkeypatch.setattr("eagle.run.plan.memory", lambda: 2 * 40**2 * 8)
    assert names(planned(A)) == ["ConjugateGradient"]
    low = scipy.sparse.csr_array(wide(400, 300, 3))
    for form in (low, aslinearoperator(low)):
        assert names(planned(form))[0] == "Compressed"
        assert names(planned(form, ridge=0.1))[0] == "Compressed"


def test_conjugate_gradients_may_take_as_long_as_a_dense_method(monkeypatch):
    monkeypatch.setattr("eagle.run.plan.SMALL", 0)
    A = scipy.sparse.csr_array(np.eye(300, 400))
    tried = planned(A, C=np.ones((300, 2)))
    assert names(tried) == ["ConjugateGradient", "Eagle", "Direct"]
    dense = 8 * 300 * 300 * 400 / BALANCED.product
    step = (2 + 2 * COUNT) * (4 * 300 + VECTOR * 700) / SPARSE
    assert tried[0].options.maxiter == int(dense / step)
    assert "were not enough, A was written out" in tried[1].reason
    assert isinstance(tried[1].problem.A, np.ndarray)
    assert planned(A, maxiter=3)[0].options.maxiter == 3
    # A complex product takes four real ones; a square A goes to LU first, which takes a sixth.
    turned = planned(1j * A, C=np.ones((300, 2)))
    assert turned[0].options.maxiter == int(dense / (4 * step))
    assert names(planned(A[:, :300])) == ["ConjugateGradient", "Direct", "Eagle", "Direct"]


def test_a_few_conjugate_gradients_come_before_a_sketch_of_a_sparse_matrix(monkeypatch):
    monkeypatch.setattr("eagle.run.plan.SMALL", 0)
    monkeypatch.setattr("eagle.run.plan.SPARSE", 2.0**36)
    A = scipy.sparse.eye_array(1000, 1100, format="csr")
    tried = planned(A, C=np.ones((1000, 2)))
    width = first_width(A)
    look = 2 * A.shape[0] * A.shape[1] * width / BALANCED.product
    look += 2 * width**3 / BALANCED.factorisation
    step = (2 + 2 * COUNT) * (4 * 1000 + VECTOR * 2100) / 2.0**36
    assert names(tried)[:2] == ["ConjugateGradient", "ConjugateGradient"]
    assert tried[0].options.maxiter == int(look / 2 / step) >= 8
    assert planned(A, C=np.ones((1000, 2)), maxiter=9)[0].options.maxiter == 9
    # What has entries in fewer rows than a sketch has columns is sketched at once.
    few = scipy.sparse.csr_array(A[:, :1000].toarray() * (np.arange(1000) < width - 1)[:, None])
    assert names(planned(few, C=np.ones((1000, 2))))[0] == "Compressed"


def test_a_sparse_matrix_that_conjugate_gradients_cannot_solve_is_solved(monkeypatch):
    monkeypatch.setattr("eagle.run.plan.SMALL", 0)
    A = scipy.sparse.diags_array(np.logspace(0, -9, 300), shape=(300, 300), format="csr")
    B, C = np.random.default_rng(0).standard_normal((2, 2, 300))
    with pytest.warns(eagle.ConvergenceWarning):
        slow = eagle.solve(A, B, C.T, method="cg", rng=0)
    assert not slow.converged
    result = eagle.solve(A, B, C.T, rng=0)
    assert result.converged
    assert "conjugate gradients were not enough" in result.plan
    truth = (B / np.logspace(0, -9, 300)) @ C.T
    assert relative_error(result.value, truth) <= tolerance(np.float64, 1e9)


def test_a_file_beyond_memory_is_read_piece_by_piece(monkeypatch, tmp_path):
    np.save(tmp_path / "A.npy", wide(60, 50, 4))
    A = np.load(tmp_path / "A.npy", mmap_mode="r")
    assert names(planned(A)) == ["Eagle", "Direct"]
    monkeypatch.setattr("eagle.run.plan.memory", lambda: 2e4)
    tried = planned(A, B=np.ones((1, 50)))
    assert names(tried) == ["Compressed", "Sketched"]
    assert names(planned(A)) == ["Compressed"]  # the other one takes an identity
    assert {choice.options.memory_limit for choice in tried} == {5000}
    assert "too large for memory" in tried[0].reason


def test_a_memory_limit_leaves_two_methods():
    tried = planned(np.eye(20, 25), memory_limit=10**6)
    assert names(tried) == ["Compressed", "Sketched"]
    assert names(planned(np.eye(20), memory_limit=10**6, rank=2)) == ["Compressed"]
    assert names(planned(np.eye(20), memory_limit=10**6, ridge=0.1)) == ["Compressed"]


def test_a_memory_limit_is_refused_where_a_ridge_takes_a_copy():
    with pytest.raises(ValueError, match=r"memory_limit .* Sketched.* together with ridge"):
        eagle.lstsq(np.eye(3), np.ones(3), method="sketched", memory_limit=10**6, ridge=0.1)


def test_rates_are_measured_once_and_are_powers_of_two():
    measured = rates("d")
    assert measured is rates("d")
    for rate in (measured.product, measured.factorisation):
        assert 2.0 ** round(np.log2(rate)) == rate
        assert 1e6 < rate < 1e16
    assert memory() > 2**26
