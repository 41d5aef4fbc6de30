"""Limited compute and memory: sketches, the compressed solver, the planner.

Sections: ``epochs`` (passes over the columns that sketched methods need), ``compressed`` (against
LAPACK, the rank not given), ``sketch`` (against the speed of memory), ``decay`` (numerically low
rank: the error against the best of that rank), ``planner`` (the regret of ``method="auto"``),
``memory`` (a file larger than the memory it is solved in). Run with nothing else on the machine.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import eagle
from benchmarks.common import Report, Suite, existing_folder, in_child, measure, positive
from benchmarks.rivals import RIVALS, ours, rival
from eagle.algebra.blas import energy
from eagle.methods.compressed.sketch import draw
from eagle.problem.checks import as_matrix
from eagle.problems import Blocks, low_rank

suite = Suite("limited", __doc__)
suite.add_argument(
    "--gigabytes", type=positive, help="size of the file of the section 'memory'; default: 8"
)
suite.add_argument(
    "--folder", type=existing_folder, help="where that file is written; default: temporary"
)
main = suite.main


@suite.section
def epochs(report: Report, options: argparse.Namespace) -> None:
    """Epochs (iterations * size / n) until the true error is below a mark."""
    n = 60 if options.quick else 240
    title = f"epochs to a relative error of 1e-6 / 1e-12, n = d = {n}"
    report.section(title, ("condition", "size"))
    for condition, part in product((1e2, 1e4), (2, 4, 8)):
        problem, size = low_rank(n, n, condition=condition, rng=options.seed), n // part
        methods = {
            "default": (eagle.Sketched(size), 20),
            "random columns": (eagle.Sketched(size, sampling="columns"), 60),
            "orthonormal": (eagle.Sketched(size, sampling="orthonormal"), 20),
            "full lift (.95, 1)": (eagle.Sketched(size, step_sizes=(0.95, 1.0)), 60),
            "paper's lift": (eagle.Sketched(size, lift="paper"), 400),
            "sgd": (eagle.StochasticGradientDescent(size), 400),
        }
        cells = {}
        for label, (method, most) in methods.items():
            marks = _first_below(problem, method, [1e-6, 1e-12], most * part, options.seed)
            found = [f"> {most}" if mark is None else f"{mark / part:g}" for mark in marks]
            cells[label] = " / ".join(found)
        report.row(condition=condition, size=f"n/{part}", **cells)


def _first_below(
    problem: Blocks, method: Any, marks: list[float], maxiter: int, seed: int
) -> list[int | None]:
    """The first iteration whose true error is below each mark."""
    errors: list[float] = []

    def watch(state: Any) -> bool:
        errors.append(problem.error(state.value))
        return errors[-1] < min(marks)

    ours(problem, method, maxiter=maxiter, rtol=1e-15, rng=seed, callback=watch)()
    return [next((k + 1 for k, e in enumerate(errors) if e < mark), None) for mark in marks]


@suite.section
def compressed(report: Report, options: argparse.Namespace) -> None:
    """Seconds and errors against the best of LAPACK's drivers."""
    title = "compressed, rank not given, 100 columns in B and C, condition 1e4"
    report.section(title, ("n", "rank", "method"))
    methods = {
        "auto": "auto",
        "compressed": eagle.Compressed(),
        "sparse signs": eagle.Compressed(sketch="sparse-sign"),
        "gaussian": eagle.Compressed(sketch="gaussian"),
    }
    sizes = [(2000, 100, 40), (2000, 400, 12), (5000, 200, 100)]
    for n, rank, wanted in [(600, 30, 10)] if options.quick else sizes:
        problem = low_rank(n, n, 100, 100, rank=rank, condition=1e4, rng=options.seed)
        # numpy's: minutes at more than 2000, and slower than gelsd there.
        names, repeats = (RIVALS, 5) if n <= 2000 else (("gelsy", "gelsd"), 2)
        rivals = measure({name: rival(problem, name) for name in names}, repeats)
        best = min(rivals, key=lambda name: rivals[name].median)
        fastest = rival(problem, best)
        reference = problem.error(fastest())
        for label, method in methods.items():
            solve = ours(problem, method, rng=options.seed)
            result = solve()
            seconds = measure({"rival": fastest, "ours": solve}, repeats)
            report.row(
                n=n, rank=rank, method=label, ms=seconds["ours"].scaled(1e3),
                best_rival=f"{best} {1e3 * rivals[best].median:.0f} ms",
                ratio=seconds["rival"].over(seconds["ours"], "more"), wanted=wanted,
                found=result.rank, error=f"{problem.error(result.value):.1e}",
                estimate=f"{result.error_estimate:.1e}", rival_error=f"{reference:.1e}",
            )  # fmt: skip


@suite.section
def sketch(report: Report, options: argparse.Namespace) -> None:
    """The sketch kernels beside one reading of A."""
    report.section("one sketch against one reading of A", ("n", "order", "sketch", "columns"))
    rng = np.random.default_rng(options.seed)
    kinds = [("sparse-sign", 128), ("sparse-sign", 512), ("rademacher", 128)]
    for n in (1000,) if options.quick else (2000, 5000):
        A = rng.standard_normal((n, n))
        for order, (kind, size) in product("CF", kinds):
            X = np.array(A, order=order)
            T = draw(kind, n, n, size, X.dtype, rng)
            runs = {"reading": lambda A=A: energy(A), "sketch": lambda T=T, X=X: T.apply(X)}
            took = measure(runs, repeats=9)
            seconds, reading = (took[name].median for name in ("sketch", "reading"))
            report.row(
                n=n, order=order, sketch=kind, columns=size, ms=f"{1e3 * seconds:.1f}",
                reading_ms=f"{1e3 * reading:.1f}", GB_per_s=f"{X.nbytes / seconds / 1e9:.1f}",
                ratio=took["sketch"].over(took["reading"]),
            )  # fmt: skip
    S = scipy.sparse.random_array((20_000, 20_000), density=2e-3, rng=rng, format="csr")
    T = draw("sparse-sign", *S.shape, 512, S.dtype, rng)
    dense = T.dense()
    operand = as_matrix("A", S)
    took = measure({"ours": lambda: T.apply(operand), "scipy": lambda: S @ dense}, repeats=5)
    seconds, theirs = (took[name].median for name in ("ours", "scipy"))
    report.row(
        n=20_000, order="CSR", sketch="sparse-sign", columns=512, ms=f"{1e3 * seconds:.1f}",
        reading_ms=f"{1e3 * theirs:.1f} (scipy, dense T)",
        GB_per_s=f"{12 * S.nnz / seconds / 1e9:.1f}", ratio=took["ours"].over(took["scipy"]),
    )  # fmt: skip


@suite.section
def decay(report: Report, options: argparse.Namespace) -> None:
    """A kernel matrix: the error of a sketch of k columns, and the best of rank k."""
    report.section("Gaussian kernel of points in the plane, no gap in the spectrum", ("columns",))
    rng = np.random.default_rng(options.seed)
    size = 500 if options.quick else 1500
    points = rng.random((size + 100, 2))
    gaps = ((points[:, None] - points) ** 2).sum(axis=-1)
    K = np.exp(-gaps / (2 * 0.15**2))
    A, B, C, D = K[:size, :size], K[size:, :size], K[:size, size:], K[size:, size:]
    U, s, Vh = np.linalg.svd(A)
    problem = Blocks(A, B, C, D, s)

    def row(columns: Any, k: int, result: eagle.Result, after: str = "") -> None:
        best = (B @ Vh[:k].T / s[:k]) @ (U[:, :k].T @ C)
        report.row(
            columns=columns, next_singular_value=f"{s[k] / s[0]:.1e}",
            best_of_rank=f"{problem.error(best):.1e}",
            compressed=f"{problem.error(result.value):.1e}",
            estimate=f"{result.error_estimate:.1e}", status=result.status.name + after,
        )  # fmt: skip

    for k in (20, 40, 80, 160):
        row(k, k, ours(problem, eagle.Compressed(k, grow=False), rng=options.seed)())
    for cutoff in (1e-6, 1e-10):
        runs = {
            method: ours(problem, method, cutoff=cutoff, rng=options.seed)
            for method in ("compressed", "direct")
        }
        took, result = measure(runs, repeats=3), runs["compressed"]()
        kept = int(np.count_nonzero(s > cutoff * s[0]))
        times = took["direct"].over(took["compressed"]).median
        columns = f"cutoff {cutoff:g}: {result.rank} of {kept}"
        row(columns, kept, result, f" in 1/{times:.0f} of an SVD")


GRID = [
    (60, 60, 60), (60, 60, 20), (300, 300, 300), (300, 300, 40), (400, 150, 150),
    (150, 400, 60), (1000, 1000, 1000), (1000, 1000, 500), (1000, 1000, 200), (1000, 1000, 40),
    (2000, 2000, 2000), (2000, 2000, 1000), (2000, 2000, 400), (2000, 2000, 80),
    (4000, 600, 600), (4000, 600, 100), (600, 4000, 600), (600, 4000, 30),
    (20000, 100, 100), (100, 20000, 40), (3000, 1500, 50), (1500, 3000, 1500),
]  # fmt: skip


@suite.section
def planner(report: Report, options: argparse.Namespace) -> None:
    """The time of auto over that of the best single method."""
    title = 'regret: time of "auto" / time of the best method that is right'
    report.section(title, ("d", "n", "rank", "condition"))
    methods: dict[str, Any] = {
        "auto": "auto",
        "cholesky": eagle.Eagle("cholesky"),
        "minimax": eagle.Eagle(),
        "compressed": eagle.Compressed(),
        "sketched": eagle.Sketched(),
        **{driver: eagle.Direct(driver) for driver in ("lu", "qr", "gelsy", "gelsd")},
    }
    for (d, n, rank), condition in product(GRID[:5] if options.quick else GRID, (1e2, 1e6)):
        problem = low_rank(d, n, 10, 10, rank=rank, condition=condition, rng=options.seed)
        runs = {}
        for name, method in methods.items():
            run = ours(problem, method, rng=options.seed)
            try:
                if problem.error(run().value) < 1e-11:
                    runs[name] = run
            except (np.linalg.LinAlgError, ValueError):  # lu: singular, or not square
                continue
        plan = runs["auto"]().plan
        times = measure(runs, repeats=5 if d * n < 2e6 else 3)
        auto = times.pop("auto")
        best = min(times, key=lambda name: times[name].median)
        report.row(
            d=d, n=n, rank=rank, condition=condition, auto_ms=f"{1e3 * auto.median:.1f}",
            best=best, best_ms=f"{1e3 * times[best].median:.1f}", regret=auto.over(times[best]),
            plan=plan.removeprefix("auto: "),
        )  # fmt: skip


@suite.section
def memory(report: Report, options: argparse.Namespace) -> None:
    """Peak resident memory of a process that solves from a mapped file."""
    gigabytes = options.gigabytes or (1.5 if options.quick else 8.0)
    report.section(f"a mapped A of {gigabytes:g} GB, rank 60, memory_limit=1 GB")
    n = int((gigabytes * 1e9 / 8) ** 0.5)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for order in "CF":
            _write(Path(folder), n, order, options.seed)
            for name in ("compressed", "sketched"):
                found = in_child("mapped", folder, name, 10**9)
                report.row(
                    order=order, method=name, seconds=f"{found['seconds']:.1f}",
                    peak_resident_MB=f"{found['peak']:.0f}",
                    of_which_imports_and_B_C=f"{found['before']:.0f}", status=found["status"],
                    rank=found["rank"], error=f"{found['error']:.1e}",
                    estimate=f"{found['estimate']:.1e}",
                )  # fmt: skip


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
