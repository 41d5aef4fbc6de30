"""Central EAGLE on one machine, against its baselines and LAPACK.

Sections: ``floor`` (iterations to the accuracy floor), ``sweep`` (condition numbers 1e2 to
1e12 against every rival), ``speed`` (n = 1000 and 2000 in units of one matrix product),
``memory``, ``startup``, ``real`` (SuiteSparse matrices, with ``--data``). Run with nothing else on
the machine.
"""

import argparse
import functools
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks import suitesparse
from benchmarks.common import Report, Suite, gemm, measure, whole
from benchmarks.rivals import RIVALS, ours, rival
from eagle.problems import low_rank

EAGLES = {name: eagle.Eagle(name) for name in ("minimax", "cholesky", "paper")}
MINIMAX_AND_CHOLESKY = {name: EAGLES[name] for name in ("minimax", "cholesky")}

suite = Suite("central", __doc__)
suite.add_argument("--sizes", nargs="+", type=whole(1), help="n of the speed section")
suite.add_argument(
    "--data", type=suitesparse.folder, help="folder of matrices for the section 'real'"
)
main = suite.main


@suite.section
def floor(report: Report, options: argparse.Namespace) -> None:
    """Iterations to the accuracy floor, the condition not given, and the error there."""
    by = ("size", "dtype", "condition")
    report.section("floor: iterations and relative error, against scipy lstsq", by)
    sizes = {
        "240 x 240": (240, 240, None),
        "100 x 400": (100, 400, None),
        "400 x 100": (400, 100, None),
        "rank 40 of 240": (240, 240, 40),
    }
    spectra = [(np.float64, [1e2, 1e4, 1e8, 1e12]), (np.float32, [1e1, 1e2, 1e3])]
    if options.quick:
        spectra = [(np.float64, [1e4]), (np.float32, [1e2])]
    for (dtype, conditions), (size, (d, n, rank)) in product(spectra, sizes.items()):
        for condition in conditions:
            data = {"rank": rank, "condition": condition, "dtype": dtype}
            problem = low_rank(d, n, **data, rng=options.seed)
            cells: dict[str, Any] = {}
            for name, method in EAGLES.items():
                result = ours(problem, method, rng=options.seed)()
                cells |= {name: result.iterations, f"{name} err": problem.error(result.value)}
            cells["lstsq err"] = problem.error(rival(problem, "gelsd")())
            report.row(size=size, dtype=np.dtype(dtype).name, condition=condition, **cells)


@suite.section
def sweep(report: Report, options: argparse.Namespace) -> None:
    """Every method over the condition number, n = d = 240, two rows and columns."""
    conditions = [1e2, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10, 1e12]
    limit = 20.0
    if options.quick:
        conditions, limit = [1e2, 1e4], 2.0
    title = f"sweep: n = d = 240, to the floor or 1e-8, {limit:g} s at most"
    report.section(title, ("condition", "method"))
    methods: dict[str, Any] = EAGLES | {name: name for name in ("cg", "gd", "newton-schulz")}
    methods |= {driver: eagle.Direct(driver) for driver in ("gelsd", "gelsy", "qr")}
    crossings: dict[str, float] = {}
    for condition in conditions:
        problem, seconds = low_rank(240, 240, condition=condition, rng=options.seed), {}
        row = functools.partial(report.row, condition=condition)
        for name, method in methods.items():
            limits = {"maxiter": 20_000, "time_limit": limit} if name in ("cg", "gd") else {}
            ours(problem, method, rng=0, maxiter=2)()
            result = ours(problem, method, rng=options.seed, **limits)()
            seconds[name] = result.seconds if result.converged else np.inf
            row(
                method=name, iterations=result.iterations, matmuls=result.history[-1].matmuls,
                seconds=result.seconds, error=problem.error(result.value),
                estimate=result.error_estimate, status=result.status.name,
            )  # fmt: skip
        for name in ("numpy lstsq", "numpy pinv"):
            run = rival(problem, name)
            took = measure({name: run}, repeats=1)[name].median  # as ours above
            cells = {"seconds": took, "error": problem.error(run()), "estimate": float("nan")}
            row(method=name, iterations=1, matmuls=0, **cells, status="no certificate")
        for name in ("cg", "gd"):
            if seconds[name] > seconds["minimax"]:
                crossings.setdefault(name, condition)
    for name, condition in crossings.items():
        start = f"condition {condition:.0e} on (n = 240)"
        report.say(f"minimax EAGLE is faster than {name} from {start}")


@suite.section
def speed(report: Report, options: argparse.Namespace) -> None:
    """Large problems in units of one product of the same size."""
    title = "speed: seconds in units of one n x n product (gemm); 2 rows, 100 columns"
    report.section(title, ("n", "condition", "method"))
    sizes = options.sizes or ([300] if options.quick else [1000, 2000])
    for n, condition in product(sizes, (1e4, 1e8)):
        problem = low_rank(n, n, 2, 100, condition=condition, rng=options.seed)
        blocks = [np.asfortranarray(block) for block in (problem.A, problem.B, problem.C)]
        rivals: dict[str, Callable[..., np.ndarray]] = {
            "auto": lambda A, B, C: eagle.solve(A, B, C, rng=0).value,
            "LU solve": lambda A, B, C: B @ scipy.linalg.solve(A, C),
            **RIVALS,
        }
        runs = {name: functools.partial(run, *blocks) for name, run in rivals.items()}
        for name in ("minimax", "paper", "cholesky"):
            method = EAGLES[name]
            runs[name] = functools.partial(eagle.solve, *blocks, method=method, rng=options.seed)
        seconds = measure({"gemm": gemm(n), **runs}, repeats=5 if n <= 1000 else 3)
        unit = seconds["gemm"].median
        for name in ("minimax", "paper", "cholesky", *rivals):
            cells: dict[str, Any] = {"gemms": seconds[name].over(seconds["gemm"])}
            value = runs[name]()
            if name in EAGLES:
                result, value = value, value.value
                loop = result.history[-1].seconds
                cells |= {
                    "iterations": result.iterations,
                    "gemms/iter": loop / result.iterations / unit,
                    "gemm rate": result.flops / loop / (2 * n**3 / unit),
                    "GFLOP/s": result.flops / loop / 1e9,
                }
            report.row(n=n, condition=condition, method=name, **cells, error=problem.error(value))


@suite.section
def memory(report: Report, options: argparse.Namespace) -> None:
    """Peak of what a solve allocates, in arrays of the size of A."""
    n = 300 if options.quick else 1000
    report.section(f"memory: peak allocation in units of A, n = {n}")
    problem = low_rank(n, n, condition=1e4, rng=options.seed)
    others = {"gelsd": eagle.Direct(), "newton-schulz": eagle.NewtonSchulz()}
    for name, method in (MINIMAX_AND_CHOLESKY | others).items():
        tracemalloc.start()
        ours(problem, method, rng=0)()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        report.row(method=name, arrays=peak / problem.A.nbytes)


@suite.section
def startup(report: Report, options: argparse.Namespace) -> None:
    """Fresh processes: the import, and the import with a first solve."""
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
        seconds = measure({name: start}, 3 if options.quick else 7)[name]
        report.row(program=name, seconds=seconds)


@suite.section
def real(report: Report, options: argparse.Namespace) -> None:
    """SuiteSparse matrices: consistent problems with three rows and columns, error against gelsd.

    ``B = G A``, ``C = A H``, so that ``B A^+ C = G A H``, computed in extended precision.
    """
    report.section("real: relative errors on SuiteSparse matrices, min(rows, columns) <= 2500")
    if not options.data:
        report.say("skipped: give the folder of the matrices with --data")
        return
    methods: dict[str, Any] = MINIMAX_AND_CHOLESKY | {"auto": "auto"}
    wins, total = dict.fromkeys(methods, 0), 0
    largest = 500 if options.quick else 2500
    for name, path in suitesparse.matrices(options.data).items():
        matrix = suitesparse.load(path)
        if min(matrix.shape) > largest or max(matrix.shape) > 12_500 or np.iscomplexobj(matrix):
            continue
        A = matrix.toarray()
        rng = np.random.default_rng(options.seed)
        G, H = rng.standard_normal((3, len(A))), rng.standard_normal((A.shape[1], 3))
        wide = A.astype(np.longdouble)
        B, C, D = (X.astype(float) for X in (G @ wide, wide @ H, G @ (wide @ H)))
        problem = eagle.problems.Blocks(A, B, C, D, np.empty(0))
        cells: dict[str, Any] = {"matrix": name[:28], "shape": "x".join(map(str, A.shape))}
        theirs = problem.error(rival(problem, "gelsd")())
        for label, method in methods.items():
            result = ours(problem, method, rng=options.seed)()
            error = problem.error(result.value)
            cells |= {label: result.iterations, f"{label} err": error}
            cells[f"{label} est"] = result.error_estimate
            wins[label] += error <= theirs
        total += 1
        condition = result.condition or float("nan")
        report.row(**cells, **{"gelsd err": theirs}, condition=condition, rank=result.rank)
    for name, count in wins.items():
        report.row(method=name, won=count, matrices=total)
