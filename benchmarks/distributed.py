"""Distributed EAGLE: rounds against theory, real MPI, slow links, and what bounds 10,000 machines.

Sections: ``rounds`` (to 1e-8, over machines, condition and diversity, against theory and the
paper's rule), ``machines`` (rounds at fixed diversity), ``noise`` (inconsistent data), ``mpi``
(four ranks: equal values, and a round against the raw Allreduce), ``links`` (simulated 5 ms and
50 ms), ``dask`` (chunks on two processes, beside what Dask has itself), ``scaling`` (the model to
10,000 machines). Rounds and bytes are exact. A round is one collective operation; setting up and
verifying are included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import eagle
import eagle.distributed as many
from benchmarks.common import Report, Suite, measure
from eagle.distributed import shards_with_diversity
from eagle.distributed.comm import Network
from eagle.distributed.mpi import RANKS, SIZES
from eagle.distributed.planning import Job

RTOL = 1e-8
PAPER = 20_000  # most rounds of the paper's rule

suite = Suite("distributed", __doc__)
main = suite.main


def theory(alpha: float, rtol: float = RTOL) -> float:
    """Rounds of conjugate gradients: ``2 ((sqrt(k) - 1) / (sqrt(k) + 1))^m = rtol``."""
    root = np.sqrt(1 / alpha)
    return float(np.log(2 / rtol) / -np.log((root - 1) / (root + 1))) if root > 1 else 1.0


def solved(shards: many.Shards, name: str, seed: int, **options: Any) -> many.Result:
    """One simulated solve."""
    options = {"rtol": RTOL, "maxiter": PAPER} | options
    return many.simulate(shards.A, shards.B, shards.C, method=name, rng=seed, **options)


@suite.section
def rounds(report: Report, options: argparse.Namespace) -> None:
    """Krylov against theory and against the paper's rule."""
    title = "rounds: to 1e-8, d = 320, 240 columns a machine, n' = d' = 2"
    report.section(title, ("M", "kappa", "alpha"))
    cases = product((3, 4, 8), (1e3, 1e4), (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001))
    if options.quick:
        cases = product((4,), (1e3,), (1.0, 0.1))
    for machines, kappa, alpha in cases:
        settings = {"d": 320, "condition": kappa, "rng": options.seed}
        shards = shards_with_diversity(alpha, machines, **settings)
        krylov = solved(shards, "krylov", options.seed)
        error = shards.error(krylov.value)
        # The paper's rule has the rate of its slowest direction from some time on.
        paper = _paper(shards, alpha, options.seed)
        report.row(
            M=machines, kappa=kappa, alpha=alpha, krylov=krylov.rounds, theory=theory(alpha),
            ratio=krylov.rounds / theory(alpha), paper=paper, times=paper / krylov.rounds,
            error=error, diversity=krylov.diversity,
            bytes_a_round=krylov.bytes_sent / krylov.rounds, dn8=8 * shards.C.size,
        )  # fmt: skip
        assert error <= RTOL, error


def _paper(shards: many.Shards, alpha: float, seed: int) -> int:
    """Rounds of the paper's rule, run where that takes seconds, else continued at its rate."""
    limit = PAPER if alpha >= 0.03 else 400
    result = solved(shards, "eagle-frozen", seed, maxiter=limit)
    if result.converged:
        return result.rounds
    left = np.log(result.error_estimate / RTOL) / -np.log1p(-alpha)
    return result.rounds + int(left)


@suite.section
def machines(report: Report, options: argparse.Namespace) -> None:
    """Rounds at one diversity."""
    report.section("machines: rounds at alpha = 0.05, d = 160, kappa = 1e3", ("M",))
    for count in (2, 4) if options.quick else (2, 4, 8, 16, 32):
        shards = shards_with_diversity(0.05, count, d=160, condition=1e3, rng=options.seed)
        report.row(M=count, krylov=solved(shards, "krylov", options.seed).rounds)


@suite.section
def noise(report: Report, options: argparse.Namespace) -> None:
    """Values relative to the pooled data's."""
    report.section("noise: d = 100, 4 machines, 250 columns each, rtol 1e-8", ("noise", "method"))
    names = ("krylov", "eagle", "apc", "pooled", "cg", "tsqr", "gram", "compressed")
    for size in (0.1,) if options.quick else (0.1, 1e-3, 1e-6):
        settings = {"d": 100, "columns": 250, "condition": 30, "rng": options.seed}
        shards = shards_with_diversity(0.2, 4, noise=size, **settings)
        for name in names:
            result = solved(shards, name, options.seed)
            report.row(
                noise=size, method=name, rounds=result.rounds, error=shards.error(result.value),
                estimate=result.error_estimate, inconsistency=result.inconsistency,
                status=result.status.name, finished="finished" in result.plan,
            )  # fmt: skip
    title = "noise: iterations of the pooled finish against CG on similar machines, 1e-8"
    report.section(title, ("M", "columns"))
    rng = np.random.default_rng(options.seed)
    for count, columns in ((4, 300), (8, 300), (8, 40)):
        mix = np.linalg.qr(rng.standard_normal((100, 100)))[0] * np.geomspace(1, 1e-2, 100)
        A = [mix @ rng.standard_normal((100, columns)) for _ in range(count)]
        B = [rng.standard_normal((2, columns)) for _ in range(count)]
        C = np.hstack(A) @ rng.standard_normal((count * columns, 2))
        steps = {
            name: many.simulate(A, B, C, method=name, rng=options.seed, rtol=RTOL).iterations
            for name in ("cg", "pooled")
        }
        report.row(M=count, columns=columns, **steps)


@suite.section
def mpi(report: Report, options: argparse.Namespace) -> None:
    """Four real ranks."""
    title = "mpi: 4 ranks, alpha = 0.03, n' = 2; seconds of a round against raw Allreduce"
    report.section(title, ("d", "method"))
    mpiexec = Path(sys.executable).parent / "mpiexec"
    if not mpiexec.exists():
        report.say(f"not run, as there is no {mpiexec}: pip install 'eagle-solver[mpi]'")
        return
    clean = {key: value for key, value in os.environ.items() if key not in (*SIZES, *RANKS)}
    clean |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ranks = [mpiexec, "-n", "4", sys.executable, "-m", "mpi4py", "-m", "benchmarks.children"]
    for d in (200,) if options.quick else (200, 1000):
        shards = shards_with_diversity(0.03, 4, d=d, condition=1e3, rng=options.seed)
        with tempfile.TemporaryDirectory() as folder:
            command = [*ranks, "rank", str(d), str(options.seed), folder]
            run = subprocess.run(command, capture_output=True, text=True, env=clean, timeout=300)
            if run.returncode:
                raise RuntimeError(run.stderr)
            found = json.loads(run.stdout)
            raw, ours = found["allreduce"], found["sum"]
            report.row(d=d, numbers=3 * d, allreduce=raw, sum=ours, ratio=ours / raw)
            for name, (rounds, seconds, equal, waiting) in found["rows"].items():
                value = np.load(f"{folder}/{name}.npy")
                local = solved(shards, name, options.seed)
                gap = np.linalg.norm(value - local.value) / np.linalg.norm(value)
                report.row(
                    d=d, method=name, rounds=rounds, seconds=seconds,
                    a_round=seconds / rounds, over_allreduce=seconds / rounds / raw,
                    waiting=waiting / seconds, equal_on_ranks=equal, from_serial=float(gap),
                )  # fmt: skip


@suite.section
def links(report: Report, options: argparse.Namespace) -> None:
    """Total time on slow links, computation included."""
    title = "links: simulated seconds, d = 200, 4 machines, kappa 1e3, 100 MB/s, 1e-8"
    report.section(title, ("alpha", "method"))
    names = ("auto", "tsqr", "gram", "compressed", "krylov", "apc", "eagle-frozen", "cg")
    for alpha in (0.1,) if options.quick else (1.0, 0.1, 0.01):
        shards = shards_with_diversity(alpha, 4, d=200, condition=1e3, rng=options.seed)
        for name in names:
            settings = {"bandwidth": 1e8, "maxiter": 3000}
            near, far = (
                solved(shards, name, options.seed, latency=latency, **settings)
                for latency in (0.005, 0.05)
            )
            chosen = ", ".join(dict.fromkeys((near.method, far.method)))
            report.row(
                alpha=alpha, method=name if name != "auto" else f"auto: {chosen}",
                rounds=near.rounds, bytes=near.bytes_sent, at_5ms=near.simulated,
                at_50ms=far.simulated, error=shards.error(near.value), status=near.status.name,
            )  # fmt: skip


@suite.section
def dask(report: Report, options: argparse.Namespace) -> None:
    """Chunks on two processes, beside what Dask has itself; bytes are those that workers sent."""
    import dask.array as da
    from distributed import Client, LocalCluster

    d, n, side, rank = (20_000, 20, 600, 20) if options.quick else (400_000, 50, 4000, 50)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        random = da.random.default_rng(options.seed)
        A = random.standard_normal((d, n), chunks=(d // 10, -1)).persist()
        x = np.arange(1.0, n + 1)
        b = (A @ x).persist()
        report.section(f"Dask: least squares, {d} x {n}, 10 chunks of rows, 2 processes")
        calls: dict[str, Callable[[], np.ndarray]] = {
            "eagle, gram": lambda: eagle.lstsq(A, b, method="gram", rng=0).value,
            "eagle, tsqr": lambda: eagle.lstsq(A, b, method="tsqr", rng=0).value,
            "dask lstsq": lambda: da.linalg.lstsq(A, b)[0].compute(),
        }
        _on_workers(report, client, calls, x, A.nbytes)

        L, R = (random.standard_normal(shape) for shape in ((side, rank), (rank, side)))
        pieces = (side // 4, side // 4)
        M = (L.rechunk((side // 4, -1)) @ R.rechunk((-1, side // 4))).rechunk(pieces).persist()
        W, X = random.standard_normal((5, side)), random.standard_normal((side, 5))
        B, C = (W @ M).persist(), (M @ X).persist()
        truth = np.asarray((W @ M @ X).compute())

        def theirs() -> np.ndarray:
            u, s, v = da.linalg.svd_compressed(M, rank, n_power_iter=1, seed=options.seed)
            return np.asarray((((B @ v.T) / s) @ (u.T @ C)).compute())

        report.section(f"Dask: B A^+ C, {side} x {side} of rank {rank}, 16 chunks")
        calls = {
            "eagle, cross": lambda: eagle.solve(M, B, C, rng=0).value,
            "eagle, cross, sampled": lambda: (
                eagle.solve(M, B, C, certificate="sampled", rng=0).value
            ),
            "eagle, compressed": lambda: eagle.solve(M, B, C, method="compressed", rng=0).value,
            "dask svd_compressed, rank given": theirs,
        }
        _on_workers(report, client, calls, truth, M.nbytes)


def _sent(dask_worker: Any) -> int:
    """Bytes that a worker has sent so far."""
    return int(dask_worker.transfer_outgoing_bytes_total)


def _on_workers(
    report: Report,
    client: Any,
    calls: dict[str, Callable[[], np.ndarray]],
    truth: np.ndarray,
    size: int,
) -> None:
    """A row for every call: seconds, error, and what was sent in units of the data."""
    seconds = measure(calls, repeats=3)
    for name, call in calls.items():
        before = sum(client.run(_sent).values())
        error = float(np.linalg.norm(np.squeeze(call()) - truth) / np.linalg.norm(truth))
        sent = (sum(client.run(_sent).values()) - before) / size
        report.row(by=name, seconds=seconds[name], error=error, sent=sent)


@suite.section
def scaling(report: Report, options: argparse.Namespace) -> None:
    """Weak scaling by the model: 1000 columns a machine, 1e10 flop/s, 10 us, 10 GB/s."""
    title = "scaling: predicted seconds, 1000 columns a machine, 10 us, 10 GB/s, 10 GFLOP/s"
    report.section(title, ("d", "M"))
    sizes = {"rows": 2, "columns": 2, "shard": 1000.0, "word": 8, "rtol": RTOL}
    for d, count in product((1000, 10_000, 100_000), (1, 10, 100, 1000, 10_000)):
        job = Job(d=d, size=count, network=Network(1e-5, 1e10), rate=1e10, **sizes)
        seconds, quiet = job.seconds(), replace(job, network=Network()).seconds()
        best = min(seconds, key=seconds.__getitem__)
        talking = seconds[best] - quiet[best]
        bound = "messages" if talking > 0.5 * seconds[best] else "work on each machine"
        share = talking / seconds[best]
        report.row(d=d, M=count, **seconds, best=best, communication=share, bound=bound)
