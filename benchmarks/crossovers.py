"""Where one method overtakes another: by rank, condition number, shape and size.

Every table walks along one property of A and gives the seconds of a rival in units of ours, both
on the same blocks, and where that ratio is 1, interpolated between the neighbours. Ours carries its
certificate throughout; rivals named by a LAPACK driver are plain scipy.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks.common import Report, Spread, Suite, measure
from benchmarks.rivals import ours, rival
from eagle.problems import Blocks, low_rank

CHOLESKY, LAPACK = eagle.Eagle("cholesky"), ("gelsy", "gelsd")
Runs = dict[str, Callable[[], Any]]
suite = Suite("crossovers", __doc__)
main = suite.main


@suite.section
def rank(report: Report, options: argparse.Namespace) -> None:
    """A sketch whose width has to be found, against what does not care about the rank."""
    n = 200 if options.quick else 1000
    report.section(f"by rank: 'compressed', n = d = {n}, condition 1e4", ("rival",))
    ranks = [n // 40, n // 20, n // 10, n // 5, (2 * n) // 5, (3 * n) // 5]
    eagles = {"ours": "compressed", "EAGLE, Cholesky": CHOLESKY}
    data = {"condition": 1e4, "rng": options.seed}
    _walk(report, options, ranks, lambda r: low_rank(n, n, 10, 10, rank=r, **data), eagles)


@suite.section
def condition(report: Report, options: argparse.Namespace) -> None:
    """Conjugate gradients to 1e-8 against one factorisation."""
    n = 200 if options.quick else 1000
    eagles = {"ours": "cg", "LU": eagle.Direct("lu"), "EAGLE, Cholesky": CHOLESKY}
    for columns in (1, 10, 100):
        title = f"by condition number: 'cg' to 1e-8, n = d = {n}, right-hand sides: {columns}"
        report.section(title, ("rival",))

        def problem(condition: int, size: tuple[int, ...] = (n, n, columns, columns)) -> Blocks:
            return low_rank(*size, condition=float(condition), rng=options.seed)

        _walk(report, options, [2, 4, 8, 16, 32], problem, eagles, drivers=())


@suite.section
def shape(report: Report, options: argparse.Namespace) -> None:
    """EAGLE with Cholesky factorisations against LAPACK, the taller the matrix."""
    n, data = 100 if options.quick else 500, {"condition": 1e4, "rng": options.seed}
    report.section(f"by d / n: EAGLE with Cholesky, n = {n}, condition 1e4", ("rival",))
    ratios, eagles = [1, 2, 4, 8, 16], {"ours": CHOLESKY}
    _walk(report, options, ratios, lambda r: low_rank(r * n, n, 10, 10, **data), eagles)


@suite.section
def size(report: Report, options: argparse.Namespace) -> None:
    """What calling this library costs: auto on small matrices of twice as many rows."""
    report.section("by n, d = 2 n: 'auto', condition 1e4", ("rival",))
    sizes, data = [10, 30, 100, 200, 400, 800], {"condition": 1e4, "rng": options.seed}
    sizes, eagles = sizes[: 3 if options.quick else None], {"ours": "auto"}
    _walk(report, options, sizes, lambda n: low_rank(2 * n, n, 10, 10, **data), eagles)


@suite.section
def thin(report: Report, options: argparse.Namespace) -> None:
    """One column of unknowns, beside which the certificate's eight weigh most."""
    n = 40
    report.section(f"by d: 'lstsq' with one right-hand side, n = {n}, condition 100", ("rival",))

    def runs(d: int) -> Runs:
        A = low_rank(d, n, rng=options.seed).A
        b = np.random.default_rng(options.seed).standard_normal(d)
        return {
            "ours": lambda: eagle.lstsq(A, b, rng=options.seed),
            "numpy lstsq": lambda: np.linalg.lstsq(A, b),
            "gelsy": lambda: scipy.linalg.lstsq(A, b, lapack_driver="gelsy"),
        }

    _compare(report, [200, 2000] if options.quick else [200, 2000, 20_000, 200_000], runs)


def _walk(
    report: Report,
    options: argparse.Namespace,
    values: Sequence[int],
    problem: Callable[[int], Blocks],
    eagles: dict[str, Any],
    drivers: Sequence[str] = LAPACK,
) -> None:
    """These methods and drivers on a problem for every value."""

    def runs(value: int) -> Runs:
        blocks = problem(value)
        found = {name: ours(blocks, method, rng=options.seed) for name, method in eagles.items()}
        return found | {driver: rival(blocks, driver) for driver in drivers}

    _compare(report, values, runs)


def _compare(report: Report, values: Sequence[int], runs: Callable[[int], Runs]) -> None:
    """A row for every rival: ratios along the way, and where they pass 1."""
    ratios: dict[str, list[Spread]] = {}
    for value in values:
        seconds = measure(runs(value), repeats=3)
        own = seconds.pop("ours")
        for name, theirs in seconds.items():
            ratios.setdefault(name, []).append(theirs.over(own, better="more"))
    for name, found in ratios.items():
        medians = [ratio.median for ratio in found]
        cells = {f"{value}": f"{x:.2f}" for value, x in zip(values, medians, strict=True)}
        report.row(rival=name, **cells, crossover=crossover(values, medians))


def crossover(values: Sequence[float], ratios: Sequence[float]) -> str:
    """Where a ratio passes 1, interpolated on logarithms: the last time that it does."""
    logs = np.log(ratios)
    changes = np.flatnonzero(np.sign(logs[:-1]) * np.sign(logs[1:]) < 0)
    if not changes.size:
        return "ours throughout" if logs[0] > 0 else "rival throughout"
    k = changes[-1]
    position = logs[k] / (logs[k] - logs[k + 1])
    x = np.log(np.asarray(values, float))
    there = float(np.exp(x[k] + position * (x[k + 1] - x[k])))
    return f"ours {'below' if logs[k] > 0 else 'above'} {there:.2g}"
