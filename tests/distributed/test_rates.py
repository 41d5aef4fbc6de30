"""Rounds are as many as theory says: for Krylov, consensus and averaging, and no more bytes."""

from __future__ import annotations

import numpy as np
import pytest

import eagle.distributed as many
from eagle import ConvergenceWarning
from eagle.distributed.methods.apc import APC, parameters
from tests.distributed.machines import SLOW, simulate

RTOL = 1e-8


def theory(alpha: float, largest: float = 1.0) -> float:
    """Rounds of conjugate gradients: ``2 ((sqrt(k) - 1) / (sqrt(k) + 1))^m = rtol``."""
    root = np.sqrt(largest / alpha)
    return np.log(2 / RTOL) / -np.log((root - 1) / (root + 1)) if root > 1 else 1.0


@pytest.mark.parametrize("machines", [3, 4, 8])
@pytest.mark.parametrize("condition", [1e3, 1e4])
@pytest.mark.parametrize("alpha", [0.3, 0.1, 0.03, 0.01, 0.003, 0.001])
def test_krylov_needs_no_more_rounds_than_theory(machines, condition, alpha):
    shards = many.shards_with_diversity(alpha, machines, d=200, condition=condition, rng=0)
    result = many.simulate(shards.A, shards.B, shards.C, method="krylov", rng=0, rtol=RTOL)
    assert shards.error(result.value) <= RTOL
    assert result.rounds <= 1.2 * theory(alpha) + 3  # probe, verification, one more for it
    d, columns = shards.C.shape
    assert result.bytes_sent / result.rounds <= 8 * d * (columns + 1) + 8 * d


@pytest.mark.parametrize("machines", [3, 4, 8])
@pytest.mark.parametrize("condition", [1e3, 1e4])
def test_full_diversity_takes_three_rounds(machines, condition):
    shards = many.shards_with_diversity(1, machines, d=50, condition=condition, rng=0)
    result = many.simulate(shards.A, shards.B, shards.C, method="krylov", rng=0, rtol=RTOL)
    assert result.rounds <= 3
    assert shards.error(result.value) <= RTOL


@pytest.mark.parametrize("alpha", [0.3, 0.1, 0.03])
def test_averaging_needs_one_over_alpha_and_krylov_far_less(alpha):
    """Richardson's iteration on the mean projector: ``(1 - alpha)^m = rtol``."""
    shards = many.shards_with_diversity(alpha, 4, d=200, condition=1e3, rng=0)
    rounds = {}
    for name in ("eagle", "eagle-frozen", "krylov"):
        result = many.simulate(shards.A, shards.B, shards.C, method=name, rng=0, rtol=RTOL)
        assert shards.error(result.value) <= RTOL
        rounds[name] = result.rounds
    asymptotic = np.log(RTOL) / np.log(1 - alpha)
    assert 0.7 * asymptotic <= rounds["eagle"] <= 1.5 * asymptotic + 20  # 20 to condition
    assert rounds["eagle-frozen"] == pytest.approx(rounds["eagle"], abs=2)
    if alpha <= 0.1:
        assert rounds["krylov"] <= rounds["eagle"] / 5


def test_rounds_do_not_depend_on_the_number_of_machines():
    rounds = [
        many.simulate(s.A, s.B, s.C, method="krylov", rng=0, rtol=RTOL).rounds
        for s in (
            many.shards_with_diversity(0.05, machines, d=120, rng=1) for machines in (2, 4, 8, 16)
        )
    ]
    assert max(rounds) <= min(rounds) + 3


def test_krylov_ends_with_the_space():
    """As many rounds as there are dimensions for its block, at most."""
    shards = many.shards_with_diversity(1e-5, 4, d=40, queries=3, rng=0)
    result = many.simulate(shards.A, shards.B, shards.C, method="krylov", rng=0, rtol=RTOL)
    assert result.rounds <= 40 // (3 + 1) + 5
    assert shards.error(result.value) <= RTOL


@pytest.mark.parametrize("alpha", [0.2, 0.02])
def test_consensus_has_its_rate_when_it_is_told_the_spectrum(alpha, monkeypatch):
    shards = many.shards_with_diversity(alpha, 4, d=60, rng=0)
    monkeypatch.setitem(many.METHODS, "apc", APC(spectrum=(alpha, 1.0)))
    result = many.simulate(shards.A, shards.B, shards.C, method="apc", rng=0, rtol=RTOL)
    assert shards.error(result.value) <= RTOL
    root = np.sqrt(1 / alpha)
    expected = np.log(RTOL) / np.log((root - 1) / (root + 1))
    assert 0.7 * expected <= result.rounds <= 1.5 * expected + 10
    # Where it stops, the tail of a geometric series bounds what is left.
    assert shards.error(result.value) <= result.history[-1].change


@pytest.mark.parametrize(("alpha", "largest"), [(0.5, 1.0), (0.01, 0.99), (0.2, 0.4)])
def test_the_parameters_of_consensus_solve_the_equations_of_its_theorem(alpha, largest):
    gamma, eta = parameters(alpha, largest)
    root = np.sqrt((gamma - 1) * (eta - 1))
    assert largest * eta * gamma == pytest.approx((1 + root) ** 2)
    assert alpha * eta * gamma == pytest.approx((1 - root) ** 2)


@pytest.mark.parametrize("columns", [25, 40])
def test_consensus_measures_the_spectrum_to_a_percent_in_few_rounds(columns):
    """It stops once the lower end stands, before a Krylov method would have solved the problem."""
    rng = np.random.default_rng(0)
    A = [rng.standard_normal((60, columns)) for _ in range(4)]
    W, C = rng.standard_normal((2, 60)), rng.standard_normal((60, 2))
    bases = [np.linalg.qr(each)[0] for each in A]
    ends = np.linalg.eigvalsh(sum(Q @ Q.T for Q in bases) / 4)[[0, -1]]
    B = [W @ each for each in A]
    with pytest.warns(ConvergenceWarning, match="apc"):
        result = many.simulate(A, B, C, method="apc", rng=0, maxiter=1)
    assert result.diversity == pytest.approx(ends[0], rel=0.01)
    assert result.rounds <= theory(*ends)


@pytest.mark.parametrize("alpha", [1, 0.3, 0.01])
def test_the_diversity_is_estimated_from_above(alpha):
    shards = many.shards_with_diversity(alpha, 4, d=60, rng=0)
    result = many.simulate(shards.A, shards.B, shards.C, method="krylov", rng=0, rtol=1e-12)
    assert 0.999 * alpha <= result.diversity <= 1.2 * alpha


@pytest.mark.parametrize("name", SLOW)
def test_an_iteration_sends_what_the_documentation_says(name):
    """Numbers in the messages of the fifth iteration, d = 30, d' = 3, n' = 2."""
    d, rows, columns = 30, 3, 2
    numbers = {
        "eagle": (d + rows) * (columns + 1),
        "eagle-frozen": (d + rows) * (columns + 1),
        "krylov": d * (columns + 1),
        "apc": d * (rows + 2),
        "gd": (d + 1) * (columns + 4),
        "cg": (d + 1) * (columns + 4),
        "pooled": 2 * d * (columns + 4),
    }
    shards = many.shards_with_diversity(0.02, 4, d=d, rows=rows, queries=columns, rng=0)
    four, five = (
        simulate(shards.A, shards.B, shards.C, method=name, rng=0, rtol=1e-14, maxiter=maxiter)
        for maxiter in (4, 5)
    )
    assert (four.iterations, five.iterations) == (4, 5)
    assert five.bytes_sent - four.bytes_sent == 8 * numbers[name]
    assert five.rounds - four.rounds == (2 if name == "pooled" else 1)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("name", ["gram", "tsqr"])
def test_reductions_are_one_reduction(name):
    shards = many.shards_with_diversity(0.01, 5, d=30, rng=0)
    result = many.simulate(shards.A, shards.B, shards.C, method=name, rng=0)
    assert result.rounds <= 2  # tsqr's second one tells everybody the value
    d, rows = 30, 2
    assert result.bytes_sent <= 8 * (d + 1) * (d + rows + 1) + 8 * 4 * (d + rows) + 600


@pytest.mark.parametrize("rank", [5, 40, 100])
def test_sketches_grow_to_the_rank_and_no_further(rank):
    rng = np.random.default_rng(0)
    left = rng.standard_normal((150, rank))
    A = [left @ rng.standard_normal((rank, 90)) for _ in range(3)]
    W = rng.standard_normal((2, 150))
    C = left @ rng.standard_normal((rank, 2))
    result = many.simulate(A, [W @ each for each in A], C, method="compressed", rng=0)
    assert np.linalg.norm(result.value - W @ C) <= 1e-11 * np.linalg.norm(W @ C)
    assert result.rank == rank
    doublings = max(0, int(np.ceil(np.log2((rank + 4) / 32))))
    assert result.iterations == 1 + doublings
    width = 32 * 2**doublings
    assert result.bytes_sent <= 8 * (150 * width + (rank + 1) * (rank + 3)) + 2000
