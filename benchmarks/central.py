"""Central EAGLE on one machine, against its baselines and LAPACK.

Sections: ``floor`` (iterations to the accuracy floor), ``sweep`` (condition numbers 1e2 to
1e12 against every rival), ``speed`` (n = 1000 and 2000 in units of one matrix product),
``kernels`` (numba against BLAS by size), ``memory``, ``startup``, ``real`` (SuiteSparse
matrices, with ``--data``). Run with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks import suitesparse
from benchmarks.common import (
    Report,
    best_time,
    command_line,
    existing_folder,
    gemm,
    measure,
    whole,
)

SECTIONS = ("floor", "sweep", "speed", "kernels", "memory", "startup", "real")
RIVALS: dict[str, Callable[..., np.ndarray]] = {
    "auto": lambda A, B, C: eagle.solve(A, B, C, rng=0).value,
    "LU solve": lambda A, B, C: B @ scipy.linalg.solve(A, C),
    "gelsy": lambda A, B, C: B @ scipy.linalg.lstsq(A, C, lapack_driver="gelsy")[0],
    "gelsd": lambda A, B, C: B @ scipy.linalg.lstsq(A, C)[0],
    "numpy lstsq": lambda A, B, C: B @ np.linalg.lstsq(A, C)[0],
    "numpy pinv": lambda A, B, C: (B @ np.linalg.pinv(A, rcond=1e-14)) @ C,
}
BY_FLOOR = ("size", "dtype", "condition")
MINIMAX, CHOLESKY = eagle.Eagle(), eagle.Eagle("cholesky")


def main(argv: list[str] | None = None) -> int:
    """Run the sections asked for, print tables, and save rows."""
    parser = command_line("central", __doc__, SECTIONS)
    parser.add_argument("--sizes", nargs="+", type=whole(1), help="n of the speed section")
    parser.add_argument(
        "--data", type=existing_folder, help="folder of matrices for the section 'real'"
    )
    options = parser.parse_args(argv)
    if options.data:
        try:
            suitesparse.matrices(options.data)
        except OSError as error:
            parser.error(f"--data: {error}")
    options.sizes = options.sizes or ([300] if options.quick else [1000, 2000])
    warnings.simplefilter("ignore", eagle.ConvergenceWarning)
    report = Report("central")
    for name in options.sections:
        globals()[f"_{name}"](report, options)
    report.save(options.json)
    return 0


def _floor(report: Report, options: argparse.Namespace) -> None:
    """Iterations to the accuracy floor, the condition not given, and the error there."""
    report.section("floor: iterations and relative error, against scipy lstsq", BY_FLOOR)
    sizes = {
        "240 x 240": (240, 240, None),
        "100 x 400": (100, 400, None),
        "400 x 100": (400, 100, None),
        "rank 40 of 240": (240, 240, 40),
    }
    spectra = [(np.float64, [1e2, 1e4, 1e8, 1e12]), (np.float32, [1e1, 1e2, 1e3])]
    if options.quick:
        spectra = [(np.float64, [1e4]), (np.float32, [1e2])]
    for dtype, conditions in spectra:
        for label, (d, n, rank) in sizes.items():
            for condition in conditions:
                problem = eagle.problems.low_rank(
                    d, n, rank=rank, condition=condition, dtype=dtype, rng=options.seed
                )
                cells: dict[str, Any] = {
                    "size": label,
                    "dtype": np.dtype(dtype).name,
                    "condition": condition,
                }
                for name, method in [
                    ("minimax", MINIMAX),
                    ("cholesky", CHOLESKY),
                    ("paper", eagle.Eagle("paper")),
                ]:
                    result = eagle.solve(
                        problem.A, problem.B, problem.C, method=method, rng=options.seed
                    )
                    cells[name] = result.iterations
                    cells[f"{name} err"] = problem.error(result.value)
                cells["lstsq err"] = problem.error(
                    problem.B @ scipy.linalg.lstsq(problem.A, problem.C)[0]
                )
                report.row(**cells)


def _sweep(report: Report, options: argparse.Namespace) -> None:
    """Every method over the condition number, n = d = 240, two rows and columns."""
    conditions = [1e2, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10, 1e12]
    limit = 20.0
    if options.quick:
        conditions, limit = [1e2, 1e4], 2.0
    report.section(
        f"sweep: n = d = 240, to the floor or 1e-8, {limit:g} s at most", ("condition", "method")
    )
    crossings: dict[str, float] = {}
    for condition in conditions:
        problem = eagle.problems.low_rank(240, 240, condition=condition, rng=options.seed)
        seconds = {}
        methods = {
            "minimax": MINIMAX,
            "cholesky": CHOLESKY,
            "paper": eagle.Eagle("paper"),
            "cg": "cg",
            "gd": "gd",
            "newton-schulz": "newton-schulz",
        }
        methods |= {driver: eagle.Direct(driver) for driver in ("gelsd", "gelsy", "qr")}
        for name, method in methods.items():
            limits = {"maxiter": 20_000, "time_limit": limit} if name in ("cg", "gd") else {}
            eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0, maxiter=2)
            result = eagle.solve(
                problem.A, problem.B, problem.C, method=method, rng=options.seed, **limits
            )
            matmuls = result.history[-1].matmuls
            error = problem.error(result.value)
            seconds[name] = result.seconds if result.converged else np.inf
            report.row(
                condition=condition,
                method=name,
                iterations=result.iterations,
                matmuls=matmuls,
                seconds=result.seconds,
                error=error,
                estimate=result.error_estimate,
                status=result.status.name,
            )
        for name, value in [
            ("numpy lstsq", lambda p: p.B @ np.linalg.lstsq(p.A, p.C)[0]),
            ("numpy pinv", lambda p: p.B @ np.linalg.pinv(p.A, rcond=1e-14) @ p.C),
        ]:
            took = best_time(lambda p=problem, f=value: f(p), repeats=1)  # as ours above
            report.row(
                condition=condition,
                method=name,
                iterations=1,
                matmuls=0,
                seconds=took,
                error=problem.error(value(problem)),
                estimate=float("nan"),
                status="no certificate",
            )
        for rival in ("cg", "gd"):
            if seconds[rival] > seconds["minimax"]:
                crossings.setdefault(rival, condition)
    for rival, condition in crossings.items():
        report.say(
            f"minimax EAGLE is faster than {rival} from condition {condition:.0e} on (n = 240)"
        )


def _speed(report: Report, options: argparse.Namespace) -> None:
    """Large problems in units of one product of the same size."""
    report.section(
        "speed: seconds in units of one n x n product (gemm); 2 rows, 100 columns",
        ("n", "condition", "method"),
    )
    eagles = {"minimax": MINIMAX, "paper": eagle.Eagle("paper"), "cholesky": CHOLESKY}
    for n in options.sizes:
        for condition in [1e4, 1e8]:
            problem = eagle.problems.low_rank(n, n, 2, 100, condition=condition, rng=options.seed)
            A, B, C = (np.asfortranarray(block) for block in (problem.A, problem.B, problem.C))
            runs = {name: functools.partial(rival, A, B, C) for name, rival in RIVALS.items()}
            for name, method in eagles.items():
                runs[name] = functools.partial(
                    eagle.solve, A, B, C, method=method, rng=options.seed
                )
            seconds = measure({"gemm": gemm(n), **runs}, repeats=5 if n <= 1000 else 3)
            unit = seconds["gemm"].median
            for name in eagles:
                result = runs[name]()
                loop = result.history[-1].seconds
                report.row(
                    n=n,
                    condition=condition,
                    method=name,
                    gemms=seconds[name].over(seconds["gemm"]),
                    iterations=result.iterations,
                    **{
                        "gemms/iter": loop / result.iterations / unit,
                        "gemm rate": result.flops / loop / (2 * n**3 / unit),
                        "GFLOP/s": result.flops / loop / 1e9,
                    },
                    error=problem.error(result.value),
                )
            for name in RIVALS:
                report.row(
                    n=n,
                    condition=condition,
                    method=name,
                    gemms=seconds[name].over(seconds["gemm"]),
                    error=problem.error(runs[name]()),
                )


def _kernels(report: Report, options: argparse.Namespace) -> None:
    """Where numba's loops beat BLAS calls, whole solves with minimax EAGLE."""
    report.section("kernels: microseconds a solve by size", ("n",))
    for n in [8, 64] if options.quick else [4, 8, 16, 24, 32, 48, 64, 96, 128]:
        problem = eagle.problems.low_rank(n, n, 2, 2, condition=100, rng=options.seed)
        solves = {
            kernel: functools.partial(
                eagle.solve, problem.A, problem.B, problem.C,
                method=eagle.Eagle(kernel=kernel), rng=0,
            )
            for kernel in ("blas", "numba")
        }  # fmt: skip
        times = {name: spread.scaled(1e6) for name, spread in measure(solves, 20).items()}
        report.row(n=n, **times, **{"blas/numba": times["blas"].over(times["numba"], "more")})


def _memory(report: Report, options: argparse.Namespace) -> None:
    """Peak of what a solve allocates, in arrays of the size of A."""
    n = 300 if options.quick else 1000
    report.section(f"memory: peak allocation in units of A, n = {n}")
    problem = eagle.problems.low_rank(n, n, condition=1e4, rng=options.seed)
    for name, method in [
        ("minimax", MINIMAX),
        ("cholesky", CHOLESKY),
        ("gelsd", eagle.Direct()),
        ("newton-schulz", eagle.NewtonSchulz()),
    ]:
        tracemalloc.start()
        eagle.solve(problem.A, problem.B, problem.C, method=method, rng=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        report.row(method=name, arrays=peak / problem.A.nbytes)


def _startup(report: Report, options: argparse.Namespace) -> None:
    """Fresh processes: the import, and the import with a first solve."""
    repeats = 3 if options.quick else 7
    report.section("startup: seconds of a fresh process")
    programs = {
        "python": "pass",
        "import numpy": "import numpy",
        "import eagle": "import eagle",
        "first solve of 240 x 240": "import eagle; p = eagle.problems.low_rank(240, 240, rng=0);"
        "eagle.solve(p.A, p.B, p.C, method='eagle', rng=0)",
    }
    for name, program in programs.items():
        start = functools.partial(subprocess.run, [sys.executable, "-c", program], check=True)
        report.row(program=name, seconds=measure({name: start}, repeats)[name])


def _real(report: Report, options: argparse.Namespace) -> None:
    """SuiteSparse matrices: consistent problems with three rows and columns, error against gelsd.

    ``B = G A``, ``C = A H``, so that ``B A^+ C = G A H``, computed in extended precision.
    """
    report.section("real: relative errors on SuiteSparse matrices, min(rows, columns) <= 2500")
    if not options.data:
        report.say("skipped: give the folder of the matrices with --data")
        return
    methods: dict[str, Any] = {"minimax": MINIMAX, "cholesky": CHOLESKY, "auto": "auto"}
    wins = dict.fromkeys(methods, 0)
    total = 0
    largest = 500 if options.quick else 2500
    for name, path in suitesparse.matrices(options.data).items():
        matrix = suitesparse.load(path)
        if min(matrix.shape) > largest or max(matrix.shape) > 12_500 or np.iscomplexobj(matrix):
            continue
        A = matrix.toarray()
        rng = np.random.default_rng(options.seed)
        G, H = rng.standard_normal((3, len(A))), rng.standard_normal((A.shape[1], 3))
        wide = A.astype(np.longdouble)
        B, C = (G @ wide).astype(float), (wide @ H).astype(float)
        truth = (G @ (wide @ H)).astype(float)
        size = np.linalg.norm(truth)
        cells: dict[str, Any] = {
            "matrix": name[:28],
            "shape": "x".join(map(str, A.shape)),
        }
        rival = float(np.linalg.norm(B @ scipy.linalg.lstsq(A, C)[0] - truth) / size)
        for label, method in methods.items():
            result = eagle.solve(A, B, C, method=method, rng=options.seed)
            cells[label] = result.iterations
            cells[f"{label} err"] = float(np.linalg.norm(result.value - truth) / size)
            cells[f"{label} est"] = result.error_estimate
            wins[label] += cells[f"{label} err"] <= rival
        cells |= {
            "gelsd err": rival,
            "condition": result.condition or float("nan"),
            "rank": result.rank,
        }
        total += 1
        report.row(**cells)
    for name, count in wins.items():
        report.say(
            f"{name}: at or under gelsd's error on {count} of {total} matrices "
            f"({100 * count / max(total, 1):.0f} %)"
        )


if __name__ == "__main__":
    sys.exit(main())
