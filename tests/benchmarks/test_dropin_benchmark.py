"""The drop-in benchmark: problems are what they claim to be, and answers are right."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

pytest.importorskip("sklearn")

from benchmarks.batches import flops, numpy_solvers, qr_flops, random_batch
from benchmarks.datasets import TABLES
from tests.tolerances import relative_error, tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_have_the_ranks_and_conditions_they_claim(dtype: type) -> None:
    batch = random_batch(60, 12, dtype=dtype, rng=0)
    assert batch.A.dtype == batch.C.dtype == dtype
    assert np.count_nonzero(batch.ranks < 12) == 30
    s = np.linalg.svd(batch.A.astype(float), compute_uv=False)
    for each, rank, condition in zip(s, batch.ranks, batch.conditions, strict=True):
        assert 1 <= condition <= 1e4
        noise = tolerance(dtype, constant=12)
        assert each[0] / each[rank - 1] == pytest.approx(
            condition if rank > 1 else 1, rel=2 * noise * condition
        )
        assert np.all(each[rank:] < noise)


def test_conditions_are_spread_evenly_over_the_decades() -> None:
    decades = np.log10(random_batch(2000, 2, rng=0).conditions)
    counts, _ = np.histogram(decades, bins=4, range=(0, 4))
    assert np.all(np.abs(counts - 500) < 5 * np.sqrt(500 * 0.75))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_answer_for_full_rank_is_that_of_the_stored_problem(dtype: type) -> None:
    batch = random_batch(3, 6, 2, deficient=0.0, dtype=dtype, rng=1)
    for A, C, X in zip(batch.A, batch.C, batch.X, strict=True):
        with mpmath.workdps(50):
            exact = mpmath.inverse(mpmath.matrix(A.tolist())) * mpmath.matrix(C.tolist())
            wanted = np.array(exact.tolist(), float)
        assert relative_error(X, wanted) < tolerance(float, constant=4)


def test_the_answer_for_less_than_full_rank_has_the_least_norm() -> None:
    batch = random_batch(20, 9, deficient=1.0, rng=2)
    for A, C, X, rank, condition in zip(
        batch.A, batch.C, batch.X, batch.ranks, batch.conditions, strict=True
    ):
        assert relative_error(A @ X, C) < tolerance(float)
        rows = np.linalg.svd(A)[2][:rank]  # X is a combination of the rows of A
        assert relative_error(rows.T @ (rows @ X), X) < tolerance(float, condition)


def test_errors_that_rounding_does_not_explain_are_wrong() -> None:
    batch = random_batch(40, 8, rng=3)
    value = batch.X.copy()
    value[0] *= 1.01
    value[1, 0, 0] = np.nan
    value[2] *= 1 + 1e-15
    errors = batch.errors(value)
    assert errors[0] == pytest.approx(0.01)
    assert errors[1] == np.inf
    assert list(np.flatnonzero(batch.wrong(errors))) == [0, 1]


def test_a_solver_for_full_rank_is_caught() -> None:
    batch = random_batch(200, 8, rng=4)
    noisy = batch.A + 1e-13 * np.random.default_rng(0).standard_normal(batch.A.shape)
    wrong = batch.wrong(batch.errors(np.linalg.solve(noisy, batch.C)))
    assert np.count_nonzero(wrong & (batch.ranks < 8)) > 90


def test_every_solver_with_a_fair_cutoff_is_right() -> None:
    batch = random_batch(220, 8, rng=5)
    for who, solve in numpy_solvers(batch.A, batch.C, 0).items():
        value, said = solve()
        assert value.shape == batch.X.shape
        if "default" not in who:
            assert not batch.wrong(batch.errors(value)).any(), who
        assert said is None or said().all()


def test_flops_of_full_rank_are_those_of_the_textbook() -> None:
    n, columns = 32, 8
    wanted = 4 / 3 * n**3 + columns * (2 * n**2 + n**2)
    assert qr_flops(n, n, columns) == pytest.approx(wanted)
    assert qr_flops(n, 0, columns) == 0
    batch = random_batch(4, 8, 3, deficient=0.0, rng=0)
    assert flops(batch) == pytest.approx(4 * qr_flops(8, 8, 3))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("meats NIR", (215, 100)),
        ("Cigar", (30, 46)),
        ("volcano", (87, 61)),
        ("Chicago", (5698, 20)),
    ],
)
def test_tables_are_complete_and_have_the_shapes_they_are_known_for(
    name: str, shape: tuple[int, int]
) -> None:
    X = TABLES[name].load()
    assert X.shape == shape
    assert np.isfinite(X).all()
