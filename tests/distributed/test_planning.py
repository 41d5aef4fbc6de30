"""The model chooses what it predicts to be fastest, and says why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import eagle.distributed as many
from eagle.distributed.agreement import SIZE
from eagle.distributed.comm import Network
from eagle.distributed.planning import Job

JOB = Job(
    d=200, rows=2, columns=2, shard=100.0, size=4,
    network=Network(0.005, 1e8), rate=1e9, word=8, rtol=1e-8,
)  # fmt: skip


def fastest(job: Job) -> str:
    seconds = job.seconds()
    return min(seconds, key=seconds.__getitem__)


def test_a_gram_matrix_is_in_the_race_with_corrections_where_shards_are_long():
    """Alone it loses digits, and of short shards A is hardly of full row rank."""
    assert set(JOB.seconds()) == {"tsqr", "krylov", "compressed", "seminormal"}
    assert JOB.seminormal() == math.inf
    long = replace(JOB, shard=1e6, network=Network(1e-5, 1e9))
    assert fastest(long) == "seminormal"
    assert long.seminormal() == pytest.approx(long.tsqr() / 4, rel=0.2)  # no Q, half of G
    assert replace(long, d=60_000).seminormal() == math.inf


def test_one_reduction_wins_on_a_slow_network_while_d_is_small():
    assert fastest(JOB) == "tsqr"
    assert JOB.tsqr() < JOB.krylov() / 4


def test_rounds_win_when_the_factor_is_too_large_to_send():
    job = replace(JOB, d=60_000, shard=500.0, size=1000, network=Network(1e-5, 1e9))
    assert job.tsqr() == math.inf
    assert fastest(job) == "krylov"


def test_sketches_win_when_there_are_few_columns_in_all():
    job = replace(JOB, d=10_000, shard=20.0, network=Network(0.05, 1e8))
    assert fastest(job) == "compressed"


def test_more_latency_never_makes_rounds_better():
    for latency in (1e-6, 1e-4, 1e-2, 1.0):
        job = replace(JOB, network=Network(latency, 1e8))
        slower = replace(JOB, network=Network(10 * latency, 1e8))
        assert slower.krylov() - job.krylov() > slower.tsqr() - job.tsqr() > 0


@pytest.mark.parametrize("latency", [0.0, 0.005, 0.05])
def test_the_choice_is_said_and_right(latency):
    shards = many.shards_with_diversity(0.1, 4, d=40, rng=0)
    result = many.simulate(shards.A, shards.B, shards.C, rng=0, latency=latency, bandwidth=1e8)
    assert shards.error(result.value) <= 1e-10
    assert result.plan.startswith(f"auto: {result.method} in about ")
    assert f"latency {latency:.1g} s" in result.plan
    if latency:
        assert result.method == "tsqr"
        assert result.simulated >= 2 * latency
        assert result.communication <= result.simulated


@pytest.mark.usefixtures("apart")
def test_communication_is_all_that_is_simulated_of_messages():
    """The agreement, and of this method one sum."""
    shards = many.shards_with_diversity(1, 4, d=20, rng=0)
    network = Network(0.05, 1e6)
    result = many.simulate(
        shards.A, shards.B, shards.C, method="gram", rng=0, latency=0.05, bandwidth=1e6
    )
    messages = network.gather(4, SIZE) + network.allreduce(4, result.bytes_sent)
    assert result.rounds == 1
    assert result.communication == pytest.approx(messages, rel=1e-12)


def test_one_machine_needs_no_model():
    shards = many.shards_with_diversity(1, 1, d=20, rng=0)
    result = many.solve(shards.A[0], shards.B[0], shards.C, comm=many.SerialComm(), rng=0)
    assert result.plan == "auto: tsqr, as one machine has all"
    assert result.communication == 0


def test_predictions_rank_the_methods_as_the_simulation_does():
    """On a link of 20 ms, where computation does not count."""
    shards = many.shards_with_diversity(0.01, 4, d=40, rng=0)
    network = {"latency": 0.02, "bandwidth": 1e8}
    times = {
        name: many.simulate(shards.A, shards.B, shards.C, method=name, rng=0, **network).simulated
        for name in ("tsqr", "krylov")
    }
    job = replace(JOB, d=40, shard=30.0, network=Network(*network.values()), rtol=1e-10)
    assert (times["tsqr"] < times["krylov"]) == (job.tsqr() < job.krylov())
    assert job.tsqr() == pytest.approx(times["tsqr"], rel=1.0)
    assert np.isfinite(job.pooled())
