"""The skeleton of a matrix of low rank: exact, or noticed and given up."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
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
