"""Where one method overtakes another: by rank, condition number, shape and size.

Every table walks along one property of A and gives the seconds of a rival in units of ours, both
on the same blocks, and where that ratio is 1, interpolated between the neighbours. Ours carries its
certificate throughout; rivals named by a LAPACK driver are plain scipy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks.common import Report, Spread, command_line, measure

SECTIONS = ("rank", "condition", "shape", "size", "thin")


def main(argv: list[str] | None = None) -> int:
    parser = command_line("crossovers", __doc__, SECTIONS)
    options = parser.parse_args(argv)
    report = Report("crossovers")
    for section in options.sections:
        _TABLES[section](report, options.quick, options.seed)
    report.save(options.json)
    return 0


def _rank(report: Report, quick: bool, seed: int) -> None:
    """A sketch whose width has to be found, against what does not care about the rank."""
    n = 200 if quick else 1000
    report.section(f"by rank: 'compressed', n = d = {n}, condition 1e4", ("rival",))

    def runs(rank: int) -> dict[str, Callable[[], Any]]:
        blocks = _blocks(n, n, 10, seed, rank=rank, condition=1e4)
        return {
            "ours": _ours(blocks, "compressed", seed),
            "EAGLE, Cholesky": _ours(blocks, eagle.Eagle("cholesky"), seed),
            "gelsy": _lapack(blocks, "gelsy"),
            "gelsd": _lapack(blocks, "gelsd"),
        }

    _walk(report, [n // 40, n // 20, n // 10, n // 5, (2 * n) // 5, (3 * n) // 5], runs)


def _condition(report: Report, quick: bool, seed: int) -> None:
    """Conjugate gradients to 1e-8 against one factorisation."""
    n = 200 if quick else 1000
    for columns in (1, 10, 100):
        report.section(
            f"by condition number: 'cg' to 1e-8, n = d = {n}, right-hand sides: {columns}",
            ("rival",),
        )

        def runs(condition: int, columns: int = columns) -> dict[str, Callable[[], Any]]:
            blocks = _blocks(n, n, columns, seed, condition=float(condition))
            return {
                "ours": _ours(blocks, "cg", seed),
                "LU": _ours(blocks, eagle.Direct("lu"), seed),
                "EAGLE, Cholesky": _ours(blocks, eagle.Eagle("cholesky"), seed),
            }

        _walk(report, [2, 4, 8, 16, 32], runs)


def _shape(report: Report, quick: bool, seed: int) -> None:
    """EAGLE with Cholesky factorisations against LAPACK, the taller the matrix."""
    n = 100 if quick else 500
    report.section(f"by d / n: EAGLE with Cholesky, n = {n}, condition 1e4", ("rival",))

    def runs(ratio: int) -> dict[str, Callable[[], Any]]:
        blocks = _blocks(ratio * n, n, 10, seed, condition=1e4)
        return {
            "ours": _ours(blocks, eagle.Eagle("cholesky"), seed),
            "gelsy": _lapack(blocks, "gelsy"),
            "gelsd": _lapack(blocks, "gelsd"),
        }

    _walk(report, [1, 2, 4, 8, 16], runs)


def _size(report: Report, quick: bool, seed: int) -> None:
    """What calling this library costs: auto on small matrices of twice as many rows."""
    report.section("by n, d = 2 n: 'auto', condition 1e4", ("rival",))

    def runs(n: int) -> dict[str, Callable[[], Any]]:
        blocks = _blocks(2 * n, n, 10, seed, condition=1e4)
        return {
            "ours": _ours(blocks, "auto", seed),
            "gelsy": _lapack(blocks, "gelsy"),
            "gelsd": _lapack(blocks, "gelsd"),
        }

    _walk(report, [10, 30, 100] if quick else [10, 30, 100, 200, 400, 800], runs)


def _thin(report: Report, quick: bool, seed: int) -> None:
    """One column of unknowns, beside which the certificate's eight weigh most."""
    n = 40
    report.section(f"by d: 'lstsq' with one right-hand side, n = {n}, condition 100", ("rival",))

    def runs(d: int) -> dict[str, Callable[[], Any]]:
        A = eagle.problems.low_rank(d, n, rng=seed).A
        b = np.random.default_rng(seed).standard_normal(d)
        return {
            "ours": lambda: eagle.lstsq(A, b, rng=seed),
            "numpy lstsq": lambda: np.linalg.lstsq(A, b),
            "gelsy": lambda: scipy.linalg.lstsq(A, b, lapack_driver="gelsy"),
        }

    _walk(report, [200, 2000] if quick else [200, 2000, 20_000, 200_000], runs)


_TABLES = dict(zip(SECTIONS, (_rank, _condition, _shape, _size, _thin), strict=True))


def _blocks(d: int, n: int, columns: int, seed: int, **options: Any) -> eagle.problems.Blocks:
    return eagle.problems.low_rank(d, n, columns, columns, rng=seed, **options)


def _ours(blocks: eagle.problems.Blocks, method: Any, seed: int) -> Callable[[], Any]:
    return functools.partial(eagle.solve, blocks.A, blocks.B, blocks.C, method=method, rng=seed)


def _lapack(blocks: eagle.problems.Blocks, driver: str) -> Callable[[], Any]:
    def run() -> np.ndarray:
        return blocks.B @ scipy.linalg.lstsq(blocks.A, blocks.C, lapack_driver=driver)[0]

    return run


def _walk(
    report: Report, values: Sequence[int], runs: Callable[[int], dict[str, Callable[[], Any]]]
) -> None:
    """A row for every rival: ratios along the way, and where they pass 1."""
    ratios: dict[str, list[Spread]] = {}
    for value in values:
        seconds = measure(runs(value), repeats=3)
        ours = seconds.pop("ours")
        for name, rival in seconds.items():
            ratios.setdefault(name, []).append(rival.over(ours, better="more"))
    for name, found in ratios.items():
        medians = [ratio.median for ratio in found]
        report.row(
            rival=name,
            **{str(value): f"{median:.2f}" for value, median in zip(values, medians, strict=True)},
            crossover=crossover(values, medians),
        )


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
