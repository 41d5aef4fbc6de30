"""How cost grows with sides, rows, rank, right-hand sides and machines.

Every table walks along one size: `lstsq` with its certificate, and the driver of LAPACK that users
would take there. The slope is the exponent between the last two sizes of a walk. ``--picture FILE``
draws all walks on logarithmic scales.
"""

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg

import eagle.distributed
from benchmarks.common import Report, Rows, Spread, Suite
from benchmarks.looks import BLACK, BLUE, finish, panels
from benchmarks.regret import PAUSE
from eagle.problems import low_rank

suite = Suite("scaling", __doc__)
WALKS = ("sides", "rows", "rank", "right-hand sides", "machines")  # sections begin so
main = suite.main


@suite.section
def sides(report: Report, options: argparse.Namespace) -> None:
    sizes = (50, 100, 200) if options.quick else (125, 250, 500, 1000, 2000)
    _walk(report, options, "sides n = d", "LU", sizes, lambda n: _fit(n, n, 1, options.seed))


@suite.section
def rows(report: Report, options: argparse.Namespace) -> None:
    sizes = (500, 1000) if options.quick else (1000, 4000, 16_000, 64_000, 256_000)
    _walk(report, options, "rows d, n = 50", "gelsy", sizes, lambda d: _fit(d, 50, 1, options.seed))


@suite.section
def rank(report: Report, options: argparse.Namespace) -> None:
    n, sizes = (200, (5, 20)) if options.quick else (2000, (12, 25, 50, 100, 200, 400))
    title = f"rank, n = d = {n}"
    _walk(report, options, title, "gelsy", sizes, lambda r: _fit(n, n, 10, options.seed, rank=r))


@suite.section
def columns(report: Report, options: argparse.Namespace) -> None:
    n, sizes = (100, (1, 10)) if options.quick else (1000, (1, 10, 100, 1000))
    title = f"right-hand sides, n = d = {n}"
    _walk(report, options, title, "LU", sizes, lambda m: _fit(n, n, m, options.seed))


@suite.section
def machines(report: Report, options: argparse.Namespace) -> None:
    """Exact counts, not seconds: what travels, and how often."""
    report.section("machines, d = 100, diversity 0.1: rounds of krylov to 1e-8")
    sizes = (2, 4) if options.quick else (2, 4, 8, 16, 32)
    rounds = []
    for count in sizes:
        shards = eagle.distributed.shards_with_diversity(
            alpha=0.1, machines=count, d=100, columns=60, rng=options.seed
        )
        result = eagle.distributed.simulate(
            shards.A, shards.B, shards.C, method="krylov", rtol=1e-8, rng=options.seed
        )
        rounds.append(float(result.rounds))
        report.row(size=count, ours=result.rounds, bytes=result.bytes_sent)
    report.say(f"slope: {slope(sizes, rounds):.2f}")


def _fit(d: int, n: int, m: int, seed: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """A consistent least-squares problem with m right-hand sides, condition number 100."""
    problem = low_rank(d, n, 1, m, condition=1e2, rng=seed, **options)
    return problem.A, problem.C


def _walk(
    report: Report,
    options: argparse.Namespace,
    title: str,
    driver: str,
    sizes: Sequence[int],
    problem: Callable[[int], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Seconds of both for every size, and the slopes."""
    report.section(f"{title}: milliseconds, and the exponent between the last two")
    found: dict[str, list[float]] = {"ours": [], driver: []}
    for size in sizes:
        A, C = problem(size)
        ours = functools.partial(eagle.lstsq, A, C, rng=options.seed)
        seconds = _rested({"ours": ours, driver: _lapack(driver, A, C)})
        cells = {name: spread.scaled(1e3) for name, spread in seconds.items()}
        report.row(size=size, **cells, ratio=seconds["ours"].over(seconds[driver]))
        for name, spread in seconds.items():
            found[name].append(min(spread.values))
    slopes = (f"{name} {slope(sizes, values):.2f}" for name, values in found.items())
    report.say("slopes: " + ", ".join(slopes))


def _rested(calls: dict[str, Callable[[], Any]], repeats: int = 5) -> dict[str, Spread]:
    """Seconds of calls that take turns.

    With a pause between, as idle threads of two BLAS spin for a while, and a call to wake them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(PAUSE)
            call()
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Spread(tuple(values)) for name, values in seconds.items()}


def _lapack(driver: str, A: np.ndarray, C: np.ndarray) -> Callable[[], Any]:
    if driver == "LU":
        return functools.partial(np.linalg.solve, A, C)
    return functools.partial(scipy.linalg.lstsq, A, C, lapack_driver=driver)


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The exponent between the last two."""
    x, y = np.log(sizes[-2:]), np.log(values[-2:])
    return float((y[1] - y[0]) / (x[1] - x[0]))


def draw(rows: Rows) -> Any:
    """All walks on logarithmic scales, the slopes at their ends."""
    figure, all_axes = panels(3, 2, width=3.0, height=2.6)
    for (title, own), axes in zip(rows.by("section"), all_axes, strict=False):
        curves = {name: own.having(name) for name in ("ours", "LU", "gelsy")}
        ends = []
        for (name, curve), colour in zip(curves.items(), (BLUE, BLACK, BLACK), strict=True):
            if not curve:
                continue
            sizes, cells = curve.column("size"), curve.column(name)
            counts = title.startswith("machines")
            values = cells if counts else [min(cell.values) / 1e3 for cell in cells]
            label = "eagle" if name == "ours" else name
            axes.loglog(sizes, values, "o-" if name == "ours" else "s--", color=colour, label=label)
            text = f"{slope(sizes, values):.1f}".replace("-0.0", "0.0")
            beside = {"xytext": (4, 4 if name == "ours" else -8), "textcoords": "offset points"}
            axes.annotate(text, (sizes[-1], values[-1]), color=colour, fontsize=8, **beside)
            ends += [min(values), max(values)]
        axes.set(title=title.partition(":")[0], ylabel="rounds" if counts else "seconds")
        axes.set_ylim(min(ends) / 2, max(ends) * 2)
    walks = len(list(rows.by("section")))
    for axes in all_axes[walks:]:
        axes.remove()
    return finish(figure, all_axes[:walks])
