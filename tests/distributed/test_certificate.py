"""The error estimate bounds the truth by a factor of ten, whatever the status says."""

from __future__ import annotations

import numpy as np
import pytest

import eagle
import eagle.distributed as many
from eagle.distributed.certificate import Evidence, hidden
from tests.distributed.machines import ITERATIVE, PROJECTORS, REDUCTIONS, simulate, uneven
from tests.tolerances import relative_error, tolerance

FACTOR = 10
SIZES = [(30, 30, None), (20, 40, None), (40, 20, None), (30, 50, 8)]


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", [*ITERATIVE, *REDUCTIONS])
@pytest.mark.parametrize("kind", eagle.problems.SPECTRA)
@pytest.mark.parametrize("condition", [1e2, 1e5, 1e9])
def test_it_holds_over_a_wide_family(name, kind, condition):
    for seed, (d, n, rank) in enumerate(SIZES):
        case = eagle.problems.low_rank(d, n, rank=rank, condition=condition, kind=kind, rng=seed)
        cuts = uneven(n, 3)
        A, B = np.split(case.A, cuts, axis=1), np.split(case.B, cuts, axis=1)
        result = simulate(A, B, case.C, method=name, rng=seed, maxiter=100)
        assert case.error(result.value) <= FACTOR * result.error_estimate + tolerance(float), (
            f"{d} x {n}, rank {rank}: {result}"
        )


@pytest.mark.parametrize("name", ["krylov", "eagle", "cg", "pooled", "apc"])
@pytest.mark.parametrize("maxiter", [1, 2, 3, 5, 8, 13, 21])
def test_it_holds_for_runs_that_were_cut_short(name, maxiter):
    for seed in range(3):
        shards = many.shards_with_diversity(0.05, 4, d=40, rows=1 + seed % 3, rng=seed)
        result = simulate(
            shards.A, shards.B, shards.C, method=name, rng=seed, maxiter=maxiter, rtol=1e-14
        )
        assert shards.error(result.value) <= FACTOR * result.error_estimate + tolerance(float, 10)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", [*ITERATIVE, *REDUCTIONS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_wrong_is_claimed_where_most_of_C_is_outside_the_range(name, dtype):
    """No probe is outside the range; what rounding makes of C there is not theirs."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((21, 19))
        s, Vh = np.linalg.svd(A)[1:]
        B, C = rng.standard_normal((2, 1)) * Vh[-1], rng.standard_normal((21, 2))
        A, B, C = (block.astype(dtype) for block in (A, B, C))
        blocks = (np.split(block, [2], axis=1) for block in (A, B))
        result = simulate(*blocks, C, method=name, rng=seed, maxiter=100)
        wide = A.astype(float), B.astype(float), C.astype(float)
        truth = wide[1] @ np.linalg.pinv(wide[0]) @ wide[2]
        allowed = FACTOR * result.error_estimate + tolerance(dtype, s[0] / s[-1])
        right = relative_error(result.value, truth) <= allowed
        assert right or not result.converged, f"seed {seed}: {result}"


@pytest.mark.parametrize("name", PROJECTORS)
@pytest.mark.parametrize("weight", [1.0, 1e3, 1e6])
def test_a_map_that_is_large_where_rounds_are_slow_is_seen(name, weight):
    """What W tells along the slowest eigenvector of the mean projector counts most."""
    shards = many.shards_with_diversity(0.02, 4, d=20, rng=3)
    bases = [np.linalg.svd(block, full_matrices=False)[0] for block in shards.A]
    mean = sum(U @ U.T for U in bases) / 4
    slowest = np.linalg.eigh(mean)[1][:, 0]
    rng = np.random.default_rng(7)
    W = rng.standard_normal((2, 20)) + weight * np.outer(rng.standard_normal(2), slowest)
    A, B, C = shards.A, [W @ block for block in shards.A], shards.C
    for rtol in (1e-3, 1e-6):
        result = simulate(A, B, C, method=name, rng=0, rtol=rtol)
        assert result.converged
        error = relative_error(result.value, W @ C)
        assert error <= FACTOR * result.error_estimate
        assert result.error_estimate <= rtol


@pytest.mark.parametrize("name", PROJECTORS)
def test_a_small_change_is_not_convergence(name):
    """One direction is done at once, the rest of the spectrum is slow and small in C."""
    shards = many.shards_with_diversity(1e-2, 4, d=40, rng=0)
    whole = np.hstack(shards.A)
    U, s, Vh = np.linalg.svd(whole, full_matrices=False)
    weights = np.where(np.arange(len(s)) == 0, 1, 1e-7)
    C = (U * weights) @ np.random.default_rng(1).standard_normal((len(s), 2))
    B = np.hstack(shards.B)
    truth = B @ Vh.T @ (U.T @ C / s[:, None])
    for rtol in (1e-6, 1e-9):
        result = simulate(shards.A, shards.B, C, method=name, rng=0, rtol=rtol)
        assert result.converged
        assert relative_error(result.value, truth) <= FACTOR * rtol


@pytest.mark.parametrize("name", ["krylov", "eagle", "cg", "pooled", "tsqr", "compressed"])
def test_it_is_not_absurdly_large(name):
    """Within a thousand times the truth, or rounding level."""
    for seed in range(8):
        shards = many.shards_with_diversity(0.2, 3, d=30, condition=20, rng=seed)
        result = many.simulate(shards.A, shards.B, shards.C, method=name, rng=seed)
        assert result.error_estimate <= 1000 * max(shards.error(result.value), 1e-15)


def test_a_hidden_block_of_rank_one_is_found_exactly():
    rng = np.random.default_rng(0)
    r, rows, columns = rng.standard_normal((5, 1)), rng.standard_normal((1, 3)), [[2.0], [-1.0]]
    corner, W = r @ [[1e-9]], np.asarray(columns) * 1e9
    found = hidden(corner, np.asfortranarray(r @ rows), W @ [[1e-9]], 0.0, 0.0)
    truth = np.linalg.norm(np.asarray(columns) * 1e9 @ rows)
    assert found == pytest.approx(truth, rel=1e-10)


def test_a_bias_shows_in_the_misfit_of_the_probe():
    zeros = np.zeros((4, 1), order="F")
    evidence = Evidence(
        value=np.ones((1, 1)),
        probe_error=np.full((1, 1), 0.5),
        residual=zeros, probe_residual=zeros, image=zeros, probe_image=zeros,
        start=1.0, probe_start=1.0, white=(zeros, zeros), white_start=1.0,
        size=6.0, probe_size=3.0, amplification=1.0, eps=2e-16,
    )  # fmt: skip
    assert evidence.biased == 1.0
    assert evidence.relative >= 1.0
    assert evidence.residual_gone(1e-12)
