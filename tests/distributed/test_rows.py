"""Rows of A and C on the machines: the layout of tall data."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
import eagle.distributed as many
from tests.distributed.machines import ITERATIVE, REDUCTIONS, simulate, uneven
from tests.distributed.test_mpi import mpi
from tests.systems import orthonormal
from tests.tolerances import relative_error, tolerance

METHODS = (*ITERATIVE, *REDUCTIONS, "auto")


def tall(condition=10.0, *, rows=60, n=5, columns=3, noise=0.1, dtype=float, seed=0):
    """A, C and ``A^+ C`` of a fit that leaves `noise`, at right angles to A."""
    rng = np.random.default_rng(seed)
    Q = orthonormal(rng, rows, n + columns, dtype)
    V = orthonormal(rng, n, n, dtype)
    A = (Q[:, :n] * np.geomspace(1, 1 / condition, n)) @ V.conj().T
    X = rng.standard_normal((n, columns)).astype(dtype)
    return A, A @ X + noise * Q[:, n:], X


def cut(X, size):
    return np.split(X, uneven(len(X), size))


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("size", [1, 3])
def test_a_fit_over_machines_is_that_of_all_rows(name, dtype, size):
    A, C, X = tall(dtype=dtype)
    result = simulate(cut(A, size), None, cut(C, size), axis="rows", method=name, rng=0)
    assert result.converged, result
    assert result.value.dtype == dtype
    error = relative_error(result.value, X)
    assert error <= 1e-9
    assert error <= 10 * result.error_estimate + tolerance(dtype)


@pytest.mark.parametrize("name", METHODS)
def test_B_is_everybodys(name):
    A, C, X = tall()
    B = np.random.default_rng(1).standard_normal((2, 5))
    result = simulate(cut(A, 3), B, cut(C, 3), axis="rows", method=name, rng=0)
    assert relative_error(result.value, B @ X) <= 1e-9


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", ["tsqr", "gram", "seminormal", "auto", "compressed"])
def test_inconsistency_is_what_a_fit_leaves(name):
    A, C, X = tall(noise=0.5)
    truth = np.linalg.norm(C - A @ X) / np.linalg.norm(C)
    for ridge in (0.0, 1e-12):
        options = {"axis": "rows", "method": name, "rng": 0, "ridge": ridge}
        result = simulate(cut(A, 3), None, cut(C, 3), **options)
        assert result.inconsistency == pytest.approx(truth, rel=1e-6)


def test_a_message_has_the_size_of_the_short_side():
    """Rows are never sent: ``n (n + n')`` numbers and ``n n' + 3`` a correction."""
    n, columns = 5, 3
    sent = []
    for rows in (3000, 9000):
        A, C, X = tall(100, rows=rows, n=n, columns=columns)
        result = simulate(cut(A, 4), None, cut(C, 4), axis="rows", method="seminormal", rng=0)
        assert relative_error(result.value, X) <= 1e-12
        assert result.rounds == 1 + result.iterations <= 4
        sent.append(result.bytes_sent - 8 * result.iterations * (n * columns + 3))
    assert sent == [8 * n * (n + columns)] * 2


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_corrections_contract_by_eps_times_the_square_of_the_condition(condition):
    A, C, _ = tall(condition, rows=400, n=12, noise=0.0)
    changes = []
    for maxiter in (1, 2):
        options = {"axis": "rows", "method": "seminormal", "rng": 0, "maxiter": maxiter}
        result = simulate(cut(A, 3), None, cut(C, 3), rtol=1e-15, **options)
        changes.append(result.history[-1].change)
    left = np.finfo(float).eps * condition**2
    assert changes[0] <= 10 * left + tolerance(float)
    assert changes[1] <= 10 * left * changes[0] + tolerance(float, condition)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("condition", [1e2, 1e7, 1e9, 1e13])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_triangular_factor_finishes_where_a_gram_matrix_does_not_tell(condition, noise):
    A, C, X = tall(condition, rows=200, noise=noise)
    result = simulate(cut(A, 3), None, cut(C, 3), axis="rows", method="seminormal", rng=0)
    assert ("so tsqr finished" in result.plan) == (condition > 1e2)
    # From an estimate of one on nothing is claimed.
    if result.error_estimate < 1:
        assert relative_error(result.value, X) <= 10 * result.error_estimate
    assert result.converged == (result.error_estimate <= 1e-4)
    assert result.error_estimate <= tolerance(float, condition * (1 + noise * condition))


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("name", ["seminormal", "tsqr", "auto"])
def test_more_columns_than_rows_have_the_shortest_solution(name):
    A, C, _ = tall()
    A, C = A.T, C[:5]
    result = simulate(cut(A, 2), None, cut(C, 2), axis="rows", method=name, rng=0)
    assert relative_error(result.value, np.linalg.pinv(A) @ C) <= 1e-12


def test_it_equals_lstsq_and_what_columns_of_the_adjoint_say():
    A, C, _ = tall()
    rows = many.simulate(cut(A, 3), None, cut(C, 3), axis="rows", rng=0).value
    adjoint = [X.T for X in cut(A, 3)], [X.T for X in cut(C, 3)]
    columns = many.simulate(*adjoint, np.eye(5), rng=0).value
    np.testing.assert_array_equal(rows, columns.T)
    assert relative_error(rows, eagle.lstsq(A, C, rng=0).value) <= 1e-13


def test_what_does_not_fit_is_named_as_the_user_gave_it():
    A, C, _ = tall()
    cases = {
        "C_local with shape (59, 3) must have as many rows as A_local with shape (60, 5)": (
            A, None, C[1:],
        ),
        "B with shape (2, 6) must have as many columns as A_local with shape (60, 5)": (
            A, np.ones((2, 6)), C,
        ),
    }  # fmt: skip
    for message, (A_local, B, C_local) in cases.items():
        with pytest.raises(ValueError, match="must have as many") as caught:
            many.solve(A_local, B, C_local, axis="rows", comm=many.SerialComm())
        assert str(caught.value) == message
    with pytest.raises(ValueError, match="A_list has 2 entries but C 3"):
        many.simulate(cut(A, 2), None, cut(C, 3), axis="rows")

    def work(comm):
        with pytest.raises(ValueError, match=r"ranks disagree: B has the digest .* every rank"):
            many.solve(A, np.full((1, 5), 1.0 + comm.rank), C, axis="rows", comm=comm)

    many.run_local(2, work)


FIT = """
import sys
import numpy as np
import eagle.distributed as many
comm = many.MPIComm()
data = np.load("fit.npz")
own = slice(comm.rank, None, comm.size)
for method in ("auto", "seminormal", "tsqr"):
    result = many.solve(data["A"][own], None, data["C"][own], axis="rows", method=method, rng=0)
    assert result.converged
    np.savez(f"{method}-{comm.rank}.npz", value=result.value, error=result.error_estimate)
"""


def test_under_mpi_every_rank_has_the_fit(tmp_path):
    pytest.importorskip("mpi4py")
    import sys

    A, C, X = tall(1e3, rows=5000, n=6)
    np.savez(tmp_path / "fit.npz", A=A, C=C)
    (tmp_path / "fit.py").write_text(FIT)
    run = mpi(3, sys.executable, "-m", "mpi4py", "fit.py", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for method in ("auto", "seminormal", "tsqr"):
        first, *others = (dict(np.load(tmp_path / f"{method}-{rank}.npz")) for rank in range(3))
        for other in others:
            np.testing.assert_array_equal(other["value"], first["value"])
            np.testing.assert_array_equal(other["error"], first["error"])
        assert relative_error(first["value"], X) <= 10 * float(first["error"])
        assert first["error"] <= 1e-9
