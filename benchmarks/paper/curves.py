"""Error against iterations and seconds, of one solve and of many."""

import functools
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks.common import Rows
from benchmarks.looks import style
from benchmarks.rivals import EAGLES
from eagle.problems import Blocks

TARGET = 1e-20  # squared relative error
DRIVERS = {"SVD lstsq": "gelsd", "QR lstsq": "gelsy"}  # of scipy's lstsq, without iterations
CENTRAL = ("EAGLE (paper)", "EAGLE (minimax)", "EAGLE (Cholesky)", "sketched (ours)", "CG")
SLOW = 5  # runs of a method that takes seconds
SYMBOLS = {"SVD lstsq": "*", "QR lstsq": "P"}  # where there is no curve; others: diamonds
POINTS = 300  # of a curve that are kept
METHODS: dict[str, tuple[Any, int]] = {  # and most iterations
    **{label: (method, 50 if "Cholesky" in label else 200) for label, method in EAGLES.items()},
    "sketched (ours)": (eagle.Sketched(), 400),
    "compressed (ours)": (eagle.Compressed(), 50),
    "CG": (eagle.ConjugateGradient(), 40_000),
    "GD": (eagle.GradientDescent(), 20_000),
}


@dataclass(frozen=True)
class Curve:
    """Squared relative errors of one solve by iteration; seconds without measuring the error."""

    seconds: np.ndarray
    errors: np.ndarray

    def reached(self, target: float = TARGET) -> tuple[float, float]:
        """Iterations and seconds to an error, infinity if it was not reached."""
        below = np.flatnonzero(self.errors <= target)
        return (below[0] + 1, self.seconds[below[0]]) if below.size else (np.inf, np.inf)


def follow(
    problem: Blocks, method: Any, maxiter: int, seed: int, *, target: float = TARGET, **options: Any
) -> Curve:
    """Solve, and compare the value with the truth after every iteration.

    Stops at the target. A problem with ``C = None`` asks for ``W = B A^+``.
    """
    errors: list[float] = []
    seconds: list[float] = []
    watching = 0.0

    def watch(state: Any) -> bool:
        nonlocal watching
        now = time.perf_counter()
        seconds.append(now - start - watching)
        errors.append(problem.error(state.value) ** 2)
        watching += time.perf_counter() - now
        return errors[-1] <= target

    # rtol = 0: the target decides, or that nothing is left to gain.
    options = {"maxiter": maxiter, "rtol": 0.0, "rng": seed, "callback": watch} | options
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eagle.ConvergenceWarning)
        if problem.C is None:
            eagle.estimate(problem.A, problem.B, method=method, **options)
        else:
            eagle.solve(problem.A, problem.B, problem.C, method=method, **options)
    return Curve(np.array(seconds), np.array(errors))


def lapack(problem: Blocks, label: str = "SVD lstsq") -> Curve:
    """One point: scipy's least squares, for ``W A = B`` if there is no C."""
    lstsq = functools.partial(scipy.linalg.lstsq, lapack_driver=DRIVERS[label])
    start = time.perf_counter()
    if problem.C is None:
        value = lstsq(problem.A.T, problem.B.T)[0].T
    else:
        value = problem.B @ lstsq(problem.A, problem.C)[0]
    seconds = time.perf_counter() - start
    return Curve(np.array([seconds]), np.array([problem.error(value) ** 2]))


@dataclass(frozen=True)
class Band:
    """Median of runs, and where eight of ten lie; one that has ended counts with its last error."""

    label: str
    runs: int
    iterations: np.ndarray
    seconds: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    to_target: tuple[float, float]

    def points(self, **cells: Any) -> Rows:
        """For the CSV of curves."""
        names = ("iterations", "seconds", "median", "low", "high")
        columns = zip(*(getattr(self, name).tolist() for name in names), strict=True)
        each = cells | {"method": self.label}
        return Rows(each | dict(zip(names, values, strict=True)) for values in columns)

    def row(self, **cells: Any) -> dict[str, Any]:
        """For the CSV of numbers: iterations and seconds to the target."""
        iterations, seconds = (float(x) if np.isfinite(x) else None for x in self.to_target)
        reached = {"runs": self.runs, "iterations": iterations, "seconds": seconds}
        last = {"last_iteration": int(self.iterations[-1]), "last_error": float(self.median[-1])}
        return cells | {"method": self.label} | reached | last


def average(label: str, curves: Sequence[Curve], target: float = TARGET) -> Band:
    """The band of some runs."""
    longest = max(len(curve.errors) for curve in curves)
    kept = np.unique(np.geomspace(1, longest, POINTS).astype(int))

    def at(values: np.ndarray) -> np.ndarray:
        return values[np.minimum(kept, len(values)) - 1]

    errors = np.array([at(curve.errors) for curve in curves])
    reached = np.array([curve.reached(target) for curve in curves])
    low, median, high = np.quantile(errors, (0.1, 0.5, 0.9), axis=0, method="nearest")
    seconds = np.median([at(curve.seconds) for curve in curves], axis=0)
    to_target = tuple(np.quantile(reached, 0.5, axis=0, method="nearest"))
    return Band(label, len(curves), kept, seconds, median, low, high, to_target)


def measure(
    problems: Sequence[Blocks],
    labels: Sequence[str],
    *,
    methods: dict[str, tuple[Any, int]] | None = None,
) -> list[Band]:
    """Bands of methods on some problems, of slow ones on a few; `methods` precede `METHODS`."""
    bands = []
    for label in labels:
        if label in DRIVERS:
            lapack(problems[0], label)  # the first call loads it
            bands.append(average(label, [lapack(problem, label) for problem in problems]))
            continue
        method, maxiter = (METHODS | (methods or {}))[label]
        follow(problems[0], method, min(maxiter, 3), 0)  # the first call warms up
        chosen = problems[:SLOW] if label.startswith(("CG", "GD", "SGD")) else problems
        curves = [follow(problem, method, maxiter, seed) for seed, problem in enumerate(chosen)]
        bands.append(average(label, curves))
    return bands


def draw_bands(
    axes: Any, bands: Sequence[Band], against: str = "iterations", floor: float = 1e-32
) -> None:
    """Median and band of squared errors, both axes logarithmic."""
    for index, band in enumerate(bands):
        look = style(band.label, index)
        x = getattr(band, against)
        low, median, high = (np.maximum(y, floor) for y in (band.low, band.median, band.high))
        if median[0] <= TARGET:  # no curve to see
            if band.label not in DRIVERS or against == "seconds":
                look |= {"linestyle": "none", "marker": SYMBOLS.get(band.label, "D")}
                axes.plot(x[:1], median[:1], markersize=8, **look)
            continue
        axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(x, median, linewidth=1.8, **look)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("iteration" if against == "iterations" else "seconds")


def over_svd(rows: Rows, labels: Sequence[str]) -> tuple[float, str]:
    """Seconds of SVD lstsq to the target, and in words those of some methods in units of it."""
    svd = rows.number("seconds", method="SVD lstsq")
    times = {label: rows.number("seconds", method=label) / svd for label in labels}
    times.pop("SVD lstsq", None)
    return svd, ", ".join(f"{label} {ratio:.2g}" for label, ratio in times.items())
