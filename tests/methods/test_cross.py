"""The skeleton of a matrix of low rank: exact, or noticed and given up."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse.linalg

import eagle
from eagle.algebra import operand
from eagle.methods import cross
from eagle.methods.cross import Cross
from eagle.problem.blocks import Problem
from eagle.problem.checks import as_matrix
from eagle.problem.options import Options
from eagle.run.plan import choices
from tests.systems import normal, system
from tests.tolerances import relative_error, tolerance

SIDE = 600


def low(rank, *, shape=(SIDE, SIDE), dtype=np.float64, kind="consistent", condition=1e3):
    return system(shape, rank=rank, condition=condition, dtype=dtype, kind=kind, seed=rank)


def looked(A, seed=0):
    return cross.look(A, np.random.default_rng(seed))


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 2 * SIDE), (2 * SIDE, SIDE)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_low_rank_is_answered_from_a_few_rows_and_columns(shape, dtype, order):
    given = low(40, shape=shape, dtype=dtype)
    A = np.array(given.A, order=order)
    problem = Problem.create(as_matrix("A", A), given.B, given.C)
    first = next(choices("auto", problem, Options(rng=0)))
    assert isinstance(first.method, Cross)
    assert first.reason.startswith("auto: 40 rows and columns make up A")
    result = eagle.solve(A, given.B, given.C, method=first.method, rng=0)
    assert result.rank == 40
    error = relative_error(result.value, given.value)
    assert error <= tolerance(dtype, 1e3)
    assert error <= 10 * result.error_estimate
    # Whether auto stays with that is for its certificate to say.
    result = eagle.solve(A, given.B, given.C, rng=0)
    assert result.plan.startswith(("auto: 40 rows and columns", "auto: few rows and columns were"))
    assert relative_error(result.value, given.value) <= tolerance(dtype, 1e3)


@pytest.mark.parametrize("rank", [1, 40, 108])
def test_a_skeleton_makes_up_all_of_a(rank):
    A = low(rank).A
    found = looked(A)
    assert found.rank == rank
    core = A[np.ix_(found.rows, found.columns)]
    whole = A[:, found.columns] @ found.times(np.asfortranarray(A[found.rows]))
    assert relative_error(whole, A) <= tolerance(np.float64, 1e5)
    X = np.asfortranarray(normal(np.random.default_rng(0), (rank, 2), np.float64))
    assert relative_error(core @ found.times(X), X) <= tolerance(np.float64, 1e6)


def test_rows_and_columns_are_doubled_until_some_are_to_spare():
    """Of 128, 108 may be taken, so that an end is no accident."""
    shape = (SIDE, 2 * SIDE)
    for rank in (108, 109, 217):
        found = looked(low(rank, shape=shape).A)
        assert found.rank == rank
    assert looked(low(218, shape=shape).A) is None  # 512 are too many of 600
    assert looked(low(109).A) is None  # 256 are too many of a square one


def test_full_rank_zeros_and_small_matrices_have_none():
    rng = np.random.default_rng(0)
    assert looked(rng.standard_normal((SIDE, SIDE))) is None
    assert looked(np.zeros((SIDE, SIDE))).rank == 0
    assert eagle.solve(np.zeros((SIDE, SIDE)), np.eye(SIDE), np.ones((SIDE, 1))).rank == 0
    assert looked(low(3, shape=(100, 100)).A) is None


@pytest.mark.parametrize("by", ["rows", "columns"])
def test_coherent_matrices_are_noticed_and_auto_goes_on(by):
    """Three rows, or columns, carry half of A, and no look at 128 of 1500 sees them all."""
    rng = np.random.default_rng(1)
    L, R = rng.standard_normal((1500, 20)), rng.standard_normal((20, 1500))
    A = L @ R
    spikes, places = np.zeros((1500, 3)), rng.choice(1500, 3, replace=False)
    spikes[places, range(3)] = np.linalg.norm(A) / 100
    more = spikes @ rng.standard_normal((3, 1500))
    A = A + (more if by == "rows" else more.T)
    W, X = rng.standard_normal((3, 1500)), rng.standard_normal((1500, 2))
    B, C = W @ A, A @ X
    assert looked(A).rank < 23
    result = eagle.solve(A, B, C, rng=0)
    assert not isinstance(result.method, Cross)
    assert "few rows and columns were not enough" in result.plan
    assert result.converged
    assert relative_error(result.value, W @ A @ X) <= tolerance(np.float64, 1e4)


@pytest.mark.parametrize("kind", ["inconsistent B", "inconsistent C", "both inconsistent"])
def test_blocks_that_a_does_not_explain_are_noticed(kind):
    given = low(40, kind=kind)
    method = Cross(looked(given.A))
    with pytest.warns(eagle.ConvergenceWarning):
        alone = eagle.solve(given.A, given.B, given.C, method=method, rng=0)
    assert not alone.converged
    result = eagle.solve(given.A, given.B, given.C, rng=0)
    assert not isinstance(result.method, Cross)
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 1e3)


def test_two_columns_that_are_equal_do_no_harm():
    given = low(40)
    A, B, C = given.A.copy(), given.B.copy(), given.C
    A[:, 1::2], B[:, 1::2] = A[:, ::2], B[:, ::2]
    C = A @ normal(np.random.default_rng(0), (SIDE, 2), np.float64)
    result = eagle.solve(A, B, C, rng=0)
    right = B @ np.linalg.pinv(A, rcond=1e-10) @ C
    assert result.converged
    assert relative_error(result.value, right) <= tolerance(np.float64, 1e5)


def by_sample(given, A=None, **options):
    A = given.A if A is None else A
    return eagle.solve(A, given.B, given.C, certificate="sampled", rng=0, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 2 * SIDE), (2 * SIDE, SIDE)])
def test_a_sampled_certificate_has_the_error(shape, order, dtype):
    given = low(40, shape=shape, dtype=dtype)
    result = by_sample(given, np.array(given.A, order=order))
    assert "as 100 rows and 100 columns tell that were held back; A was not read" in result.plan
    error = relative_error(result.value, given.value)
    assert error <= tolerance(dtype, 1e3)
    assert error / 10 <= result.error_estimate <= 1e3 * max(error, np.finfo(dtype).eps)
    assert result.rank == 40


def test_of_a_sampled_matrix_no_more_than_rows_and_columns_is_read(monkeypatch):
    given, taken = low(40, shape=(2000, 2000)), []

    def crossing(A, rows, columns):
        taken.append(len(rows) * len(columns))
        return A[np.ix_(rows, columns)]

    monkeypatch.setattr(operand, "crossing", crossing)
    monkeypatch.setattr(eagle.algebra.blas, "energy", lambda X: 1.0 if X.size < 10**6 else np.nan)
    assert by_sample(given).converged
    # For the size, for the skeleton, and what was held back with it and with itself.
    assert taken == [64**2, 128**2, 100 * 40, 40 * 100, 100**2]


@pytest.mark.parametrize("form", ["sparse", "mapped"])
def test_sparse_and_mapped_matrices_are_sampled_too(form, tmp_path):
    given = low(40)
    A = scipy.sparse.csr_array(given.A)
    if form == "mapped":
        np.save(tmp_path / "A.npy", given.A)
        A = np.load(tmp_path / "A.npy", mmap_mode="r")
    result = by_sample(given, A)
    assert "A was not read" in result.plan
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 1e3)


def test_of_a_mapped_file_rows_and_columns_are_looked_at_first(tmp_path):
    given = low(40, shape=(4 * SIDE, 5 * SIDE))
    np.save(tmp_path / "A.npy", given.A)
    A = np.load(tmp_path / "A.npy", mmap_mode="r")
    result = eagle.solve(A, given.B, given.C, memory_limit=2**24, rng=0)
    assert "40 rows and columns make up A" in result.plan
    assert relative_error(result.value, given.value) <= tolerance(np.float64, 1e3)


@pytest.mark.parametrize("kind", ["inconsistent B", "inconsistent C", "full rank", "zero"])
def test_where_held_back_rows_and_columns_disagree_a_is_read(kind):
    given = low(40, kind=kind if kind.startswith("inconsistent") else "consistent")
    A = given.A.copy()
    if kind == "full rank":
        A += 1e-3 * normal(np.random.default_rng(0), A.shape, A.dtype)
    if kind == "zero":
        A[:] = 0
    result = by_sample(given, A)
    assert result.plan.startswith("some rows and columns did not tell enough, A was read; auto")
    right = eagle.solve(A, given.B, given.C, rng=1)
    bound = 10 * (result.error_estimate + right.error_estimate)
    assert relative_error(result.value, right.value) <= bound + tolerance(np.float64)


@pytest.mark.parametrize("wrong", [3, SIDE // 10])
def test_what_a_few_rows_have_alone_is_missed_as_often_as_is_said(wrong):
    """Of C a part p of the rows does not fit: seen but for a probability of ``(1 - p)^100``."""
    given, seen, runs = low(20), 0, 40
    for seed in range(runs):
        rng, C = np.random.default_rng(seed), given.C.copy()
        C[rng.choice(SIDE, wrong, replace=False)] += 1.0
        result = eagle.solve(given.A, given.B, C, certificate="sampled", rng=rng)
        seen += result.plan.startswith("some rows and columns did not tell enough")
    missed = (1 - wrong / SIDE) ** 100
    assert seen >= runs * (1 - missed) - 3 * (runs * missed * (1 - missed)) ** 0.5
    if wrong == 3:
        assert seen < runs


def test_nan_is_found_where_it_was_looked_for():
    given = low(40)
    A = given.A.copy()
    A[:, ::7] = np.nan
    with pytest.raises(ValueError, match=r"A with shape .* contains NaN"):
        by_sample(given, A)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "cg"}, "certificate='sampled' cannot be honoured by 'cg'; use method='auto'"),
        ({"ridge": 1.0}, "certificate='sampled' cannot go with ridge"),
        ({"rank": 3}, "certificate='sampled' cannot go with rank"),
        ({"memory_limit": 10**6}, "certificate='sampled' cannot go with memory_limit"),
        ({"certificate": "none"}, "certificate must be 'read' or 'sampled', got 'none'"),
        (
            {"certificate": np.ones(2)},
            "certificate must be 'read' or 'sampled', got array([1., 1.])",
        ),
    ],
)
def test_what_a_sample_cannot_answer_is_one_sentence(options, message):
    given = low(3)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        eagle.solve(given.A, given.B, given.C, **{"certificate": "sampled", **options})


def test_functions_that_need_all_of_a_refuse_a_sample():
    given = low(3)
    with pytest.raises(ValueError, match=r"is for eagle\.solve and eagle\.nystrom, not for lstsq"):
        eagle.lstsq(given.A, given.C, certificate="sampled")
    stream = eagle.StreamingLstsq().partial_fit(given.A[:, :3], given.C)
    with pytest.raises(ValueError, match=r"not for StreamingLstsq\.solve"):
        stream.solve(certificate="sampled")
    with pytest.raises(ValueError, match="not for Solver"):
        eagle.Solver(given.A, certificate="sampled")
    with pytest.raises(ValueError, match="is for one A, not for a batch"):
        eagle.solve(given.A[None], given.B, given.C, certificate="sampled")
    implicit = scipy.sparse.linalg.aslinearoperator(given.A)
    with pytest.raises(ValueError, match="needs entries of A, which an operator has not"):
        eagle.solve(implicit, given.B, given.C, certificate="sampled")
