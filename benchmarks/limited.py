"""Limited compute and memory: sketches, the compressed solver, the planner.

Sections: ``epochs`` (passes over the columns that sketched methods need), ``compressed`` (against
LAPACK, the rank not given), ``sketch`` (against the speed of memory), ``decay`` (numerically low
rank: the error against the best of that rank), ``planner`` (the regret of ``method="auto"``),
``memory`` (a file larger than the memory it is solved in). Run with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

import eagle
from benchmarks.common import (
    Report,
    command_line,
    existing_folder,
    measure,
    positive,
)
from eagle.algebra.blas import energy
from eagle.methods.compressed.sketch import draw

SECTIONS = ("epochs", "compressed", "sketch", "decay", "planner", "memory")
RIVALS: dict[str, Callable[..., np.ndarray]] = {
    "gelsy": lambda A, B, C: B @ scipy.linalg.lstsq(A, C, lapack_driver="gelsy")[0],
    "gelsd": lambda A, B, C: B @ scipy.linalg.lstsq(A, C)[0],
    "numpy lstsq": lambda A, B, C: B @ np.linalg.lstsq(A, C)[0],
    "numpy pinv": lambda A, B, C: (B @ np.linalg.pinv(A, rcond=1e-14)) @ C,
}


def main(argv: list[str] | None = None) -> int:
    """Run the sections asked for, print tables, and save rows."""
    parser = command_line("limited", __doc__, SECTIONS)
    parser.add_argument(
        "--gigabytes", type=positive, help="size of the file of the section 'memory'; default: 8"
    )
    parser.add_argument(
        "--folder", type=existing_folder, help="where that file is written; default: temporary"
    )
    options = parser.parse_args(argv)
    options.gigabytes = options.gigabytes or (1.5 if options.quick else 8.0)
    warnings.simplefilter("ignore", eagle.ConvergenceWarning)
    report = Report("limited")
    for name in options.sections:
        globals()[f"_{name}"](report, options)
    report.save(options.json)
    return 0


def _epochs(report: Report, options: argparse.Namespace) -> None:
    """Epochs (iterations * size / n) until the true error is below a mark."""
    n = 60 if options.quick else 240
    report.section(
        f"epochs to a relative error of 1e-6 / 1e-12, n = d = {n}", ("condition", "size")
    )
    for condition in (1e2, 1e4):
        problem = eagle.problems.low_rank(n, n, condition=condition, rng=options.seed)
        for part in (2, 4, 8):
            size = n // part
            cells: dict[str, Any] = {"condition": condition, "size": f"n/{part}"}
            for label, method, most in [
                ("default", eagle.Sketched(size), 20),
                ("random columns", eagle.Sketched(size, sampling="columns"), 60),
                ("orthonormal", eagle.Sketched(size, sampling="orthonormal"), 20),
                ("full lift (.95, 1)", eagle.Sketched(size, step_sizes=(0.95, 1.0)), 60),
                ("paper's lift", eagle.Sketched(size, lift="paper"), 400),
                ("sgd", eagle.StochasticGradientDescent(size), 400),
            ]:
                marks = _first_below(problem, method, [1e-6, 1e-12], most * part, options.seed)
                cells[label] = " / ".join(
                    f"> {most}" if mark is None else f"{mark / part:g}" for mark in marks
                )
            report.row(**cells)


def _first_below(
    problem: Any, method: Any, marks: list[float], maxiter: int, seed: int
) -> list[int | None]:
    """The first iteration whose true error is below each mark."""
    errors: list[float] = []

    def watch(state: Any) -> bool:
        errors.append(problem.error(state.value))
        return errors[-1] < min(marks)

    eagle.solve(
        problem.A,
        problem.B,
        problem.C,
        method=method,
        maxiter=maxiter,
        rtol=1e-15,
        rng=seed,
        callback=watch,
    )
    return [next((k + 1 for k, e in enumerate(errors) if e < mark), None) for mark in marks]


def _compressed(report: Report, options: argparse.Namespace) -> None:
    """Seconds and errors against the best of LAPACK's drivers."""
    report.section(
        "compressed, rank not given, 100 columns in B and C, condition 1e4", ("n", "rank", "method")
    )
    sizes = [(2000, 100, 40), (2000, 400, 12), (5000, 200, 100)]
    for n, rank, wanted in [(600, 30, 10)] if options.quick else sizes:
        problem = eagle.problems.low_rank(
            n, n, 100, 100, rank=rank, condition=1e4, rng=options.seed
        )
        blocks = problem.A, problem.B, problem.C
        repeats = 5 if n <= 2000 else 2
        runs = {
            name: functools.partial(rival, *blocks)
            for name, rival in RIVALS.items()
            # Minutes at more than 2000, and slower than gelsd there.
            if n <= 2000 or name not in ("numpy lstsq", "numpy pinv")
        }
        rivals = measure(runs, repeats)
        best = min(rivals, key=lambda name: rivals[name].median)
        reference = problem.error(runs[best]())
        for label, method in [
            ("auto", "auto"),
            ("compressed", eagle.Compressed()),
            ("sparse signs", eagle.Compressed(sketch="sparse-sign")),
            ("gaussian", eagle.Compressed(sketch="gaussian")),
        ]:
            ours = functools.partial(eagle.solve, *blocks, method=method, rng=options.seed)
            result = ours()
            seconds = measure({"rival": runs[best], "ours": ours}, repeats)
            report.row(
                n=n,
                rank=rank,
                method=label,
                ms=seconds["ours"].scaled(1e3),
                best_rival=f"{best} {1e3 * rivals[best].median:.0f} ms",
                ratio=seconds["rival"].over(seconds["ours"], "more"),
                wanted=wanted,
                found=result.rank,
                error=f"{problem.error(result.value):.1e}",
                estimate=f"{result.error_estimate:.1e}",
                rival_error=f"{reference:.1e}",
            )


def _sketch(report: Report, options: argparse.Namespace) -> None:
    """The sketch kernels beside one reading of A."""
    report.section("one sketch against one reading of A", ("n", "order", "sketch", "columns"))
    rng = np.random.default_rng(options.seed)
    for n in (1000,) if options.quick else (2000, 5000):
        A = rng.standard_normal((n, n))
        for order in "CF":
            X = np.array(A, order=order)
            for kind, size in [("sparse-sign", 128), ("sparse-sign", 512), ("rademacher", 128)]:
                T = draw(kind, n, n, size, X.dtype, rng)
                runs = {
                    "reading": functools.partial(energy, A),
                    "sketch": functools.partial(T.apply, X),
                }
                took = measure(runs, repeats=9)
                seconds = took["sketch"].median
                report.row(
                    n=n,
                    order=order,
                    sketch=kind,
                    columns=size,
                    ms=f"{1e3 * seconds:.1f}",
                    reading_ms=f"{1e3 * took['reading'].median:.1f}",
                    GB_per_s=f"{X.nbytes / seconds / 1e9:.1f}",
                    ratio=took["sketch"].over(took["reading"]),
                )
    S = scipy.sparse.random_array((20_000, 20_000), density=2e-3, rng=rng, format="csr")
    T = draw("sparse-sign", *S.shape, 512, S.dtype, rng)
    dense = T.dense()
    operand = eagle.problem.blocks.as_matrix("A", S)
    took = measure({"ours": lambda: T.apply(operand), "scipy": lambda: S @ dense}, repeats=5)
    report.row(
        n=20_000,
        order="CSR",
        sketch="sparse-sign",
        columns=512,
        ms=f"{1e3 * took['ours'].median:.1f}",
        reading_ms=f"{1e3 * took['scipy'].median:.1f} (scipy, dense T)",
        GB_per_s=f"{12 * S.nnz / took['ours'].median / 1e9:.1f}",
        ratio=took["ours"].over(took["scipy"]),
    )


def _decay(report: Report, options: argparse.Namespace) -> None:
    """A kernel matrix: the error of a sketch of k columns, and the best of rank k."""
    report.section("Gaussian kernel of points in the plane, no gap in the spectrum", ("columns",))
    rng = np.random.default_rng(options.seed)
    size = 500 if options.quick else 1500
    points = rng.random((size + 100, 2))
    gaps = ((points[:, None] - points) ** 2).sum(axis=-1)
    K = np.exp(-gaps / (2 * 0.15**2))
    A, B, C, D = K[:size, :size], K[size:, :size], K[:size, size:], K[size:, size:]
    U, s, Vh = np.linalg.svd(A)
    for k in (20, 40, 80, 160):
        best = (B @ Vh[:k].T / s[:k]) @ (U[:, :k].T @ C)
        result = eagle.solve(A, B, C, method=eagle.Compressed(k, grow=False), rng=options.seed)
        report.row(
            columns=k,
            next_singular_value=f"{s[k] / s[0]:.1e}",
            best_of_rank=f"{np.linalg.norm(best - D) / np.linalg.norm(D):.1e}",
            compressed=f"{np.linalg.norm(result.value - D) / np.linalg.norm(D):.1e}",
            estimate=f"{result.error_estimate:.1e}",
            status=result.status.name,
        )
    for cutoff in (1e-6, 1e-10):
        runs = {
            method: functools.partial(
                eagle.solve, A, B, C, method=method, cutoff=cutoff, rng=options.seed
            )
            for method in ("compressed", "direct")
        }
        took, result = measure(runs, repeats=3), runs["compressed"]()
        kept = int(np.count_nonzero(s > cutoff * s[0]))
        best = (B @ Vh[:kept].T / s[:kept]) @ (U[:, :kept].T @ C)
        times = took["direct"].over(took["compressed"]).median
        report.row(
            columns=f"cutoff {cutoff:g}: {result.rank} of {kept}",
            next_singular_value=f"{s[kept] / s[0]:.1e}",
            best_of_rank=f"{np.linalg.norm(best - D) / np.linalg.norm(D):.1e}",
            compressed=f"{np.linalg.norm(result.value - D) / np.linalg.norm(D):.1e}",
            estimate=f"{result.error_estimate:.1e}",
            status=f"{result.status.name} in 1/{times:.0f} of an SVD",
        )


GRID = [
    (60, 60, 60), (60, 60, 20), (300, 300, 300), (300, 300, 40), (400, 150, 150),
    (150, 400, 60), (1000, 1000, 1000), (1000, 1000, 500), (1000, 1000, 200), (1000, 1000, 40),
    (2000, 2000, 2000), (2000, 2000, 1000), (2000, 2000, 400), (2000, 2000, 80),
    (4000, 600, 600), (4000, 600, 100), (600, 4000, 600), (600, 4000, 30),
    (20000, 100, 100), (100, 20000, 40), (3000, 1500, 50), (1500, 3000, 1500),
]  # fmt: skip


def _planner(report: Report, options: argparse.Namespace) -> None:
    """The time of auto over that of the best single method."""
    report.section(
        'regret: time of "auto" / time of the best method that is right',
        ("d", "n", "rank", "condition"),
    )
    methods: dict[str, Any] = {
        "auto": "auto",
        "cholesky": eagle.Eagle("cholesky"),
        "minimax": eagle.Eagle(),
        "compressed": eagle.Compressed(),
        "sketched": eagle.Sketched(),
        "lu": eagle.Direct("lu"),
        "qr": eagle.Direct("qr"),
        "gelsy": eagle.Direct("gelsy"),
        "gelsd": eagle.Direct("gelsd"),
    }
    regrets = []
    for d, n, rank in GRID[:5] if options.quick else GRID:
        for condition in (1e2, 1e6):
            problem = eagle.problems.low_rank(
                d, n, 10, 10, rank=rank, condition=condition, rng=options.seed
            )
            blocks = problem.A, problem.B, problem.C
            runs = {}
            for name, method in methods.items():
                run = functools.partial(eagle.solve, *blocks, method=method, rng=options.seed)
                try:
                    right = problem.error(run().value) < 1e-11
                except (np.linalg.LinAlgError, ValueError):  # lu: singular, or not square
                    right = False
                if right:
                    runs[name] = run
            plan = runs["auto"]().plan
            times = measure(runs, repeats=5 if d * n < 2e6 else 3)
            auto = times.pop("auto")
            best = min(times, key=lambda name: times[name].median)
            regret = auto.over(times[best])
            regrets.append(regret.median)
            report.row(
                d=d,
                n=n,
                rank=rank,
                condition=condition,
                auto_ms=f"{1e3 * auto.median:.1f}",
                best=best,
                best_ms=f"{1e3 * times[best].median:.1f}",
                regret=regret,
                plan=plan.removeprefix("auto: "),
            )
    report.say(f"regret: {np.median(regrets):.2f} in the median, {max(regrets):.2f} at worst")


CHILD = """
import json, sys
from pathlib import Path
import numpy as np
import eagle

def peak_megabytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

folder, name, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
B, C, D = (np.load(f"{folder}/{block}.npy") for block in "BCD")
A = np.load(f"{folder}/A.npy", mmap_mode="r")
before = peak_megabytes()
result = eagle.solve(A, B, C, method=name, memory_limit=limit, rng=0)
peak = peak_megabytes()
error = np.linalg.norm(result.value - D) / np.linalg.norm(D)
print(json.dumps({"seconds": result.seconds, "status": result.status.name, "rank": result.rank,
                  "error": error, "estimate": result.error_estimate, "before": before,
                  "peak": peak}))
"""


def _memory(report: Report, options: argparse.Namespace) -> None:
    """Peak resident memory of a process that solves from a mapped file."""
    report.section(f"a mapped A of {options.gigabytes:g} GB, rank 60, memory_limit=1 GB")
    n = int((options.gigabytes * 1e9 / 8) ** 0.5)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for order in "CF":
            _write(Path(folder), n, order, options.seed)
            for name in ("compressed", "sketched"):
                child = subprocess.run(
                    [sys.executable, "-c", CHILD, folder, name, "1000000000"],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                row = json.loads(child.stdout)
                report.row(
                    order=order,
                    method=name,
                    seconds=f"{row['seconds']:.1f}",
                    peak_resident_MB=f"{row['peak']:.0f}",
                    of_which_imports_and_B_C=f"{row['before']:.0f}",
                    status=row["status"],
                    rank=row["rank"],
                    error=f"{row['error']:.1e}",
                    estimate=f"{row['estimate']:.1e}",
                )


def _write(folder: Path, n: int, order: str, seed: int, rank: int = 60) -> None:
    """A low-rank A, block by block, and small B, C, D that go with it."""
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((n + 10, rank)), rng.standard_normal((rank, n + 10))
    left *= np.geomspace(1, 1e-4, rank)
    A = np.lib.format.open_memmap(
        folder / "A.npy", mode="w+", dtype=np.float64, shape=(n, n), fortran_order=order == "F"
    )
    for start in range(0, n, 500):
        part = slice(start, min(start + 500, n))
        if order == "C":
            A[part] = left[part] @ right[:, :n]
        else:
            A[:, part] = left[:n] @ right[:, part]
    A.flush()
    del A
    np.save(folder / "B.npy", left[n:] @ right[:, :n])
    np.save(folder / "C.npy", left[:n] @ right[:, n:])
    np.save(folder / "D.npy", left[n:] @ right[:, n:])
